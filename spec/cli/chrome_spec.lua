-- Traces of Chrome written by hand, of which everything is known, in both JSON forms.
local core = require "tidemark.core"
local helper = require "spec.support.helper"

local meta = {
  { ph = "M", name = "thread_name", pid = 7, tid = 1, args = { name = "CrRendererMain" } },
  { ph = "M", name = "process_name", pid = 7, tid = 1, args = { name = "Renderer" } },
}

local place = { functionName = "slow", url = "http://x/a.js", lineNumber = 12 }

local function slice(name, ts, dur, data) return { ph = "X", cat = "c", name = name, pid = 7, tid = 1, ts = ts, dur = dur, args = { data = data } } end
local function mark(name, ts, data) return { ph = "I", cat = "devtools.timeline", name = name, pid = 7, tid = 1, ts = ts, args = { data = data } } end

local events = {
  -- one task of 80 ms under two names, the inner one first in the file; layout is forced twice by the script in it
  slice("ThreadControllerImpl::RunTask", 1000, 79990), slice("RunTask", 999, 80000), slice("FunctionCall", 2000, 60000, place),
  slice("Layout", 3000, 5000), slice("UpdateLayoutTree", 9000, 2000), slice("Layout", 70000, 1000), slice("MinorGC", 20000, 4000),
  slice("RunTask", 100000, 16000), slice("RunTask", 200000, 16001),
  { ph = "B", cat = "c", name = "RunTask", pid = 7, tid = 1, ts = "300000" }, { ph = "E", cat = "c", name = "RunTask", pid = 7, tid = 1, ts = 330000.5 },
  mark("TimerInstall", 5000, { timerId = 1, singleShot = false, timeout = 10,
    stackTrace = { { functionName = "start", url = "http://x/t.js", lineNumber = 3 }, { functionName = "outer", url = "u", lineNumber = 9 } } }),
  mark("TimerInstall", 5001, { timerId = 2, singleShot = false }),
  mark("TimerInstall", 5002, { timerId = 3, singleShot = true }), mark("TimerInstall", 5003, { timerId = 4, singleShot = true, timeout = 20 }),
  slice("TimerFire", 110000, 10, { timerId = 1 }), slice("TimerFire", 111000, 10, { timerId = 1 }), mark("TimerRemove", 120000, { timerId = 2 }),
  slice("TimerFire", 130000, 10, { timerId = 3 }),
  mark("WebSocketCreate", 6000, { identifier = 1, url = "ws://x/open" }), mark("WebSocketCreate", 6000, { identifier = 2, url = "ws://x/shut" }),
  mark("WebSocketDestroy", 140000, { identifier = 2 }),
  mark("ResourceSendRequest", 6100, { requestId = "1.1", url = "http://x/events" }), mark("ResourceSendRequest", 6100, { requestId = "1.2", url = "u" }),
  mark("ResourceReceiveResponse", 6200, { requestId = "1.1", mimeType = "text/event-stream" }), mark("ResourceFinish", 150000, { requestId = "1.2" }),
  mark("ResourceSendRequest", 6110, { requestId = "1.3", url = "http://x/never", resourceType = "Other", initiator = { fetchType = "fetch" } }),
  mark("ResourceSendRequest", 500000, { requestId = "1.4", url = "http://x/image", resourceType = "Image", initiator = { url = "http://x/page" } }),
  { ph = "I", s = "t", cat = "blink.user_timing", name = "opened", pid = 7, tid = 1, ts = 500000 },
  { ph = "R", s = "t", cat = "blink.user_timing", name = "closed", pid = 7, tid = 1, ts = 900000 },
  { ph = "b", cat = "blink.console", name = "never", pid = 7, tid = 1, ts = 6200, id2 = { ["local"] = "0x1" } },
  { ph = "b", cat = "blink.console", name = "twice", pid = 7, tid = 1, ts = 6300, id2 = { ["local"] = "0x2" } },
  { ph = "b", cat = "blink.console", name = "twice", pid = 7, tid = 1, ts = 6400, id2 = { ["local"] = "0x2" } },
  { ph = "e", cat = "blink.console", name = "twice", pid = 7, tid = 1, ts = 6500, id2 = { ["local"] = "0x2" } },
  { ph = "e", cat = "blink.console", name = "never", pid = 8, tid = 1, ts = 6600, id2 = { ["local"] = "0x1" } },
  mark("UpdateCounters", 1000, { nodes = 3, jsHeapSizeUsed = 1000, documents = 1 }),
  mark("UpdateCounters", 501000, { nodes = 103, jsHeapSizeUsed = 900, documents = 1 }),
  mark("UpdateCounters", 1001000, { nodes = 203, jsHeapSizeUsed = 5000, documents = 1 }),
  { ph = "C", name = "live", pid = 7, tid = 1, ts = 1000, args = { cats = 2 } }, { ph = "C", name = "live", pid = 7, tid = 1, ts = 2000, args = { cats = 5 } },
  { ph = "P", cat = "v8", name = "Profile", id = "0x9", pid = 7, tid = 1, ts = 10, args = { data = { startTime = 10000 } } },
  { ph = "P", cat = "v8", name = "ProfileChunk", id = "0x9", pid = 7, tid = 2, ts = 20, args = { data = { cpuProfile = { nodes = {
    { id = 1, callFrame = { functionName = "(root)" } }, { id = 2, parent = 1, callFrame = { functionName = "parse" } } },
    samples = { 2, 2, 1 } }, timeDeltas = { 0, 10000, 10000 } } } },
}

