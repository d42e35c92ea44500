-- The soak report (R21): RSS at chosen ages, trend, findings and actions of one recording, or two side by side (before and
-- after a fix). Data first (M.data), then three ways to show it.
local core = require "tidemark.core"
local text = require "tidemark.show.text"

local M = {}

local HOUR = 3600 * 1000000000
M.default_ages = { 0, HOUR, 6 * HOUR, 24 * HOUR, 48 * HOUR, 72 * HOUR }

-- Newest value at or before an age; nil when the recording does not reach it.
local function at_age(points, age_ns, tolerance_ns)
  local best
  for i = 1, #points.times do
    if points.times[i] - points.from > age_ns + tolerance_ns then break end
    best = points.values[i]
  end
  if points.times[#points.times] - points.from + tolerance_ns < age_ns then return nil end
  return best
end

local function trend_of(points)
  local engine = core.engine { virtual = true }
  engine:advance(points.from)
  engine:add_target { id = "x", name = "x" }
  engine:demand("x", "proc.rss", 1000000000, 4000)
  local step = math.max(1, #points.times // 3000)
  for i = 1, #points.times, step do engine:feed("x", "proc.rss", "", points.times[i], points.values[i], "bytes") end
  local trend = engine:trend("x", "proc.rss", "", {})
  engine:close()
  return trend
end

local function decode_event(json)
  local function field(name) return json:match('"' .. name .. '":"(.-[^\\])"') or "" end
  return { type = field "type", time_ns = math.tointeger(json:match('"time_ns":(%d+)')), rule = field "rule", level = field "level",
    state = field "state", from_state = field "from_state", outcome = field "outcome", text = field("text"):gsub('\\"', '"'),
    gained_bytes = math.tointeger(json:match('"gained_bytes":(%-?%d+)')) }
end

--- Reads one recording into the report's data.
function M.data(path, ages)
  local points = { times = {}, values = {} }
  local out = { file = path, findings = {}, actions = {}, crashes = 0, ages = {} }
  local wanted = {}
  local summary, err = core.read_recording(path, {
    target = function(_, t) out.target = out.target or t.name end,
    series = function(n, s)
      if s.metric == "proc.rss" and s.key == "" then wanted[n] = true end
    end,
    sample = function(n, time_ns, value)
      if not wanted[n] then return end
      points.times[#points.times + 1], points.values[#points.values + 1] = time_ns, value
    end,
    event = function(json)
      local e = decode_event(json)
      if e.type == "alert" and e.state == "firing" and e.from_state ~= "firing" then out.findings[#out.findings + 1] = e end
      if e.type == "action" then out.actions[#out.actions + 1] = e end
      if e.type == "target_gone" and e.text:find("ended") and e.text:find("process") then out.crashes = out.crashes + 1 end
    end,
  })
  if not summary then return nil, err end
  out.samples, out.partial, out.message = summary.samples, summary.cut, summary.message
  out.ends = out.crashes
  if #points.times == 0 then return out end
  points.from = points.times[1]
  out.from_ns, out.to_ns = points.from, points.times[#points.times]
  out.first_bytes, out.last_bytes = points.values[1], points.values[#points.values]
  out.peak_bytes = 0
  for _, v in ipairs(points.values) do out.peak_bytes = math.max(out.peak_bytes, v) end
  for _, age in ipairs(ages or M.default_ages) do
    local v = age == 0 and points.values[1] or at_age(points, age, math.min(60000000000, age // 20))
    if v then out.ages[#out.ages + 1] = { age_ns = age, rss_bytes = v } end
  end
  out.ages[#out.ages + 1] = { age_ns = out.to_ns - out.from_ns, rss_bytes = out.last_bytes }
  out.trend, out.points = trend_of(points), points
  return out
end

local function verdict(r)
  if not r.trend then return "no samples of RSS" end
  if r.to_ns - r.from_ns < 120000000000 then return "too short to judge: two minutes are the least" end
  if r.trend.leak then
    return ("LEAK: grows by %s/h (%s confidence)"):format(core.format(r.trend.slope_per_hour, "bytes"), core.format(r.trend.confidence, "ratio"))
  end
  return "no leak: " .. r.trend.reason
end
M.verdict = verdict

--- Rows of the JSON contract.
function M.rows(reports)
  local rows = {}
  for _, r in ipairs(reports) do
    rows[#rows + 1] = { file = r.file, target = r.target or "", samples = r.samples, duration_ns = (r.to_ns or 0) - (r.from_ns or 0),
      first_bytes = r.first_bytes, last_bytes = r.last_bytes, peak_bytes = r.peak_bytes, ages = text.array(r.ages), ended = r.ends,
      slope_bytes_per_hour = r.trend and r.trend.slope_per_hour, leak = r.trend and r.trend.leak and r.to_ns - r.from_ns >= 120000000000 or false,
      verdict = verdict(r), findings = text.array(r.findings), actions = text.array(r.actions) }
  end
  return rows
end


local function bytes(v) return v and core.format(v, "bytes") or "-" end

-- Lines of "what | one | other" for any number of reports.
local function comparison(reports)
  local lines, seen = {}, {}
  local function add(title, fn)
    local line = { title }
    for i, r in ipairs(reports) do line[i + 1] = fn(r) end
    lines[#lines + 1] = line
  end
  add("target", function(r) return r.target or "-" end)
  add("duration", function(r) return core.format((r.to_ns or 0) - (r.from_ns or 0), "ns") end)
  for _, r in ipairs(reports) do
    for _, a in ipairs(r.ages) do
      if not seen[a.age_ns] then
        seen[a.age_ns] = true
        add("RSS at " .. core.format(a.age_ns, "ns"), function(other)
          for _, b in ipairs(other.ages) do
            if b.age_ns == a.age_ns then return bytes(b.rss_bytes) end
          end
          return "-"
        end)
      end
    end
  end
  add("peak RSS", function(r) return bytes(r.peak_bytes) end)
  add("trend", verdict)
  add("findings", function(r) return tostring(#r.findings) end)
  add("actions", function(r) return tostring(#r.actions) end)
  add("ends of the process", function(r) return tostring(r.ends) end)
  return lines
end

local function sparkline(r, width)
  if not r.points then return "" end
  local out, n = {}, #r.points.values
  for i = 1, math.min(width, n) do out[i] = r.points.values[math.max(1, (i * n) // math.min(width, n))] end
  return text.spark(out)
end

function M.text(reports)
  local out = {}
  local rows = {}
  local columns = { { key = 1, title = "SOAK REPORT" } }
  for i, r in ipairs(reports) do columns[i + 1] = { key = i + 1, title = #reports == 2 and (i == 1 and "BEFORE" or "AFTER") or r.file } end
  for _, line in ipairs(comparison(reports)) do rows[#rows + 1] = line end
  out[1] = text.table(columns, rows)
  for _, r in ipairs(reports) do
    out[#out + 1] = ("\n%s  RSS %s %s %s\n"):format(text.style("bold", r.file), bytes(r.first_bytes),
      text.style("cyan", sparkline(r, 60)), bytes(r.last_bytes))
    for _, f in ipairs(r.findings) do
      out[#out + 1] = ("  %s %s %s: %s\n"):format(text.clock(f.time_ns), text.level(f.level, text.pad(f.level, 8)), f.rule, text.clean(f.text))
    end
    for _, a in ipairs(r.actions) do out[#out + 1] = ("  %s action   %s\n"):format(text.clock(a.time_ns), text.clean(a.text)) end
    if r.message and r.message ~= "" then out[#out + 1] = "  note: " .. text.clean(r.message) .. "\n" end
  end
  return table.concat(out)
end

local function md(s) return (text.clean(s):gsub("[|`*_<>\\]", "\\%0")) end

function M.markdown(reports)
  local out = { "# Soak report\n\n", "|  |" }
  for i, r in ipairs(reports) do out[#out + 1] = " " .. (#reports == 2 and (i == 1 and "before" or "after") or md(r.file)) .. " |" end
  out[#out + 1] = "\n|---|" .. ("---|"):rep(#reports) .. "\n"
  for _, line in ipairs(comparison(reports)) do
    for i, cell in ipairs(line) do out[#out + 1] = (i == 1 and "| " or " ") .. md(cell) .. " |" end
    out[#out + 1] = "\n"
  end
  for _, r in ipairs(reports) do
    if #r.findings + #r.actions > 0 then out[#out + 1] = "\n## " .. md(r.file) .. "\n\n" end
    for _, f in ipairs(r.findings) do out[#out + 1] = ("- %s **%s** %s: %s\n"):format(text.clock(f.time_ns), f.level, md(f.rule), md(f.text)) end
    for _, a in ipairs(r.actions) do out[#out + 1] = ("- %s action: %s\n"):format(text.clock(a.time_ns), md(a.text)) end
  end
  return table.concat(out)
end

local escapes = { ["&"] = "&amp;", ["<"] = "&lt;", [">"] = "&gt;", ['"'] = "&quot;", ["'"] = "&#39;" }
local function html(s) return (text.clean(s):gsub("[&<>\"']", escapes)) end

-- RSS over time as one SVG: a band of the least and greatest value per pixel, findings as marks.
local function chart(r, peak)
  local width, height, left = 860, 220, 70
  local span = math.max(1, r.to_ns - r.from_ns)
  local function x(t) return left + (t - r.from_ns) / span * (width - left - 10) end
  local function y(v) return height - 24 - v / peak * (height - 44) end
  local path, n = {}, #r.points.times
  local step = math.max(1, n // 1600)
  for i = 1, n, step do
    path[#path + 1] = ("%s%.1f %.1f"):format(i == 1 and "M" or "L", x(r.points.times[i]), y(r.points.values[i]))
  end
  local out = { ('<svg viewBox="0 0 %d %d" role="img" aria-label="RSS over time">'):format(width, height) }
  for i = 0, 4 do
    local v = peak * i / 4
    out[#out + 1] = ('<line class="grid" x1="%d" x2="%d" y1="%.1f" y2="%.1f"/><text x="%d" y="%.1f" text-anchor="end">%s</text>')
      :format(left, width - 10, y(v), y(v), left - 6, y(v) + 4, html(core.format(v, "bytes")))
  end
  for i = 0, 4 do
    local t = r.from_ns + span * i // 4
    local anchor, label = i == 4 and "end" or "middle", html(core.format(t - r.from_ns, "ns"))
    out[#out + 1] = ('<text x="%.1f" y="%d" text-anchor="%s">%s</text>'):format(x(t), height - 6, anchor, label)
  end
  out[#out + 1] = ('<path class="line" d="%s"/>'):format(table.concat(path))
  for _, f in ipairs(r.findings) do
    out[#out + 1] = ('<line class="%s" x1="%.1f" x2="%.1f" y1="16" y2="%d"><title>%s</title></line>')
      :format(html(f.level), x(f.time_ns), x(f.time_ns), height - 24, html(f.rule .. ": " .. f.text))
  end
  out[#out + 1] = "</svg>"
  return table.concat(out, "\n")
end

local style = [[
body{font:15px/1.5 system-ui,sans-serif;max-width:920px;margin:2rem auto;padding:0 1rem;color:#1b1f24;background:#fff}
table{border-collapse:collapse;margin:1rem 0}td,th{padding:.25rem .9rem .25rem 0;text-align:left;border-bottom:1px solid #e3e6ea}
svg{width:100%;height:auto}svg text{font-size:11px;fill:#57606a}.grid{stroke:#e3e6ea}.line{fill:none;stroke:#0969da;stroke-width:1.5}
.info{stroke:#1b7c83}.warn{stroke:#bf8700}.high{stroke:#cf222e}.critical{stroke:#8250df}
li b.warn{color:#9a6700}li b.high{color:#cf222e}li b.critical{color:#8250df}
@media(prefers-color-scheme:dark){body{background:#0d1117;color:#e6edf3}td,th,.grid{border-color:#30363d;stroke:#30363d}svg text{fill:#8d96a0}}
]]

function M.html(reports)
  local peak = 1
  for _, r in ipairs(reports) do peak = math.max(peak, r.peak_bytes or 0) end
  local out = { '<!doctype html><html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">',
    "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">",
    "<title>Soak report</title><style>", style, "</style></head><body><h1>Soak report</h1><table><tr><th></th>" }
  for i, r in ipairs(reports) do
    out[#out + 1] = "<th>" .. (#reports == 2 and (i == 1 and "before" or "after") or html(r.file)) .. "</th>"
  end
  out[#out + 1] = "</tr>"
  for _, line in ipairs(comparison(reports)) do
    out[#out + 1] = "<tr>"
    for i, cell in ipairs(line) do out[#out + 1] = (i == 1 and "<th>" or "<td>") .. html(cell) .. (i == 1 and "</th>" or "</td>") end
    out[#out + 1] = "</tr>\n"
  end
  out[#out + 1] = "</table>"
  for _, r in ipairs(reports) do
    out[#out + 1] = "<h2>" .. html(r.file) .. "</h2><p>" .. html(verdict(r)) .. "</p>"
    if r.points then out[#out + 1] = chart(r, peak * 1.05) end
    out[#out + 1] = "<ul>"
    for _, f in ipairs(r.findings) do
      out[#out + 1] = ('<li>%s <b class="%s">%s</b> %s: %s</li>\n'):format(text.clock(f.time_ns), html(f.level), html(f.level), html(f.rule), html(f.text))
    end
    for _, a in ipairs(r.actions) do out[#out + 1] = ("<li>%s action: %s</li>\n"):format(text.clock(a.time_ns), html(a.text)) end
    out[#out + 1] = "</ul>"
  end
  out[#out + 1] = "</body></html>\n"
  return table.concat(out)
end

return M
