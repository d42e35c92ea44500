-- pressure: three levels of memory pressure of one app, and what to do at each (R20).
--
--   warning   RSS > 512 MB and growing by more than 5 MB in 10 s    the app clears its caches (its hook)
--   severe    RSS > 896 MB                                          a collection; cold pages go to swap
--   critical  RSS > 1.2 GB, or more than a million allocations/s    the app keeps IPC only; its cgroup is reclaimed
--
-- Every action is an experiment: RSS, swap, stalls and refaults are measured before and a while after; one that gained
-- nothing twice is disabled and says why. All numbers are parameters: tm.override changes them for an app.
tm.rule {
  id = "pressure",
  doc = "memory pressure of the app in three levels, with an action for each",
  every = "1s", hold = "2s", linger = "20s", cooldown = "30s",
  inputs = {
    rss = tm.ring("proc.rss", { every = "1s", keep = 60 }),
    allocs = tm.gauge("go.allocs", { every = "5s" }),
  },
  params = { warning = "512MB", growth = "5MB", severe = "896MB", critical = "1.2GB", allocs = 1e6 },
  check = function(c)
    local rss = c.rss.last
    if not rss then return end
    local growth = c.rss:delta { span = "10s" }
    local level
    if rss > c.p.critical or (c.allocs.last or 0) > c.p.allocs then level = "critical"
    elseif rss > c.p.severe then level = "high"
    elseif rss > c.p.warning and growth > c.p.growth then level = "warn" end
    if not level then return end
    return c:finding { level = level, value = rss, unit = "bytes", growth_10s = growth }
  end,
  on = {
    warn = function(c)
      if c.target.has_hook then c:await(c:act("app.hook", { command = "clear-caches", cooldown = "30s" })) end
    end,
    high = function(c)
      if c.target.has_hook or c.target.has_endpoint then c:await(c:act("runtime.gc", { cooldown = "30s" })) end
      c:act("mem.page_out", { bytes = "256MB", cooldown = "2m" })
    end,
    critical = function(c)
      c:attach(c:await(c.take.mapping_table {}), "mapping table")
      if c.target.has_hook then
        c.state.paused = true
        c:act("app.hook", { command = "pause", cooldown = "1m" })
      end
      c:act("cgroup.reclaim", { bytes = "256MB", cooldown = "2m" })
    end,
    resolve = function(c)
      if not c.state.paused then return end
      c.state.paused = false
      c:act("app.hook", { command = "resume" })
    end,
  },
  caps = { "act:app.hook", "act:runtime.gc", "act:mem.page_out", "act:cgroup.reclaim", "take:mapping_table" },
  say = "{target} holds {value:bytes} ({growth_10s:bytes} more than 10 s ago)",
  tests = {
    { name = "warns above 512 MB while it grows, and asks for the caches", target = { has_hook = true },
      feed = { ["proc.rss"] = "1s 480M+2Mx40" }, acts = { "app.hook" },
      expect = { { at = "10s", is = "inactive" }, { at = "30s", is = "firing", level = "warn" } } },
    { name = "is severe above 896 MB and critical above 1.2 GB", target = { has_hook = true },
      feed = { ["proc.rss"] = "1s 880M+4Mx100" }, acts = { "runtime.gc", "mem.page_out", "cgroup.reclaim" },
      expect = { { at = "20s", is = "firing", level = "high" }, { at = "95s", is = "firing", level = "critical" } } },
    { name = "is quiet about a large app that does not grow", feed = { ["proc.rss"] = "1s 700Mx120" }, never = true },
    { name = "is quiet about a warm-up below the first level", feed = { ["proc.rss"] = "1s 100M+10Mx40 500Mx60" }, never = true },
    { name = "is quiet about a small app's sawtooth", never = true,
      feed = { ["proc.rss"] = "1s 200M+12Mx20 200M+12Mx20 200M+12Mx20 200M+12Mx20" } },
    { name = "steps down when memory came back",
      feed = { ["proc.rss"] = "1s 880M+4Mx30 300Mx120" },
      expect = { { at = "25s", is = "firing", level = "high" }, { at = "140s", is = "resolved" } } },
  },
}
