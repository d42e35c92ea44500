-- Perfetto traces written by hand, and the same events as Chrome's JSON: every command answers both alike.
local core = require "tidemark.core"
local helper = require "spec.support.helper"
local writer = require "spec.support.perfetto_writer"

local place = { functionName = "slow", url = "http://x/a.js", lineNumber = 12 }
local caller = { stackTrace = { { functionName = "outer", url = "http://x/b.js", lineNumber = 3 }, { functionName = "main", url = "u", lineNumber = 9 } } }

local function slice(name, ts, dur, data) return { ph = "X", cat = "c", name = name, pid = 7, tid = 1, ts = ts, dur = dur, args = { data = data } } end
local function mark(name, ts, data) return { ph = "I", cat = "devtools.timeline", name = name, pid = 7, tid = 1, ts = ts, args = { data = data } } end
local function beside(ph, name, ts, id, tid)
  return { ph = ph, cat = "blink.console,rail", name = name, pid = 7, tid = tid or 1, ts = ts, id2 = { ["local"] = id } }
end
local function legacy(...)
  local e = beside(...)
  e.legacy = true
  return e
end

local events = {
  { ph = "M", name = "thread_name", pid = 7, tid = 1, args = { name = "CrRendererMain" } },
  { ph = "M", name = "thread_name", pid = 7, tid = 4, args = { name = "Compositor" } },
  { ph = "M", name = "process_name", pid = 7, tid = 7, args = { name = "Renderer" } },
  { ph = "M", name = "process_name", pid = 8, tid = 8, args = { name = "Browser" } },
  slice("RunTask", 999, 80000), slice("ThreadControllerImpl::RunTask", 1000, 79990), slice("FunctionCall", 2000, 60000, place),
  slice("Layout", 3000, 5000), slice("UpdateLayoutTree", 9000, 2000), slice("Layout", 70000, 1000),
  { ph = "X", cat = "devtools.timeline,v8", name = "MinorGC", pid = 7, tid = 1, ts = 20000, dur = 4000, late = { "usedHeapSizeAfter" },
    args = { usedHeapSizeBefore = 9000, usedHeapSizeAfter = 4000, type = "scavenge" } },
  slice("RunTask", 100000, 16000), slice("RunTask", 200000, 16001), slice("RunTask", 300000, 30000), slice("FunctionCall", 300001, 29000, caller),
  { ph = "B", cat = "c", name = "RunTask", pid = 7, tid = 1, ts = 1100000 }, -- does not end
  { ph = "X", cat = "c", name = "RunTask", pid = 8, tid = 8, ts = 400, dur = 70000, args = {} },
  mark("TimerInstall", 5000, { timerId = 1, singleShot = false, timeout = 10 }), mark("TimerInstall", 5001, { timerId = 2, singleShot = false }),
  mark("TimerInstall", 5003, { timerId = 4, singleShot = true }),
  slice("TimerFire", 110000, 10, { timerId = 1 }), slice("TimerFire", 111000, 10, { timerId = 1 }), mark("TimerRemove", 120000, { timerId = 2 }),
  mark("WebSocketCreate", 6000, { identifier = 1, url = "ws://x/open" }), mark("WebSocketCreate", 6001, { identifier = 2, url = "ws://x/shut" }),
  mark("WebSocketDestroy", 140000, { identifier = 2 }),
  mark("ResourceSendRequest", 6100, { requestId = "1.1", url = "http://x/events" }), mark("ResourceSendRequest", 6101, { requestId = "1.2", url = "u" }),
  mark("ResourceFinish", 150000, { requestId = "1.2" }),
  beside("b", "never", 6200, "0x1"), beside("b", "twice", 6300, "0x2"), beside("b", "twice", 6400, "0x2"), beside("e", "twice", 6500, "0x2"),
  -- begun on one thread, ended by another, whose packets stand before
  beside("b", "across", 7000, "0x3", 4), beside("e", "across", 9000, "0x3"), beside("b", "back", 7000, "0x4"), beside("e", "back", 9000, "0x4", 4),
  legacy("b", "old", 6250, "0x5"), legacy("b", "old", 6260, "0x6"), legacy("e", "old", 6270, "0x5"), legacy("S", "older", 6280, "0x7"),
  mark("UpdateCounters", 1000, { nodes = 3, jsHeapSizeUsed = 1000, documents = 1 }),
  mark("UpdateCounters", 501000, { nodes = 103, jsHeapSizeUsed = 900, documents = 1 }),
  mark("UpdateCounters", 1001000, { nodes = 203, jsHeapSizeUsed = 5000.5, documents = 1 }),
  { ph = "C", cat = "", name = "live", pid = 7, tid = 4, ts = 1000, args = { value = 2 } },
  { ph = "C", cat = "", name = "live", pid = 7, tid = 4, ts = 2000, args = { value = 5.25 } },
  { ph = "C", cat = "", name = "pages", pid = 7, tid = 4, ts = 1000, unit = 4096, args = { value = 4096 } },
  { ph = "C", cat = "", name = "pages", pid = 7, tid = 4, ts = 2000, unit = 4096, args = { value = 12288 } },
  { ph = "P", cat = "v8", name = "Profile", id = "0x9", pid = 7, tid = 1, ts = 10, args = { data = { startTime = 5000010000 } } },
  { ph = "P", cat = "v8", name = "ProfileChunk", id = "0x9", pid = 7, tid = 2, ts = 20, args = { data = { cpuProfile = { nodes = {
    { id = 1, callFrame = { functionName = "(root)" } }, { id = 2, parent = 1, callFrame = { functionName = "parse", url = "a\"b" } } },
    samples = { 2, 2, 1 } }, timeDeltas = { 0, 10000, 10000 } } } },
}

