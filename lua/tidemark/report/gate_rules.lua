-- tm.gate rules over the runs of a gate: a virtual engine with one target, fed one sample a run and a second.
--
-- tm.runs("pprof.heap") sees the value that the gate compares; tm.runs("pprof.heap", { value = "inuse_objects" }) another one of
-- the same profiles. Runs that bring their profile (the first and the last) are what c.r:diff compares. Heap dumps bring their type
-- paths, each: what tm.dumps keeps.
local core = require "tidemark.core"

local M = {}

local SECOND = 1000000000
local metrics = { inuse_space = "pprof.heap", goroutine = "pprof.goroutine", contentions = "pprof.mutex", threadcreate = "pprof.threadcreate",
  cpu = "pprof.cpu" }

--- The metric that the runs of a profile are fed as, by its values' names.
function M.metric(types)
  for _, t in ipairs(types) do
    if metrics[t.type] then return metrics[t.type] end
  end
  return "pprof.profile"
end

-- What tm.dumps calls them; saved paths do not say of which runtime they are.
local dumps = { hprof = { "dump.jvm.hprof" }, v8heap = { "dump.v8.heapsnapshot" }, goheap = { "dump.go.heapdump" } }
dumps.paths = { dumps.hprof[1], dumps.v8heap[1], dumps.goheap[1] }

local function feed(engine, run, time_ns, metric)
  for _, name in ipairs(run.dump and dumps[run.dump] or {}) do engine:feed_snapshot("runs", name, time_ns, run.profile) end
  local function one(key, value, unit) assert(engine:feed("runs", metric, key, time_ns, value, unit == "bytes" and "bytes" or "count")) end
  if run.profile and metric ~= "pprof.profile" then engine:feed_snapshot("runs", metric, time_ns, run.profile) end
  one("", run.total, run.unit)
  for _, t in ipairs(run.types) do one(t.type, t.total, t.unit) end
end

-- What fires once every rule has seen the last run. Each looks at its own period, so time goes on for the longest of them.
local function findings_behind(engine, time_ns)
  local longest, out, known = SECOND, {}, {}
  for _, rule in ipairs(engine:rules()) do longest = math.max(longest, rule.every_ns) end
  for step = 0, longest // SECOND do
    engine:advance(time_ns + step * SECOND + 1)
    for _, a in ipairs(engine:alerts()) do
      if a.state == "firing" then
        local id = a.rule .. "\0" .. a.key
        if not known[id] then
          known[id] = { rule = a.rule, key = a.key }
          out[#out + 1] = known[id]
        end
        known[id].level, known[id].value, known[id].text, known[id].failed = a.level, a.value, a.text, a.level == "fail"
      end
    end
  end
  return out
end

--- Findings of rule files { name, origin, source } over runs { total, unit, types = { type, unit, total } }: a list of { rule,
--- level, key, value, text, failed }, as they stand behind the last run. Raises when a file does not load.
---@param files table[]
---@param runs table[]
---@param name string  of the target, for rules that look at it
function M.over(files, runs, name)
  local engine, err = core.engine { virtual = true, dry_run = true, skip_self_tests = true, quiet = true }
  if not engine then error(err, 0) end
  local problem
  engine:on(function(e)
    if e.kind == "rule_error" or e.kind == "rule_killed" then problem = problem or e.text end
  end)
  local time_ns = 1700000000 * SECOND
  engine:advance(time_ns)
  for _, f in ipairs(files) do
    engine:load_rules(f.name, f.origin, f.source, function(report)
      if not report.ok then problem = problem or report.problem end
    end)
  end
  local metric = runs[1] and M.metric(runs[1].types) or ""
  engine:add_target { id = "runs", name = name, start_time_ns = time_ns }
  for _, run in ipairs(runs) do
    time_ns = time_ns + SECOND
    engine:advance(time_ns - 1)
    feed(engine, run, time_ns, metric)
  end
  local out = findings_behind(engine, time_ns)
  engine:close()
  if problem then error({ message = problem, code = "rule", exit = 3 }, 0) end
  return out
end

return M
