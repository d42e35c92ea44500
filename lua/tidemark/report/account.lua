-- The readings of one account over time: trends of its owners, and a page with the stacked timeline.
--
--   local past = history.new { name = "app", pid = 4711 }; past:add(reading); past:trend("c_heap"); history.page(past)
--   local past, err = history.read("soak.tmr")       -- what watch and record wrote: the series account.*
local core = require "tidemark.core"
local text = require "tidemark.show.text"

local M = {}

local MOST <const> = 2000 -- readings that are kept; then every second one is left out
local HOUR <const> = 3600e9

local Past = {}
Past.__index = Past

function M.new(about) return setmetatable({ about = about, times = {}, values = {}, rss = {}, owners = {}, readings = 0 }, Past) end

function Past:count() return #self.times end

local function thin(self)
  for i = 1, #self.times // 2 do
    self.times[i], self.rss[i], self.values[i] = self.times[2 * i], self.rss[2 * i], self.values[2 * i]
  end
  for i = #self.times, #self.times // 2 + 1, -1 do self.times[i], self.rss[i], self.values[i] = nil, nil, nil end
end

--- Takes a reading of tidemark.account.
function Past:add(reading)
  local values = {}
  for _, row in ipairs(reading.rows) do
    values[row.owner] = row.bytes
    self.owners[row.owner] = { title = row.title, group = row.group }
  end
  if #self.times >= MOST then thin(self) end
  local n = #self.times + 1
  self.times[n], self.rss[n], self.values[n] = reading.time_ns, reading.rss_bytes, values
  self.readings = self.readings + 1
  self.reading = reading
end

--- The last reading; of a recording one that is made of its series.
function Past:last()
  local r = self.reading
  r.readings = self.readings
  r.duration_ns = #self.times > 0 and self.times[#self.times] - self.times[1] or 0
  return r
end

