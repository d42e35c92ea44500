-- What rules say of the samples that the session keeps: a virtual engine gets them on their own clock. So one changes a rule and
-- sees its verdict on the last hour.
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

--- Runs the rules of a file over a target's samples: a list of what would have fired, with its time.
---@param target table
---@param path string
---@return table rows
function M.verdict(target, path)
  local source, problem = require("tidemark.cli.paths").read(path)
  if not source then error({ code = "io", message = "cannot read rules: " .. problem }, 0) end
  local list = samples_of(targets.session().engine, target.id)
  if #list == 0 then error({ code = "gone", message = "no samples are kept yet" }, 0) end
  local engine = assert(core.engine { virtual = true, dry_run = true, skip_self_tests = true, quiet = true })
  local rows, bad = {}, nil
  engine:on_alert(function(a)
    if a.state == "firing" and a.from_state ~= "firing" then
      rows[#rows + 1] = { at = text.clock(a.time_ns), level = a.level, rule = a.rule, text = a.text }
    end
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
  local span = core.format(list[#list].time_ns - list[1].time_ns, "ns")
  io.write(text.style("dim", ("%d samples over %s: %d finding%s"):format(#list, span, #rows, #rows == 1 and "" or "s")), "\n")
  return require("tidemark.docs").rows({ "at", "level", "rule", "text" }, rows)
end

return M
