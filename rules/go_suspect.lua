-- go.suspect: what grows in a Go app, named within the first minute (R2, R5).
--
-- Cheap signs are looked at all the time: RSS, and the number of goroutines as the index page of /debug/pprof/ tells it. Only while
-- one of them has climbed for half a minute are profiles taken, every few seconds: goroutines by creation site when those pile up, the
-- heap behind collections when RSS climbs. A path that keeps more in each of them is named; when the heap stays as it is, the memory is
-- C's: cgo, mappings, thread stacks. What warms up ends before that; what was found is for go.heap_growth and go.goroutine_pile to confirm.
tm.list("go.suspect.quiet", { "*runtime/pprof.*", "*compress/flate.*", "net/http.(*Server).Serve, *" })

local function leaf_of(path) return path:match("([^;]+)$") or path end

local function tail_of(path, n)
  local frames = {}
  for frame in path:gmatch("[^;]+") do frames[#frames + 1] = frame end
  return table.concat(frames, " > ", math.max(1, #frames - n + 1))
end

local function advice(path)
  if path:find("time.NewTicker", 1, true) or path:find("time.NewTimer", 1, true) or path:find("time.Tick", 1, true) then
    return "tickers are never stopped: call Stop when their user ends"
  end
  return "look at who keeps what it allocates"
end

-- The pile of goroutines that grows most.
local function pile(c)
  if c.goroutines.n < 3 then return nil end
  local sites = c.goroutines:where { blocked = true }:pivot({ "created_by", "state" }, "count"):reject(c.lists["go.suspect.quiet"])
  local row = sites:monotonic { steps = 2, min_delta = c.p.goroutines // 4 }:top(1, "delta")[1]
  if not row then return nil end
  local site, state = row.key:match("^(.*), (.-)$")
  return c:finding { key = "goroutines", value = row.last, unit = "count", kind = "goroutines pile up",
    what = ("%d goroutines started by %s wait in %s, and become more"):format(row.last, site or row.key, state or "?"),
    advice = "close what they wait for, or give them a context" }
end

-- The path of the heap that grows most, or C when the heap does not explain what RSS gained meanwhile.
local function memory(c, per_second)
  if c.heap.n < 3 then return nil end
  local paths = c.heap:pivot("path", "inuse_space")
  local gained, heap = per_second * c.heap.span, paths.last_total - paths.first_total
  local row = paths:monotonic { steps = 2, min_delta = gained / 5 }:reject(c.lists["go.suspect.quiet"]):top(1, "delta")[1]
  if row then
    return c:finding { key = "heap", value = heap / c.heap.span * 60, unit = "bytes", kind = "the Go heap grows", advice = advice(row.key),
      what = ("%s keeps more behind each collection, by %s"):format(leaf_of(row.key), tail_of(row.key, 4)) }
  end
  if heap > 0.3 * gained then return nil end
  return c:finding { key = "c", value = per_second * 60, unit = "bytes", kind = "C memory grows",
    what = "RSS climbs and the Go heap does not: memory of C (cgo), mappings or thread stacks",
    advice = "`tidemark account` divides it; `tidemark run --malloc` names its callers" }
end

tm.rule {
  id = "go.suspect",
  doc = "a Go app that has climbed for half a minute: whether goroutines, the Go heap or C memory, and by whom",
  every = "5s", linger = "1m", cooldown = "5m", level = "info",
  inputs = {
    rss = tm.ring("proc.rss", { every = "1s", keep = 90 }),
    count = tm.ring("go.counts.goroutine", { every = "2s", keep = 60 }),
    heap = tm.snapshots("pprof.heap", { every = "4s", keep = 6, gc = true, arm = true }),
    goroutines = tm.snapshots("go.goroutines", { every = "4s", keep = 6, arm = true }),
  },
  params = { steps = 7, least = "8MB", ratio = 0.05, goroutines = 60, looks = 12 },
  check = function(c)
    local steps, delta = c.rss:rising { span = "5s", steps = c.p.steps }
    local climbs = steps >= c.p.steps and delta >= c.p.least and delta >= c.p.ratio * (c.rss.last - delta)
    local rises, more = c.count:rising { span = "5s", steps = c.p.steps - 1 }
    local piles = rises >= c.p.steps - 1 and more >= c.p.goroutines
    local s = c.state
    -- Looking costs the app a collection each time: after some looks without a finding it is left alone while it goes on like that.
    s.looks = (climbs or piles) and (s.looks or 0) + 1 or 0
    if s.looks == 0 or s.looks > c.p.looks then
      c:disarm "heap"
      c:disarm "goroutines"
      return
    end
    if climbs then c:arm "heap" end
    if piles then c:arm "goroutines" end
    local list = {}
    list[#list + 1] = piles and pile(c) or nil
    if climbs and not list[1] then list[1] = memory(c, delta / (steps * 5)) end
    return list
  end,
  say = "{target}: {kind}: {what}; {advice}",
  tests = (function()
    local function heaps(...)
      local list = { every = "5s" }
      for i, mb in ipairs { ... } do list[i] = { ["main.main;main.serve;main.leak"] = mb .. "MB", ["main.main;main.cache"] = "20MB" } end
      return list
    end
    local function dumps(...)
      local list = { every = "5s" }
      for i, n in ipairs { ... } do
        list[i] = { { stack = "main.worker;runtime.gopark", value = n, created_by = "main.start", state = "chan receive" },
          { stack = "main.idle;runtime.gopark", value = 7, created_by = "main.main", state = "select" } }
      end
      return list
    end
    local growing = { 10, 15, 20, 25, 30, 35, 40, 45, 50, 55, 60, 65 }
    local still = { 10, 10, 10, 10, 10, 10, 10, 10, 10, 10, 10, 10 }
    local many = { 5, 30, 55, 80, 105, 130, 155, 180, 205, 230, 255, 280 }
    return {
      { name = "names the path of a Go heap that grows", feed = { ["proc.rss"] = "1s 60M+1Mx60", ["go.counts.goroutine"] = "5s 12x12" },
        snapshots = { heap = heaps(table.unpack(growing)) }, expect = { { at = "59s", is = "firing", key = "heap", text = "main.leak keeps more" } } },
      { name = "says C when the heap stays as it is", feed = { ["proc.rss"] = "1s 60M+1Mx60", ["go.counts.goroutine"] = "5s 12x12" },
        snapshots = { heap = heaps(table.unpack(still)) }, expect = { { at = "59s", is = "firing", key = "c", text = "C memory grows" } } },
      { name = "names who starts goroutines that pile up", feed = { ["proc.rss"] = "1s 60M+0.05Mx60", ["go.counts.goroutine"] = "5s 12+25x12" },
        snapshots = { goroutines = dumps(table.unpack(many)) }, expect = { { at = "59s", is = "firing", key = "goroutines", text = "main.start" } } },
      { name = "is quiet about a warm-up of 30 s", never = true,
        feed = { ["proc.rss"] = "1s 60M+3Mx28 144Mx60", ["go.counts.goroutine"] = "5s 12+25x4 112x14" },
        snapshots = { heap = heaps(table.unpack(still)), goroutines = dumps(table.unpack(many)) } },
      { name = "is quiet about a sawtooth", never = true, snapshots = { heap = heaps(table.unpack(still)) },
        feed = { ["proc.rss"] = "1s 60M+4Mx15 60M+4Mx15 60M+4Mx15 60M+4Mx15", ["go.counts.goroutine"] = "5s 12x12" } },
    }
  end)(),
}
