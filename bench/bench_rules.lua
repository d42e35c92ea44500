-- What checking rules costs: build/release/tidemark lua bench/bench_rules.lua [TARGETS]
--
-- A virtual engine is fed one hour of samples, 5 s apart, for TARGETS apps (50), so every window is
-- full. Each part runs twice, with rules and without, and the difference in CPU time of
-- advance() alone is what the rules cost: choosing who is due, windows, statistics, Lua, findings.
-- The bar: 1,000 rule-target pairs checked once a second take at most 2 % of a core.
local core = require "tidemark.core"

local TARGETS = tonumber(arg and arg[1]) or 50
local START, SECOND, HOUR = 1700000000 * 1000000000, 1000000000, 3600
local BAR_PERCENT, PAIRS = 2, 1000

local function read(path)
  local file = assert(io.open(path, "rb"))
  local text = file:read "a"
  file:close()
  return text
end

local function rules(names)
  local list = {}
  for _, name in ipairs(names) do list[#list + 1] = { name = name .. ".lua", source = read("rules/" .. name .. ".lua") } end
  return list
end

-- A service that breathes: levels, a sawtooth and some noise; with `leak`, RSS that grows as well.
local noise = 12345
local function rand()
  noise = (noise * 1103515245 + 12345) & 0x7fffffff
  return noise / 0x7fffffff
end

local function feed(e, id, t, i, leak)
  local function put(metric, key, value) e:feed(id, metric, key, t, value) end
  local rss = 300e6 + (i % 12) * 2e6 + rand() * 4e6 + (leak and i * 2e5 or 0)
  put("proc.rss", "", rss // 4096 * 4096)
  put("proc.fds", "", 60 + i % 7 + rand() * 10 // 1)
  put("proc.threads", "", 20 + i % 3)
  put("proc.maps", "", 400 + i % 9)
  put("proc.hidden", "", 2e6 + i % 5 * 4096)
  for kind, key in ipairs { "file", "socket", "pipe" } do
    put("proc.handles", key, 10 * kind + i % 4)
    put("proc.mappings", key, 100 * kind + i % 6)
    put("proc.handle_bytes", key, 1e6 * kind)
  end
  if i % 12 == 0 then
    put("mem.limit", "", 8e9)
    put("proc.fd_limit", "", 1024)
  end
end

-- CPU seconds spent in advance(), and the engine's own count per rule.
local function run(list, leak)
  local e = assert(core.engine { virtual = true })
  e:advance(START)
  for k = 1, TARGETS do e:add_target { id = "app:" .. k, name = "app" .. k, start_time_ns = START } end
  for _, r in ipairs(list) do
    assert(e:load_rules(r.name, r.name, r.source, function(report) assert(report.ok, report.problem) end))
  end
  noise = 12345
  local spent = 0
  for s = 1, HOUR do
    local t = START + s * SECOND
    if s % 5 == 0 then
      for k = 1, TARGETS do feed(e, "app:" .. k, t, s // 5 + k, leak) end
    end
    local before = os.clock()
    e:advance(t)
    spent = spent + os.clock() - before
  end
  local found = e:rules()
  e:close()
  return spent, found
end

local function row(...) print(("%-34s %8s %9s %9s  %s"):format(...)) end
local failed = false

local function verdict(us_per_check)
  local percent = us_per_check * PAIRS / 1e6 * 100
  if percent > BAR_PERCENT then failed = true end
  return ("%.2f %%"):format(percent), percent <= BAR_PERCENT and "ok" or "FAIL"
end

local function measure(title, list, leak)
  local without = run({}, leak)
  local with, found = run(list, leak)
  local checks, findings = 0, 0
  for _, r in ipairs(found) do
    checks, findings = checks + r.evaluations, findings + r.findings
  end
  assert(checks > 0, title .. ": nothing was checked")
  local us = (with - without) / checks * 1e6
  if leak then
    row(title, checks, ("%.2f"):format(us), ("%.2f %%"):format(us * PAIRS / 1e4), "no bar")
  else
    row(title, checks, ("%.2f"):format(us), verdict(us))
  end
  if (findings > 0) ~= (leak or false) then
    print(("FAIL: %d findings in a feed %s"):format(findings, leak and "that leaks" or "that has nothing to find"))
    failed = true
  end
  return found
end

print(("%d apps, one hour of samples 5 s apart; bar: %d %% of a core at %d pairs a second"):format(TARGETS, BAR_PERCENT, PAIRS))
row("what", "checks", "us/check", "1,000/s", "bar 2 %")
local found = measure("all built-in rules", rules { "rss_slope", "handles", "threads", "mappings", "pressure" })
table.sort(found, function(a, b) return a.id < b.id end)
for _, r in ipairs(found) do
  local us = r.cpu_ns / r.evaluations / 1e3
  row("  " .. r.id, r.evaluations, ("%.2f"):format(us), verdict(us))
end
-- The dearest check, made every second on a full window of 360 samples; its own tests hold for its own period only.
local slope = read "rules/rss_slope.lua"
slope = slope:sub(1, slope:find("  tests = {", 1, true) - 1) .. "}\n"
slope = { { name = "slope.lua", source = slope:gsub('every = "30s", warmup = "10m"', 'every = "1s", warmup = "30m"') } }
measure("proc.rss_slope, 360 samples, quiet", slope)
-- Every app leaks, so every check also writes its finding: text, evidence, alert. The rule itself is checked every 30 s.
measure("proc.rss_slope, 360 samples, leak", slope, true)
os.exit(failed and 1 or 0)
