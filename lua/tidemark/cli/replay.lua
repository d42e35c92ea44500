-- replay: run rules over a recording, on the recording's own clock.
local args = require "tidemark.cli.args"
local core = require "tidemark.core"
local paths = require "tidemark.cli.paths"
local session = require "tidemark.cli.session"
local text = require "tidemark.show.text"

local M = {
  name = "replay", summary = "run rules over a recording or over profiles", usage = "replay FILE.tmr | --snapshots METRIC PROFILE... [OPTIONS]",
  examples = { "tidemark replay leak.tmr", "tidemark replay leak.tmr --rules rules/my.lua --no-builtin --expect 1 --json",
    "tidemark replay --snapshots pprof.heap monday.pb.gz tuesday.pb.gz wednesday.pb.gz",
    "tidemark replay --snapshots dump.jvm.hprof t1.hprof t2.hprof t3.hprof", "tidemark replay --snapshots trace.go a.out b.out c.out",
    "tidemark replay --snapshots trace.chrome page.json",
    "tidemark replay --snapshots pprof.heap a.pb.gz b.pb.gz go.goroutines=a.txt go.goroutines=b.txt --rules my.lua" },
  doc = "Rules are the built-in ones and those of --rules. --expect N: exit 1 unless exactly N findings fired.\n"
    .. "--snapshots: PROFILEs, at the times that stand in them, are what tm.snapshots(METRIC) of rules sees; METRIC=PROFILE is of another.",
  options = {
    { "rules", "PATH", "a rule file or folder (repeatable)", kind = "list" },
    { "no-builtin", "leave the built-in rules out" },
    { "recorded-rules", "use the rule texts that stand in the recording" },
    { "snapshots", "METRIC", "run over profiles: pprof.heap, go.goroutines, ..." },
    { "expect", "N", "so many findings are expected", kind = "integer" },
    { "speed", "X", "max, or a factor of real time", default = "max" },
    { "jsonl", "print events as JSON lines" },
  },
}

local function pause(ns)
  if ns > 0 then os.execute(("sleep %.3f"):format(ns / 1e9)) end
end

