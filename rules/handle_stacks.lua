-- proc.handle_opener: who opens the descriptors and makes the pixmaps that become more and more (R1).
--
-- The counts cost next to nothing and are taken all the time. While one of them climbs, the malloc agent inside of the program, if
-- it has one, records who opens what (`tidemark run --malloc`, `tidemark inject`); what has been held since then is told by kind and
-- stack. Without an agent nothing is asked and nothing said: proc.handle_spike and gui.pixmap_growth find such leaks from outside.
tm.list("handles.quiet_openers", {})

local function climbs(ring, p, least)
  if not ring.last then return false end
  local steps, delta = ring:rising { span = p.span, steps = p.steps }
  return steps and steps >= p.steps and delta >= least
end

-- "socket, _start;main;serve;connect" -> socket, { _start, main, serve, connect }
local function split(key)
  local kind, path = key:match("^(.-), (.*)$")
  local frames = {}
  for frame in (path or ""):gmatch("[^;]+") do frames[#frames + 1] = frame end
  return kind, frames
end

-- The kind and the stack that opened most of what is held more, as a finding.
local function opener(c)
  local stacks = c.stacks:pivot({ "kind", "path" }, "handles")
  local gained = stacks.last_total - stacks.first_total
  local grown = stacks:monotonic { steps = c.p.looks - 1, min_delta = c.p.least }:reject(c.lists["handles.quiet_openers"]):top(8, "delta")
  for i = 1, #grown do
    local row = grown[i]
    local kind, frames = split(row.key)
    if kind and #frames > 0 and row.delta >= c.p.share * math.max(gained, row.delta) then
      local from = math.max(1, #frames - 3)
      return c:finding { key = kind, value = row.last, unit = "count", delta = row.delta, kind = kind, share = math.min(row.delta / gained, 1),
        opener = frames[#frames], path = table.concat(frames, " > ", from), trace = grown:stack(i) }
    end
  end
  return nil
end

tm.rule {
  id = "proc.handle_opener",
  doc = "names who opens the descriptors or makes the pixmaps that become more, where the program has the malloc agent",
  every = "2s", linger = "30s", cooldown = "5m", level = "warn",
  inputs = {
    fds = tm.ring("proc.fds", { every = "1s", keep = 120 }),
    x = tm.ring("x.resources", { every = "2s", keep = 60 }),
    stacks = tm.snapshots("agent.handles", { every = "3s", keep = 6, arm = true }),
  },
  params = { span = "5s", steps = 3, fds = 12, objects = 24, looks = 3, least = 6, share = 0.4, calm = 15, patience = 8 },
  check = function(c)
    local s = c.state
    if climbs(c.fds, c.p, c.p.fds) or climbs(c.x, c.p, c.p.objects) then
      s.climbing, s.calm = (s.climbing or 0) + 1, 0
      c:arm "stacks"
    elseif s.calm then
      s.climbing, s.calm = 0, s.calm + 1
      if s.calm > c.p.calm then
        s.calm = nil
        c:disarm "stacks"
      end
    end
    -- What warms up has ended by then.
    if s.calm and s.climbing >= c.p.patience and c.stacks.n >= c.p.looks then return opener(c) end
  end,
  say = "{target} holds {value:count} of kind {kind} that {opener} opened, {delta:count} more and {share:pct} of all that came: {path}",
  tests = (function()
    local function shots(...)
      local list = { every = "3s", type = "handles" }
      for i, n in ipairs { ... } do
        list[i] = { { stack = "main;serve;connect", value = n, kind = "socket" }, { stack = "main;cache;open_file", value = 20, kind = "file" } }
      end
      return list
    end
    local growing = { 0, 9, 18, 27, 36, 45, 54, 63, 72, 81, 90, 99, 108, 117, 126, 135, 144, 153, 162, 171 }
    return {
      { name = "names who opens most of the new ones", feed = { ["proc.fds"] = "1s 40+3x60" }, snapshots = { stacks = shots(table.unpack(growing)) },
        expect = { { at = "10s", is = "inactive" }, { at = "50s", is = "firing", level = "warn", key = "socket", text = "connect opened" } } },
      { name = "names who makes pixmaps", feed = { ["proc.fds"] = "1s 40x60", ["x.resources"] = "2s 40+16x30" },
        snapshots = { stacks = shots(table.unpack(growing)) }, expect = { { at = "50s", is = "firing" } } },
      { name = "is quiet where the program has no agent", never = true, feed = { ["proc.fds"] = "1s 40+3x60" } },
      { name = "is quiet about a warm-up of 20 s", never = true, feed = { ["proc.fds"] = "1s 10+2x20 50x60" },
        snapshots = { stacks = shots(0, 6, 12, 18, 24, 30, 36, 40, 40, 24, 24, 24, 24, 24, 24, 24, 24, 24, 24, 24, 24, 24) } },
      { name = "is quiet about a sawtooth of connections", never = true,
        feed = { ["proc.fds"] = "1s 40+10x12 40+10x12 40+10x12 40+10x12 40+10x12" },
        snapshots = { stacks = shots(10, 40, 70, 100, 10, 40, 70, 100, 10, 40, 70, 100, 10, 40, 70, 100, 10, 40, 70, 100) } },
    }
  end)(),
}
