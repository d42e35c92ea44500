-- The commands that pprof users know. All are one: read and combine profiles, run a verb of core over them, print what it
-- says. Text is what `go tool pprof` prints; --json and --csv are the verb's table.
local args = require "tidemark.cli.args"
local core = require "tidemark.core"
local profile = require "tidemark.profile"
local text = require "tidemark.show.text"

local M = {}

local function warn(options, lines)
  if options.quiet then return end
  for _, line in ipairs(lines) do io.stderr:write("tidemark: ", text.clean(line), "\n") end
end

local function output(options, bytes)
  if not options.output then
    io.write(bytes)
    return
  end
  local f, problem = io.open(options.output, "wb")
  if not f then error({ message = "cannot write " .. problem, code = "io" }, 0) end
  f:write(bytes)
  f:close()
  if not options.quiet then io.stderr:write("wrote ", options.output, "\n") end
end
M.output = output

-- Rows that hold much of the total stand out on a terminal; the letters stay pprof's.
local function paint(out)
  if not text.colored then return out end
  return (out:gsub("[^\n]+", function(line)
    local share = line:match("^%s*%-?[%d%.]+%a*%s+(%-?[%d%.]+)%%")
    share = share and math.abs(tonumber(share))
    if share and share >= 10 then return text.style("red", line) end
    if share and share >= 3 then return text.style("yellow", line) end
    if line:match("^%a[%a ]*: ") or line:match("^Showing") or line:match("^Dropped") or line:match("^%s+flat") then
      return text.style("dim", line)
    end
    return line
  end))
end

local function meta_of(about, notes, p)
  local info = p:info()
  local meta = { files = text.array(about.files), format = about.format, partial = about.partial, problems = text.array(about.problems),
    time_ns = info.time_ns, duration_ns = info.duration_ns, samples = info.samples,
    suppressed = about.suppressed and text.array(about.suppressed:rows()) }
  for key, value in pairs(notes) do meta[key] = value end
  return meta
end

-- With --json no row is cut unless it was asked for.
local function uncut(report, options)
  if options.nodecount == nil then report.nodecount = 0 end
  if options.nodefraction == nil then report.nodefraction = 0 end
  if options.edgefraction == nil then report.edgefraction = 0 end
end

