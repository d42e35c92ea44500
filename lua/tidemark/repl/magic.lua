-- Commands that begin with a colon, and questions (?x, ??x). Each is a row: usage, doc, run(repl, words, rest). They run as lines
-- do: what they answer is echoed.
local args = require "tidemark.cli.args"
local core = require "tidemark.core"
local eval = require "tidemark.repl.eval"
local help = require "tidemark.repl.help"
local targets = require "tidemark.targets"
local text = require "tidemark.show.text"

local M = { commands = {} }

local WATCH_PATIENCE <const> = 5 -- a :watch that fails so often in a row ends

local function command(name, usage, doc, run) M.commands[name] = { name = name, usage = usage, doc = doc, run = run } end

local function fail(message, advice) error({ code = "argument", message = message, advice = advice }, 0) end
local function try(value, err)
  if value == nil then error(err, 0) end
  return value
end

local function tm() return require "tidemark" end

-- The program that is meant when none is named: the last attached.
local function target_of(repl, word)
  if word then return try(targets.find(word)) end
  local last = repl.target and targets.find(repl.target)
  local first = last or targets.list()[1]
  if not first then fail("nothing is watched", "attach a program first: :attach PID") end
  return first
end

local function run_expression(repl, source)
  if source == "" then fail("which expression? such as :time #tm.rules()") end
  local chunk, problem = eval.compile(source, repl.env)
  if not chunk then error(problem, 0) end
  return chunk
end

-- ---- live ----

command("attach", "attach TARGET", "watches a program: pid, name, or the address where it listens", function(repl, words, rest)
  if not words[1] then fail("which program? a pid, a name, or an address") end
  local t = try(tm().attach(rest))
  repl.target = t.id
  repl.env.target = t
  return t
end)

command("detach", "detach [TARGET]", "ends the watch", function(repl, words) return tm().detach(target_of(repl, words[1])) end)
command("targets", "targets", "what is watched", function() return targets.list() end)
command("status", "status", "signals of the watched programs", function(repl) return try(target_of(repl):signals()) end)
command("alerts", "alerts", "what the rules found", function() return tm().alerts() end)

command("plot", "plot SIGNAL [SPAN] [TARGET]", "a plot, such as :plot rss 10m", function(repl, words)
  if not words[1] then fail("which signal? :plot rss 10m") end
  io.write(try(target_of(repl, words[3]):plot(words[1], words[2], { width = repl:width() })))
end)

