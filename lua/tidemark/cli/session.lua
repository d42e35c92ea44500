-- What watch, run, record and demo share: an engine with rules, sinks and a view, from a command's options.
local access = require "tidemark.cli.access"
local args = require "tidemark.cli.args"
local core = require "tidemark.core"
local paths = require "tidemark.cli.paths"
local policies = require "tidemark.cli.policies"
local sessions = require "tidemark.cli.session_watch"
local text = require "tidemark.show.text"
local v8_watch = require "tidemark.cli.v8_watch"
local trust = require "tidemark.cli.trust"

local M = {}

M.options = {
  { "for", "DUR", "end after this time", kind = "duration" },
  { "every", "DUR", "sample period of RSS; rules may ask for more", default = "5s", kind = "duration" },
  { "rules", "PATH", "a rule file, or a folder that is reloaded on save (repeatable)", kind = "list" },
  { "no-builtin", "leave the built-in rules out" },
  { "allow", "CAP", "grant a capability, such as act:app.hook or act:* (repeatable)", kind = "list" },
  { "dry-run", "write what actions would do, and do nothing" },
  { "hook", "unix:PATH", "the app's control hook" },
  { "show", "METRIC", "sample and show this too: proc.*, expvar.NAME, metrics.NAME, go.counts.goroutine (repeatable)", kind = "list" },
  { "record", "FILE", "write samples and events to a recording (.tmr)" },
  { "overwrite", "replace an existing recording" },
  { "history", "FILE", "keep a history here (state folder)" },
  { "no-history", "keep no history" },
  { "log-file", "FILE", "append events as JSON lines" },
  { "webhook", "URL", "POST alerts as JSON" },
  { "jsonl", "print events as JSON lines" },
  { "status", "DUR", "period of status lines when piped", default = "30s", kind = "duration" },
  { "plain", "lines instead of the live view" },
  { "fail-on", "LEVEL", "exit 1 when an alert of this level fired", choices = { "info", "warn", "high", "critical" } },
  { "pressure", "watch the machine's memory pressure too" },
}

