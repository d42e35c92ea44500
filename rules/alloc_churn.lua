-- go.alloc_churn: sites that allocate a lot all the time; garbage, not a leak (R6).
--
-- The allocs profile counts since the start, so that its growth is the rate. A site is named when it allocated in every
-- step, above the rate, and when it is a large share of all that the app allocates.
tm.list("go.churn.quiet_sites", { "runtime/pprof.*", "compress/*" })

tm.rule {
  id = "go.alloc_churn",
  doc = "one site allocates a large share of much garbage, all the time: names the site, its rate and share",
  every = "60s", linger = "5m", level = "info",
  inputs = { allocs = tm.snapshots("pprof.allocs", { every = "60s", keep = 5 }) },
  params = { steps = 4, rate = "64MB", share = 0.2, warn = "1GB", most = 3 },
  check = function(c)
    local sites = c.allocs:pivot("site", "alloc_space")
    if sites.snapshots <= c.p.steps or sites.hours <= 0 then return end
    local seconds, total = sites.hours * 3600, sites.last_total - sites.first_total
    return sites:monotonic { steps = c.p.steps, min_delta = c.p.rate * seconds }:reject(c.lists["go.churn.quiet_sites"]):top(c.p.most, "delta")
      :each(function(row)
        local rate, share = row.delta / seconds, row.delta / total
        if share < c.p.share then return end
        return c:finding { level = rate > c.p.warn and "warn" or "info", key = row.key, value = rate, unit = "bytes_per_second", share = share,
          site = row.key, all = total / seconds }
      end)
  end,
  on = { warn = function(c) c:attach(c:await(c.take.allocs { timeout = "30s" }), "allocs profile") end },
  caps = { "take:allocs" },
  say = "{target} churns Go heap: {site} allocates {value:rate}, {share:pct} of all ({all:rate})",
  tests = (function()
    -- Totals since the start: each step adds so many MB at the site and 1 GB elsewhere.
    local function totals(steps)
      local list, site, rest = { every = "60s" }, 1, 1
      for i, mb in ipairs(steps) do
        site, rest = site + mb, rest + 1024
        list[i] = { ["main.main;main.encode"] = site << 20, ["main.main;main.other"] = rest << 20 }
      end
      return { allocs = list }
    end
    return {
      { name = "names the site, its rate and its share", snapshots = totals { 0, 6000, 6000, 6000, 6000, 6000 },
        expect = { { at = "3m", is = "inactive" }, { at = "4m30s", is = "firing", level = "info", text = "main.encode allocates" } } },
      { name = "warns above a gigabyte per second", snapshots = totals { 0, 70000, 70000, 70000, 70000 }, fires = "warn" },
      { name = "is quiet about a warm-up that ends", never = true, snapshots = totals { 0, 20000, 20000, 0, 0, 0, 0, 0 } },
      { name = "is quiet about a sawtooth of bursts", never = true, snapshots = totals { 0, 20000, 0, 20000, 0, 20000, 0, 20000 } },
      { name = "is quiet about a small share", never = true, snapshots = totals { 0, 100, 100, 100, 100, 100, 100 } },
    }
  end)(),
}
