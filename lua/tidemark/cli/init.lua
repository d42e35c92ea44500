-- tidemark's command line: finds the command, parses, runs, and turns errors into one line, a hint and an exit code.
--
-- Exit codes: 0 ok, nothing found; 1 findings, or a gate failed; 2 usage; 3 input unreadable; 4 target gone; 5 refused;
-- 6 unsupported here; 70 internal error; 130 interrupted.
local args = require "tidemark.cli.args"
local text = require "tidemark.show.text"

local M = {}

-- The overview's order. A new command = its name here and a file of that name beside this one.
M.groups = {
  { "Live", "watch", "run", "attach", "account", "snap", "malloc", "leaks", "inject", "sessions", "record", "replay", "report", "demo" },
  { "Profiles", "top", "tree", "peek", "list", "disasm", "weblist", "traces", "tags", "raw", "comments",
    "flame", "graph", "diff", "growth", "rate", "survival", "pprof" },
  { "Verdicts", "hotspots", "gate" },
  { "Heap dumps", "suspects", "objects", "holders", "path", "references", "object", "consumers", "garbage", "detached",
    "sites", "lint", "topology", "query" },
  { "Traces", "goroutines", "census", "proof", "check", "regions", "frames", "floors",
    "tasks", "asyncs", "counters", "memory-infra" },
  { "Files", "inspect", "convert" },
  { "Rules", "rules" },
  { "The tool", "repl", "doctor", "config", "completion", "help", "version" },
}

M.names = {}
for _, group in ipairs(M.groups) do table.move(group, 2, #group, #M.names + 1, M.names) end

-- Commands that share one file: they are the same words over another verb.
local families = {}
for family, words in pairs {
  profiles = "top tree peek list disasm weblist traces tags raw comments diff",
  pictures = "flame graph",
  allocations = "rate survival",
  tracing = "regions frames floors",
  timelines = "tasks asyncs counters memory-infra",
  objects = "objects holders path sites",
  sets = "references object consumers garbage query",
} do
  for word in words:gmatch("%S+") do families[word] = family end
end

local codes = { format = 3, io = 3, gone = 4, timeout = 4, permission = 5, unsupported = 6, argument = 2, rule = 3, limit = 3 }

--- The table of a command, or nil.
function M.command(name)
  for _, known in ipairs(M.names) do
    if known == name then
      local family = families[name]
      return family and require("tidemark.cli." .. family)[name] or require("tidemark.cli." .. name)
    end
  end
end

local function overview()
  local out = { "tidemark - watches where a program's memory goes, names the leak, and acts", "",
    "Usage: tidemark COMMAND [OPTIONS] [ARGS]", "", "Examples:",
    "  tidemark watch firefox             live view of a running program",
    "  tidemark run -- ./myapp --open f   start a program and watch it",
    "  tidemark attach 4711               what can be read of a process, and what is withheld",
    "  tidemark repl                      a prompt over all of it",
    "  tidemark top heap.pb.gz            a profile, as pprof users know it",
    "  tidemark rules test rules/my.lua   run the tests that stand in a rule file", "" }
  for _, group in ipairs(M.groups) do
    out[#out + 1] = text.style("bold", group[1])
    for i = 2, #group do out[#out + 1] = ("  %-12s %s"):format(group[i], M.command(group[i]).summary) end
    out[#out + 1] = ""
  end
  out[#out + 1] = "`tidemark help TOPIC`: a command, or one of: rules, signals, profile-options, units, targets, exit-codes, env."
  return table.concat(out, "\n") .. "\n"
end
M.overview = overview

local function complain(message, hint)
  io.stdout:flush()
  io.stderr:write("tidemark: ", text.clean(message), "\n")
  if hint and hint ~= "" then io.stderr:write("  ", text.clean(hint), "\n") end
end

-- What a command raised: {usage=}, {message=, code=, advice=, exit=}, or a bug.
local function failed(problem, name)
  if type(problem) == "table" and problem.usage then
    complain((name and name .. ": " or "") .. problem.usage, "see `tidemark help" .. (name and " " .. name or "") .. "`")
    return 2
  elseif type(problem) == "table" and problem.message then
    complain(problem.message, problem.advice)
    return problem.exit or codes[problem.code] or 3
  end
  complain("internal error: " .. tostring(problem), "set TIDEMARK_DEBUG=1 for a trace, and please report it")
  return 70
end

local function handler(problem)
  if type(problem) == "table" or not os.getenv("TIDEMARK_DEBUG") then return problem end
  return debug.traceback(tostring(problem), 2)
end

local function run_command(command, argv)
  local options, words, rest = args.parse(command, argv, 2)
  if options.help then
    io.write(args.help(command))
    return 0
  end
  if command.configurable then require("tidemark.cli.config").apply(command, options) end
  args.defaults(command, options)
  text.set_color(options.color)
  return command.run(options, words, rest) or 0
end

--- Runs one command line; argv[1] is the first word behind the program's name.
---@param argv string[]
---@return integer exit_code
function M.main(argv)
  local name = argv[1]
  if not name or name == "--help" or name == "-h" then
    io.write(overview())
    return name and 0 or 2
  end
  if name == "--version" then name = "version" end
  local command = M.command(name)
  if not command then
    complain("there is no command '" .. name .. "'" .. args.nearest(name, M.names), "see `tidemark help`")
    return 2
  end
  local ok, result = xpcall(run_command, handler, command, argv)
  if ok then return result end
  return failed(result, name)
end

return M