table.move(access.options, 1, #access.options, #M.options + 1, M.options)
table.move(policies.options, 1, #policies.options, #M.options + 1, M.options)
table.move(sessions.options, 1, #sessions.options, #M.options + 1, M.options)

local function fail(err, exit) error({ message = err.message or tostring(err), code = err.code, advice = err.advice, exit = exit }, 0) end
M.fail = fail

local function refuse(path)
  local dir = core.stat(path) and core.stat(path).kind == "directory" and path or path:match("^(.*)/[^/]*$") or "."
  fail({ message = path .. ": these rules are trusted by nobody yet",
    advice = "look at them, then run `tidemark rules trust " .. dir .. "`" }, 5)
end

-- A file's report: what could not be loaded ends the start, not the session.
local function load_file(s, name, origin, source)
  local problem
  local ok, err = s.engine:load_rules(name, origin, source, function(report)
    if not report.ok then problem = report.problem end
    s.loading = s.loading - 1
  end)
  if not ok then fail(err) end
  s.loading = s.loading + 1
  return function() return problem end
end

-- What is to be loaded, and whether all of it may run: { files = { { name, origin, source } }, folders }.
local function plan_rules(options)
  local plan = { files = {}, folders = {} }
  local function add(name, origin, source) plan.files[#plan.files + 1] = { name = name, origin = origin, source = source } end
  if not options["no-builtin"] then
    for _, path in ipairs(core.embedded()) do
      local name = path:match("^rules/([^/]+%.lua)$")
      if name then add(name, "builtin:" .. path, core.embedded(path)) end
    end
  end
  local own = paths.config() .. "/rules"
  if core.stat(own) then plan.folders[1] = own end
  for _, path in ipairs(options.rules or {}) do
    local st, err = core.stat(path)
    if not st then fail(err) end
    if st.kind == "directory" then plan.folders[#plan.folders + 1] = path
    else
      if not trust.check_file(path) then refuse(path) end
      local source, problem = paths.read(path)
      if not source then fail({ message = "cannot read rules: " .. problem, code = "io" }) end
      add(path:match("([^/]+)$"), path, source)
    end
  end
  for _, dir in ipairs(plan.folders) do
    local ok, path = trust.check_dir(dir)
    if not ok then refuse(path) end
  end
  return plan
end

local function load_rules(s, plan)
  for _, f in ipairs(plan.files) do load_file(s, f.name, f.origin, f.source) end
  for _, dir in ipairs(plan.folders) do
    local watched, err = s.engine:watch_rules(dir)
    if not watched then fail(err) end
    s.folders[#s.folders + 1] = core.realpath(dir)
  end
end

local ranks = { none = 0, info = 1, warn = 2, high = 3, critical = 4, fail = 5 }

-- ---- sinks: each takes a line object with type and time_ns ----

local function emit(s, object)
  if object.type == "alert" then
    if object.state == "firing" and ranks[object.level] > ranks[s.worst] then s.worst = object.level end
  end
  for _, sink in ipairs(s.sinks) do sink(object) end
end

local function json_sink(out)
  return function(object)
    out:write(core.json(object), "\n")
    out:flush()
  end
end

local function name_of(s, id)
  for _, t in ipairs(s.engine:targets()) do
    if t.id == id then return t.name end
  end
  return id
end

-- One line a person reads.
function M.line(object)
  local clock = text.style("dim", text.clock(object.time_ns))
  if object.type == "alert" then
    local mark = object.state == "firing" and text.level(object.level, object.level:upper()) or text.style("dim", object.state)
    return ("%s %s %s: %s"):format(clock, mark, text.style("bold", object.rule), text.clean(object.text))
  elseif object.type == "action" then
    return ("%s %s %s"):format(clock, text.style("blue", "ACTION"), text.clean(object.text))
  elseif object.type == "status" then
    return ("%s %s"):format(clock, text.clean(object.text))
  end
  return ("%s %s %s"):format(clock, text.style("dim", object.type), text.clean(object.text))
end

local quiet_types = { evidence = true, self = true, sample = true }
local loud_states = { firing = true, resolved = true, gone = true }

--- What a person is shown; programs get everything.
function M.worth_a_line(object)
  if quiet_types[object.type] then return false end
  return object.type ~= "alert" or loud_states[object.state] or false
end

function M.line_sink(out)
  return function(object)
    if not M.worth_a_line(object) then return end
    out:write(M.line(object), "\n")
    out:flush()
  end
end

local function listen(s)
  s.engine:on_alert(function(a)
    emit(s, { type = "alert", time_ns = a.time_ns, state = a.state, from_state = a.from_state, level = a.level, rule = a.rule,
      target = a.target, name = name_of(s, a.target), key = a.key, value = a.value, unit = a.unit, text = a.text,
      evidence = a.evidence, notify = a.notify })
  end)
  s.engine:on_action(function(x)
    emit(s, { type = "action", time_ns = x.time_ns, name = x.name, rule = x.rule, target = x.target, outcome = x.outcome,
      text = x.text, gained_bytes = x.gained_bytes, disabled = x.disabled })
  end)
  s.engine:on(function(e)
    if e.kind == "rule_loaded" or e.kind == "rule_load_failed" or e.kind == "rule_unloaded" then
      for _, dir in ipairs(e.kind ~= "rule_unloaded" and s.folders or {}) do trust.accept(dir .. "/" .. e.rule) end
      local fields = core.json_decode(e.json)
      if fields and fields.policies then policies.loaded(s, e.rule, fields.policies) end
      -- At the start they are not worth a line each.
      if e.kind == "rule_loaded" and e.time_ns - s.opened_ns < 3000000000 then return end
    end
    if e.kind == "evidence" then s.evidence[#s.evidence + 1] = { time_ns = e.time_ns, rule = e.rule, name = e.text, bytes = #e.json } end
    local object = { type = e.kind, time_ns = e.time_ns, level = e.level, rule = e.rule, target = e.target, text = e.text }
    local fields = e.kind == "note" and core.json_decode(e.json)
    if fields and fields.type == "snapshot" then -- of a policy: what was taken, or why not
      for key, value in pairs(fields) do object[key] = value end
    end
    emit(s, object)
  end)
end

-- What an inspector tells (node:PORT, chrome:PORT) and what an app does.
local told <const> = { v8 = true, node = true, dom = true, page = true, session = true, app = true }

-- What --show names must be there to be sampled.
local function check_shown(names)
  local known = {}
  for _, signal in ipairs(core.signals()) do known[#known + 1] = signal.name end
  for _, name in ipairs(names) do
    local found = name:match("^expvar%.%S+$") or name:match("^metrics%.%S+$") or core.account_metric(name) or name:match("^go%.counts%.%S+$")
      or told[name:match("^(%w+)%.%w+")]
    for _, one in ipairs(known) do found = found or one == name end
    if not found then args.usage("--show: no signal is called '" .. name .. "'" .. args.nearest(name, known)) end
  end
  return names
end

--- Opens a session. Raises on failure. s.engine, s.sinks (append your own), s:emit, s:close().
function M.open(options)
  local show = check_shown(options.show or {})
  local history = nil
  if not options["no-history"] then
    history = options.history or paths.state() .. "/history.db"
    core.mkdir(history:match("^(.*)/[^/]*$") or ".")
  end
  local engine, err = core.engine { every_ns = options.every, dry_run = options["dry-run"], allow = options.allow or {},
    history = history, pressure = options.pressure, settle_ns = options.settle_ns,
    dumps = options["snap-dir"] or paths.state() .. "/profiles" }
  if not engine then fail(err) end
  local s = { engine = engine, sinks = {}, folders = {}, evidence = {}, loading = 0, worst = "none", show = show, emit = emit, opened_ns = engine:now() }
  function s.close()
    sessions.close(s)
    v8_watch.close(s)
    engine:close()
  end
  listen(s)
  if options.jsonl then s.sinks[#s.sinks + 1] = json_sink(io.stdout) end
  if options["log-file"] then
    local f, problem = io.open(options["log-file"], "a")
    if not f then fail({ message = "cannot write the log: " .. problem, code = "io" }) end
    s.sinks[#s.sinks + 1] = json_sink(f)
  end
  if options.webhook then
    if not engine.webhook then fail({ message = "this build has no webhooks", code = "unsupported" }) end
    local ok, problem = engine:webhook(options.webhook)
    if not ok then fail(problem) end
    s.sinks[#s.sinks + 1] = function(object)
      if object.type == "alert" and object.notify ~= false or object.type == "action" then engine:webhook_post(core.json(object)) end
    end
  end
  policies.open(s, options)
  sessions.open(s, options)
  local plan = plan_rules(options)
  if options.record then -- before the rules are loaded: their texts stand in it
    local meta = core.json { version = core.version, started_ns = (core.now()), command = access.command(arg or {}) }
    local ok, problem = engine:record(options.record, meta, options.overwrite)
    if not ok then fail(problem) end
  end
  load_rules(s, plan)
  return s
end

--- The exit code that the findings ask for.
function M.exit_code(s, options)
  local limit = options["fail-on"]
  return limit and ranks[s.worst] >= ranks[limit] and 1 or 0
end

return M
