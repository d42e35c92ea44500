-- go.cgo_gap: memory that grows outside the Go runtime: C libraries, mmap, driver buffers (R2, R5).
--
-- What the runtime got from the system and did not give back (Sys - HeapReleased) is what Go can account for. When RSS rises
-- span after span and that does not, no heap profile will show the leak: look at C allocations.
tm.rule {
  id = "go.cgo_gap",
  doc = "RSS grows while what the Go runtime accounts for does not: memory of C, mmap or a driver",
  every = "10s", hold = "20s", linger = "2m", level = "warn",
  inputs = {
    rss = tm.series("proc.rss", { every = "5s", window = "30m" }),
    sys = tm.series("expvar.memstats.Sys", { every = "10s", window = "30m" }),
    released = tm.series("expvar.memstats.HeapReleased", { every = "10s", window = "30m" }),
  },
  params = { span = "60s", steps = 5, least = "16MB", share = 0.3, high = "1GB" },
  check = function(c)
    if not c.sys.last or not c.released.last then return end
    local steps, delta = c.rss:rising { span = c.p.span, steps = c.p.steps }
    if steps < c.p.steps or delta < c.p.least then return end
    local window = { span = c.p.span * c.p.steps }
    local go = (c.sys:delta(window) or 0) - (c.released:delta(window) or 0)
    if go ~= go or go > c.p.share * delta then return end
    local outside = c.rss.last - (c.sys.last - c.released.last)
    local rate = (delta - math.max(go, 0)) / window.span * 3600
    return c:finding { level = rate > c.p.high and "high" or "warn", value = rate, unit = "bytes", delta = delta, go = go,
      outside = outside, rss = c.rss.last }
  end,
  on = {
    warn = function(c) c:attach(c:await(c.take.mapping_table {}), "mapping table") end,
    high = function(c) c:attach(c:await(c.take.mapping_table {}), "mapping table") end,
  },
  caps = { "take:mapping_table" },
  say = "{target} leaks memory outside Go (cgo, mmap): RSS grew {delta:bytes}, Go {go:bytes}; {value:bytes}/h, {outside:bytes} unaccounted",
  tests = {
    { name = "tells of memory that Go cannot see",
      feed = { ["proc.rss"] = "5s 100M+2Mx120", ["expvar.memstats.Sys"] = "10s 80Mx60", ["expvar.memstats.HeapReleased"] = "10s 4Mx60" },
      expect = { { at = "4m", is = "inactive" }, { at = "8m", is = "firing", text = "outside Go" } } },
    { name = "is quiet when Go's own heap grows", never = true,
      feed = { ["proc.rss"] = "5s 100M+2Mx120", ["expvar.memstats.Sys"] = "10s 80M+4Mx60", ["expvar.memstats.HeapReleased"] = "10s 4Mx60" } },
    { name = "is quiet about a warm-up that ends", never = true,
      feed = { ["proc.rss"] = "5s 100M+2Mx40 180Mx100", ["expvar.memstats.Sys"] = "10s 80Mx70", ["expvar.memstats.HeapReleased"] = "10s 4Mx70" } },
    { name = "is quiet about a sawtooth", never = true,
      feed = { ["proc.rss"] = "5s 100M+4Mx30 100M+4Mx30 100M+4Mx30 100M+4Mx30", ["expvar.memstats.Sys"] = "10s 80Mx62",
        ["expvar.memstats.HeapReleased"] = "10s 4Mx62" } },
  },
}

-- cgo_gap: whose memory it is that grows, of all that the accounting of RSS tells apart (R2): C, Go, JavaScript, a JVM, shared
-- memory, a driver, or what nobody explains; and kernel objects, which no RSS shows. The accounting is read twice a minute.
local function growing(name, doc) return { name = name, doc = doc } end

-- What collectors manage rises for minutes before a collection too: such owners must rise longer.
local owners = {
  growing("c", "C"), growing("unexplained", "memory that nobody accounts for (mmap of C, an allocator of its own)"),
  growing("go", "Go"), growing("js", "JS"), growing("jvm", "the JVM"),
  growing("shm", "shared memory"), growing("gpu", "GPU mappings"), growing("stacks", "thread stacks"), growing("files", "mapped files"),
}
local managed = { go = true, js = true, jvm = true }

local function mib(bytes) return ("%+.1f MiB"):format(bytes / 1048576) end

