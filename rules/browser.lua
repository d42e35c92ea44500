-- What a browser's trace tells of a page: work that holds up its main thread (R12), operations that begin and do not end,
-- nodes and listeners that only become more. One trace is enough; several of the same page say what grows from one to the next.
tm.list("ui.quiet_work", { "*chrome://*", "*chrome-extension://*", "*devtools://*", "other" })

local function plain(key) return (key:gsub("[%*%[%]\\]", "?")) end

-- Rows of a test: one trace, or several 5 minutes apart.
local function traces(...) return { t = table.move({ ... }, 1, select("#", ...), 1, { every = "5m" }) } end

tm.rule {
  id = "ui.long_tasks",
  doc = "a script, layout or collection blocks the main thread of a page for more than 50 ms again and again",
  every = "5m", linger = "15m", level = "warn",
  inputs = { t = tm.trace("chrome", { every = "5m", keep = 2 }) },
  params = { least = 5, share = 10, high = 40, most = 3 },
  check = function(c)
    local tasks = c.t:where { label = { what = "task" } }
    local took, seconds = tasks:pivot("work", "time"), c.t.last and c.t.last.stats.Seconds or 0
    return tasks:pivot("work", "count"):reject(c.lists["ui.quiet_work"]):top(c.p.most, "last"):each(function(row)
      local time = took:only { plain(row.key) }[1]
      local busy = time and time.last / 1e9 or 0
      local share = seconds > 0 and 100 * busy / seconds or 0
      if row.last < c.p.least and (row.last < 2 or share < c.p.share) then return end
      return c:finding { level = share >= c.p.high and "high" or "warn", key = row.key, value = row.last, unit = "count", busy = busy, share = share,
        seconds = seconds, trace = row.key }
    end)
  end,
  say = "{target}: {value:count} tasks over 50 ms in {key}, {busy:dur} of {seconds:dur}: do less at once, split it, or give it to a worker",
  tests = (function()
    local function tasks(n, each, work)
      work = work or "draw app.js:9"
      return { { stack = work, what = "task", work = work, count = n, time = n * each * 1000000 },
        { stack = "load app.js:1", what = "task", work = "load app.js:1", count = 1, time = 90000000 } }
    end
    return {
      { name = "names the script", snapshots = traces(tasks(8, 70)),
        expect = { { at = "1m", is = "firing", level = "warn", key = "draw app.js:9", text = "8 tasks over 50 ms in draw app.js:9" } } },
      { name = "is quiet about a warm-up: one of each", never = true, snapshots = traces(tasks(1, 400)) },
      { name = "is quiet about a sawtooth of few", never = true, snapshots = traces(tasks(4, 60), tasks(1, 60), tasks(4, 60), tasks(1, 60)) },
      { name = "is quiet when it stopped", snapshots = traces(tasks(8, 70), tasks(1, 60)),
        expect = { { at = "1m", is = "firing" }, { at = "30m", is = "inactive" } } },
      { name = "is quiet about the browser's own pages", never = true, snapshots = traces(tasks(20, 90, "x chrome://resources/lit.js:11")) },
    }
  end)(),
}

