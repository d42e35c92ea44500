-- proc.handle_spike: descriptors that jump, climb, or come near their limit (R1).
--
-- The count costs next to nothing and is taken every second; what kind they are is looked at every five. A jump is
-- measured against the spread of the samples before it, so that an app that always opens and closes many is left alone.
tm.list("handles.quiet_kinds", {})

local function fastest_kind(c)
  local kind, most = "", 0
  c.kinds:each(function(name, ring)
    local delta = ring:delta {}
    if delta and delta > most then kind, most = name, delta end
  end)
  return kind
end

local function quiet(c, kind)
  for _, name in ipairs(c.lists["handles.quiet_kinds"]) do
    if name == kind then return true end
  end
  return false
end

tm.rule {
  id = "proc.handle_spike",
  doc = "open descriptors jump, climb steadily, or come near their limit",
  every = "1s", hold = "2s", linger = "15s", cooldown = "1m", level = "high",
  inputs = {
    fds = tm.ring("proc.fds", { every = "1s", keep = 300 }),
    kinds = tm.ring("proc.handles", { every = "5s", keep = 24, by = "kind" }),
    limit = tm.gauge("proc.fd_limit", { every = "60s" }),
  },
  params = { floor = 64, sigma = 6, share = 0.8, steps = 4, climb = 64 },
  check = function(c)
    local now = c.fds.last
    if not now then return end
    if c.limit.last and now > c.p.share * c.limit.last then
      return c:finding { level = "critical", key = "limit", value = now, unit = "count", limit = c.limit.last, kind = fastest_kind(c),
        what = "uses " .. math.floor(100 * now / c.limit.last) .. " % of its descriptors" }
    end
    if c.fds.n >= 30 then
      local base, spread = c.fds:median { skip = 10, last = 60 }, c.fds:mad { skip = 10, last = 60 }
      local jump = math.floor(c.fds:max { last = 10 } - base)
      if jump > math.max(c.p.floor, c.p.sigma * spread) and now - base > jump / 2 and not quiet(c, fastest_kind(c)) then
        return c:finding { key = "fd", value = jump, unit = "count", base = math.floor(base), kind = fastest_kind(c), what = "descriptors jumped" }
      end
    end
    local steps, delta = c.fds:rising { span = "10s", steps = c.p.steps }
    if steps >= c.p.steps and delta >= c.p.climb and not quiet(c, fastest_kind(c)) then
      return c:finding { key = "fd", value = delta, unit = "count", base = now - delta, kind = fastest_kind(c),
        what = "descriptors climb" }
    end
  end,
  on = {
    high = function(c) c:attach(c:await(c.take.handle_table { timeout = "15s" }), "descriptor table") end,
    critical = function(c) c:attach(c:await(c.take.handle_table { timeout = "15s" }), "descriptor table") end,
  },
  caps = { "take:handle_table" },
  say = "{target}: {what}: {value:count} more than {base:count}, most of kind {kind}",
  tests = {
    { name = "sees a jump, and names its kind",
      feed = { ["proc.fds"] = "1s 40x60 540x30", ["proc.handles{socket}"] = "5s 20x12 520x6", ["proc.handles{file}"] = "5s 20x18" },
      expect = { { at = "50s", is = "inactive" }, { at = "66s", is = "firing", level = "high", key = "fd", text = "socket" } } },
    { name = "sees a steady climb", feed = { ["proc.fds"] = "1s 40+3x90", ["proc.handles{pipe}"] = "5s 10+15x18" },
      expect = { { at = "70s", is = "firing", text = "pipe" } } },
    { name = "is critical near the limit", feed = { ["proc.fds"] = "1s 900x20", ["proc.fd_limit"] = "10s 1024x3" },
      expect = { { at = "15s", is = "firing", level = "critical", key = "limit" } } },
    { name = "is quiet about a warm-up", feed = { ["proc.fds"] = "1s 10+2x25 60x120" }, never = true },
    { name = "is quiet about a sawtooth of connections", never = true,
      feed = { ["proc.fds"] = "1s 40+10x20 40+10x20 40+10x20 40+10x20 40+10x20 40+10x20 40+10x20 40+10x20" } },
  },
}

tm.rule {
  id = "proc.hidden_growth",
  doc = "memory that no RSS shows (memfd, deleted files, socket queues, orphaned SysV segments) grows",
  every = "5s", hold = "5s", linger = "30s", level = "warn",
  inputs = {
    hidden = tm.ring("proc.hidden", { every = "5s", keep = 120 }),
    bytes = tm.ring("proc.handle_bytes", { every = "5s", keep = 120, by = "kind" }),
  },
  params = { steps = 3, least = "16MB", high = "512MB" },
  check = function(c)
    local steps, delta = c.hidden:rising { span = "10s", steps = c.p.steps }
    if steps < c.p.steps or delta < c.p.least then return end
    local kind, most = "?", 0
    c.bytes:each(function(name, ring)
      local grew = ring:delta {}
      if grew and grew > most then kind, most = name, grew end
    end)
    return c:finding { level = c.hidden.last > c.p.high and "high" or "warn", value = c.hidden.last, unit = "bytes", delta = delta,
      kind = kind }
  end,
  on = { warn = function(c) c:attach(c:await(c.take.handle_table {}), "descriptor table") end },
  caps = { "take:handle_table" },
  say = "{target} holds {value:bytes} that its RSS does not show, {delta:bytes} more in 30 s, through {kind} descriptors",
  tests = {
    { name = "names hidden memory that grows",
      feed = { ["proc.hidden"] = "5s 0+8Mx20", ["proc.handle_bytes{memfd}"] = "5s 0+8Mx20" },
      expect = { { at = "60s", is = "firing", level = "warn", text = "memfd" } } },
    { name = "is quiet about a buffer that is set up once", feed = { ["proc.hidden"] = "5s 0+16Mx3 48Mx40" }, never = true },
    { name = "is quiet about a sawtooth", feed = { ["proc.hidden"] = "5s 8M+8Mx4 8M+8Mx4 8M+8Mx4 8M+8Mx4 8M+8Mx4" }, never = true },
  },
}
