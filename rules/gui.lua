-- gui.pixmap_growth, gpu.growth: what a program holds outside its own memory, in the X server and on the GPU (R1).
--
-- A leak of pixmaps or textures shows in the RSS of the server or in none, so that the program looks flat. Each rule wants growth in
-- every one of the last spans: a window that opens, a scene that loads, and buffers that come and go are left alone.
local function climbs(ring, p)
  local steps, delta = ring:rising { span = p.span, steps = p.steps }
  return steps and steps >= p.steps and delta or nil
end

-- The kind of X object that grew most.
local function fastest(c)
  local kind, most = "object", 0
  c.kinds:each(function(name, ring)
    local delta = ring:delta {}
    if delta and delta > most then kind, most = name, delta end
  end)
  return kind, most
end

tm.rule {
  id = "gui.pixmap_growth",
  doc = "pixmaps or other objects in the X server that grow steadily: no RSS of the program shows them",
  every = "2s", hold = "4s", linger = "20s", cooldown = "5m", level = "high",
  inputs = {
    bytes = tm.ring("x.bytes", { every = "2s", keep = 60 }),
    count = tm.ring("x.resources", { every = "2s", keep = 60 }),
    kinds = tm.ring("x.kinds", { every = "2s", keep = 60, by = "type" }),
  },
  params = { steps = 6, span = "5s", bytes = "4MB", count = 64 },
  check = function(c)
    local bytes, count = climbs(c.bytes, c.p), climbs(c.count, c.p)
    if not (bytes and bytes >= c.p.bytes) and not (count and count >= c.p.count) then return end
    local kind, more = fastest(c)
    return c:finding { value = c.bytes.last, unit = "bytes", count = c.count.last, more = more, kind = kind, grew = bytes or 0 }
  end,
  on = { high = function(c) c:attach(c:await(c.take.x_table { timeout = "15s" }), "X resources by type") end },
  caps = { "take:x_table" },
  say = "{target} holds {value:bytes} of pixmaps in the X server; {more:count} more of type {kind}, {count:count} objects in all",
  tests = {
    { name = "names a pixmap leak", fires = "high", acts = {},
      feed = { ["x.bytes"] = "2s 4M+1Mx40", ["x.resources"] = "2s 40+16x40", ["x.kinds{PIXMAP}"] = "2s 20+16x40", ["x.kinds{GC}"] = "2s 4x40" } },
    { name = "names a leak of windows", fires = "high",
      feed = { ["x.bytes"] = "2s 1Mx40", ["x.resources"] = "2s 40+16x40", ["x.kinds{WINDOW}"] = "2s 20+16x40" } },
    { name = "is quiet about a warm-up: windows that open and stay", never = true,
      feed = { ["x.bytes"] = "2s 1M+8Mx6 49Mx60", ["x.resources"] = "2s 40+100x6 640x60" } },
    { name = "is quiet about a sawtooth of buffers", never = true,
      feed = { ["x.bytes"] = "2s 4M+8Mx4 4M+8Mx4 4M+8Mx4 4M+8Mx4 4M+8Mx4 4M+8Mx4 4M+8Mx4", ["x.resources"] = "2s 40x35" } },
  },
}

tm.rule {
  id = "gpu.growth",
  doc = "GPU memory of the program that grows steadily: textures and buffers that are never given back",
  every = "5s", hold = "10s", linger = "30s", cooldown = "5m", level = "high",
  inputs = {
    resident = tm.ring("gpu.resident", { every = "5s", keep = 60 }),
    regions = tm.ring("gpu.regions", { every = "5s", keep = 60, by = "region" }),
  },
  params = { steps = 6, span = "10s", bytes = "32MB" },
  check = function(c)
    local grew = climbs(c.resident, c.p)
    if not grew or grew < c.p.bytes then return end
    local region, most = "", 0
    c.regions:each(function(name, ring)
      local delta = ring:delta {}
      if delta and delta > most then region, most = name, delta end
    end)
    return c:finding { value = c.resident.last, unit = "bytes", grew = grew, region = region }
  end,
  on = { high = function(c) c:attach(c:await(c.take.gpu_table { timeout = "15s" }), "GPU memory by region") end },
  caps = { "take:gpu_table" },
  say = "{target} holds {value:bytes} of GPU memory, {grew:bytes} more than a minute ago, most of it in {region}",
  tests = {
    { name = "names the region", fires = "high", feed = { ["gpu.resident"] = "5s 100M+4Mx40", ["gpu.regions{amdgpu/vram}"] = "5s 100M+4Mx40" } },
    { name = "is quiet about a warm-up: a scene that loads", never = true, feed = { ["gpu.resident"] = "5s 20M+60Mx6 380Mx60" } },
    { name = "is quiet about a sawtooth of buffers", never = true,
      feed = { ["gpu.resident"] = "5s 100M+20Mx4 100M+20Mx4 100M+20Mx4 100M+20Mx4 100M+20Mx4 100M+20Mx4 100M+20Mx4" } },
  },
}
