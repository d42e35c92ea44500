-- go.heap_floor: what collections leave grows, seen in the numbers that an app publishes itself (expvar): no profile, no trace.
--
-- HeapAlloc is a sawtooth between collections. The gate of trend takes the floor of 30 buckets, that is what is left at the best
-- moment of each minute, and asks for a slope that is large, even and lasting. Which call path it is says go.heap_growth.
local function teeth(first, step, count) -- a sawtooth whose floor rises by step
  local out = {}
  for i = 0, count - 1 do out[i + 1] = ("%dM+10Mx12"):format(first + i * step) end
  return "5s " .. table.concat(out, " ")
end

tm.rule {
  id = "go.heap_floor",
  doc = "the Go heap that is left behind collections grows: HeapAlloc of /debug/vars, its floor",
  every = "30s", warmup = "10m", hold = "3m", linger = "10m", level = "warn",
  inputs = { heap = tm.series("expvar.memstats.HeapAlloc", { every = "5s", window = "30m" }) },
  params = { min_growth = 0.05, least = "8MB", high = "1h" },
  check = function(c)
    local t = c.heap:trend { floor = 30, min_growth = c.p.min_growth }
    if not t.leak or c.heap.span < 600 or t.slope * c.heap.span / 3600 < c.p.least then return end
    local doubles = t.level / t.slope * 3600
    return c:finding { level = doubles < c.p.high and "high" or "warn", value = t.slope, unit = "bytes", growth = t.growth, floor = t.level,
      doubles = doubles, confidence = t.confidence }
  end,
  say = "{target}: the heap behind collections grows by {value:bytes}/h ({growth:pct} in the window), doubled in {doubles:dur}; "
    .. "tidemark snap heap profiles and compare them (growth), or let go.heap_growth name the path",
  tests = {
    { name = "finds a floor that rises under a sawtooth", feed = { ["expvar.memstats.HeapAlloc"] = teeth(100, 4, 40) },
      expect = { { at = "9m", is = "inactive" }, { at = "35m", is = "firing" } } },
    { name = "is quiet about a sawtooth", feed = { ["expvar.memstats.HeapAlloc"] = teeth(100, 0, 40) }, never = true },
    { name = "is quiet about a warm-up that ends", feed = { ["expvar.memstats.HeapAlloc"] = "5s 50M+1Mx60 110Mx600" }, never = true },
    { name = "is quiet about one step", feed = { ["expvar.memstats.HeapAlloc"] = "5s 100Mx240 140Mx500" }, never = true },
  },
}
