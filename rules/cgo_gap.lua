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
