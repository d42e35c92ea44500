-- The rule language, as it stands in every rule package's own sandboxed state.
--
-- The host runs this file before the package, gives it the native functions, and gets back the functions that it
-- calls later (declare, context, check, handler, ...). The package sees only `tm`. Everything that this file needs
-- of the standard library is taken into locals first, so that a package cannot change it under our feet.
local native = ...

local error, ipairs, next, pairs, select, setmetatable, tostring, type =
  error, ipairs, next, pairs, select, setmetatable, tostring, type
local rawget, rawset, pcall, tonumber, getmetatable = rawget, rawset, pcall, tonumber, getmetatable
local concat, sort = table.concat, table.sort
local format, gsub, lower, match, sub = string.format, string.gsub, string.lower, string.match, string.sub
local floor, mtype = math.floor, math.type

local M = { rules = {}, lists = {}, overrides = {}, formats = {}, policies = {}, ids = {}, declared_lists = {} }

---------------------------------------------------------------------------------------------------- small helpers

-- Edit distance, for "did you mean"; names are short.
local function distance(a, b)
  local row = {}
  for j = 0, #b do row[j] = j end
  for i = 1, #a do
    local diagonal = row[0]
    row[0] = i
    for j = 1, #b do
      local cost = sub(a, i, i) == sub(b, j, j) and 0 or 1
      local best = diagonal + cost
      if row[j] + 1 < best then best = row[j] + 1 end
      if row[j - 1] + 1 < best then best = row[j - 1] + 1 end
      diagonal, row[j] = row[j], best
    end
  end
  return row[#b]
end

local function did_you_mean(word, candidates)
  local best, best_distance
  for name in pairs(candidates) do
    local d = distance(lower(tostring(word)), lower(tostring(name)))
    if d <= 3 and d < #tostring(name) and (not best or d < best_distance or d == best_distance and name < best) then
      best, best_distance = name, d
    end
  end
  return best and format("; did you mean '%s'?", best) or ""
end

-- Raises an error that the host reports with its stable code: "LOAD_SCHEMA: text".
local function reject(code, text, level)
  error(code .. ": " .. text, (level or 1) + 1)
end

local function check_keys(what, given, allowed, level)
  for key in pairs(given) do
    if not allowed[key] then
      reject("LOAD_SCHEMA", format("%s: unknown key '%s'%s", what, tostring(key), did_you_mean(key, allowed)), level + 1)
    end
  end
end

local duration_units = { ns = true, us = true, ms = true, s = true, m = true, min = true, h = true, d = true, w = true }

-- "10s" -> 10.0 seconds. Numbers are refused: whoever means seconds says so.
local function seconds(what, value, level)
  if value == nil then return nil end
  if type(value) ~= "string" then
    reject("LOAD_SCHEMA", format("%s: '%s' has no unit; write it as \"10s\" or \"5m\"", what, tostring(value)), level + 1)
  end
  local number, problem = native.seconds(value)
  if not number then reject("LOAD_SCHEMA", what .. ": " .. problem, level + 1) end
  return number
end

-- A parameter: durations become seconds, sizes bytes, percents ratios; other strings stay as they are.
local function quantity(value)
  if type(value) ~= "string" then return value end
  local unit = match(value, "^%s*[%d%.]+%s*([%a%%]+)")
  if not unit then return value end
  if unit == "%" then return native.ratio(value) or value end
  if duration_units[unit] then return native.seconds(value) or value end
  return native.bytes(value) or value
end

local function copy(value)
  if type(value) ~= "table" then return value end
  local out = {}
  for k, v in pairs(value) do out[k] = copy(v) end
  return out
end

---------------------------------------------------------------------------------------------------- inputs

local input_keys = { every = true, window = true, keep = true, by = true, arm = true, value = true, n = true,
  marks = true, cats = true, key = true, reset_peaks = true, gc = true }

local function input(kind, default_every, default_keep)
  return function(metric, options)
    options = options or {}
    if type(metric) ~= "string" then reject("LOAD_SCHEMA", "tm." .. kind .. ": the metric's name is missing", 2) end
    if type(options) ~= "table" then reject("LOAD_SCHEMA", "tm." .. kind .. ": options must be a table", 2) end
    check_keys(format("tm.%s(\"%s\")", kind, metric), options, input_keys, 2)
    local every = seconds("every", options.every, 2) or default_every
    local window = seconds("window", options.window, 2)
    local keep = options.keep or (window and floor(window / every + 0.5)) or default_keep
    if mtype(keep) ~= "integer" or keep < 1 or keep > 100000 then
      reject("LOAD_SCHEMA", format("tm.%s(\"%s\"): would keep %s samples; 1 to 100000 can be kept", kind, metric, tostring(keep)), 2)
    end
    return { input = kind, metric = metric, every = every, window = window or keep * every, keep = keep, by = options.by,
      arm = options.arm and true or false, key = options.key or kind == "runs" and options.value or "", options = options }
  end
end

local snapshot_names = { ["pprof.heap"] = "gc", ["pprof.allocs"] = "gc", ["pprof.goroutine"] = true, ["go.goroutines"] = true,
  ["pprof.mutex"] = true, ["pprof.block"] = true, ["pprof.threadcreate"] = true, ["pprof.goroutineleak"] = true,
  ["agent.handles"] = true }
local snapshots_of = input("snapshots", 60, 6)

local dump_names = { ["jvm.hprof"] = true, ["v8.heapsnapshot"] = true, ["go.heapdump"] = true }

-- Heap dumps, each as its type paths: snapshots of objects and bytes by path from the roots, which policies and commands feed.
local function dumps(kind, options)
  local given = {}
  for name, value in pairs(options or {}) do given[name] = value end
  given.every, given.keep = given.every or "30m", given.keep or (type(given.marks) == "table" and #given.marks) or 3
  local spec = snapshots_of("dump." .. tostring(kind), given)
  if not dump_names[kind] then
    reject("LOAD_SCHEMA", format("tm.dumps: no heap dump is called '%s'%s", tostring(kind), did_you_mean(tostring(kind), dump_names)), 2)
  end
  if spec.keep > 64 then reject("LOAD_SCHEMA", format("tm.dumps(\"%s\"): keeps at most 64 dumps", kind), 2) end
  return spec
end

-- How long the traces of a kind that a watch takes last at most, and for how much of the time they may be on. Nobody takes a browser's: files are fed.
local trace_kinds = { go = { seconds = 1, most = 10, share = 100 }, chrome = {} }
local trace_keys = { every = true, seconds = true, keep = true }

-- Execution traces: snapshots of the goroutines alive at the end of each, with how many began and ended. Of a browser: its long tasks, operations
-- without an end, and counters.
local function trace(kind, options)
  local known, what = trace_kinds[kind], format("tm.trace(\"%s\")", tostring(kind))
  if not known then
    reject("LOAD_SCHEMA", format("tm.trace: no trace is called '%s'%s", tostring(kind), did_you_mean(tostring(kind), trace_kinds)), 2)
  end
  if options ~= nil and type(options) ~= "table" then reject("LOAD_SCHEMA", what .. ": options must be a table", 2) end
  check_keys(what, options or {}, trace_keys, 2)
  local given = copy(options or {})
  local length = given.seconds or known.seconds
  if not known.seconds then
    if length then reject("LOAD_SCHEMA", what .. ": seconds is of traces that a watch takes; these come from files", 2) end
    given.every = given.every or "5m"
    local spec = snapshots_of("trace." .. kind, given)
    if spec.keep > 64 then reject("LOAD_SCHEMA", what .. ": keeps at most 64 traces", 2) end
    return spec
  end
  if type(length) ~= "number" or not (length >= 0.01 and length <= known.most) then
    reject("LOAD_SCHEMA", format("%s: seconds = %s is not 0.01 to %d", what, tostring(length), known.most), 2)
  end
  given.seconds, given.every = nil, given.every or "5m"
  local spec = snapshots_of("trace." .. kind, given)
  if spec.keep > 64 then reject("LOAD_SCHEMA", what .. ": keeps at most 64 traces", 2) end
  if spec.every < length * known.share then
    reject("LOAD_SCHEMA", format("%s: would trace %.3g %% of the time; at most %.3g %%: every = \"%gs\" or longer", what, 100 * length / spec.every,
      100 / known.share, length * known.share), 2)
  end
  if length ~= known.seconds then spec.metric = format("%s?seconds=%g", spec.metric, length) end
  return spec
end

-- With gc = true the app collects first; that is another series of snapshots, and its metric says so.
local function snapshots(metric, options)
  local spec = snapshots_of(metric, options)
  local known = snapshot_names[metric]
  if not known then
    reject("LOAD_SCHEMA", format("tm.snapshots: no profile is called '%s'%s", metric, did_you_mean(metric, snapshot_names)), 2)
  end
  if spec.keep > 64 then reject("LOAD_SCHEMA", format("tm.snapshots(\"%s\"): keeps at most 64 snapshots", metric), 2) end
  if options and options.gc then
    if known ~= "gc" then reject("LOAD_SCHEMA", format("tm.snapshots(\"%s\"): gc is for pprof.heap and pprof.allocs", metric), 2) end
    spec.metric = metric .. "?gc=1"
  end
  -- What is taken while something is looked at closely is a series of its own: it must not displace what others keep for hours.
  if spec.arm then spec.metric = spec.metric .. (spec.metric:find("?", 1, true) and "&" or "?") .. "armed=1" end
  return spec
end

---------------------------------------------------------------------------------------------------- tm.rule, tm.gate

local rule_keys = { id = "string", doc = "string", title = "string", every = "string", warmup = "string", hold = "string",
  linger = "string", cooldown = "string", retain = "string", limit = "number", leave = "number", level = "string",
  runtime = "string", applies = "any", inputs = "table", params = "table", check = "function", on = "table", caps = "table",
  say = "string", note = "string", needs = "table", inhibits = "table", after = "table", tags = "table", state = "table",
  tests = "table", enabled = "boolean", engine = "string", budget = "string", dry = "boolean", record = "table",
  repeat_every = "string" }

local levels = { info = 1, warn = 2, warning = 2, high = 3, severe = 3, critical = 4, fail = 5 }
local handler_names = { info = true, warn = true, high = true, critical = true, fail = true, resolve = true, start = true,
  stop = true, warning = "warn", severe = "high" }

local function check_schema(what, spec, level)
  check_keys(what, spec, rule_keys, level + 1)
  for key, want in pairs(rule_keys) do
    local value = spec[key]
    if value ~= nil and want ~= "any" and type(value) ~= want then
      reject("LOAD_SCHEMA", format("%s: '%s' must be a %s, not a %s", what, key, want, type(value)), level + 1)
    end
  end
end

local function check_template(what, text, level)
  local depth = 0
  for brace in text:gmatch("[{}]") do
    depth = depth + (brace == "{" and 1 or -1)
    if depth < 0 or depth > 1 then break end
  end
  if depth ~= 0 then reject("LOAD_TEMPLATE", format("%s: braces do not match in \"%s\"", what, text), level + 1) end
  for field in text:gmatch("{([^}]*)}") do
    local name, spec = match(field, "^([%w_%.]+):?([%w_]*)$")
    if not name then reject("LOAD_TEMPLATE", format("%s: '{%s}' is no field", what, field), level + 1) end
    if spec ~= "" and not native.formats[spec] then
      reject("LOAD_TEMPLATE", format("%s: '{%s}': unknown format '%s'%s", what, field, spec, did_you_mean(spec, native.formats)), level + 1)
    end
  end
end

local own_fields = { all = true, any = true, sleep = true, p = true, take = true, lists = true, target = true, shared = true, states = true,
  state = true, now = true, rule = true, pair = true, skipped = true, running = true, key = true, level = true, value = true, text = true }

local function normal_inputs(what, spec, level)
  local names = {}
  for name, input_spec in pairs(spec.inputs or {}) do
    if type(name) ~= "string" or type(input_spec) ~= "table" or not input_spec.input then
      reject("LOAD_SCHEMA", format("%s: input '%s' must come from tm.series, tm.gauge, tm.ring, ...", what, tostring(name)), level + 1)
    end
    if M.context_methods[name] or own_fields[name] then
      reject("LOAD_SCHEMA", format("%s: an input cannot be called '%s': c.%s is something else already", what, name, name), level + 1)
    end
    names[#names + 1] = name
  end
  sort(names)
  local list = {}
  for i, name in ipairs(names) do
    list[i] = copy(spec.inputs[name])
    list[i].name = name
    list[i].options = nil
  end
  return list
end

local function normal_handlers(what, on, level)
  local handlers = {}
  for name, fn in pairs(on or {}) do
    local known = handler_names[name]
    if not known then
      reject("LOAD_SCHEMA", format("%s: on.%s is no level%s", what, tostring(name), did_you_mean(name, handler_names)), level + 1)
    end
    if type(fn) ~= "function" then reject("LOAD_SCHEMA", format("%s: on.%s must be a function", what, name), level + 1) end
    handlers[known == true and name or known] = fn
  end
  return handlers
end

local function add_rule(kind, spec, level)
  if type(spec) ~= "table" then reject("LOAD_SCHEMA", "tm." .. kind .. " takes one table", level + 1) end
  local what = format("tm.%s '%s'", kind, tostring(spec.id))
  if type(spec.id) ~= "string" or not match(spec.id, "^[%w_][%w_%-%.]*$") then
    reject("LOAD_SCHEMA", "tm." .. kind .. ": id must be a name such as \"proc.rss_slope\"", level + 1)
  end
  check_schema(what, spec, level + 1)
  if M.ids[spec.id] then reject("LOAD_DUPLICATE", what .. ": this id was declared before", level + 1) end
  if type(spec.check) ~= "function" then reject("LOAD_SCHEMA", what .. ": check is missing", level + 1) end
  if not next(spec.inputs or {}) then reject("LOAD_SCHEMA", what .. ": it declares no inputs, so it can see nothing", level + 1) end
  if spec.level and not levels[spec.level] then
    reject("LOAD_SCHEMA", format("%s: unknown level '%s'%s", what, spec.level, did_you_mean(spec.level, levels)), level + 1)
  end
  for _, key in ipairs { "say", "note" } do
    if spec[key] then check_template(what .. ": " .. key, spec[key], level + 1) end
  end
  local state = spec.state
  if state then
    check_keys(what .. ": state", state, { version = true, new = true, migrate = true }, level + 1)
  end
  local rule = {
    id = spec.id, kind = kind, doc = spec.doc or spec.title or "", source = spec,
    every = seconds(what .. ": every", spec.every, level + 1) or 10,
    warmup = seconds(what .. ": warmup", spec.warmup, level + 1) or 0,
    hold = seconds(what .. ": hold", spec.hold, level + 1) or 0,
    linger = seconds(what .. ": linger", spec.linger, level + 1) or 0,
    cooldown = seconds(what .. ": cooldown", spec.cooldown, level + 1) or 0,
    retain = seconds(what .. ": retain", spec.retain, level + 1) or 900,
    repeat_every = seconds(what .. ": repeat_every", spec.repeat_every, level + 1) or 0,
    limit = spec.limit or 50, leave = spec.leave or 0.8, level = spec.level or (kind == "gate" and "fail" or "warn"),
    runtime = spec.runtime or "", applies = spec.applies, check = spec.check, say = spec.say or "{rule}: {value}",
    note = spec.note or "", needs = spec.needs or {}, inhibits = spec.inhibits or {}, after = spec.after or {},
    tags = spec.tags or {}, caps = spec.caps or {}, enabled = spec.enabled ~= false, dry = spec.dry or false,
    tests = spec.tests or {}, state_version = state and state.version or 0, state_new = state and state.new,
    state_migrate = state and state.migrate,
    budget = spec.budget and native.ratio(spec.budget) or 0.005,
  }
  if rule.every <= 0 then reject("LOAD_SCHEMA", what .. ": every must be longer than 0", level + 1) end
  rule.inputs = normal_inputs(what, spec, level + 1)
  rule.on = normal_handlers(what, spec.on, level + 1)
  rule.params = {}
  for name, value in pairs(spec.params or {}) do rule.params[name] = quantity(value) end
  M.ids[spec.id] = true
  M.rules[#M.rules + 1] = rule
end

---------------------------------------------------------------------------------------------------- templates

local function render(template, fields)
  return (gsub(template, "{([%w_%.]+):?([%w_]*)}", function(name, spec)
    local value = fields[name]
    if value == nil then return "{" .. name .. "}" end
    if type(value) == "number" then return native.format(value, spec) end
    return tostring(value)
  end))
end

---------------------------------------------------------------------------------------------------- findings

local finding_mark = {}
local plain_keys = { level = true, key = true, value = true, unit = true, text = true, of_frame = true }

-- A frame in a finding is kept as its rows, a row as a table of its own.
local function rows_of(value)
  local copied, own = pcall(function() return value:copy() end)
  if copied then return own end
  local ok, rows = pcall(function() return value.findings and value:each(function(row) return row end) end)
  return ok and rows or tostring(value)
end

local function new_finding(c, fields)
  local rule = rawget(c, "rule")
  if type(fields) ~= "table" then error("c:finding takes one table", 3) end
  local level = fields.level or rule.level
  if not levels[level] then error(format("c:finding: unknown level '%s'%s", tostring(level), did_you_mean(level, levels)), 3) end
  if fields.text ~= nil and type(fields.text) ~= "string" then error("c:finding: text must be a string", 3) end
  local finding = { mark = finding_mark, level = level, key = fields.key and tostring(fields.key) or "", value = fields.value,
    unit = fields.unit or "", evidence = {} }
  for name, value in pairs(fields) do
    if type(value) == "userdata" then value = rows_of(value) end
    if not plain_keys[name] then finding.evidence[name] = value end
  end
  if fields.text then
    finding.text = fields.text
  else
    local target = rawget(c, "target")
    local all = { target = target.name, rule = rule.id, level = level, key = finding.key, value = fields.value, pid = target.pid }
    for name, value in pairs(fields) do all[name] = value end
    for name, value in pairs(rawget(c, "p")) do if all[name] == nil then all[name] = value end end
    finding.text = render(rule.say, all)
  end
  return finding
end

-- What check gave back, as a list: nil, one finding, a list of findings or of rows that a frame's findings{} made.
local function list_of(result, c)
  local id = rawget(c, "rule").id
  if result == nil or result == false then return nil end
  if type(result) ~= "table" then error(format("%s: check must return nil, a finding or a list of them, not a %s", id, type(result)), 0) end
  if result.mark == finding_mark then return { result } end
  local out = {}
  for _, one in ipairs(result) do
    if type(one) == "table" and one.of_frame then one = new_finding(c, one) end
    if type(one) ~= "table" or one.mark ~= finding_mark then
      error(id .. ": check returned a list that holds something else than findings of c:finding{}", 0)
    end
    out[#out + 1] = one
  end
  return out
end

---------------------------------------------------------------------------------------------------- the context c

local methods = {}
M.context_methods = methods

function methods.finding(c, fields) return new_finding(c, fields) end

-- Says why there is nothing to check; shown by `rules explain`.
function methods.skip(c, why)
  rawset(c, "skipped", tostring(why))
  return nil
end

local function job(kind, name, options)
  local out = { job = kind, name = name }
  for key, value in pairs(options or {}) do
    if key == "timeout" or key == "cooldown" or key == "every" then
      out[key] = type(value) == "string" and seconds(key, value, 3) or value
    else
      out[key] = value
    end
  end
  return out
end

function methods.await(c, what)
  if type(what) ~= "table" or not what.job then error("c:await takes a job: c.take.handle_table{}, c.sleep \"5s\", c:act(...)", 2) end
  if not rawget(c, "running") then error("c:await works only inside on.<level> handlers; check must be pure", 2) end
  local ok, result = native.yield(what)
  if not ok then error(format("%s: %s", what.name or what.job, tostring(result)), 2) end
  return result
end

-- Queues an action; the result can be awaited.
function methods.act(c, name, options)
  if not rawget(c, "running") then error("c:act works only inside on.<level> handlers; check must be pure", 2) end
  local out = job("act", name, options)
  out.id = native.act(rawget(c, "pair"), out)
  return out
end

-- Keeps evidence with the alert: text or bytes, under a name.
function methods.attach(c, evidence, name)
  if evidence == nil then return end
  native.attach(rawget(c, "pair"), name or "evidence", evidence)
end

-- Starts sampling an input that was declared with arm = true; ends with c:disarm, or when the alert resolves.
function methods.arm(c, name) native.arm(rawget(c, "pair"), name, true) end
function methods.disarm(c, name) native.arm(rawget(c, "pair"), name, false) end

function methods.log(c, ...)
  local parts = {}
  for i = 1, select("#", ...) do parts[i] = tostring((select(i, ...))) end
  native.log(rawget(c, "rule").id, concat(parts, " "))
end

-- Plain data kept for one key of this rule and target; c.state is the one of key "".
function methods.state_of(c, key)
  local all = rawget(c, "states")
  key = tostring(key)
  if all[key] == nil then
    local rule = rawget(c, "rule")
    all[key] = rule.state_new and rule.state_new() or {}
  end
  return all[key]
end

local take = setmetatable({}, { __index = function(_, name)
  return function(options) return job("take", name, options) end
end })

local context_meta = {}
function context_meta.__index(c, name)
  local method = methods[name]
  if method then return method end
  if name == "state" then return methods.state_of(c, "") end
  if name == "now" then return native.now() end
  local rule = rawget(c, "rule")
  error(format("input '%s' is not declared by %s", tostring(name), rule.id), 2)
end
function context_meta.__newindex(_, name)
  error(format("c.%s cannot be set; keep data in c.state", tostring(name)), 2)
end

-- Makes the context of one rule on one target. inputs: name -> native series.
function M.context(rule, pair, target, inputs, shared, states, params)
  local c = { rule = rule, pair = pair, target = target, shared = shared, states = states or {}, take = take, lists = M.lists }
  local p = copy(rule.params)
  for name, value in pairs(params or {}) do p[name] = quantity(value) end
  c.p = p
  for name, series in pairs(inputs) do c[name] = series end
  function c.sleep(duration) return job("sleep", "sleep", { seconds = seconds("sleep", duration, 3) }) end
  function c.all(jobs) return { job = "all", name = "all", jobs = jobs } end
  function c.any(jobs) return { job = "any", name = "any", jobs = jobs } end
  return setmetatable(c, context_meta)
end

function M.check(rule, c)
  rawset(c, "skipped", nil)
  return list_of(rule.check(c), c)
end

-- Whether a rule is meant for a target: applies is a function, or globs by field.
function M.applies(rule, target)
  local applies = rule.applies
  if applies == nil then return true end
  if type(applies) == "function" then return applies(target) and true or false end
  if type(applies) == "string" then return native.glob(applies, target.name) end
  for field, pattern in pairs(applies) do
    if not native.glob(pattern, tostring(target[field] or "")) then return false end
  end
  return true
end

-- A handler's own view of c: awaiting is allowed, and the finding's key and level are at hand.
function M.handler_context(c, finding)
  local own = {}
  for name, value in next, c do own[name] = value end
  own.running, own.key, own.level, own.value, own.text = true, finding.key, finding.level, finding.value, finding.text
  return setmetatable(own, context_meta)
end

-- Serialisable state of a pair, and back through migrate. The host carries it between states as plain data.
function M.migrate(rule, old, old_version)
  if old_version == rule.state_version then return old end
  local out = {}
  for key, value in pairs(old) do
    if rule.state_migrate then
      local ok, new = pcall(rule.state_migrate, value, old_version)
      if not ok then return nil, tostring(new) end
      out[key] = new
    end
  end
  return out
end

---------------------------------------------------------------------------------------------------- reports

-- rep and out of a format: rep is data of schema v1, out collects text under a cap.
function M.render(format_spec, rep, write)
  local view = setmetatable({}, { __index = rep })
  local function each(list)
    local i = 0
    return function()
      i = i + 1
      return list[i]
    end
  end
  function view.findings() return each(rep.findings or {}) end
  function view.targets() return each(rep.targets or {}) end
  local out = {}
  function out:write(...)
    for i = 1, select("#", ...) do write(tostring((select(i, ...)))) end
    return self
  end
  format_spec.render(view, out)
end

---------------------------------------------------------------------------------------------------- what packages see

local tm = {
  rule = function(spec) add_rule("rule", spec, 2) end,
  gate = function(spec) add_rule("gate", spec, 2) end,
  hotspot = function() end, -- rows of `tidemark hotspots`, which reads them itself
  series = input("series", 5, 360),
  gauge = input("gauge", 30, 2),
  ring = input("ring", 1, 120),
  snapshots = snapshots,
  runs = input("runs", 1, 100),
  dumps = dumps,
  trace = trace,
  bytes = function(text) return (native.bytes(text)) end,
  seconds = function(text) return (native.seconds(text)) end,
  format_value = function(value, spec) return native.format(value, spec or "") end,
  version = native.version,
}

function tm.list(id, items)
  if type(id) ~= "string" or type(items) ~= "table" then reject("LOAD_SCHEMA", "tm.list takes an id and a table", 2) end
  M.lists[id] = items
end

local override_keys = { app = true, rule = true, list = true, params = true, level = true, enabled = true, append = true,
  replace = true, hold = true, linger = true, cooldown = true, every = true }
local for_all_apps = { "hold", "linger", "cooldown", "every" }
function tm.override(spec)
  if type(spec) ~= "table" then reject("LOAD_SCHEMA", "tm.override takes one table", 2) end
  check_keys("tm.override", spec, override_keys, 2)
  if (spec.rule == nil) == (spec.list == nil) then reject("LOAD_SCHEMA", "tm.override needs either rule = or list =", 2) end
  local out = copy(spec)
  for _, key in ipairs(for_all_apps) do
    if spec[key] and spec.app then reject("LOAD_SCHEMA", format("tm.override: %s is the same for all apps; leave app out", key), 2) end
    out[key] = seconds("tm.override: " .. key, spec[key], 2)
  end
  M.overrides[#M.overrides + 1] = out
end

function tm.format(spec)
  if type(spec) ~= "table" then reject("LOAD_SCHEMA", "tm.format takes one table", 2) end
  check_keys("tm.format", spec, { id = true, ext = true, mime = true, render = true, doc = true }, 2)
  if type(spec.id) ~= "string" or type(spec.render) ~= "function" then
    reject("LOAD_SCHEMA", "tm.format needs an id and a render function", 2)
  end
  M.formats[#M.formats + 1] = { id = spec.id, ext = spec.ext or spec.id, mime = spec.mime or "text/plain", render = spec.render }
end

-- Which profiles of an app are taken, and when: read and kept by the watch itself, when it allows act:snap.
local policy_keys = { app = true, profiles = true, budget = true, when = true, marks = true, keep = true }
function tm.policy(spec)
  if type(spec) ~= "table" then reject("LOAD_SCHEMA", "tm.policy takes one table", 2) end
  check_keys("tm.policy", spec, policy_keys, 2)
  if type(spec.app) ~= "string" then reject("LOAD_SCHEMA", "tm.policy needs app = \"name\"", 2) end
  if type(spec.profiles) ~= "table" or not next(spec.profiles) then
    reject("LOAD_SCHEMA", "tm.policy needs profiles = { heap = \"10m\" }", 2)
  end
  M.policies[#M.policies + 1] = copy(spec)
end

M.tm = setmetatable({}, { __index = tm, __metatable = false, __newindex = function(_, name)
  error(format("tm.%s cannot be set", tostring(name)), 2)
end })
-- Config changes a list of this package: extra items, or others instead. Always from the declared list.
function M.override_list(id, append, replace)
  local base = M.declared_lists[id]
  if not base then
    base = M.lists[id]
    if not base then return end
    M.declared_lists[id] = base
  end
  local out = {}
  for _, item in ipairs(replace or base) do out[#out + 1] = item end
  for _, item in ipairs(append or {}) do out[#out + 1] = item end
  M.lists[id] = out
end

M.did_you_mean = did_you_mean
M.tonumber, M.getmetatable = tonumber, getmetatable
return M
