-- Goroutines that leak in ways that have a name (R11): each rule knows one by its frames, says who starts them and what to do.
--
-- A pattern is named when its goroutines became more in each of the last snapshots, by `delta` in all. go.goroutine_pile names the
-- rest by creation site; what a dump can prove is `tidemark proof`.

-- One pattern. where: what its goroutines look like (see rule-guide, where{}); by: what tells them apart.
local function pattern(spec)
  local function piles(c)
    local list, seen = {}, {}
    for _, filter in ipairs(spec.where) do
      local frame = c.goroutines:where(filter):pivot(spec.by, "count")
      if frame.snapshots > c.p.steps then
        local rising = frame:monotonic { steps = c.p.steps, min_delta = c.p.delta }
        for i = 1, math.min(#rising, c.p.most) do
          local row = rising[i]
          if not seen[row.key] then
            list[#list + 1] = c:finding { level = row.last >= c.p.high and "high" or "warn", key = row.key, value = row.last, unit = "count",
              delta = row.delta, steps = row.steps, per_hour = row.per_hour, site = row.key, trace = rising:stack(i) }
          end
          seen[row.key] = true
        end
      end
    end
    return list
  end
  tm.rule {
    id = spec.id, doc = spec.doc, every = "60s", linger = "5m", level = "warn",
    inputs = { goroutines = tm.snapshots("go.goroutines", { every = "60s", keep = 6 }) },
    params = { steps = 5, delta = spec.delta or 20, high = 5000, most = 3 },
    check = piles,
    on = {
      warn = function(c) c:attach(c:await(c.take.goroutine_profile { timeout = "30s" }), "goroutine profile") end,
      high = function(c) c:attach(c:await(c.take.goroutine_profile { timeout = "30s" }), "goroutine profile") end,
    },
    caps = { "take:goroutine_profile" },
    say = spec.say, tests = spec.tests,
  }
end

-- Snapshots of a test: counts of the pattern, beside others that do not change.
local function dumps(counts, row)
  local list = { every = "60s" }
  for i, n in ipairs(counts) do
    list[i] = { { stack = row.stack, value = n, created_by = row.created_by, state = row.state },
      { stack = "main.worker;runtime.gopark", value = 30, created_by = "main.pool", state = "select" } }
  end
  return { goroutines = list }
end

local rising, breathing = { 5, 15, 25, 35, 45, 55 }, { 5, 90, 6, 80, 7, 95, 5, 85 }

local function tests(text, row, others)
  local list = {
    { name = "names the pattern", snapshots = dumps(rising, row),
      expect = { { at = "4m", is = "inactive" }, { at = "5m30s", is = "firing", level = "warn", text = text } } },
    { name = "is quiet about a sawtooth of those that come and go", never = true, snapshots = dumps(breathing, row) },
    { name = "is quiet about a warm-up that ends", never = true, snapshots = dumps({ 5, 60, 120, 120, 120, 120, 120 }, row) },
  }
  for _, other in ipairs(others or {}) do
    list[#list + 1] = { name = "is quiet about " .. other.what, never = true, snapshots = dumps(rising, other) }
  end
  return list
end

local read_loop = "runtime.goexit;net/http.(*persistConn).readLoop"
pattern {
  id = "go.unread_bodies", by = "created_by",
  doc = "HTTP responses whose bodies nobody reads to the end or closes: each keeps a connection and two goroutines",
  -- A connection that rests in the pool waits for the network; one with an unread body waits in a select.
  where = { { focus = "^net/http\\.\\(\\*persistConn\\)\\.readLoop$", state = "select*" } },
  say = "{target} leaks HTTP responses: {value:count} bodies are neither read to the end nor closed (connections of {site}), "
    .. "{delta:count} more in {steps} snapshots; close every response: defer resp.Body.Close()",
  tests = tests("55 bodies are neither read", { stack = read_loop, created_by = "net/http.(*Transport).dialConn", state = "select" },
    { { what = "connections that rest", stack = read_loop .. ";bufio.(*Reader).Peek;internal/poll.runtime_pollWait",
      created_by = "net/http.(*Transport).dialConn", state = "IO wait" } }),
}

pattern {
  id = "go.uncancelled_contexts", by = "created_by",
  doc = "contexts that nobody cancels: each keeps a goroutine that waits for its parent",
  where = { { focus = "^context\\.\\(\\*cancelCtx\\)\\.propagateCancel\\.", blocked = true }, { focus = "^context\\.propagateCancel\\.", blocked = true } },
  say = "{target} leaks contexts: {value:count} are never cancelled ({site}), {delta:count} more in {steps} snapshots; call the cancel function "
    .. "that context.With... gave: defer cancel()",
  tests = tests("55 are never cancelled",
    { stack = "runtime.goexit;context.(*cancelCtx).propagateCancel.func2", created_by = "context.(*cancelCtx).propagateCancel", state = "select" }),
}

pattern {
  id = "go.lock_waiters", by = { "created_by", "state" },
  doc = "goroutines pile up behind a lock, a WaitGroup or a condition that does not come free",
  where = { { state = "sync.*" }, { state = "semacquire*" }, { state = "sync" } }, -- the last of a trace
  say = "{target}: {value:count} goroutines wait for a lock or a WaitGroup ({site}), {delta:count} more in {steps} snapshots; look for a path "
    .. "that returns without Unlock or Done",
  tests = tests("wait for a lock", { stack = "runtime.goexit;main.work;sync.(*Mutex).Lock", created_by = "main.serve", state = "sync.Mutex.Lock" },
    { { what = "goroutines that wait for channels", stack = "runtime.goexit;main.work", created_by = "main.serve", state = "chan receive" } }),
}

-- Timers and tickers live in the heap: what still is in use behind a collection.
tm.rule {
  id = "go.unstopped_timers",
  doc = "timers or tickers that are never stopped: more of them in use behind every collection",
  every = "5m", linger = "15m", level = "warn",
  inputs = { heap = tm.snapshots("pprof.heap", { every = "5m", keep = 6, gc = true }) },
  params = { steps = 5, delta = 1000, most = 3 },
  check = function(c)
    local frame = c.heap:where { focus = "^time\\.(NewTicker|NewTimer|AfterFunc|After|Tick)$" }:pivot("path", "inuse_objects")
    if frame.snapshots <= c.p.steps then return c:skip(("%d of %d snapshots"):format(frame.snapshots, c.p.steps + 1)) end
    local number = 0
    local leaks = frame:monotonic { steps = c.p.steps, min_delta = c.p.delta }:top(c.p.most)
    return leaks:each(function(row)
      number = number + 1
      local kind = row.key:match("time%.(%u%a*)") -- what the program called: NewTicker has its timer made by time.newTimer
      return c:finding { level = "warn", key = row.key, value = row.last, unit = "count", delta = row.delta, steps = row.steps, kind = kind,
        site = row.key:match("([^;]+);time%.") or row.key, trace = leaks:stack(number) }
    end)
  end,
  say = "{target} leaks timers: about {value:count} of time.{kind} by {site} are in use, {delta:count} more over {steps} collections; call Stop "
    .. "(before Go 1.23 an unstopped ticker is never freed, since then as long as something refers to it)",
  tests = (function()
    local function heaps(counts, stack)
      local list = { every = "5m", type = "inuse_objects", unit = "count" }
      for i, n in ipairs(counts) do list[i] = { [stack] = n, ["main.main;main.cache"] = 5000 } end
      return { heap = list }
    end
    return {
      { name = "names who makes tickers", snapshots = heaps({ 1000, 2000, 3000, 4000, 5000, 6000 }, "main.main;main.poll;time.NewTicker"),
        expect = { { at = "20m", is = "inactive" }, { at = "26m", is = "firing", level = "warn", text = "time.NewTicker by main.poll" } } },
      { name = "names what the program called, since Go 1.23",
        snapshots = heaps({ 1000, 2000, 3000, 4000, 5000, 6000 }, "main.main;main.poll;time.NewTicker;time.newTimer"),
        expect = { { at = "26m", is = "firing", level = "warn", text = "time.NewTicker by main.poll" } } },
      { name = "is quiet about other objects", never = true, snapshots = heaps({ 1000, 2000, 3000, 4000, 5000, 6000, 7000 }, "main.main;main.grow") },
      { name = "is quiet about a warm-up that ends", never = true,
        snapshots = heaps({ 1000, 9000, 9000, 9000, 9000, 9000, 9000 }, "main.main;main.poll;time.NewTicker") },
      { name = "is quiet about a sawtooth of timers that are stopped", never = true,
        snapshots = heaps({ 1000, 9000, 1000, 8000, 1200, 9000, 1000 }, "main.main;main.poll;time.NewTimer") },
    }
  end)(),
}

-- Go 1.26 and later can say it themselves, when built so: every goroutine of this profile is leaked.
tm.rule {
  id = "go.leaked",
  doc = "goroutines that Go's own detector found leaked (profile goroutineleak, Go 1.26 built with it)",
  every = "5m", linger = "15m", level = "high",
  inputs = { leaked = tm.snapshots("pprof.goroutineleak", { every = "5m", keep = 2 }) },
  params = { least = 1, most = 5 },
  check = function(c)
    local frame = c.leaked:pivot("site", "")
    local number = 0
    local leaks = frame:over("last", c.p.least - 1):top(c.p.most, "last")
    return leaks:each(function(row)
      number = number + 1
      return c:finding { level = "high", key = row.key, value = row.last, unit = "count", site = row.key, trace = leaks:stack(number) }
    end)
  end,
  say = "{target}: {value:count} goroutines at {site} can never run again",
  tests = {
    { name = "names where they are", snapshots = { leaked = { every = "5m", { ["main.main;main.leak"] = 12 }, { ["main.main;main.leak"] = 12 } } },
      expect = { { at = "6m", is = "firing", level = "high", text = "12 goroutines at main.leak" } } },
    { name = "is quiet about a warm-up without any", never = true, snapshots = { leaked = { every = "5m", {}, {} } } },
    { name = "is quiet about a sawtooth of goroutines that no detector names", never = true, snapshots = { leaked = { every = "5m", {}, {}, {} } } },
  },
}
