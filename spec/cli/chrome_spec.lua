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
  mark("TimerInstall", 5002, { timerId = 3, singleShot = true }), mark("TimerInstall", 5003, { timerId = 4, singleShot = true, timeout = 3000000 }),
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
      "timer TimerInstall after 3000000 ms", "timer TimerInstall every 10 ms",
      "websocket WebSocketCreate ws://x/open" }, found)
    local timer = rows[4990000]
    assert.same({ 2, 1, "start http://x/t.js:3" }, { timer.fired, timer.repeats, timer.owner })
    assert.same({ 0, "slow http://x/a.js:12" }, { rows[4993000].fired, rows[4993000].owner }) -- a timeout that waits
    assert.equal("http://x/page", rows[499990000].owner)
    assert.same({ 1, 1 }, { rows[6290000].count, rows[6290000].ended }) -- of two with one name the earlier one is left
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

  it("keeps the events before a cut, wherever that is, and says where", function()
    local list = all()
    local ends, bytes = {}, '{"traceEvents":['
    for i, event in ipairs(list) do
      bytes = bytes .. (i > 1 and "," or "") .. core.json(event)
      ends[i] = #bytes
    end
    bytes = bytes .. ']}'
    for cut = 17, ends[#list], math.max(1, #bytes // 150) do
      local t, err = core.read({ bytes = bytes:sub(1, cut) }, { format = "chrome" })
      local there = 0
      while ends[there + 1] and ends[there + 1] <= cut do there = there + 1 end
      assert.equal(there, t:info().events)
      assert.is_true(t.partial)
      local offset = err.offset
      -- behind the last whole event, or where the next one begins
      assert.is_true(offset >= (ends[there] or 16) and offset <= (ends[there] or 16) + 1, offset .. " is not behind event " .. there)
    end
    local cut = helper.write(helper.folder() .. "/cut.json", bytes:sub(1, #bytes // 2))
    local shown = helper.tidemark("tasks", cut)
    assert.same({ 0, true }, { shown.code, shown.err:find("ends within its events", 1, true) ~= nil })
    assert.truthy(shown.err:find("at byte " .. select(2, core.read(cut)).offset, 1, true))
    assert.equal("format", select(2, core.read({ bytes = bytes:sub(1, 10) }, { format = "chrome" })).code)
  end)

  it("steps over a million brackets", function()
    local deep = ("["):rep(1000000)
    local head = '{"traceEvents":[{"ph":"X","name":"RunTask","ts":1,"dur":2,"pid":1,"tid":1},'
    local cases = {
      { head .. '{"ph":"I","name":"UpdateCounters","ts":2,"pid":1,"tid":1,"args":{"data":{"a":' .. deep, 1, true },
      { head .. '{"ph":"I","name":"UpdateCounters","ts":2,"pid":1,"tid":1,"args":{"data":{"a":' .. deep .. deep:gsub("%[", "]") .. ',"nodes":5}}}]}', 2,
        false },
      { head .. '{"ph":"I","name":"UpdateCounters","ts":2,"pid":1,"tid":1,"args":' .. ('{"a":'):rep(1000000) .. "1" .. ("}"):rep(1000000) .. "}]}", 2, false },
      { head:gsub("{", '{"other":' .. deep .. deep:gsub("%[", "]") .. ",", 1) .. "]}", 1, false },
      { "[" .. head:sub(17) .. deep, 1, true },
    }
    for i, case in ipairs(cases) do
      local t = core.read({ bytes = case[1] }, { format = "chrome" })
      assert.same({ i, case[2], case[3] }, { i, t:info().events, t.partial })
    end
  end)

  it("takes the values of long and of odd names", function()
    local name = "blink_gc/" .. ("x"):rep(3000)
    local long = { ph = "v", cat = "m", name = "n", pid = 1, tid = -1, ts = 5, args = { dumps = { allocators = { [name] = { attrs = {
      size = { value = "ff" } } } } } } }
    local rows = helper.rows("memory-infra", "memory-infra", helper.write(helper.folder() .. "/long.json", core.json { long }), "--deep")
    assert.same({ name, 255 }, { rows[1].name, rows[1].last_bytes })
  end)

  it("counts as Python does, on traces made at random", function()
    if helper.shell("python3 -c 'import json'").code ~= 0 then return pending("no Python here") end
    local done = helper.shell(("python3 spec/support/chrome_diff.py %s"):format(helper.quote(helper.bin)))
    assert.equal(0, done.code, done.out)
  end)

  it("is told from other files", function()
    assert.equal("chrome", (helper.rows("inspect", "inspect", file))[1].format)
    local saved = '{"metadata":{"source":"DevTools","resources":["' .. ("x"):rep(9000) .. '"]},' .. whole():sub(2)
    assert.same(core.read({ bytes = whole() }):info(), core.read({ bytes = saved }):info())
    local result = helper.tidemark("tasks", helper.write(helper.folder() .. "/p.txt", "main;work 3\n"))
    assert.equal(2, result.code)
  end)
end)