local function median(list)
  table.sort(list)
  local n = #list
  return n % 2 == 1 and list[n // 2 + 1] or (list[n // 2] + list[n // 2 + 1]) / 2
end

local function sampled(self, owner, most)
  local n, times, values = #self.times, {}, {}
  local count = math.min(n, most)
  for i = 1, count do
    local at = count == 1 and n or 1 + (i - 1) * (n - 1) // (count - 1)
    times[i], values[i] = self.times[at], owner == "rss" and self.rss[at] or self.values[at][owner] or 0
  end
  return times, values
end

--- What an owner did: values for a sparkline, and the median slope over all pairs (Theil-Sen) in bytes per hour from the third
--- reading on.
function Past:trend(owner)
  if #self.times == 0 then return nil end
  local _, values = sampled(self, owner, 16)
  local out = { values = values }
  if #self.times < 3 then return out end
  local times, all = sampled(self, owner, 64)
  local slopes = {}
  for i = 1, #times do
    for j = i + 1, #times do
      if times[j] > times[i] then slopes[#slopes + 1] = (all[j] - all[i]) / (times[j] - times[i]) * HOUR end
    end
  end
  out.per_hour = #slopes > 0 and math.floor(median(slopes) + 0.5) or nil
  return out
end

-- ---- recordings ----

-- Series come one after the other in a tick; what shares a time is a reading.
local function collect(path)
  local series, at, times, about = {}, {}, {}, {}
  local summary, err = core.read_recording(path, {
    target = function(_, t) about.name, about.pid = about.name or t.name, about.pid or t.pid end,
    series = function(n, s)
      local owner = s.metric:match("^account%.([%w_]+)$")
      if owner and s.key == "" then series[n] = owner end
    end,
    sample = function(n, time_ns, value)
      if not series[n] then return end
      if not at[time_ns] then
        at[time_ns] = {}
        times[#times + 1] = time_ns
      end
      at[time_ns][series[n]] = value
    end,
  })
  if not summary then return nil, err end
  table.sort(times)
  return about, times, at
end

--- Reads the account.* series of a recording.
function M.read(path)
  local about, times, at = collect(path)
  if not about then return nil, times end
  local past, owners = M.new(about), core.owners()
  for _, time_ns in ipairs(times) do
    local rows, rss = {}, 0
    local parts = (at[time_ns].c_heap_inuse or at[time_ns].c_heap_free) ~= nil
    for _, o in ipairs(owners) do
      local bytes = at[time_ns][o.owner]
      if parts and o.owner == "c_heap" then bytes = nil end -- its series is the sum of its parts
      if bytes then
        rows[#rows + 1] = { owner = o.owner, title = o.title, group = o.group, bytes = math.floor(bytes), detail = "" }
        rss = rss + bytes
      end
    end
    for _, row in ipairs(rows) do row.share = rss > 0 and row.bytes / rss or 0 end
    past:add { rows = rows, rss_bytes = math.floor(rss), time_ns = time_ns, name = about.name, pid = about.pid, runtime = "recorded", source = "",
      problem = "", mappings = 0 }
  end
  if past:count() == 0 then
    return nil, { code = "argument", message = path .. " holds no accounting",
      advice = "record with --show account.unexplained, or with a rule that asks for account.*" }
  end
  return past
end

-- ---- the page ----

local colors = { go_heap_inuse = "#1f6feb", go_heap_idle = "#79b8ff", go_stacks = "#54aeff", go_runtime = "#0a3069", go_heap = "#1f6feb",
  jvm_heap = "#1a7f37", jvm_metaspace = "#4ac26b", jvm_code = "#2da44e", jvm_threads = "#aceebb", jvm_other = "#116329", jvm_whole = "#1a7f37",
  v8_heap = "#d4a72c", v8_external = "#eac54f", v8_array_buffers = "#9a6700", c_heap_inuse = "#cf222e", c_heap_free = "#ff8182", c_heap = "#cf222e",
  executable = "#8c959f", libraries = "#afb8c1", mapped_files = "#6e7781", shared_memory = "#1b7c83", stacks = "#a475f9", gpu = "#e85aad",
  unexplained = "#3b2a20" }

local escapes = { ["&"] = "&amp;", ["<"] = "&lt;", [">"] = "&gt;", ['"'] = "&quot;", ["'"] = "&#39;" }
local function html(s) return (text.clean(s):gsub("[&<>\"']", escapes)) end

local WIDTH <const>, HEIGHT <const>, LEFT <const>, BOTTOM <const>, TOP <const> = 1000, 360, 76, 24, 10

-- Owners that ever had something, in the order of reports.
local function present(past)
  local out = {}
  for _, o in ipairs(core.owners()) do
    local most = 0
    for _, values in ipairs(past.values) do most = math.max(most, values[o.owner] or 0) end
    if most > 0 then out[#out + 1] = { owner = o.owner, title = o.title, most = most } end
  end
  return out
end

local function axes(out, peak, span, y)
  for i = 0, 4 do
    local v = peak * i / 4
    out[#out + 1] = ('<line class="grid" x1="%d" x2="%d" y1="%.1f" y2="%.1f"/><text x="%d" y="%.1f" text-anchor="end">%s</text>')
      :format(LEFT, WIDTH - 8, y(v), y(v), LEFT - 6, y(v) + 4, html(core.format(v, "bytes")))
  end
  for i = 0, 4 do
    out[#out + 1] = ('<text x="%.1f" y="%d" text-anchor="%s">%s</text>'):format(LEFT + (WIDTH - LEFT - 8) * i / 4, HEIGHT - 6,
      i == 4 and "end" or i == 0 and "start" or "middle", html(core.format(math.floor(span * i / 4), "ns")))
  end
end

-- Areas one upon the other: files below, what may leak above, so that its growth is not hidden under a moving ground.
local function chart(past, owners, picked)
  local first, span = past.times[1], math.max(1, past.times[#past.times] - past.times[1])
  local peak = 1
  for _, rss in ipairs(past.rss) do peak = math.max(peak, rss) end
  peak = peak * 1.05
  local function y(v) return HEIGHT - BOTTOM - v / peak * (HEIGHT - BOTTOM - TOP) end
  local function x(i) return #picked == 1 and LEFT or LEFT + (past.times[picked[i]] - first) / span * (WIDTH - LEFT - 8) end
  local out, base = { ('<svg id="c" viewBox="0 0 %d %d" role="img" aria-label="RSS by owner over time">'):format(WIDTH, HEIGHT) }, {}
  axes(out, peak, span, y)
  for i = 1, #picked do base[i] = 0 end
  for _, o in ipairs(owners) do
    local up, down = {}, {}
    for i, at in ipairs(picked) do
      down[#picked - i + 1] = ("L%.1f %.1f"):format(x(i), y(base[i]))
      base[i] = base[i] + (past.values[at][o.owner] or 0)
      up[i] = ("%s%.1f %.1f"):format(i == 1 and "M" or "L", x(i), y(base[i]))
    end
    if #picked == 1 then up[2], down[2] = ("L%d %.1f"):format(WIDTH - 8, y(base[1])), down[1] end
    if #picked == 1 then down[1] = ("L%d %s"):format(WIDTH - 8, down[1]:match(" (.*)$")) end
    out[#out + 1] = ('<path data-o="%s" fill="%s" d="%s%sZ"><title>%s</title></path>'):format(o.owner, colors[o.owner] or "#888", table.concat(up),
      table.concat(down), html(o.title))
  end
  out[#out + 1] = ('<line id="h" y1="%d" y2="%d" x1="-9" x2="-9"/></svg>'):format(TOP, HEIGHT - BOTTOM)
  return table.concat(out, "\n")
end

local style = [[
:root{color-scheme:light dark}body{font:15px/1.5 system-ui,sans-serif;max-width:1060px;margin:2rem auto;padding:0 1rem;color:#1b1f24;background:#fff}
h1{font-size:1.3rem;margin:0}p{color:#57606a;margin:.2rem 0 1rem}svg{width:100%;height:auto}svg text{font-size:11px;fill:#57606a}
.grid{stroke:#e3e6ea}#h{stroke:#57606a;stroke-dasharray:3 3}path{stroke:#fff;stroke-width:.4}path.off{opacity:.25}
table{border-collapse:collapse;margin:1rem 0;width:100%}td,th{padding:.2rem .8rem .2rem 0;border-bottom:1px solid #e3e6ea;text-align:right;
font-variant-numeric:tabular-nums}td:first-child,th:first-child{text-align:left}
i{display:inline-block;width:.8em;height:.8em;margin-right:.5em;border-radius:2px}
tr:hover td{background:#f6f8fa}.up{color:#cf222e}
@media(prefers-color-scheme:dark){body{background:#0d1117;color:#e6edf3}td,th{border-color:#30363d}.grid{stroke:#30363d}svg text,p{fill:#8d96a0;color:#8d96a0}
path{stroke:#0d1117}tr:hover td{background:#161b22}}
]]

-- Reads the data that stands in the page: the value of each owner under the mouse.
local script = [[
const d=JSON.parse(document.getElementById('d').textContent),c=document.getElementById('c'),h=document.getElementById('h');
const rows=[...document.querySelectorAll('tr[data-o]')],when=document.getElementById('t');
const u=['B','KiB','MiB','GiB','TiB'];function size(b){let i=0;while(b>=1024&&i<4){b/=1024;i++}return(i?b.toFixed(b<10?2:1):b)+' '+u[i]}
function at(n){const total=d.rss[n];when.textContent=new Date(d.times[n]).toLocaleString()+', RSS '+size(total);
for(const r of rows){const v=d.values[r.dataset.o][n];r.cells[1].textContent=size(v);r.cells[2].textContent=(total?v/total*100:0).toFixed(1)+' %'}}
c.onmousemove=e=>{const b=c.getBoundingClientRect(),x=(e.clientX-b.left)/b.width*d.width;let n=0;
for(let i=0;i<d.x.length;i++)if(Math.abs(d.x[i]-x)<Math.abs(d.x[n]-x))n=i;h.setAttribute('x1',d.x[n]);h.setAttribute('x2',d.x[n]);at(n)};
c.onmouseleave=()=>{h.setAttribute('x1',-9);h.setAttribute('x2',-9);at(d.times.length-1)};
for(const r of rows){r.onmouseenter=()=>{for(const p of c.querySelectorAll('path'))p.classList.toggle('off',p.dataset.o!==r.dataset.o)};
r.onmouseleave=()=>{for(const p of c.querySelectorAll('path'))p.classList.remove('off')}}
at(d.times.length-1);
]]

local function data_of(past, owners, picked)
  local d = { width = WIDTH, times = {}, rss = {}, x = {}, values = {} }
  local first, span = past.times[1], math.max(1, past.times[#past.times] - past.times[1])
  for i, at in ipairs(picked) do
    d.times[i], d.rss[i] = past.times[at] // 1000000, past.rss[at]
    d.x[i] = math.floor(LEFT + (past.times[at] - first) / span * (WIDTH - LEFT - 8) + 0.5)
  end
  for _, o in ipairs(owners) do
    local list = {}
    for i, at in ipairs(picked) do list[i] = past.values[at][o.owner] or 0 end
    d.values[o.owner] = list
  end
  return (core.json(d):gsub("<", "\\u003c"))
end

local function legend(past, owners)
  local out = { '<table><tr><th>owner</th><th>RSS</th><th>share</th><th>most</th><th>trend</th></tr>' }
  local rss = past.rss[#past.rss]
  for i = #owners, 1, -1 do
    local o = owners[i]
    local bytes, trend = past.values[#past.values][o.owner] or 0, past:trend(o.owner).per_hour
    out[#out + 1] = ('<tr data-o="%s"><td><i style="background:%s"></i>%s</td><td>%s</td><td>%.1f %%</td>'):format(o.owner,
      colors[o.owner] or "#888", html(o.title), html(core.format(bytes, "bytes")), rss > 0 and bytes / rss * 100 or 0)
    out[#out + 1] = ('<td>%s</td><td%s>%s</td></tr>'):format(html(core.format(o.most, "bytes")), trend and trend > 0 and ' class="up"' or "",
      trend and html(core.format(trend, "bytes")) .. "/h" or "")
  end
  out[#out + 1] = "</table>"
  return table.concat(out, "\n")
end

--- One page that needs nothing else.
function M.page(past)
  local owners, stacked, picked = present(past), {}, {}
  local below = { executable = true, libraries = true, mapped_files = true, shared_memory = true, stacks = true }
  for _, o in ipairs(owners) do
    if below[o.owner] then stacked[#stacked + 1] = o end
  end
  for _, o in ipairs(owners) do
    if not below[o.owner] then stacked[#stacked + 1] = o end
  end
  local n = #past.times
  local count = math.min(n, 800)
  for i = 1, count do picked[i] = count == 1 and n or 1 + (i - 1) * (n - 1) // (count - 1) end
  local name = ("%s (%s)"):format(past.about.name or "?", tostring(past.about.pid or "?"))
  return table.concat { '<!doctype html><html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">',
    "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'\">",
    "<title>", html(name), ": where RSS went</title><style>", style, "</style></head><body><h1>Where RSS of ", html(name), " went</h1>",
    ('<p>%d readings over %s. <span id="t"></span></p>'):format(past.readings, html(core.format(past.times[n] - past.times[1], "ns"))),
    chart(past, stacked, picked), legend(past, stacked), '<script type="application/json" id="d">', data_of(past, stacked, picked),
    "</script><script>", script, "</script></body></html>\n" }
end

return M