-- A virtual engine that tells out.alerts and out.problems.
local function open(out, on_alert)
  local engine, err = core.engine { virtual = true, dry_run = true, skip_self_tests = true }
  if not engine then session.fail(err) end
  engine:on_alert(function(a)
    out.alerts[#out.alerts + 1] = a
    if on_alert then on_alert(a) end
  end)
  engine:on(function(e)
    -- That a handler cannot look at a process of the past is no problem of the rule.
    local past = e.text:find("not available in a replay", 1, true)
    if (e.kind == "rule_error" and not past) or e.kind == "rule_killed" then out.problems[#out.problems + 1] = e.text end
  end)
  return engine
end

-- The time before the first input comes: rules are loaded then.
local function begin(engine, out, files, time_ns)
  engine:advance(time_ns - 1)
  for _, f in ipairs(files) do
    engine:load_rules(f.name, f.origin, f.source, function(r)
      if not r.ok then out.problems[#out.problems + 1] = r.problem end
    end)
  end
  out.from_ns = time_ns
end

--- Runs rule files {name, origin, source} over a recording. Returns { alerts, summary, problems, targets, meta, from_ns, to_ns }.
function M.over(path, files, speed, on_alert)
  local out = { alerts = {}, problems = {}, targets = {}, recorded = {} }
  local engine, started = open(out, on_alert), false
  local function start(time_ns)
    if not started then begin(engine, out, files, time_ns) end
    started = true
  end
  local targets, series, added = {}, {}, {}
  local function advance(time_ns)
    if speed ~= math.huge and out.to_ns then pause((time_ns - out.to_ns) / speed) end
    engine:advance(time_ns)
    out.to_ns = time_ns
  end
  local summary, problem = core.read_recording(path, {
    meta = function(json) out.meta = json end,
    target = function(n, t) targets[n] = t end,
    series = function(n, s) series[n] = s end,
    rules = function(name, source) out.recorded[#out.recorded + 1] = { name = name, origin = path .. ":" .. name, source = source } end,
    event = function(json)
      local kind, time_ns, id = json:match('"type":"([%w_]+)"'), tonumber(json:match('"time_ns":(%d+)')), json:match('"target":"([^"]*)"')
      if kind == "target_gone" and started and added[id] then
        advance(math.max(time_ns, out.to_ns or 0))
        engine:remove_target(id, "the process ended")
        added[id] = nil
      end
    end,
    sample = function(n, time_ns, value)
      start(time_ns)
      local s = series[n]
      local t = targets[s.target]
      if not added[t.id] then
        engine:add_target { id = t.id, name = t.name, command = t.command, start_time_ns = t.start_time_ns }
        added[t.id] = true
        out.targets[#out.targets + 1] = t
      end
      if time_ns > (out.to_ns or 0) then advance(time_ns - 1) end
      engine:feed(t.id, s.metric, s.key, time_ns, value, s.unit)
    end,
  })
  if not summary then
    engine:close()
    session.fail(problem, 3)
  end
  if out.to_ns then engine:advance(out.to_ns + 1) end
  out.summary, out.final = summary, engine:alerts()
  engine:close()
  return out
end

-- ---- profiles instead of a recording ----

local MINUTE <const> = 60 * 1000000000
local APART_NS <const> = 5 * MINUTE

-- "pprof.allocs=a.pb.gz" -> metric and path; a plain path belongs to the metric of --snapshots.
local function split_word(word, metric)
  local own, path = word:match("^(pprof%.[^=/]+)=(.+)$")
  if not own then own, path = word:match("^(go%.goroutines)=(.+)$") end
  if not own then own, path = word:match("^(dump%.[%w.]+)=(.+)$") end
  if not own then own, path = word:match("^(trace%.%w+)=(.+)$") end
  if not own then own, path = word:match("^(agent%.handles)=(.+)$") end
  return own or metric, path or word
end

--- The profiles that words name, in the order of their times: { metric, path, time_ns }. Where times are missing or the same twice
--- within a metric, those of the metric are 5 minutes apart in the order given, and the second value says why.
function M.read_profiles(words, metric)
  local by, order, out, why = {}, {}, {}, nil
  for _, word in ipairs(words) do
    local one = {}
    one.metric, one.path = split_word(word, metric)
    local p, err = core.read(one.path)
    if not p then session.fail({ message = one.path .. ": " .. err.message, code = err.code, advice = err.advice }, 3) end
    local is_dump = one.metric:find("^dump%.") ~= nil
    if p.kind == "graph" and is_dump then
      local dump = p
      p, err = dump:paths {}
      dump:close()
      if not p then session.fail({ message = one.path .. ": " .. err.message, code = err.code }, 3) end
      one.bytes = p:write("pprof")
    end
    local of_trace = one.metric:find("^trace%.")
    local fits = p.kind == "profile" or p.kind == (of_trace and "trace" or "goroutines") or p.kind == "trace" and one.metric == "go.goroutines"
      or p.kind == "timeline" and one.metric == "trace.chrome"
    if not fits then
      session.fail({ message = ("%s: it is no %s but a %s"):format(one.path, of_trace and "trace" or "profile", tostring(p.kind)), code = "format" }, 3)
    end
    one.time_ns, one.problem = p:info().time_ns or 0, p.partial and err and err.message
    p:close()
    if not by[one.metric] then
      by[one.metric] = { seen = {} }
      order[#order + 1] = one.metric
    end
    local list = by[one.metric]
    if one.time_ns <= 0 or list.seen[one.time_ns] then
      list.untimed = true
      why = why or one.path .. (one.time_ns <= 0 and " has no time" or " has the time of another")
    end
    list.seen[one.time_ns] = true
    list[#list + 1] = one
  end
  for _, name in ipairs(order) do
    for i, one in ipairs(by[name]) do
      if why then one.time_ns = i * APART_NS end -- of all: two clocks do not mix
      out[#out + 1] = one
    end
  end
  table.sort(out, function(a, b) return a.time_ns < b.time_ns or a.time_ns == b.time_ns and a.metric < b.metric end)
  return out, why
end

-- The metrics of rules that a metric's profiles serve: "pprof.heap" is "pprof.heap?gc=1", too.
local function wanted_of(engine, metric)
  local list, seen = {}, {}
  for _, rule in ipairs(engine:rules() or {}) do
    for _, input in ipairs(rule.inputs) do
      local fits = input.metric == metric or input.metric:match("^[^?]*") == metric
      if input.kind == "snapshots" and fits and not seen[input.metric] then
        seen[input.metric] = true
        list[#list + 1] = input.metric
      end
    end
  end
  return list
end

--- Runs rule files over profiles as M.read_profiles gives them. Returns what M.over does.
function M.over_profiles(profiles, files, name, on_alert)
  local out = { alerts = {}, problems = {}, targets = { { id = name, name = name } }, recorded = {}, summary = { samples = #profiles, message = "" } }
  local engine, wanted = open(out, on_alert), {}
  begin(engine, out, files, profiles[1].time_ns)
  engine:add_target { id = name, name = name }
  for _, one in ipairs(profiles) do
    engine:advance(one.time_ns - 1)
    if not wanted[one.metric] then
      wanted[one.metric] = wanted_of(engine, one.metric)
      if #wanted[one.metric] == 0 then out.problems[#out.problems + 1] = "no rule takes snapshots of " .. one.metric end
    end
    local bytes, problem = one.bytes, nil
    if not bytes then bytes, problem = paths.read(one.path) end
    problem = problem or one.problem
    for _, metric in ipairs(bytes and wanted[one.metric] or {}) do
      local ok, err = engine:feed_snapshot(name, metric, one.time_ns, bytes)
      if not ok then problem = err.message end
    end
    if problem then out.problems[#out.problems + 1] = one.path .. ": " .. problem end
    out.to_ns = one.time_ns
  end
  engine:advance(out.to_ns + MINUTE) -- the last one is looked at, too
  out.final = engine:alerts()
  engine:close()
  return out
end

local function rule_files(options)
  local files = {}
  if not options["no-builtin"] then
    for _, path in ipairs(core.embedded()) do
      local name = path:match("^rules/([^/]+%.lua)$")
      if name then files[#files + 1] = { name = name, origin = "builtin:" .. path, source = core.embedded(path) } end
    end
  end
  for _, path in ipairs(options.rules or {}) do
    local st, err = core.stat(path)
    if not st then session.fail(err, 3) end
    for _, file in ipairs(st.kind == "directory" and paths.rule_files(path) or { path }) do
      files[#files + 1] = { name = file:match("([^/]+)$"), origin = file, source = paths.read(file) }
    end
  end
  return files
end
M.rule_files = rule_files

function M.run(options, words)
  local metric = options.snapshots
  if metric and not (metric:match("^pprof%.[%w_]") or metric:match("^go%.goroutines$")
    or metric:match("^dump%.[%w.]+$") or metric == "trace.go" or metric == "trace.chrome" or metric == "agent.handles") then
    args.usage("--snapshots: '" .. metric .. "' is none of pprof.heap, pprof.allocs, pprof.goroutine, go.goroutines, dump.jvm.hprof, trace.go, "
      .. "trace.chrome, ...")
  end
  if metric and #words == 0 then args.usage("profiles are needed: tidemark replay --snapshots pprof.heap a.pb.gz b.pb.gz c.pb.gz") end
  if metric and options["recorded-rules"] then args.usage("profiles hold no rules: leave --recorded-rules out") end
  if not metric and #words ~= 1 then args.usage("one recording is needed, or --snapshots METRIC with profiles") end
  local speed = options.speed == "max" and math.huge or tonumber(options.speed)
  if not speed or speed <= 0 then args.usage("--speed: '" .. options.speed .. "' is neither max nor a factor") end
  local files = rule_files(options)
  if options["recorded-rules"] then
    files = {}
    core.read_recording(words[1], { rules = function(name, source)
      files[#files + 1] = { name = name, origin = words[1] .. ":" .. name, source = source }
    end })
  end
  local function on_alert(a)
    if options.jsonl then io.write(core.json { type = "alert", time_ns = a.time_ns, rule = a.rule, level = a.level, state = a.state,
      target = a.target, key = a.key, value = a.value, text = a.text }, "\n") end
  end
  local result, untimed
  if metric then
    local profiles, why = M.read_profiles(words, metric)
    result, untimed = M.over_profiles(profiles, files, "profiles", on_alert), why
  else
    result = M.over(words[1], files, speed, on_alert)
  end
  local rows = {}
  for _, a in ipairs(result.alerts) do
    if a.state == "firing" and a.from_state ~= "firing" then
      rows[#rows + 1] = { rule = a.rule, level = a.level, state = a.state, target = a.target, key = a.key, value = a.value, text = a.text,
        evidence = a.evidence, time_ns = a.time_ns, after_ns = a.time_ns - (result.from_ns or a.time_ns) }
    end
  end
  local meta = { file = words[1], samples = result.summary.samples, partial = result.summary.cut,
    problems = text.array(result.problems), from_ns = result.from_ns or 0, to_ns = result.to_ns or 0 }
  if result.summary.message ~= "" then table.insert(meta.problems, result.summary.message) end
  if untimed then table.insert(meta.problems, "profiles are taken as 5 minutes apart: " .. untimed) end
  if options.json then io.write(text.document("replay", meta, rows))
  elseif not options.jsonl then
    for _, p in ipairs(meta.problems) do io.stderr:write("tidemark: ", text.clean(p), "\n") end
    for _, r in ipairs(rows) do
      io.write(("%s after %s  %s %s: %s\n"):format(text.clock(r.time_ns), core.format(r.after_ns, "ns"), text.level(r.level, r.level:upper()), r.rule,
        text.clean(r.text)))
    end
    io.write(("%d %s over %s, %d finding%s\n"):format(meta.samples, metric and "profiles" or "samples",
      core.format(meta.to_ns - meta.from_ns, "ns"), #rows, #rows == 1 and "" or "s"))
  end
  if options.expect and options.expect ~= #rows then return 1 end
  return 0
end

return M
