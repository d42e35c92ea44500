-- session.leak: resources that outlived the session they were bound to (R19).
--
-- An app binds images, callbacks and buffers to a session: by the Go package agent/go, by agent/tidemark_session.h, or by lines to
-- the control socket. When the session is over, what is still registered was leaked: it is named with its age and bytes, and the app
-- is asked to release it where that is allowed (--allow act:session.release).
local function session_of(key) return key:match("^(.*)/[^/]*$") or key end

tm.rule {
  id = "session.leak",
  doc = "what a session registered is still held when it is over",
  every = "2s", hold = "0s", linger = "0s", cooldown = "1m", level = "warn",
  inputs = {
    bytes = tm.ring("session.left_bytes", { every = "1s", keep = 60, by = "session" }),
    count = tm.ring("session.left_count", { every = "1s", keep = 60, by = "session" }),
    over = tm.ring("session.over", { every = "1s", keep = 60, by = "session" }),
  },
  params = { grace = "30s", high = "64MB", least_bytes = 0, least_count = 1 },
  check = function(c)
    local counts, ages, found = {}, {}, {}
    c.count:each(function(key, ring) counts[key] = ring.last end)
    c.over:each(function(key, ring) ages[key] = ring.last end)
    c.bytes:each(function(key, ring)
      local bytes, count, over_ns = ring.last or 0, counts[key] or 0, ages[key] or 0
      if count >= c.p.least_count and bytes >= c.p.least_bytes and over_ns >= c.p.grace * 1e9 then
        found[#found + 1] = c:finding { level = bytes >= c.p.high and "high" or "warn", key = key, value = bytes, unit = "bytes", count = count,
          over = over_ns / 1e9, session = session_of(key), kind = key:sub(#session_of(key) + 2) }
      end
    end)
    return found
  end,
  on = {
    warn = function(c) c:act("session.release", { session = session_of(c.key), cooldown = "1m" }) end,
    high = function(c) c:act("session.release", { session = session_of(c.key), cooldown = "1m" }) end,
  },
  caps = { "act:session.release" },
  say = "{target}: session {session} ended {over:dur} ago and still holds {count:count} of kind {kind}, {value:bytes}",
  tests = {
    { name = "names what is left of a session, and asks for its release", acts = { "session.release" },
      feed = { ["session.left_bytes{doc-7/image}"] = "5s 8Mx24", ["session.left_count{doc-7/image}"] = "5s 3x24",
        ["session.over{doc-7/image}"] = "5s 0+5000000000x24" },
      expect = { { at = "20s", is = "inactive" }, { at = "60s", is = "firing", level = "warn", key = "doc-7/image" } } },
    { name = "ends when it is released", feed = { ["session.left_bytes{d/buffer}"] = "5s 90Mx12 0x12", ["session.left_count{d/buffer}"] = "5s 1x12 0x12",
      ["session.over{d/buffer}"] = "5s 40000000000x24" }, expect = { { at = "30s", is = "firing", level = "high" }, { at = "110s", is = "resolved" } } },
    { name = "is quiet about a warm-up: sessions that begin and hold much", never = true,
      feed = { ["session.bytes{image}"] = "1s 0+4Mx60 240Mx60", ["session.count{image}"] = "1s 0+10x60 600x60" } },
    { name = "is quiet about a sawtooth: what ends is given back in time", never = true,
      feed = { ["session.left_bytes{d/image}"] = "5s 8Mx3 0x3 8Mx3 0x3 8Mx3 0x3", ["session.left_count{d/image}"] = "5s 3x3 0x3 3x3 0x3 3x3 0x3",
        ["session.over{d/image}"] = "5s 0+5000000000x3 0x3 0+5000000000x3 0x3 0+5000000000x3 0x3" } },
    { name = "gives the end of a session its time", never = true, feed = { ["session.left_bytes{d/image}"] = "5s 8Mx4 0x20",
      ["session.left_count{d/image}"] = "5s 3x4 0x20", ["session.over{d/image}"] = "5s 0+5000000000x24" } },
  },
}
