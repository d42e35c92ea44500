-- What rules say of the samples that the session keeps, or of a recording: a virtual engine gets them on their own clock. So one
-- changes a rule and sees its verdict on the last hour.
local core = require "tidemark.core"
local targets = require "tidemark.targets"
local text = require "tidemark.show.text"

local M = {}

-- Every kept sample of a target in order of time.
local function samples_of(engine, id)
  local list = {}
  for _, track in ipairs(engine:tracks(id)) do
    local times, values = engine:series(id, track.metric, track.key, 0)
    for i, time_ns in ipairs(times) do
      list[#list + 1] = { time_ns = time_ns, metric = track.metric, key = track.key, unit = track.unit, value = values[i] }
    end
  end
  table.sort(list, function(a, b) return a.time_ns < b.time_ns end)
  return list
end

local MAGIC <const> = "\x89TMR\r\n\x1a"

--- Whether a file is a recording.
---@param path string
---@return boolean
function M.is_recording(path)
  local f = io.open(path, "rb")
  local head = f and f:read(#MAGIC)
  if f then f:close() end
  return head == MAGIC
end

local function finding(a) return { at = text.clock(a.time_ns), level = a.level, rule = a.rule, text = a.text } end

-- The rows, behind a line that says what was looked at.
local function answer(sample_count, span_ns, rows)
  io.write(text.style("dim", ("%d samples over %s: %d finding%s"):format(sample_count, core.format(span_ns, "ns"), #rows, #rows == 1 and "" or "s")), "\n")
  if #rows == 0 then return end
  return require("tidemark.docs").rows({ "at", "level", "rule", "text" }, rows)
end

--- Runs the rules of a file over a recording: a list of what fired, with its time.
---@param recording string
---@param path string
---@return table|nil rows
function M.over_recording(recording, path)
  local out, err = require("tidemark").replay(recording, { path })
  if not out then error(err, 0) end
  if out.problems[1] then error({ code = "rule", message = out.problems[1] }, 0) end
  local rows = {}
  for _, a in ipairs(out.alerts) do
    if a.state == "firing" and a.from_state ~= "firing" then rows[#rows + 1] = finding(a) end
  end
  return answer(out.summary.samples, (out.to_ns or 0) - (out.from_ns or 0), rows)
end

--- What a recording holds, as one line.
---@param path string
---@return string
function M.describe(path)
  local names, count, from_ns, to_ns = {}, 0, nil, 0
  local summary, err = core.read_recording(path, {
    target = function(_, t) names[#names + 1] = text.clean(t.name) end,
    sample = function(_, time_ns) count, from_ns, to_ns = count + 1, from_ns or time_ns, time_ns end,
  })
  if not summary then error(err, 0) end
  return ("recording of %s: %d samples over %s, from %s"):format(#names > 0 and table.concat(names, ", ") or "nothing", count,
    core.format(to_ns - (from_ns or 0), "ns"), text.clock(from_ns or 0))
end

--- Runs the rules of a file over a target's samples: a list of what would have fired, with its time.
---@param target table
---@param path string
---@return table|nil rows
function M.verdict(target, path)
  local source, problem = require("tidemark.cli.paths").read(path)
  if not source then error({ code = "io", message = "cannot read rules: " .. problem }, 0) end
  local list = samples_of(targets.session().engine, target.id)
  if #list == 0 then error({ code = "gone", message = "no samples are kept yet" }, 0) end
  local engine = assert(core.engine { virtual = true, dry_run = true, skip_self_tests = true, quiet = true })
  local rows, bad = {}, nil
  engine:on_alert(function(a)
    if a.state == "firing" and a.from_state ~= "firing" then rows[#rows + 1] = finding(a) end
  end)
  engine:advance(list[1].time_ns - 1)
  engine:load_rules(path:match("([^/]+)$"), path, source, function(r)
    if not r.ok then bad = r.problem end
  end)
  engine:add_target { id = target.id, name = target.name, command = target.command, start_time_ns = 0 }
  for _, s in ipairs(list) do
    if bad then break end
    if s.time_ns > engine:now() then engine:advance(s.time_ns - 1) end
    engine:feed(target.id, s.metric, s.key, s.time_ns, s.value, s.unit)
  end
  if not bad then engine:advance(list[#list].time_ns + 1) end
  engine:close()
  if bad then error({ code = "rule", message = bad }, 0) end
  return answer(#list, list[#list].time_ns - list[1].time_ns, rows)
end

return M
