-- The live view: what one looks at while a program runs. Drawn from the engine's series at each redraw; the cursor goes home and
-- every line is cleared behind its end, so nothing flickers and the scrollback stays.
local core = require "tidemark.core"
local text = require "tidemark.show.text"

local M = {}

local wanted = {
  { "proc.rss", "RSS" }, { "proc.anon", "anon" }, { "proc.pss", "PSS" }, { "proc.swap", "swap" }, { "proc.hidden", "hidden" },
  { "proc.cpu", "CPU" }, { "proc.threads", "threads" }, { "proc.fds", "descriptors" }, { "proc.maps", "mappings" },
  { "cgroup.current", "cgroup" },
}

local MEMBERS <const> = 12 -- rows of what --show asked for

local spans = { { "h", 3600 }, { "min", 60 } }

-- Growth per hour in the unit of the signal, with its sign.
local function trend_text(trend, unit)
  if not trend or trend.n < 10 then return text.style("dim", "…") end
  if not trend.leak then return text.style("dim", "steady") end
  local slope, per = trend.slope_per_hour, spans[1]
  if math.abs(slope) > 1e9 and unit == "bytes" then slope, per = slope / 60, spans[2] end
  return text.style("red", "+" .. core.format(slope, unit) .. "/" .. per[1])
end

local function signal_line(engine, target, row, spark_width)
  local metric, key, label = row[1], row[3] or "", row[2]
  local value, _, unit = engine:last(target.id, metric, key)
  if not value or (value == 0 and (metric == "proc.swap" or metric == "proc.hidden")) then return nil end
  local now, limit = engine:now(), metric == "proc.rss" and engine:last(target.id, "mem.limit") or nil
  local span = math.max(60, math.min(1800, (now - (M.started_ns or now)) // 1000000000)) * 1000000000
  local _, high = engine:envelope(target.id, metric, key, now - span, now, spark_width)
  local trend = engine:trend(target.id, metric, key, { limit = limit })
  local left = trend and trend.leak and trend.time_to_s and trend.time_to_s < 30 * 86400
    and "  limit in " .. core.format(trend.time_to_s * 1e9, "ns") or ""
  return ("  %s %s  %s  %s%s"):format(text.pad(text.cut(label, 24), 12), text.pad(core.format(value, unit), 10, true),
    text.style("cyan", text.spark(high)), trend_text(trend, unit), left)
end

-- What --show asked for: { metric, label, key }, a row for each member of a family.
local function shown_rows(s, target)
  local rows, asked = {}, {}
  for _, metric in ipairs(s.show or {}) do asked[metric] = true end
  for _, track in ipairs(next(asked) and s.engine:tracks(target.id) or {}) do
    if asked[track.metric] and #rows < MEMBERS then
      local name = track.metric:gsub("^%a+%.", ""):gsub("^memstats%.", "")
      rows[#rows + 1] = { track.metric, text.clean(track.key ~= "" and name .. "{" .. track.key .. "}" or name), track.key }
    end
  end
  return rows
end

local function signal_lines(s, target, width)
  local lines = {}
  local spark_width = math.max(10, math.min(40, width - 52))
  for _, rows in ipairs { wanted, shown_rows(s, target) } do
    for _, row in ipairs(rows) do lines[#lines + 1] = signal_line(s.engine, target, row, spark_width) end
  end
  return lines
end

local function alert_lines(engine, width)
  local lines, alerts = {}, engine:alerts()
  table.sort(alerts, function(a, b) return a.since_ns > b.since_ns end)
  for _, a in ipairs(alerts) do
    if a.state == "firing" then
      local mark = text.level(a.level, text.pad(a.level, 8))
      lines[#lines + 1] = text.cut(("  %s %s  %s"):format(mark, text.clock(a.since_ns), text.clean(a.text)), width)
    end
  end
  if #lines == 0 then lines[1] = text.style("dim", "  none") end
  return lines
end

local function cost_line(engine)
  local s = engine:stats()
  local share = s.uptime_ns > 0 and s.cpu_ns / s.uptime_ns or 0
  local busy = s.rule_busy_ns and s.rule_busy_ns > 1e9 and text.style("red", "  rule busy at " .. s.rule_busy_at) or ""
  return text.style("dim", ("tidemark: %s CPU, %s RSS, %d samples, %d missed"):format(core.format(share, "ratio"),
    core.format(s.rss_bytes, "bytes"), s.samples, s.missed)) .. busy
end

--- The view as lines.
function M.lines(s, width, height)
  local engine, out = s.engine, {}
  for _, t in ipairs(engine:targets()) do
    local command = text.cut(text.clean(t.command), math.max(10, width - 30))
    out[#out + 1] = text.style("bold", text.clean(t.name)) .. text.style("dim", ("  pid %d  %s"):format(t.pid, command))
    for _, line in ipairs(signal_lines(s, t, width)) do out[#out + 1] = line end
    out[#out + 1] = ""
  end
  out[#out + 1] = text.style("bold", "Findings")
  for _, line in ipairs(alert_lines(engine, width)) do out[#out + 1] = line end
  out[#out + 1] = ""
  out[#out + 1] = text.style("bold", "Events")
  local room = math.max(3, height - #out - 3)
  local first = math.max(1, #s.events - room + 1)
  if #s.events == 0 then out[#out + 1] = text.style("dim", "  none yet") end
  for i = first, #s.events do out[#out + 1] = text.cut("  " .. s.events[i], width) end
  out[#out + 1] = ""
  out[#out + 1] = cost_line(engine)
  return out
end

--- Draws over what was drawn before.
function M.draw(s)
  local size = core.terminal(1)
  local width, height = size.columns or 80, size.rows or 24
  local lines = M.lines(s, width, height)
  local out = { "\27[H" }
  for i = 1, math.min(#lines, height - 1) do out[#out + 1] = lines[i] .. "\27[K\n" end
  out[#out + 1] = "\27[J"
  io.stdout:write(table.concat(out))
  io.stdout:flush()
end

--- Prepares a session for the view: events are kept, the first page is cleared.
function M.attach(s)
  local session = require "tidemark.cli.session"
  M.started_ns = s.engine:now()
  s.events = {}
  s.sinks[#s.sinks + 1] = function(object)
    if not session.worth_a_line(object) then return end
    s.events[#s.events + 1] = session.line(object)
    if #s.events > 200 then table.remove(s.events, 1) end
  end
  io.stdout:write("\27[2J")
  s.engine:every(1000000000, function() M.draw(s) end)
end

return M
