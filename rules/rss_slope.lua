-- proc.rss_slope: resident memory that keeps growing, and when it will hit the limit (R1, R2, R20, R21).
--
-- The gate behind c.rss:trend takes the floor of 30 buckets (what is left after collections), asks for a slope that is
-- large, even, lasting and more than a random walk, and only then says "leak". How urgent it is depends on the
-- time that is left until the lowest limit of the process: cgroup, RLIMIT_AS, or the machine's memory.
tm.rule {
  id = "proc.rss_slope",
  doc = "resident memory grows steadily; says how fast, and when the limit is reached",
  every = "30s", warmup = "10m", hold = "3m", linger = "10m",
  inputs = {
    rss = tm.series("proc.rss", { every = "5s", window = "30m" }),
    cap = tm.gauge("mem.limit", { every = "60s" }),
  },
  params = { warn = "24h", high = "4h", critical = "30m", min_growth = 0.03, least = "8MB" },
  check = function(c)
    local t = c.rss:trend { floor = 30, min_growth = c.p.min_growth }
    if not t.leak or c.rss.span < 600 then return end
    if t.slope * c.rss.span / 3600 < c.p.least then return end
    local ttl = t:time_to(c.cap.last)
    local level = "warn"
    for _, name in ipairs { "critical", "high" } do
      if ttl < c.p[name] then level = name break end
    end
    return c:finding { level = level, value = t.slope, unit = "bytes", ttl = ttl, growth = t.growth, confidence = t.confidence,
      rss = c.rss.last, low = t.slope_low, high_slope = t.slope_high }
  end,
  on = {
    high = function(c) c:attach(c:await(c.take.mapping_table {}), "mapping table") end,
    critical = function(c) c:act("runtime.gc", { cooldown = "5m" }) end,
  },
  caps = { "take:mapping_table", "act:runtime.gc" },
  say = "{target} grows by {value:bytes}/h ({growth:pct} in the window), limit reached in {ttl:dur}",
  tests = {
    { name = "finds a steady leak and says how urgent it is",
      feed = { ["proc.rss"] = "5s 500M+1Mx480", ["mem.limit"] = "60s 2Gx40" },
      expect = { { at = "9m", is = "inactive" }, { at = "35m", is = "firing", level = "high" } } },
    { name = "calls it a warning when a day is left",
      feed = { ["proc.rss"] = "5s 500M+100Kx720", ["mem.limit"] = "60s 8Gx60" },
      expect = { { at = "55m", is = "firing", level = "warn" } } },
    { name = "is quiet about a warm-up that ends",
      feed = { ["proc.rss"] = "5s 200M+2Mx60 320Mx600", ["mem.limit"] = "60s 2Gx60" }, never = true },
    { name = "is quiet about a collector's sawtooth",
      feed = { ["proc.rss"] = "5s 300M+10Mx12 300M+10Mx12 300M+10Mx12 300M+10Mx12 300M+10Mx12 300M+10Mx12 300M+10Mx12 300M+10Mx12"
        .. " 300M+10Mx12 300M+10Mx12 300M+10Mx12 300M+10Mx12 300M+10Mx12 300M+10Mx12 300M+10Mx12 300M+10Mx12 300M+10Mx12"
        .. " 300M+10Mx12 300M+10Mx12 300M+10Mx12 300M+10Mx12 300M+10Mx12 300M+10Mx12 300M+10Mx12 300M+10Mx12 300M+10Mx12",
        ["mem.limit"] = "60s 2Gx60" }, never = true },
    { name = "sees the leak under the sawtooth",
      feed = { ["proc.rss"] = "5s 300M+10Mx12 308M+10Mx12 316M+10Mx12 324M+10Mx12 332M+10Mx12 340M+10Mx12 348M+10Mx12 356M+10Mx12"
        .. " 364M+10Mx12 372M+10Mx12 380M+10Mx12 388M+10Mx12 396M+10Mx12 404M+10Mx12 412M+10Mx12 420M+10Mx12 428M+10Mx12"
        .. " 436M+10Mx12 444M+10Mx12 452M+10Mx12 460M+10Mx12 468M+10Mx12 476M+10Mx12 484M+10Mx12 492M+10Mx12 500M+10Mx12"
        .. " 508M+10Mx12 516M+10Mx12 524M+10Mx12 532M+10Mx12 540M+10Mx12 548M+10Mx12 556M+10Mx12 564M+10Mx12 572M+10Mx12",
        ["mem.limit"] = "60s 4Gx60" }, fires = "warn" },
    { name = "is quiet about one step",
      feed = { ["proc.rss"] = "5s 300Mx240 360Mx500", ["mem.limit"] = "60s 2Gx60" }, never = true },
  },
}

-- Too early to call it a leak, but worth a line: memory that rose in every one of the last five ten-second spans.
-- What grew by most of it: address space by kind, which a climbing RSS fills.
local names = { heap = "in the C heap", anon = "in anonymous mappings: large blocks of malloc, or a runtime's heap", go_arena = "in the Go heap's arenas",
  stack = "in stacks of threads", file = "in mapped files", shm = "in shared memory", memfd = "in memory files", gpu = "in mappings of a GPU driver" }

local function where(c, delta)
  local kind, most = nil, delta / 2
  c.kinds:each(function(name, ring)
    local grew = ring:delta { span = "50s" }
    if grew and grew > most then kind, most = name, grew end
  end)
  return names[kind] or kind and "in mappings of kind " .. kind or "in memory that was mapped before"
end

tm.rule {
  id = "proc.rss_climb",
  doc = "resident memory rose in each of the last four 10 s spans, and where: too early to call it a leak",
  every = "5s", warmup = "5s", linger = "30s", level = "info",
  inputs = {
    rss = tm.series("proc.rss", { every = "1s", window = "2m" }),
    kinds = tm.ring("proc.mapping_bytes", { every = "10s", keep = 12, by = "kind" }),
  },
  params = { steps = 4, least = "24MB", ratio = 0.1 },
  check = function(c)
    local steps, delta = c.rss:rising { span = "10s", steps = c.p.steps }
    if steps < c.p.steps or delta < c.p.least or delta < c.p.ratio * (c.rss.last - delta) then return end
    return c:finding { value = delta / (steps * 10) * 60, unit = "bytes", delta = delta, span = steps * 10, rss = c.rss.last, where = where(c, delta) }
  end,
  say = "{target} climbs by {value:bytes}/min for {span:num} s now ({rss:bytes}), {where}; too early to call it a leak",
  tests = {
    { name = "says where",
      feed = { ["proc.rss"] = "1s 100M+1Mx70", ["proc.mapping_bytes{heap}"] = "10s 50M+10Mx7", ["proc.mapping_bytes{file}"] = "10s 80Mx7" },
      expect = { { at = "58s", is = "firing", level = "info", text = "in the C heap" } } },
    { name = "tells of a climb within a minute", feed = { ["proc.rss"] = "1s 100M+1Mx70" },
      expect = { { at = "30s", is = "inactive" }, { at = "66s", is = "firing", level = "info" } } },
    { name = "is quiet about a warm-up of 30 s", feed = { ["proc.rss"] = "1s 100M+2Mx30 160Mx60" }, never = true },
    { name = "is quiet about a sawtooth", never = true,
      feed = { ["proc.rss"] = "1s 100M+10Mx20 100M+10Mx20 100M+10Mx20 100M+10Mx20 100M+10Mx20 100M+10Mx20" } },
  },
}