command("watch", "watch EXPRESSION [SPAN]", "shows a value every span (1s); alone: the list; stop: ends all", function(repl, words, rest)
  repl.watches = repl.watches or {}
  if not words[1] then
    local rows = {}
    for i, w in ipairs(repl.watches) do rows[i] = { expression = w.source, every_ns = w.timer.every } end
    return rows
  elseif rest == "stop" then
    for _, w in ipairs(repl.watches) do repl:forget(w.timer) end
    repl.watches = {}
    return
  end
  local source, span = rest, "1s"
  local before, last = rest:match("^(.-)%s+(%S+)$")
  if last and core.duration(last) and not tonumber(last) then source, span = before, last end
  local chunk = run_expression(repl, source)
  local print_value = require "tidemark.repl.print"
  local timer
  local failed = 0 -- times in a row: the first sample may not be there yet
  local function show()
    local ok, value, unit = pcall(chunk)
    local measured = ok and type(value) == "number" and type(unit) == "string"
    local out = measured and core.format(value, unit)
      or ok and print_value.render(value, { width = repl:width() - #source - 12, depth = 2 }) or print_value.problem(eval.plain(value))
    repl:say(text.style("dim", text.clock((core.now()))) .. " " .. source .. " = " .. out:gsub("\n$", ""))
    failed = ok and 0 or failed + 1
    if failed >= WATCH_PATIENCE then repl:forget(timer) end
  end
  timer = repl:after(try(core.duration(span)), show, true)
  repl.watches[#repl.watches + 1] = { source = source, timer = timer }
  show()
end)

command("snap", "snap [KIND] [TARGET] [gc] [SECONDSs]", "takes a profile or a heap dump: :snap heap gc, :snap dump jvm:4711", function(repl, words)
  local kind, options, where = nil, {}, nil
  for _, word in ipairs(words) do
    if word == "gc" and kind then options.gc = true
    elseif word:match("^%d+s$") then options.seconds = tonumber(word:match("%d+"))
    elseif not kind and word:match("^%a[%a-]*$") then kind = word
    else where = word end
  end
  if where and not targets.find(where) then return tm().snap(where, kind, options) end
  return tm().snap(target_of(repl, where), kind, options)
end)

command("diff", "diff A B", "what B has more than A: names of profiles in variables, or files", function(repl, words)
  if #words ~= 2 then fail("two profiles are needed: :diff a b") end
  local list = {}
  for i, word in ipairs(words) do
    local value = help.resolve(repl.env, word)
    list[i] = type(value) == "userdata" and value or try(tm().read(word))
  end
  return tm().top(try(tm().diff(list[1], list[2])))
end)

command("mark", "mark TEXT", "puts a mark into history and recording", function(_, _, rest) tm().mark(rest) end)

-- ---- rules ----

command("rules", "rules", "the rules and what they found", function() return tm().rules() end)

local function rule_named(id)
  local names = {}
  for i, r in ipairs(targets.rules()) do
    if r.id == id then return r end
    names[i] = r.id
  end
  fail("there is no rule '" .. id .. "'" .. args.nearest(id, names), ":rules lists them")
end

command("explain", "explain RULE", "what a rule looks at, and its bounds", function(_, words)
  if not words[1] then fail("which rule? :explain proc.rss_slope") end
  io.write(help.of_rule(rule_named(words[1])))
end)

command("silence", "silence RULE [SPAN] [WHY]", "keeps a rule's alerts quiet (1h)", function(_, words)
  if not words[1] then fail("which rule? :silence proc.rss_slope 2h") end
  if not words[1]:find("[*?[]") then rule_named(words[1]) end
  return tm().silence { rule = words[1], span = words[2], why = table.concat(words, " ", 3) }
end)

command("load", "load FILE", "loads a rule file into the session, or loads it anew", function(repl, words)
  local source, problem = require("tidemark.cli.paths").read(words[1] or "")
  if not source then fail("cannot read rules: " .. tostring(problem)) end
  local s = targets.session()
  local jobs = require "tidemark.repl.jobs"
  local report = repl.env.await(jobs.new("loading", function(_, done)
    local ok, err = s.engine:load_rules(words[1]:match("([^/]+)$"), words[1], source, done)
    if not ok then done(nil, err) end
  end))
  if not report.ok then fail(report.problem) end
  io.write(("%d rule%s, %d test%s passed\n"):format(report.rules, report.rules == 1 and "" or "s", report.tests, report.tests == 1 and "" or "s"))
end)

command("try", "try FILE [TARGET|RECORDING]", "what a rule file says of the samples that are kept, without loading it", function(repl, words)
  if not words[1] then fail("which rule file? :try rules/my.lua") end
  local try_rules = require "tidemark.repl.try"
  local recording = words[2] and try_rules.is_recording(words[2]) and words[2] or not words[2] and #targets.list() == 0 and repl.env.recording
  if recording then return try_rules.over_recording(recording, words[1]) end
  return try_rules.verdict(target_of(repl, words[2]), words[1])
end)

-- ---- the session ----

command("time", "time EXPRESSION", "runs it and says how long it took", function(repl, _, rest)
  local chunk = run_expression(repl, rest)
  local _, before = core.now()
  local values = table.pack(chunk())
  local _, after = core.now()
  repl:show(text.style("dim", core.format(after - before, "ns")))
  return table.unpack(values, 1, values.n)
end)

command("bench", "bench EXPRESSION", "runs it again and again for a fifth of a second: time of one", function(repl, _, rest)
  local chunk = run_expression(repl, rest)
  local _, before = core.now()
  local n, batch, now = 0, 1, before
  while now - before < 200000000 do
    for _ = 1, batch do chunk() end
    n, batch = n + batch, math.min(batch * 2, 10000)
    _, now = core.now()
  end
  io.write(("%d runs, %s each\n"):format(n, core.format((now - before) / n, "ns")))
end)

command("keep", "keep [N]", "marks the last N lines (1) for :save", function(repl, words)
  local n = math.tointeger(tonumber(words[1] or "1"))
  if not n then fail("how many lines? :keep 3") end
  for i = math.max(1, #repl.inputs - n + 1), #repl.inputs do
    if not repl.is_kept[i] then repl.kept[#repl.kept + 1] = repl.inputs[i] end
    repl.is_kept[i] = true
  end
  io.write(("%d line%s kept\n"):format(#repl.kept, #repl.kept == 1 and "" or "s"))
end)

command("save", "save FILE | save rule NAME", "writes the kept lines (else all) as a script, or as a rule with its tests", function(repl, words)
  local lines = #repl.kept > 0 and repl.kept or repl.inputs
  if #lines == 0 then fail("there is no line to save yet") end
  if words[1] == "rule" then
    if not words[2] then fail("the rule's name is missing: :save rule my.rule") end
    return require("tidemark.repl.save").rule(words[2], lines)
  elseif not words[1] then fail("where to? :save FILE") end
  if core.stat(words[1]) then fail(words[1] .. " exists already") end
  local f, problem = io.open(words[1], "w")
  if not f then fail("cannot write " .. problem) end
  f:write('local tm = require "tidemark"\n')
  for _, line in ipairs(lines) do f:write(M.find(line) and "-- " .. line or line, "\n") end -- a script knows no commands
  f:close()
  io.write(("wrote %s, %d lines\n"):format(words[1], #lines))
end)

command("source", "source FILE", "runs a Lua file in this session", function(repl, words)
  local source, problem = require("tidemark.cli.paths").read(words[1] or "")
  if not source then fail("cannot read " .. tostring(problem)) end
  local chunk, err = load(source, "@" .. words[1], "t", repl.env)
  if not chunk then fail(err) end
  return chunk()
end)

-- The first of these variables that says something.
local function variable(...)
  for _, name in ipairs { ... } do
    local value = os.getenv(name)
    if value and value ~= "" then return value end
  end
end

-- Runs another program on the terminal: what is watched rests meanwhile.
local function outside(repl, fn)
  if repl.console then repl.console:raw(false) end
  local ok, err = pcall(fn)
  if repl.console then repl.console:raw(true) end
  if not ok then error(err, 0) end
end

command("edit", "edit [N]", "the last line (or line N) in $EDITOR, then run; sampling rests while it is open", function(repl, words)
  local n = math.tointeger(tonumber(words[1] or tostring(#repl.inputs)))
  local path = os.tmpname()
  local f, problem = io.open(path, "w")
  if not f then fail("cannot write " .. problem) end
  f:write(n and repl.inputs[n] or "", "\n")
  f:close()
  local source
  outside(repl, function()
    os.execute((variable("VISUAL", "EDITOR") or "vi") .. " '" .. path .. "'")
    source = require("tidemark.cli.paths").read(path)
  end)
  os.remove(path)
  source = (source or ""):gsub("%s+$", "")
  if source == "" then fail "nothing is left to run" end
  local run = M.find(source)
  local chunk = run or run_expression(repl, source)
  io.write(text.style("dim", source), "\n")
  if not run then repl.inputs[#repl.inputs + 1] = source end
  return chunk(repl)
end)

command("page", "page EXPRESSION", "all of a value in $PAGER (less); sampling rests while it is open", function(repl, _, rest)
  local value = run_expression(repl, rest ~= "" and rest or "_")()
  local shown = require("tidemark.repl.print").render(value, { width = repl:width(), items = 100000 })
  outside(repl, function()
    local pipe = io.popen(variable "PAGER" or "less -RX", "w")
    if not pipe then fail "no pager can be run" end
    pipe:write(shown, shown:sub(-1) == "\n" and "" or "\n")
    pipe:close()
  end)
end)

command("log", "log [N]", "the last N lines (20) of findings and events", function(repl, words)
  local n = math.tointeger(tonumber(words[1] or "20")) or 20
  for i = math.max(1, #repl.log - n + 1), #repl.log do io.write(repl.log[i], "\n") end
end)

command("trace", "trace", "where the last error came from", function(repl) io.write(repl.trace or "no error yet", "\n") end)

command("pprof", "pprof FILE...", "pprof's own shell over profiles; quit comes back", function(repl, words)
  if not words[1] then fail("which profile? :pprof heap.pb.gz") end
  local ok, shell = pcall(require, "tidemark.pprof.shell")
  if not ok then fail("this build has no pprof shell") end
  local p = require("tidemark.profile").open(words, {})
  repl:nested(shell.new(p, { write = io.write, warn = function(line) io.stderr:write(text.clean(line), "\n") end,
    complain = function(problem) repl:complain(problem) end }))
end)

command("help", "help [NAME]", "these commands, or what a name means", function(repl, words)
  if words[1] then
    io.write(help.text(repl, M.commands[words[1]] and ":" .. words[1] or words[1]))
    return
  end
  local names = {}
  for name in pairs(M.commands) do names[#names + 1] = name end
  table.sort(names)
  for _, name in ipairs(names) do
    io.write(("  :%s %s\n"):format(text.pad(M.commands[name].usage, 34), M.commands[name].doc))
  end
end)

-- What looks at programs and profiles can be kept: :keep, :save, :edit.
for _, name in ipairs { "attach", "status", "plot", "watch", "snap", "diff", "time", "load", "try", "source" } do M.commands[name].kept = true end

local function quit(repl) repl.quit = true end
command("quit", "quit", "leaves (Ctrl-D does too)", quit)
command("q", "q", "the same", quit)

--- The function of an input that is no Lua: fn(repl), or nil.
function M.find(source)
  local marks, word = source:match("^%s*(%?%??)%s*(%S*)%s*$")
  if marks then
    return function(repl)
      io.write(marks == "??" and help.source(repl, word) or help.text(repl, word ~= "" and word or nil))
    end
  end
  local name, rest = source:match("^%s*:(%a+)%s*(.-)%s*$")
  if not name then return nil end
  return function(repl)
    local found = M.commands[name]
    if not found then
      local names = {}
      for known in pairs(M.commands) do names[#names + 1] = known end
      fail("there is no command :" .. name .. args.nearest(name, names), ":help lists them")
    end
    local words = {}
    for w in rest:gmatch("%S+") do words[#words + 1] = w end
    if found.kept and rest ~= "stop" then repl.inputs[#repl.inputs + 1] = source end
    return found.run(repl, words, rest)
  end
end

return M
