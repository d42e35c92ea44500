-- repl: the prompt. Words are targets to watch and profiles to read; without a terminal, standard input is a script.
local core = require "tidemark.core"
local session = require "tidemark.cli.session"

local own = {
  { "execute", "LUA", "run this and leave (repeatable)", kind = "list" },
  { "no-edit", "no editing of lines, for rlwrap and the like" },
}

local kept = { rules = true, ["no-builtin"] = true, allow = true, ["dry-run"] = true, hook = true, endpoint = true, record = true, history = true,
  ["no-history"] = true, every = true, overwrite = true }
for _, option in ipairs(session.options) do
  if kept[option[1]] then own[#own + 1] = option end
end

-- A word is a file to read when there is one of that name, else a target. A recording is what :try runs rules over.
local function open(repl, words, options)
  local tm, try_rules = repl.env.tm, require "tidemark.repl.try"
  for i, word in ipairs(words) do
    local stat = not word:match("^%d+$") and core.stat(word)
    local value, err
    if stat and try_rules.is_recording(word) then
      repl.env.recording = word
      value = try_rules.describe(word)
    elseif stat and stat.kind ~= "socket" then value, err = tm.read(word) else
      value, err = tm.attach(word, { endpoint = options.endpoint, hook = options.hook })
      if value then repl.target = value.id end
    end
    if not value then error({ message = err.message, code = err.code, advice = err.advice, exit = err.code == "gone" and 4 or nil }, 0) end
    if type(value) == "string" then repl:show(value) else
      repl.env[i == 1 and "_" or "_" .. i] = value
      repl.env[type(value) == "userdata" and (#words == 1 and "p" or "p" .. i) or "target"] = value
      if repl.console then repl:echo({ n = 1, value }) end
    end
  end
end

-- Lines behind a prompt that somebody else edits.
local function prompted()
  io.write("tm> ")
  io.flush()
  return io.read("l")
end

local function run(options, words)
  local targets = require "tidemark.targets"
  local prompt = require "tidemark.repl.prompt"
  for name in pairs(kept) do
    if options[name] ~= nil then targets.options[name] = options[name] end
  end
  local interactive = not options.execute and not options["no-edit"] and core.terminal(0).tty and core.terminal(1).tty
  local repl = require("tidemark.repl").new(interactive and prompt.console("repl") or nil)
  local ok, code = pcall(function()
    open(repl, words, options)
    if options.execute then
      local i = 0
      return repl:script(function()
        i = i + 1
        return options.execute[i]
      end)
    end
    return interactive and repl:interact() or repl:script(options["no-edit"] and prompted or io.lines())
  end)
  repl:close()
  prompt.close()
  if not ok then error(code, 0) end
  return code
end

return {
  name = "repl", summary = "a prompt over live programs, profiles and rules", usage = "repl [TARGET|FILE...] [OPTIONS]",
  examples = { "tidemark repl", "tidemark repl http://127.0.0.1:6060", "tidemark repl heap.pb.gz", "echo 'tm.top(\"heap.pb.gz\")' | tidemark repl",
    "tidemark repl --execute 'tm.read(\"a.pb.gz\"):info().samples'" },
  doc = "Type Lua and see values; Tab completes, ?name explains, :help lists commands. Without a terminal standard input is a script:\n"
    .. "exit code 1 when a line failed.",
  options = own, run = run,
}