tm.rule {
  id = "ui.orphaned_async",
  doc = "timers, sockets, requests and event sources that a page begins and does not end pile up: names who begins them",
  every = "5m", linger = "15m", level = "warn",
  inputs = { t = tm.trace("chrome", { every = "5m", keep = 6 }) },
  params = { least = 5, ratio = 2, high = 100, delta = 2, most = 5 },
  check = function(c)
    local asyncs = c.t:where { label = { what = "async" } }
    local by = { "kind", "name", "owner" }
    local open, ended = asyncs:pivot(by, "count"), asyncs:pivot(by, "ended")
    return open:top(#open, "last"):each(function(row)
      local over = ended:only { plain(row.key) }[1]
      -- those that end as often as others begin are many at once, and no pile
      local piled = row.last >= c.p.least and row.last >= c.p.ratio * (over and over.last or 0)
      local grows = open.snapshots > 2 and row.falls == 0 and row.steps >= open.snapshots - 1 and row.delta >= c.p.delta
      if not piled and not grows then return end
      local kind, owner = row.key:match("^([^,]*), "), row.key:match("^[^,]*, .-, (.*)$")
      return c:finding { level = row.last >= c.p.high and "high" or "warn", key = row.key, value = row.last, unit = "count", kind = kind or "operation",
        owner = owner or "?", ended = over and over.last or 0, trace = row.key }
    end)
  end,
  say = "{target}: {value:count} of kind {kind} begun by {owner} did not end ({ended} like them did): clear, close or abort them when their view goes",
  tests = (function()
    local function row(kind, owner, open, ended)
      return { stack = owner, what = "async", kind = kind, name = kind == "timer" and "TimerInstall" or "WebSocketCreate", owner = owner, count = open,
        began = open + ended, ended = ended }
    end
    local function load(open) return { row("fetch", "load app.js:3", open, 9) } end
    return {
      { name = "names who begins timers", snapshots = traces { row("timer", "poll app.js:2", 7, 0), row("timer", "once app.js:5", 1, 30) },
        expect = { { at = "1m", is = "firing", level = "warn", text = "7 of kind timer begun by poll app.js:2 did not end" } } },
      { name = "names sockets that become more from trace to trace", snapshots = traces({ row("websocket", "open app.js:3", 1, 0) },
        { row("websocket", "open app.js:3", 2, 0) }, { row("websocket", "open app.js:3", 3, 0) }),
        expect = { { at = "6m", is = "inactive" }, { at = "11m", is = "firing" } } },
      { name = "is quiet about a sawtooth", never = true, snapshots = traces(load(1), load(4), load(1), load(4)) },
      { name = "is quiet about what ends", never = true, snapshots = traces { row("timer", "animate app.js:2", 20, 400) } },
      { name = "is quiet about a warm-up that begins a few", never = true, snapshots = traces {
        row("websocket", "open app.js:3", 1, 0), row("timer", "tick app.js:9", 2, 0) } },
    }
  end)(),
}

-- Of one trace: what rose in each part of it. Of several: what rose from each to the next.
local function growth_of(id, counter, what, advice, least)
  local function row(value, growth, name)
    return { stack = name or counter, what = "counter", name = name or counter, pid = "7", value = value, growth = growth }
  end
  tm.rule {
    id = id,
    doc = ("the %s of a page only become more while it runs"):format(what),
    every = "5m", linger = "15m", level = "warn",
    inputs = { t = tm.trace("chrome", { every = "5m", keep = 6 }) },
    params = { least = least, high = 20 * least, steps = 2 },
    check = function(c)
      local own = c.t:where { label = { what = "counter", name = counter } }
      local rose, last = own:pivot("pid", "growth"), own:pivot("pid", "value")
      local steady = last:monotonic { steps = c.p.steps, min_delta = c.p.least, strict = true }
      return last:each(function(one)
        local within = rose:only { one.key }[1]
        local grown, over = within and within.last or 0, "the trace"
        if grown < c.p.least and last.snapshots > c.p.steps and steady:only { one.key }[1] then
          grown, over = one.delta, ("%d traces"):format(last.snapshots)
        end
        if grown < c.p.least then return end
        return c:finding { level = grown >= c.p.high and "high" or "warn", key = one.key, value = one.last, unit = "count", grown = grown, over = over,
          trace = counter }
      end)
    end,
    say = "{target}: process {key} has {value:count} " .. what .. ", {grown:count} more all through {over}: " .. advice,
    tests = {
      { name = "names a page that grows within a trace", snapshots = traces { row(9 * least, 3 * least), row(5, 0, "documents") },
        expect = { { at = "1m", is = "firing", level = "warn", key = "7" } } },
      { name = "names one that grows from trace to trace", snapshots = traces({ row(least, 0) }, { row(3 * least, 0) }, { row(5 * least, 0) }),
        expect = { { at = "6m", is = "inactive" }, { at = "11m", is = "firing" } } },
      { name = "is quiet about a large page that stands still", never = true, snapshots = traces({ row(90 * least, 0) }, { row(90 * least, 0) },
        { row(90 * least, 0) }) },
      { name = "is quiet about a warm-up that ends", never = true, snapshots = traces({ row(5, 0) }, { row(30 * least, 0) }, { row(30 * least, 0) }) },
      { name = "is quiet about a page that breathes", never = true, snapshots = traces({ row(9 * least, 0) }, { row(20 * least, 0) }, { row(8 * least, 0) }) },
      { name = "is quiet about other counters", never = true, snapshots = traces { row(90 * least, 90 * least, "gpu") } },
    },
  }
end

growth_of("dom.node_growth", "nodes", "DOM nodes", "remove what is not shown, and let go of detached nodes (`tidemark detached` names them)", 1000)
growth_of("dom.listener_growth", "jsEventListeners", "event listeners", "remove them with their view, or give them an AbortSignal", 200)
growth_of("dom.document_growth", "documents", "documents", "let go of frames and windows that were closed", 5)
