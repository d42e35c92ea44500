-- proc.mapping_growth: memory mappings that are made and never given back. Their number is limited (65530 by default), and an
-- allocation that would make one more fails then, with memory to spare.
tm.rule {
  id = "proc.mapping_growth",
  doc = "the number of memory mappings climbs, or comes near the kernel's limit",
  every = "5s", warmup = "5s", hold = "0s", linger = "30s", level = "warn",
  inputs = {
    maps = tm.series("proc.maps", { every = "2s", window = "5m" }),
    kinds = tm.ring("proc.mappings", { every = "5s", keep = 60, by = "kind" }),
  },
  params = { steps = 4, least = 100, limit = 65530, share = 0.8 },
  check = function(c)
    local now = c.maps.last
    if not now then return end
    local kind, most = "", 0
    c.kinds:each(function(name, ring)
      local grew = ring:delta {}
      if grew and grew > most then kind, most = name, grew end
    end)
    if now > c.p.share * c.p.limit then
      return c:finding { level = "critical", key = "limit", value = now, unit = "count", delta = most, kind = kind, span = 0 }
    end
    local steps, delta = c.maps:rising { span = "10s", steps = c.p.steps }
    if steps < c.p.steps or delta < c.p.least then return end
    return c:finding { value = now, unit = "count", delta = delta, kind = kind, span = steps * 10 }
  end,
  on = { warn = function(c) c:attach(c:await(c.take.mapping_table {}), "mapping table") end,
    critical = function(c) c:attach(c:await(c.take.mapping_table {}), "mapping table") end },
  caps = { "take:mapping_table" },
  say = "{target} has {value:count} mappings, {delta:count} more in {span:num} s, most of kind {kind}",
  tests = {
    { name = "sees mappings pile up", feed = { ["proc.maps"] = "5s 200+50x24", ["proc.mappings{anon}"] = "5s 100+50x24" },
      expect = { { at = "70s", is = "firing", level = "warn", text = "anon" } } },
    { name = "is critical near the limit", feed = { ["proc.maps"] = "5s 60000x10" },
      expect = { { at = "30s", is = "firing", level = "critical", key = "limit" } } },
    { name = "is quiet about plug-ins that load at the start", feed = { ["proc.maps"] = "5s 100+100x5 600x60" }, never = true },
    { name = "is quiet about a sawtooth", feed = { ["proc.maps"] = "5s 200+100x4 200+100x4 200+100x4 200+100x4 200+100x4" }, never = true },
  },
}