-- Verbs whose answer is text have rows of lines.
local line_rows = {
  comments = function(p)
    local rows = {}
    for i, comment in ipairs(p:info().comments) do rows[i] = { comment = comment } end
    return rows
  end,
  raw = function(_, out)
    local rows, section = {}, "profile"
    for line in out:gmatch("[^\n]+") do
      local title = line:match("^(%u%a+):?$")
      if title then section = title:lower() else rows[#rows + 1] = { section = section, line = line } end
    end
    return rows
  end,
}

local function print_lines(verb, p, about, options, report)
  local t, out = p:report(verb, report)
  if type(out) ~= "string" then error(out, 0) end
  if options.csv then args.usage(verb .. " has no CSV; it has --json") end
  output(options, text.document(verb, meta_of(about, t.notes, p), line_rows[verb](p, out)))
end

--- Says to people what was wrong with the files.
function M.warn(problems)
  for _, problem in ipairs(problems) do io.stderr:write("tidemark: ", text.clean(problem), "\n") end
end

--- Runs one verb over an open profile and prints it.
---@param verb string  of core's reports
---@param p userdata
---@param about table  of profile.open
---@param options table
---@param report table  options of the report
---@param schema string|nil  name of the document, else the verb
function M.print(verb, p, about, options, report, schema)
  local as_table = options.json or options.csv
  if as_table and line_rows[verb] then return print_lines(verb, p, about, options, report) end
  if as_table then uncut(report, options) end
  local t, out = p:report(verb, report, as_table and "table" or "text")
  if type(out) ~= "string" then error(out, 0) end
  if options.json then
    warn(options, about.problems)
    output(options, text.document_of(schema or verb, meta_of(about, t.notes, p), t))
  elseif options.csv then
    warn(options, about.problems)
    output(options, t:csv())
  else
    warn(options, about.problems)
    warn(options, options.quiet and {} or profile.idle_filters(p, report))
    output(options, options.output and out or paint(out))
  end
end

local function options_with(...)
  local out = {}
  for _, row in ipairs { ... } do out[#out + 1] = row end
  out[#out + 1] = { "csv", "print the table as CSV" }
  out[#out + 1] = { "output", "FILE", "write there instead of to the terminal" }
  return table.move(profile.options, 1, #profile.options, #out + 1, out)
end
M.options_with = options_with

local function command(name, summary, examples, takes)
  return {
    name = name, summary = summary, pprof_flags = true, options = options_with(),
    usage = name .. " " .. (takes and takes .. " " or "") .. "[BINARY] PROFILE... [OPTIONS]",
    examples = examples,
    run = function(options, words)
      local report = profile.report_options(options)
      if takes then
        if #words < 2 then args.usage(takes .. " and a profile are needed") end
        report.symbol = table.remove(words, 1)
      end
      local p, about = profile.open(words, options)
      if name == "disasm" or name == "weblist" then report.binary = about.binary end
      M.print(name, p, about, options, report)
    end,
  }
end

M.top = command("top", "functions by flat or cumulative value", { "tidemark top heap.pb.gz", "tidemark top --cum --nodecount 20 cpu.pb.gz",
  "tidemark top --diff-base monday.pb.gz friday.pb.gz", "tidemark top http://127.0.0.1:6060/debug/pprof/heap",
  "tidemark top --focus 'json' --sample-index alloc_space --json heap.pb.gz" })
M.tree = command("tree", "each function with its callers above and its callees below", { "tidemark tree --focus main cpu.pb.gz" })
M.peek = command("peek", "callers and callees of the functions that match", { "tidemark peek 'json\\.Marshal' heap.pb.gz" }, "REGEXP")
M.list = command("list", "source lines of the functions that match, with their values", { "tidemark list 'main\\.grow' heap.pb.gz",
  "tidemark list --source-path ~/src/app --trim-path /build 'json\\.Marshal$' heap.pb.gz" }, "REGEXP")
M.disasm = command("disasm", "instructions of the functions that match, with their values (needs the binary and objdump)",
  { "tidemark disasm 'main\\.busy' ./app cpu.pb.gz", "tidemark disasm --intel-syntax 0x4821f0 cpu.pb.gz" }, "REGEXP|ADDRESS")
M.weblist = command("weblist", "source lines that open to their instructions, as one HTML page",
  { "tidemark weblist 'main\\.busy' --output busy.html ./app cpu.pb.gz" }, "REGEXP|ADDRESS")
M.traces = command("traces", "every stack with its labels and value", { "tidemark traces goroutine.pb.gz" })
M.tags = command("tags", "values by label", { "tidemark tags --tagshow bytes heap.pb.gz" })
M.raw = command("raw", "all that stands in the profile", { "tidemark raw heap.pb.gz" })
M.comments = command("comments", "the comments of the profile", { "tidemark comments heap.pb.gz" })

M.diff = {
  name = "diff", summary = "what is in the second profile or heap dump and not in the first", pprof_flags = true,
  options = options_with({ "by", "KEY", "of heap dumps: type (the default), dominator or path", choices = { "type", "dominator", "path" } },
    { "follow", "WHICH", "of heap dumps, edges that count: strong, soft, weak, final or phantom and all before it", default = "soft",
      choices = { "strong", "soft", "weak", "final", "phantom" } },
    { "exe", "FILE", "of Go heap dumps: the program that wrote them names types" }),
  usage = "diff BEFORE AFTER [OPTIONS]", examples = { "tidemark diff before.pb.gz after.pb.gz", "tidemark diff a.pb.gz b.pb.gz --json",
    "tidemark diff t1.hprof t2.hprof" },
  run = function(options, words)
    if #words ~= 2 then args.usage("two profiles or heap dumps are needed: BEFORE AFTER") end
    local stat = options.by ~= "path" and not profile.is_remote(words[1]) and core.stat(words[1])
    if stat and stat.kind == "file" then
      local problems = {}
      local first = profile.read(words[1], options, problems)
      if first.kind == "graph" then return require("tidemark.cli.growth_dumps").diff(options, words, first, problems) end
      first:close()
    end
    options["diff-base"] = { words[1] }
    local p, about = profile.open({ words[2] }, options)
    about.files = words
    M.print("top", p, about, options, profile.report_options(options), "diff")
  end,
}

return M