for i, state in ipairs { "STATE_PRESENTED_ALL", "STATE_PRESENTED_ALL", "STATE_DROPPED", "STATE_PRESENTED_PARTIAL", "STATE_NO_UPDATE_DESIRED" } do
  local begin = beside("b", "PipelineReporter", i * 20000, "0x1" .. i, 4)
  begin.args = { frame_reporter = { state = state } }
  events[#events + 1] = begin
  events[#events + 1] = beside("e", "PipelineReporter", i * 20000 + 9000, "0x1" .. i, 4)
end

for i, size in ipairs { "100", "ff00" } do
  events[#events + 1] = { ph = "v", cat = "disabled-by-default-memory-infra", name = "periodic_interval", id = "0x" .. i, pid = 7, tid = -1, ts = i * 1000,
    args = { dumps = { allocators = { malloc = { attrs = { size = { value = size } } }, ["blink_objects/Node"] = { attrs = {
      object_count = { value = "3" .. i } } } } } } }
end

-- the same moment of the same clock in both forms
local function json()
  local out = {}
  for i, e in ipairs(events) do
    local copy = {}
    for key, value in pairs(e) do copy[key] = value end
    copy.ts = e.ts and e.ts + 5000000000
    out[i] = copy
  end
  return core.json { traceEvents = out }
end

local verbs = { "tasks", "asyncs", "counters", "frames", "memory-infra" }

describe("a Perfetto trace", function()
  local from_json

  setup(function() from_json = helper.write(helper.folder() .. "/t.json", json()) end)
  teardown(helper.tidy)

  local function alike(bytes, name)
    local file = helper.write(helper.folder() .. "/" .. name, bytes)
    for _, verb in ipairs(verbs) do
      local more = verb == "asyncs" and "--all" or nil
      local expected, expected_notes = helper.rows(verb, verb, from_json, more)
      local rows, notes = helper.rows(verb, verb, file, more)
      assert.is_true(#rows > 0, verb)
      assert.equal("perfetto", notes.format)
      for _, n in ipairs { notes, expected_notes } do n.files, n.format = nil, nil end
      assert.same(expected, rows)
      assert.same(expected_notes, notes)
    end
  end

  it("answers as the JSON of the same events", function() alike(writer.trace(events), "a.pftrace") end)
  it("may write names where they are used", function() alike(writer.trace(events, { plain_names = true }), "b.pftrace") end)
  it("may clear what it interned, between any two events", function() alike(writer.trace(events, { clear_every = 2 }), "c.pftrace") end)
  it("may pack its packets with zlib", function() alike(writer.trace(events, { pack = "deflate" }), "d.pftrace") end)
  it("may pack its packets with zstd", function() alike(writer.trace(events, { pack = "zstd" }), "e.pftrace") end)

  it("says the right numbers, too", function()
    local file = helper.write(helper.folder() .. "/a.pftrace", writer.trace(events))
    local rows, notes = helper.rows("tasks", "tasks", file)
    assert.same({ 5, 1, 3 }, { notes.tasks, notes.long_tasks, #rows })
    local long = rows[1]
    assert.same({ 80000000, 60000000, 7000000, 4000000 }, { long.duration_ns, long.script_ns, long.forced_ns, long.gc_ns })
    assert.equal("slow http://x/a.js:12", long.work)
    assert.equal("outer http://x/b.js:3", rows[2].work)
    local found = {}
    for _, row in ipairs((helper.rows("asyncs", "asyncs", file, "--all"))) do found[#found + 1] = row.kind .. " " .. row.name .. " " .. row.detail end
    table.sort(found)
    assert.same({ "async never ", "async old ", "async older ", "async twice ", "request ResourceSendRequest http://x/events", "timer TimerInstall ",
      "timer TimerInstall every 10 ms", "websocket WebSocketCreate ws://x/open" }, found)
  end)

  it("steps over fields and packets that are newer than the reader", function()
    local odd = writer.packet(1, writer.bytes(950, "a new kind of data"), writer.number(999, 5)) .. writer.bytes(77, "beside packets") .. writer.number(78, 1)
    alike(odd .. writer.trace(events) .. odd, "f.pftrace")
  end)

  it("keeps what stands before a cut, and says where that is", function()
    local bytes, before, parts = writer.trace(events), 0, 0
    local total = core.read({ bytes = bytes }):info().events
    for cut = 1, #bytes - 1, math.max(1, #bytes // 100) do
      local t, err = core.read({ bytes = bytes:sub(1, cut) }, { format = "perfetto" })
      if t then
        local offset = err and err.offset or cut
        local whole = core.read({ bytes = bytes:sub(1, offset) }, { format = "perfetto" })
        assert.same({ offset <= cut, whole.partial }, { true, false })
        assert.same(whole:info(), t:info())
        assert.is_true(t:info().events <= total + 4)
        parts = parts + (t.partial and 1 or 0)
        before = math.max(before, t:info().events)
      else
        assert.equal("format", err.code)
      end
    end
    assert.is_true(before > total // 2 and parts > 50)
  end)

  it("notes packets that the browser lost, and leaves out what needs them", function()
    local whole = writer.trace { slice("RunTask", 0, 10), slice("RunTask", 20, 10) }
    assert.is_false(core.read({ bytes = whole }).partial)
    local lost = whole .. writer.packet(1, writer.number(42, 1), writer.number(13, 2), writer.number(8, 100),
      writer.bytes(11, writer.number(9, 1) .. writer.number(10, 1)))
    local t, problem = core.read { bytes = lost }
    assert.is_true(t.partial)
    assert.truthy(problem.message:find("dropped packets", 1, true))
    assert.equal(#whole, problem.offset)
    assert.equal(core.read({ bytes = whole }):info().events, t:info().events)
  end)

  it("notes events of a clock that nothing relates", function()
    local t, problem = core.read { bytes = writer.trace(events) .. writer.packet(1, writer.number(8, 1), writer.number(58, 99),
      writer.bytes(11, writer.number(9, 3) .. writer.bytes(23, "when?"))) }
    assert.is_true(t.partial)
    assert.truthy(problem.message:find("clock", 1, true))
  end)

  it("notes packed packets that do not unpack, and reads the others", function()
    local bytes = writer.trace(events, { pack = "deflate" })
    local t, problem = core.read { bytes = writer.bytes(1, writer.bytes(50, "\x78\x01\x05nonsense")) .. bytes }
    assert.is_true(t.partial)
    assert.equal(0, problem.offset)
    assert.equal(core.read({ bytes = bytes }):info().events, t:info().events)
  end)

  it("adds up a counter that tells differences", function()
    local function count(n)
      return writer.packet(1, writer.number(8, n), writer.bytes(11, writer.number(9, 4) .. writer.number(11, 5) .. writer.number(30, n)))
    end
    local bytes = writer.packet(1, writer.number(13, 1)) .. writer.packet(1, writer.bytes(60, writer.number(1, 5) .. writer.bytes(2, "sum")
      .. writer.bytes(8, writer.number(5, 1)))) .. count(10) .. count(20) .. count(30)
    local rows = helper.rows("counters", "counters", helper.write(helper.folder() .. "/sum.pftrace", bytes))
    assert.same({ "sum.value", 10, 60 }, { rows[1].name, rows[1].first, rows[1].last })
  end)

  it("is told from other files", function()
    local file = helper.write(helper.folder() .. "/a.pftrace", writer.trace(events))
    assert.equal("perfetto", (helper.rows("inspect", "inspect", file))[1].format)
    -- a first packet that is longer than what is looked at
    local long = writer.packet(1, writer.bytes(33, ("\x0a\x03abc"):rep(2000))) .. writer.trace(events)
    assert.equal("perfetto", core.read({ bytes = long }).format)
    assert.not_equal("perfetto", (core.read { bytes = "\x0a\x04\x0a\x02\x08\x01" } or {}).format)
  end)
end)