for i, state in ipairs { "STATE_PRESENTED_ALL", "STATE_PRESENTED_ALL", "STATE_DROPPED", "STATE_PRESENTED_PARTIAL", "STATE_NO_UPDATE_DESIRED" } do
  local id = { ["local"] = "0x1" .. i }
  events[#events + 1] = { ph = "b", cat = "cc", name = "PipelineReporter", pid = 7, tid = 3, ts = i * 20000, id2 = id,
    args = { frame_reporter = { state = state } } }
  events[#events + 1] = { ph = "e", cat = "cc", name = "PipelineReporter", pid = 7, tid = 3, ts = i * 20000 + 9000, id2 = id }
end

for i, size in ipairs { "100", "ff00" } do
  events[#events + 1] = { ph = "v", cat = "disabled-by-default-memory-infra", name = "periodic_interval", id = "0x" .. i, pid = 7, tid = -1, ts = i * 1000,
    args = { dumps = { allocators = { malloc = { attrs = { effective_size = { type = "scalar", units = "bytes", value = size },
      size = { value = "ffffff" } } } } } } }
end

local function all()
  local out = {}
  for _, list in ipairs { meta, events } do table.move(list, 1, #list, #out + 1, out) end
  return out
end

local function whole() return core.json { traceEvents = all(), metadata = { x = "}" } } end

local function by(rows, key)
  local out = {}
  for _, row in ipairs(rows) do out[row[key]] = row end
  return out
end

describe("a trace of Chrome", function()
  local file

  setup(function() file = helper.write(helper.folder() .. "/t.json", whole()) end)
  teardown(helper.tidy)

  it("tells tasks once, with the work in them", function()
    local rows, notes = helper.rows("tasks", "tasks", file)
    assert.equal(4, notes.tasks)
    assert.equal(1, notes.long_tasks)
    assert.equal(3, #rows) -- 16 ms are not over 16 ms
    local long = rows[1]
    assert.same({ 80000000, 60000000, 6000000, 2000000, 7000000, 2, 4000000, 1 },
      { long.duration_ns, long.script_ns, long.layout_ns, long.style_ns, long.forced_ns, long.forced_count, long.gc_ns, long.long })
    assert.equal("slow http://x/a.js:12", long.work)
    assert.equal(20000000, long.json_ns)
    assert.equal(30000500, rows[2].duration_ns)
    assert.equal(16001000, rows[3].duration_ns)
    assert.equal(1, #(helper.rows("tasks", "tasks", file, "--over", "50ms")))
  end)

  it("names operations without an end, and the script that began them", function()
    local rows = by(helper.rows("asyncs", "asyncs", file), "begin_ns")
    local found = {}
    for _, row in pairs(rows) do found[#found + 1] = row.kind .. " " .. row.name .. " " .. row.detail end
    table.sort(found)
    assert.same({ "async never ", "async twice ", "eventsource ResourceSendRequest http://x/events",
      "fetch ResourceSendRequest http://x/never", "request ResourceSendRequest http://x/image",
      "timer TimerInstall after 20 ms", "timer TimerInstall every 10 ms",
      "websocket WebSocketCreate ws://x/open" }, found)
    local timer = rows[4990000]
    assert.same({ 2, 1, "start http://x/t.js:3" }, { timer.fired, timer.repeats, timer.owner })
    assert.same({ 0, "slow http://x/a.js:12" }, { rows[4993000].fired, rows[4993000].owner }) -- a timeout that waits
    assert.equal("http://x/page", rows[499990000].owner)
    assert.truthy(rows[6290000]) -- of two with one name the earlier one is left
  end)

  it("follows counters", function()
    local rows, notes = helper.rows("counters", "counters", file)
    local named = by(rows, "name")
    assert.is_nil(named.documents)
    assert.same({ 3, 203, 200, 3, 203 }, { named.nodes.first, named.nodes.last, named.nodes.delta, named.nodes.least, named.nodes.greatest })
    assert.near(200, named.nodes.slope_per_s, 0.001)
    assert.equal(900, named.jsHeapSizeUsed.least)
    assert.equal(5, named["live.cats"].last)
    assert.same({ 1, 4000000 }, { notes.collections, notes.longest_pause_ns })
  end)

  it("follows counters and memory between two moments", function()
    local from = by(helper.rows("counters", "counters", file, "--from", "opened"), "name")
    assert.same({ 103, 203, 2 }, { from.nodes.first, from.nodes.last, from.nodes.count })
    local rows = helper.rows("counters", "counters", file, "--from", "opened", "--to", "closed", "--constant")
    assert.equal(103, by(rows, "name").nodes.last)
    assert.equal(0, #(helper.rows("counters", "counters", file, "--from", "1100ms")))
    assert.equal(256, helper.rows("memory-infra", "memory-infra", file, "--to", "1ms")[1].last_bytes)
    local refused = helper.tidemark("counters", file, "--from", "nowhere")
    assert.equal(2, refused.code)
    assert.truthy(refused.err:find("performance.mark", 1, true))
  end)

  it("tells frames and memory dumps", function()
    local rows, notes = helper.rows("frames", "frames", file)
    assert.same({ 5, 2, 1, 1, 1 }, { notes.frames, notes.presented, notes.partial, notes.dropped, notes.not_desired })
    local what = by(rows, "what")
    assert.same({ 2, 20000000, 40000000 }, { what.interval.count, what.interval.p50_ns, what.interval.max_ns })
    assert.equal(9000000, what.latency.max_ns)
    local memory = helper.rows("memory-infra", "memory-infra", file)
    assert.same({ 1, "malloc", 256, 65280, 65024 },
      { #memory, memory[1].name, memory[1].first_bytes, memory[1].last_bytes, memory[1].growth_bytes })
  end)

  it("may be a bare array without its bracket", function()
    local bare = core.json(all())
    local full = core.read { bytes = bare }
    local open, problem = core.read { bytes = bare:sub(1, -2) .. ",\n" }
    assert.is_nil(problem)
    assert.is_false(open.partial)
    assert.same(full:info(), open:info())
    assert.equal("timeline", open.kind)
    assert.equal("chrome", open.format)
  end)

  it("keeps the events before a cut, wherever that is", function()
    local bytes, events_before = whole(), 0
    local total = core.read({ bytes = bytes }):info().events
    for cut = 1, #bytes - 1, math.max(1, #bytes // 100) do
      local t, err = core.read { bytes = bytes:sub(1, cut), format = "chrome" }
      if t then
        local count = t:info().events
        assert.is_true(count >= events_before and count <= total)
        if count < total then assert.is_true(t.partial) end
        events_before = count
      else
        assert.equal("format", err.code)
      end
    end
    assert.is_true(events_before > total // 2)
  end)

  it("is told from other files", function()
    assert.equal("chrome", (helper.rows("inspect", "inspect", file))[1].format)
    local result = helper.tidemark("tasks", helper.write(helper.folder() .. "/p.txt", "main;work 3\n"))
    assert.equal(2, result.code)
  end)
end)
