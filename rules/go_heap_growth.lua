-- go.heap_growth: call paths of a Go app whose memory in use grows over several collections (R4, R5).
--
-- The profile is fetched behind a collection, so that garbage does not count. A path is named when it grew in each of the
-- last steps, never fell, and by enough: a cache that fills once stops rising, and what breathes falls.
tm.list("go.heap.quiet_paths", { "*runtime/pprof.*", "*compress/flate.*" })

local function leaf_of(path) return path:match("([^;]+)$") or path end

-- The last frames of a path: who allocates, and by way of whom.
local function tail_of(path, n)
  local frames = {}
  for frame in path:gmatch("[^;]+") do frames[#frames + 1] = frame end
  return table.concat(frames, " > ", math.max(1, #frames - n + 1))
end

tm.rule {
  id = "go.heap_growth",
  doc = "Go heap in use grows on one call path over several collections: names the path and the rate",
  every = "5m", linger = "15m", level = "warn",
  inputs = { heap = tm.snapshots("pprof.heap", { every = "5m", keep = 6, gc = true }) },
  params = { steps = 5, least = "2MB", ratio = 0.05, high = "1GB", most = 3 },
  check = function(c)
    local paths = c.heap:pivot("path", "inuse_space")
    if paths.snapshots <= c.p.steps then return c:skip(("%d of %d snapshots"):format(paths.snapshots, c.p.steps + 1)) end
    local least = math.max(c.p.least, c.p.ratio * paths.first_total)
    local leaks = paths:monotonic { steps = c.p.steps, min_delta = least }:reject(c.lists["go.heap.quiet_paths"]):top(c.p.most)
    local trace = 0
    return leaks:each(function(row)
      trace = trace + 1
      return c:finding { level = row.per_hour > c.p.high and "high" or "warn", key = row.key, value = row.per_hour, unit = "bytes",
        delta = row.delta, steps = row.steps, confidence = row.confidence, leaf = leaf_of(row.key), path = tail_of(row.key, 5),
        trace = leaks:stack(trace) }
    end)
  end,
  on = { high = function(c) c:attach(c:await(c.take.heap_profile { gc = true, timeout = "30s" }), "heap profile") end },
  caps = { "take:heap_profile" },
  say = "{target} leaks Go heap: {leaf} keeps {delta:bytes} more over {steps} collections ({value:bytes}/h), by {path}",
  tests = {
    { name = "names the path that grows behind every collection",
      snapshots = { heap = { every = "5m",
        { ["main.main;main.serve;main.leak"] = "10MB", ["main.main;main.cache"] = "50MB" },
        { ["main.main;main.serve;main.leak"] = "20MB", ["main.main;main.cache"] = "50MB" },
        { ["main.main;main.serve;main.leak"] = "30MB", ["main.main;main.cache"] = "51MB" },
        { ["main.main;main.serve;main.leak"] = "40MB", ["main.main;main.cache"] = "50MB" },
        { ["main.main;main.serve;main.leak"] = "50MB", ["main.main;main.cache"] = "51MB" },
        { ["main.main;main.serve;main.leak"] = "60MB", ["main.main;main.cache"] = "50MB" } } },
      expect = { { at = "20m", is = "inactive" }, { at = "26m", is = "firing", level = "warn", text = "main.leak" } } },
    { name = "is quiet about a warm-up that ends", never = true,
      snapshots = { heap = { every = "5m", { ["main.main;main.cache"] = "10MB" }, { ["main.main;main.cache"] = "60MB" },
        { ["main.main;main.cache"] = "90MB" }, { ["main.main;main.cache"] = "100MB" }, { ["main.main;main.cache"] = "100MB" },
        { ["main.main;main.cache"] = "100MB" }, { ["main.main;main.cache"] = "100MB" } } } },
    { name = "is quiet about a sawtooth", never = true,
      snapshots = { heap = { every = "5m", { ["main.main;main.batch"] = "10MB" }, { ["main.main;main.batch"] = "60MB" },
        { ["main.main;main.batch"] = "90MB" }, { ["main.main;main.batch"] = "12MB" }, { ["main.main;main.batch"] = "70MB" },
        { ["main.main;main.batch"] = "95MB" }, { ["main.main;main.batch"] = "14MB" } } } },
    { name = "is high when a gigabyte an hour is kept",
      snapshots = { heap = { every = "5m", { ["main.main;main.leak"] = "100MB" }, { ["main.main;main.leak"] = "250MB" },
        { ["main.main;main.leak"] = "400MB" }, { ["main.main;main.leak"] = "550MB" }, { ["main.main;main.leak"] = "700MB" },
        { ["main.main;main.leak"] = "850MB" } } }, fires = "high" },
  },
}
