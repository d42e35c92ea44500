-- Every built-in rule: it carries tests of the three kinds that matter, they pass, and a recording of what it is for is found
-- by it and by no other rule.
local core = require "tidemark.core"
local helper = require "spec.support.helper"

local SECOND, T0 = 1000000000, 1700000000 * 1000000000

-- The rules of the embedded files: { { id, file, tests = { { name, ok, why } } } }.
local function library()
  local rules = {}
  for _, path in ipairs(core.embedded()) do
    local file = path:match("^rules/([^/]+%.lua)$")
    if file then
      local by_id, declared = {}, assert(core.rules_check(file, core.embedded(path)))
      for _, r in ipairs(declared) do
        rules[#rules + 1] = { id = r.id, doc = r.doc, file = file, tests = {} }
        by_id[r.id] = rules[#rules]
      end
      local _, tests = core.rules_test(file, core.embedded(path))
      for _, t in ipairs(tests) do table.insert(by_id[t.rule].tests, t) end
    end
  end
  return rules
end

local kinds = {
  ["a warm-up"] = { "warm%-up", "at the start", "set up once" },
  ["a sawtooth"] = { "sawtooth", "breathes" },
}

local function tests_named(rule, words)
  local found = {}
  for _, t in ipairs(rule.tests) do
    for _, word in ipairs(words) do
      if t.test:find("is quiet", 1, true) and t.test:find(word) then found[#found + 1] = t.test break end
    end
  end
  return found
end

-- What each rule is for, as steps of { metric, key, seconds between samples, f(i) -> value, samples }.
local MB = 1 << 20
local stories = {
  ["proc.handle_spike"] = { { "proc.fds", "", 1, function(i) return i < 60 and 40 or 540 end, 90 },
    { "proc.handles", "socket", 5, function(i) return i < 12 and 20 or 520 end, 18 } },
  ["proc.hidden_growth"] = { { "proc.hidden", "", 5, function(i) return i * 8 * MB end, 20 },
    { "proc.handle_bytes", "memfd", 5, function(i) return i * 8 * MB end, 20 } },
  ["proc.mapping_growth"] = { { "proc.maps", "", 5, function(i) return 200 + 50 * i end, 24 },
    { "proc.mappings", "anon", 5, function(i) return 100 + 50 * i end, 24 } },
  ["proc.thread_pile"] = { { "proc.threads", "", 2, function(i) return 10 + 4 * i end, 40 } },
  ["proc.rss_climb"] = { { "proc.rss", "", 1, function(i) return (100 + i) * MB end, 70 } },
  ["proc.rss_slope"] = { { "proc.rss", "", 5, function(i) return 200 * MB + i * MB // 4 end, 480 },
    { "mem.limit", "", 60, function() return 2 << 30 end, 40 } },
  ["go.cgo_gap"] = { { "proc.rss", "", 5, function(i) return (100 + i // 2) * MB end, 110 },
    { "expvar.memstats.Sys", "", 10, function() return 80 * MB end, 55 },
    { "expvar.memstats.HeapReleased", "", 10, function() return 4 * MB end, 55 } },
  ["cgo_gap"] = { { "account.rss", "", 30, function(i) return (100 + 4 * i) * MB end, 40 },
    { "account.c_heap", "", 30, function(i) return (20 + 4 * i) * MB end, 40 }, { "account.go", "", 30, function() return 60 * MB end, 40 } },
  ["gui.pixmap_growth"] = { { "x.bytes", "", 2, function(i) return (4 + i) * MB end, 40 },
    { "x.resources", "", 2, function(i) return 40 + 16 * i end, 40 }, { "x.kinds", "PIXMAP", 2, function(i) return 20 + 16 * i end, 40 } },
  ["gpu.growth"] = { { "gpu.resident", "", 5, function(i) return (100 + 4 * i) * MB end, 40 },
    { "gpu.regions", "amdgpu/vram", 5, function(i) return (100 + 4 * i) * MB end, 40 } },
  ["session.leak"] = { { "session.left_bytes", "doc-7/image", 5, function() return 8 * MB end, 24 },
    { "session.left_count", "doc-7/image", 5, function() return 3 end, 24 },
    { "session.over", "doc-7/image", 5, function(i) return i * 5e9 end, 24 } },
  ["js.growth"] = { { "v8.heap_used", "", 5, function(i) return (50 + i // 12 * 2 + i % 12) * MB end, 120 } },
  ["page.growth"] = { { "dom.nodes", "", 5, function(i) return 4000 + 30 * i end, 120 } },
  ["go.heap_floor"] = { { "expvar.memstats.HeapAlloc", "", 5, function(i) return (100 + i // 12 * 4 + i % 12 * 10) * MB end, 480 } },
  ["pressure"] = { { "proc.rss", "", 1, function(i) return i < 30 and 700 * MB or 1000 * MB end, 60 } },
}

-- The same as profiles: metric, seconds between them, f(i) -> bytes of a profile, how many. A recording holds none of these.
local write = require "spec.support.pprof_writer"

-- Goroutine dumps of one more kind of goroutine: its frames (leaf first), state, and who started it.
local function more_of(state, creator, ...)
  local frames = {}
  for _, name in ipairs { ... } do frames[#frames + 1] = name .. "()\n\t/a.go:3 +0x1\n" end
  return function(i)
    local out = {}
    for n = 1, 30 * i + 1 do
      out[n] = ("goroutine %d [%s]:\n%screated by %s in goroutine 1\n\t/a.go:9 +0x1\n"):format(n, state, table.concat(frames), creator)
    end
    return table.concat(out, "\n")
  end
end

-- Type paths of a heap dump: objects by stack, root first.
local function paths(i)
  return write { types = { "objects/count", "space/bytes" }, { "static app.Cache;map java.util.HashMap", 1, 48 },
    { "static app.Cache;map java.util.HashMap;[x] app.Session", 1000 + 2000 * i, 48 * (1000 + 2000 * i) } }
end

local function goroutines(i)
  local out = {}
  for n = 1, 60 * i + 1 do
    out[n] = ("goroutine %d [chan receive]:\nmain.wait()\n\t/a.go:3 +0x1\ncreated by main.start in goroutine 1\n\t/a.go:9 +0x1\n"):format(n)
  end
  return table.concat(out, "\n")
end

-- A browser's trace with one row of those labels and numbers.
local function browser(labels, numbers)
  return function()
    local row = { "a", labels = labels }
    table.move(numbers, 1, #numbers, 2, row)
    return write { types = { "count/count", "time/nanoseconds", "began/count", "ended/count", "value/count", "growth/count" }, row }
  end
end

local profiles = {
  ["go.heap_growth"] = { "pprof.heap?gc=1", 300, function(i)
    return write { types = { "inuse_space/bytes" }, { "main.main;main.cache", 90 * MB }, { "main.main;main.leak", (i + 1) * 8 * MB } }
  end, 7 },
  ["go.goroutine_pile"] = { "go.goroutines", 60, goroutines, 7 },
  ["go.unread_bodies"] = { "go.goroutines", 60, more_of("select", "net/http.(*Transport).dialConn", "net/http.(*persistConn).readLoop"), 7 },
  ["go.uncancelled_contexts"] = { "go.goroutines", 60, more_of("select", "context.(*cancelCtx).propagateCancel",
    "context.(*cancelCtx).propagateCancel.func2"), 7 },
  ["go.lock_waiters"] = { "go.goroutines", 60, more_of("sync.Mutex.Lock", "main.serve", "sync.(*Mutex).Lock", "main.work"), 7 },
  ["go.unstopped_timers"] = { "pprof.heap?gc=1", 300, function(i)
    return write { types = { "inuse_objects/count", "inuse_space/bytes" }, { "main.main;main.poll;time.NewTicker", 1000 * (i + 1), 1 } }
  end, 7 },
  ["go.leaked"] = { "pprof.goroutineleak", 300, function()
    return write { types = { "goroutineleak/count" }, { "main.main;main.leak", 3 } }
  end, 3 },
  ["go.suspect"] = { "pprof.heap?gc=1&armed=1", 5, function(i)
    return write { types = { "inuse_space/bytes" }, { "main.main;main.cache", 60 * MB }, { "main.main;main.leak", i * 2 * MB } }
  end, 14, series = { { "proc.rss", function(i) return 100 * MB + i * 2 * MB end }, { "go.counts.goroutine", function() return 12 end } } },
  ["proc.handle_opener"] = { "agent.handles?armed=1", 3, function(i)
    return write { types = { "handles/count", "space/bytes" }, { "main;cache;open_file", 20, 0, labels = { kind = "file" } },
      { "main;serve;connect", 4 * i + 1, 0, labels = { kind = "socket" } } }
  end, 20, series = { { "proc.fds", function(i) return 40 + 4 * i end } } },
  ["go.never_ending"] = { "trace.go", 300, function(i)
    return write { types = { "count/count", "blocked/nanoseconds", "created/count", "ended/count" },
      { "main.poll;main.wait", 100 + 30 * i, 0, 0, 0, labels = { entry = "main.poll", state = "chan receive" } },
      { "main.main;main.serve", 0, 0, 30, 1, labels = { entry = "main.poll", created_by = "main.serve" } } }
  end, 7 },
  ["ui.long_tasks"] = { "trace.chrome", 300, browser({ what = "task", work = "draw app.js:9" }, { 8, 8 * 70000000, 0, 0, 0, 0 }), 2 },
  ["ui.orphaned_async"] = { "trace.chrome", 300, browser({ what = "async", kind = "timer", name = "TimerInstall", owner = "poll app.js:2" },
    { 7, 0, 7, 0, 0, 0 }), 2 },
  ["dom.node_growth"] = { "trace.chrome", 300, browser({ what = "counter", name = "nodes", pid = "7" }, { 0, 0, 0, 0, 9000, 3000 }), 2 },
  ["dom.listener_growth"] = { "trace.chrome", 300, browser({ what = "counter", name = "jsEventListeners", pid = "7" }, { 0, 0, 0, 0, 900, 800 }), 2 },
  ["dom.document_growth"] = { "trace.chrome", 300, browser({ what = "counter", name = "documents", pid = "7" }, { 0, 0, 0, 0, 90, 30 }), 2 },
  ["heap.root_path_growth.jvm"] = { "dump.jvm.hprof", 1800, paths, 4 },
  ["heap.root_path_growth.v8"] = { "dump.v8.heapsnapshot", 1800, paths, 4 },
  ["heap.root_path_growth.go"] = { "dump.go.heapdump", 1800, paths, 4 },
  ["go.alloc_churn"] = { "pprof.allocs", 60, function(i)
    return write { types = { "alloc_space/bytes" }, { "main.main;main.encode", 1 + i * 12000 * MB }, { "main.main;main.load", 1 + i * 100 * MB } }
  end, 6 },
}

-- What all built-in rules find in the profiles: { id = true }.
local function found_in(story)
  local engine <close> = assert(core.engine { virtual = true, quiet = true, skip_self_tests = true })
  local found = {}
  engine:advance(T0)
  for _, path in ipairs(core.embedded()) do
    local file = path:match("^rules/([^/]+%.lua)$")
    if file then engine:load_rules(file, "builtin:" .. path, core.embedded(path), function(report) assert(report.ok, report.problem) end) end
  end
  local target = engine:add_target { id = "1:1", name = "app", start_time_ns = T0 - 3600 * SECOND }
  for i = 0, story[4] - 1 do
    local time_ns = T0 + i * story[2] * SECOND
    engine:advance(time_ns)
    assert(engine:feed_snapshot(target.id, story[1], time_ns, story[3](i)))
    for _, s in ipairs(story.series or {}) do assert(engine:feed(target.id, s[1], "", time_ns, s[2](i))) end
  end
  for _, a in ipairs(engine:alerts()) do
    if a.state == "firing" then found[a.rule] = true end
  end
  return found
end

-- Records a story on a virtual engine, in the order of time.
local function record(path, story)
  local samples = {}
  for order, s in ipairs(story) do
    for i = 0, s[5] - 1 do
      samples[#samples + 1] = { time_ns = T0 + i * s[3] * SECOND, order = order, metric = s[1], key = s[2], value = s[4](i) }
    end
  end
  table.sort(samples, function(a, b)
    if a.time_ns ~= b.time_ns then return a.time_ns < b.time_ns end
    return a.order < b.order
  end)
  local engine <close> = assert(core.engine { virtual = true })
  assert(engine:record(path, "{}", true))
  engine:advance(T0 - 1)
  local target = engine:add_target { id = "1:1", name = "app", command = "app --story", start_time_ns = T0 - 3600 * SECOND }
  for _, s in ipairs(samples) do
    engine:advance(s.time_ns - 1)
    assert(engine:feed(target.id, s.metric, s.key, s.time_ns, s.value))
  end
  engine:advance(samples[#samples].time_ns + SECOND)
  return #samples
end

describe("built-in rules", function()
  local rules, folder = library(), nil
  setup(function() folder = helper.folder() end)
  teardown(helper.tidy)

  it("are as many as there are stories", function()
    local told = 0
    for _ in pairs(stories) do told = told + 1 end
    for _ in pairs(profiles) do told = told + 1 end
    assert.equal(told, #rules)
  end)

  for _, rule in ipairs(rules) do
    describe(rule.id, function()
      it("says what it finds", function() assert.is_true(#rule.doc > 10) end)

      it("passes its own tests", function()
        assert.is_true(#rule.tests > 0)
        for _, t in ipairs(rule.tests) do assert.is_true(t.ok, t.test .. ": " .. t.why) end
      end)

      it("has a test that finds something", function()
        local positive = 0
        for _, t in ipairs(rule.tests) do positive = positive + (t.test:find("is quiet", 1, true) and 0 or 1) end
        assert.is_true(positive >= 1)
      end)

      for kind, words in pairs(kinds) do
        it("has a test that is quiet about " .. kind, function() assert.is_true(#tests_named(rule, words) >= 1) end)
      end

      if profiles[rule.id] then
        it("finds its story in profiles, and no other rule does", function()
          assert.same({ [rule.id] = true }, found_in(profiles[rule.id]))
        end)
        return
      end

      it("finds its story in a recording, and no other rule does", function()
        local path = folder .. "/" .. rule.id .. ".tmr"
        local fed = record(path, assert(stories[rule.id], "no story"))
        local document, code = helper.document("replay", "replay", path, "--json")
        assert.equal(0, code)
        assert.equal(fed, document.meta.samples)
        assert.same({}, document.meta.problems)
        assert.is_true(#document.rows >= 1, "nothing was found")
        for _, row in ipairs(document.rows) do
          assert.equal(rule.id, row.rule)
          assert.equal("1:1", row.target)
          assert.equal("firing", row.state)
        end
      end)
    end)
  end
end)
