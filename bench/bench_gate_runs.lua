-- How often the gate of `tidemark gate` is wrong: 2000 series of 100 runs of each kind, judged by its own rule (medians of the
-- first and last 10, 15 %, Mann-Whitney p < 0.01). tidemark lua bench/bench_gate_runs.lua
local core = require "tidemark.core"

local SERIES <const>, RUNS <const>, GROUP <const> = 2000, 100, 10

local function normal()
  return math.sqrt(-2 * math.log(1 - math.random())) * math.cos(2 * math.pi * math.random())
end

local function series(step)
  local state, out = {}, {}
  for i = 1, RUNS do out[i] = 100 * step(i, state) end
  return out
end

local kinds = {
  { "white noise, 10 %", function() return 1 + 0.1 * normal() end },
  { "white noise, 30 %", function() return 1 + 0.3 * normal() end },
  { "one run in ten doubled", function() return (math.random(10) == 1 and 2 or 1) + 0.02 * normal() end },
  { "AR(1), 0.9, 5 %", function(_, s)
    s.x = 0.9 * (s.x or 0) + 0.05 * math.sqrt(1 - 0.81) * normal()
    return 1 + s.x
  end },
  { "random walk, 0.5 % a run", function(_, s)
    s.x = (s.x or 1) + 0.005 * normal()
    return s.x
  end },
  { "random walk, 2 % a run", function(_, s)
    s.x = (s.x or 1) + 0.02 * normal()
    return s.x
  end },
  { "warm-up of 20 runs by 50 %", function(i) return 1 + 0.5 * (1 - math.exp(-i / 7)) + 0.02 * normal() end },
  { "leak: 10 %, noise 5 %", function(i) return 1 + 0.1 * i / RUNS + 0.05 * normal() end },
  { "leak: 20 %, noise 5 %", function(i) return 1 + 0.2 * i / RUNS + 0.05 * normal() end },
  { "leak: 30 %, noise 5 %", function(i) return 1 + 0.3 * i / RUNS + 0.05 * normal() end },
  { "leak: 30 %, noise 20 %", function(i) return 1 + 0.3 * i / RUNS + 0.2 * normal() end },
}

local function fails(values, warm_up)
  local head = table.move(values, warm_up + 1, warm_up + GROUP, 1, {})
  local tail = table.move(values, RUNS - GROUP + 1, RUNS, 1, {})
  local before, after = core.median(head), core.median(tail)
  return after / before - 1 > 0.15 and core.mann_whitney(head, tail) < 0.01
end

print(("%-28s %10s %18s"):format("100 runs", "fails", "20 dropped: fails"))
for n, kind in ipairs(kinds) do
  math.randomseed(n)
  local count, warm = 0, 0
  for _ = 1, SERIES do
    local values = series(kind[2])
    if fails(values, 0) then count = count + 1 end
    if fails(values, 20) then warm = warm + 1 end
  end
  print(("%-28s %8.1f %% %16.1f %%"):format(kind[1], 100 * count / SERIES, 100 * warm / SERIES))
end
