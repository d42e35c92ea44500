-- How many goroutines begin and how many end, by what they run: short execution traces say what no dump can.
--
-- A trace is some seconds long, a life may be longer: those that end now began before it, and of these only the first function is
-- known. Begun and ended are therefore weighed by first function, and ends of unknown ones count for everybody.

-- Sums what a view counted in all its traces.
local function sum(view, value)
  local all = 0
  for _, one in ipairs(view:totals(value)) do all = all + one.value end
  return all
end

tm.rule {
  id = "go.never_ending",
  doc = "goroutines that are begun again and again and do not end: begun and ended, counted by short traces",
  every = "5m", linger = "15m", level = "warn",
  inputs = { t = tm.trace("go", { every = "5m", seconds = 1, keep = 6 }) },
  params = { ratio = 2, least = 20, steps = 5, delta = 20, high = 5000, most = 3 },
  check = function(c)
    local alive = c.t:pivot("entry", "count")
    if alive.snapshots <= c.p.steps then return c:skip(("%d of %d traces"):format(alive.snapshots, c.p.steps + 1)) end
    local rising = alive:monotonic { steps = c.p.steps, min_delta = c.p.delta }:reject("unknown"):top(c.p.most)
    local begun = c.t:pivot("entry", "created")
    local unknown = rising[1] and sum(c.t:where { label = { entry = "unknown" } }, "ended") or 0
    return rising:each(function(row)
      local own = c.t:where { label = { entry = row.key:gsub("[%*%[%]\\]", "?") } }
      local created, ended = sum(own, "created"), sum(own, "ended") + unknown
      if created < c.p.least or created <= c.p.ratio * ended then return end
      local origin = begun:only { row.key }:stack(1)
      return c:finding { level = row.last >= c.p.high and "high" or "warn", key = row.key, value = row.last, unit = "count", delta = row.delta,
        per_hour = row.per_hour, created = created, ended = ended, traces = alive.snapshots, site = origin and origin:match("^[^\n]+") or "unknown",
        trace = origin }
    end)
  end,
  say = "{target}: {value:count} goroutines run {key}, {delta:count} more in {traces} traces, in which {created} began and {ended} ended; "
    .. "begun at {site}: give each a way to end (a context, a closed channel)",
  tests = (function()
    -- Traces of goroutines of main.poll: how many there are, began, ended; old ones end as a pile without a creation.
    local function traces(rows, creation)
      local list = { every = "5m" }
      for i, n in ipairs(rows) do
        list[i] = { { stack = "main.poll;main.wait", count = n[1], state = "chan receive", entry = "main.poll" },
          { stack = "main.handle", count = 30, state = "network", entry = "main.handle" },
          { stack = "main.main;main.accept", created = 500, ended = 480, entry = "main.handle", created_by = "main.accept" } }
        if n[2] > 0 then table.insert(list[i], { stack = creation or "main.main;main.serve", created = n[2], ended = n[3], entry = "main.poll",
          created_by = "main.serve" }) end
        if n[4] then table.insert(list[i], { stack = n[5] or "main.poll", created = 0, ended = n[4], entry = n[5] or "main.poll" }) end
      end
      return { t = list }
    end
    local leak = { { 100, 30, 0 }, { 130, 30, 0 }, { 160, 30, 1 }, { 190, 30, 0 }, { 220, 30, 0 }, { 250, 30, 0 } }
    local function with(rows, ...)
      local out = {}
      for i, n in ipairs(rows) do out[i] = table.pack(n[1], n[2], n[3], ...) end
      return out
    end
    return {
      { name = "names what begins and does not end", snapshots = traces(leak),
        expect = { { at = "20m", is = "inactive" }, { at = "26m", is = "firing", level = "warn", text = "180 began and 1 ended; begun at main.serve" } } },
      { name = "is quiet when older ones of the same function end", never = true, snapshots = traces(with(leak, 20)) },
      { name = "is quiet when unknown ones end", never = true, snapshots = traces(with(leak, 20, "unknown")) },
      { name = "is quiet about few", never = true,
        snapshots = traces { { 100, 1, 0 }, { 130, 1, 0 }, { 160, 1, 0 }, { 190, 1, 0 }, { 220, 1, 0 }, { 250, 1, 0 } } },
      { name = "is quiet about a pile that breathes", never = true,
        snapshots = traces { { 100, 90, 0 }, { 190, 90, 0 }, { 90, 10, 0 }, { 190, 90, 0 }, { 90, 10, 0 }, { 190, 90, 0 } } },
      { name = "is quiet about a warm-up that ends", never = true,
        snapshots = traces { { 10, 90, 0 }, { 100, 30, 0 }, { 130, 2, 2 }, { 130, 2, 2 }, { 130, 2, 2 }, { 130, 2, 2 } } },
    }
  end)(),
}