-- Growth by owner over a window, the largest first.
local function shares(c, window)
  local list = {}
  for _, o in ipairs(owners) do
    local delta = c[o.name].last and c[o.name]:delta { span = window } or 0
    if delta == delta and delta ~= 0 then list[#list + 1] = { owner = o, delta = delta } end
  end
  table.sort(list, function(a, b) return a.delta > b.delta or a.delta == b.delta and a.owner.name < b.owner.name end)
  return list
end

local function words(list)
  local out = {}
  for i = 1, math.min(#list, 4) do out[i] = list[i].owner.name .. " " .. mib(list[i].delta) end
  return table.concat(out, ", ")
end

-- Descriptors' bytes are in nobody's RSS; they count when they grow and RSS does not follow.
local function kernel(c)
  local p = c.p
  local steps, delta = c.hidden:rising { span = p.span, steps = p.steps }
  if steps < p.steps or delta < p.least then return end
  local rss = c.rss.last and c.rss:delta { span = p.span * p.steps } or 0
  if rss == rss and rss > delta / 2 then return end
  return c:finding { key = "kernel", value = delta / (p.span * p.steps) * 3600, unit = "bytes", delta = delta, kind = "kernel objects",
    confidence = 0.95, parts = "held through descriptors only " .. mib(delta), outside = c.hidden.last }
end

tm.rule {
  id = "cgo_gap",
  doc = "says whose memory grows: C, Go, JS, the JVM, a driver, kernel objects, or what nobody explains",
  every = "30s", hold = "30s", linger = "5m", level = "warn", inhibits = { "go.cgo_gap" },
  inputs = {
    rss = tm.series("account.rss", { every = "30s", window = "40m" }),
    c = tm.series("account.c_heap", { every = "30s", window = "40m" }),
    unexplained = tm.series("account.unexplained", { every = "30s", window = "40m" }),
    go = tm.series("account.go", { every = "30s", window = "40m" }),
    js = tm.series("account.v8", { every = "30s", window = "40m" }),
    jvm = tm.series("account.jvm", { every = "30s", window = "40m" }),
    shm = tm.series("account.shared_memory", { every = "30s", window = "40m" }),
    gpu = tm.series("account.gpu", { every = "30s", window = "40m" }),
    stacks = tm.series("account.stacks", { every = "30s", window = "40m" }),
    files = tm.series("account.files", { every = "30s", window = "40m" }),
    hidden = tm.series("proc.hidden", { every = "30s", window = "40m" }),
  },
  params = { span = "60s", steps = 5, managed_steps = 20, least = "16MB", share = 0.6, high = "1GB" },
  check = function(c)
    local p, found = c.p, {}
    found[1] = kernel(c)
    local window = p.span * p.steps
    local list = shares(c, window)
    local top, total = list[1], c.rss.last and c.rss:delta { span = window } or 0
    if top and top.delta >= p.share * math.max(total, p.least) then
      local wanted = managed[top.owner.name] and p.managed_steps or p.steps
      local steps, delta = c[top.owner.name]:rising { span = p.span, steps = wanted }
      if steps >= wanted and delta >= p.least then
        local rate = delta / (p.span * wanted) * 3600
        found[#found + 1] = c:finding { key = top.owner.name, level = rate > p.high and "high" or "warn", value = rate, unit = "bytes", delta = delta,
          kind = top.owner.doc, confidence = math.min(top.delta / math.max(total, top.delta), 0.99), parts = words(list), outside = c[top.owner.name].last }
      end
    end
    return found
  end,
  on = {
    warn = function(c) c:attach(c:await(c.take.mapping_table {}), "mapping table") end,
    high = function(c) c:attach(c:await(c.take.mapping_table {}), "mapping table") end,
  },
  caps = { "take:mapping_table" },
  say = "{target} leaks {kind}: {delta:bytes} more, {value:bytes}/h, now {outside:bytes} ({confidence:pct} sure; {parts})",
  tests = {
    { name = "names C", feed = { ["account.rss"] = "30s 100M+10Mx40", ["account.c_heap"] = "30s 20M+10Mx40", ["account.go"] = "30s 60Mx40",
        ["account.unexplained"] = "30s 1Mx40" },
      expect = { { at = "4m", is = "inactive" }, { at = "8m", is = "firing", level = "high", key = "c", text = "leaks C:" } } },
    { name = "names what nobody explains", feed = { ["account.rss"] = "30s 100M+2Mx40", ["account.unexplained"] = "30s 1M+2Mx40",
        ["account.c_heap"] = "30s 20Mx40" }, expect = { { at = "12m", is = "firing", level = "warn", key = "unexplained", text = "nobody accounts" } } },
    { name = "names Go after longer", feed = { ["account.rss"] = "30s 100M+2Mx60", ["account.go"] = "30s 60M+2Mx60", ["account.c_heap"] = "30s 20Mx60" },
      expect = { { at = "15m", is = "inactive" }, { at = "25m", is = "firing", key = "go", text = "leaks Go:" } } },
    { name = "names JS", feed = { ["account.rss"] = "30s 100M+2Mx60", ["account.v8"] = "30s 60M+2Mx60", ["account.c_heap"] = "30s 20Mx60" },
      expect = { { at = "25m", is = "firing", key = "js", text = "leaks JS:" } } },
    { name = "names kernel objects though RSS is flat", feed = { ["account.rss"] = "30s 100Mx40", ["account.c_heap"] = "30s 20Mx40",
        ["proc.hidden"] = "30s 8Mx2 8M+8Mx30" }, expect = { { at = "10m", is = "firing", key = "kernel", text = "kernel objects" } } },
    { name = "is quiet about a warm-up that ends", never = true,
      feed = { ["account.rss"] = "30s 100M+10Mx8 180Mx40", ["account.c_heap"] = "30s 20M+10Mx8 100Mx40" } },
    { name = "is quiet about a collector's sawtooth", never = true,
      feed = { ["account.rss"] = "30s 100M+6Mx16 100M+6Mx16 100M+6Mx16 100M+6Mx16", ["account.go"] = "30s 60M+6Mx16 60M+6Mx16 60M+6Mx16 60M+6Mx16" } },
    { name = "is quiet about a plug-in that loads once", never = true,
      feed = { ["account.rss"] = "30s 100Mx10 180Mx60", ["account.c_heap"] = "30s 20Mx10 100Mx60" } },
  },
}
