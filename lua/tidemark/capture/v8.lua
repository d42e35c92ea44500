-- Captures of V8 (Node, Chromium, Electron) through its inspector: heap snapshots, sampled allocations, a collection, counters.
local core = require "tidemark.core"
local files = require "tidemark.capture.files"
local inspector = require "tidemark.capture.inspector"

local M = {}

local SECOND <const> = 1000000000
local SNAPSHOT_TIMEOUT <const> = 1800 * SECOND
local MEMORY_RATIO <const> = 10 -- of what V8 takes while it makes a snapshot, to the heap in use
local FILE_RATIO <const> = 3    -- of the file to the heap in use

-- Node closes its inspector a moment after it was asked to, and would wait for whoever connects meanwhile: nobody goes on before.
local function wait_until_closed(pid, port)
  for _ = 1, 100 do
    local open = false
    for _, one in ipairs(core.ports(pid) or {}) do open = open or one == port end
    if not open or not core.pause(SECOND // 50) then return end
  end
end

-- Opens the target's session and gives it to fn; closes it in any case. A port that a signal opened is closed again.
local function with_session(t, fn)
  local base, opened = t.base, false
  local url, about = t.url, nil
  if t.pid then
    base, opened = inspector.of_process(t.pid)
    if not base then return nil, opened end
    if opened and t.note then t.note(("node %d: SIGUSR1 opened its inspector at %s; it is closed again"):format(t.pid, base:sub(8))) end
  end
  if not url then
    url, about = inspector.choose(base, t.match)
    if not url then return nil, about end
  end
  local session, err = inspector.open(url)
  if not session then return nil, err end
  local results = table.pack(pcall(fn, session, about))
  if opened then
    session:call("Runtime.evaluate", { expression = "setTimeout((i) => i.close(), 100, require('inspector')) && 1",
      includeCommandLineAPI = true }, { timeout_ns = 2 * SECOND })
  end
  session:close()
  if opened then wait_until_closed(t.pid, tonumber(base:match(":(%d+)$"))) end
  if not results[1] then error(results[2], 0) end
  return table.unpack(results, 2, results.n)
end

-- ---- heap snapshots ----

-- A snapshot of a 248 MB heap took 2.5 to 3 GB of the program's memory and 53 s, in which it stands still.
local function check_cost(session, options, path)
  local heap, err = session:ask("Runtime.getHeapUsage", nil, { timeout_ns = 30 * SECOND })
  if not heap then return nil, err end
  local need, free = heap.usedSize * MEMORY_RATIO, core.system()["sys.available"]
  local ok, problem = files.check_room(files.folder_of(path), heap.usedSize * FILE_RATIO, options.force)
  if not ok then return nil, problem end
  if free and need > free and not options.force then
    return nil, { code = "limit", message = ("V8 takes about %s to write a snapshot of its %s, the machine has %s left"):format(
      core.format(need, "bytes"), core.format(heap.usedSize, "bytes"), core.format(free, "bytes")),
      advice = "take `sampling` instead, which costs little, or give --force" }
  end
  return heap
end

-- What HeapProfiler sends while it makes a snapshot, written as it comes.
local function writer(file, options)
  local written = 0
  return function(event, message)
    if event == "HeapProfiler.reportHeapSnapshotProgress" then
      local done, total = message:match('"done":(%d+),"total":(%d+)')
      if done and options.progress then options.progress(tonumber(done), tonumber(total), "objects") end
    elseif event == "HeapProfiler.addHeapSnapshotChunk" then
      local whole, err = core.json_decode(message)
      local chunk = type(whole) == "table" and type(whole.params) == "table" and whole.params.chunk
      if type(chunk) ~= "string" then return false, err or { code = "format", message = "a piece of the snapshot is no text" } end
      local ok, problem = file:write(chunk)
      if not ok then return false, { code = "io", message = "cannot write the snapshot: " .. tostring(problem) } end
      written = written + #chunk
      if options.progress then options.progress(written) end
    end
  end, function() return written end
end

local function take_snapshot(session, options, part)
  local file, problem = io.open(part, "wb")
  if not file then return nil, { code = "io", message = "cannot write " .. problem } end
  local on_event, written = writer(file, options)
  local how = { timeout_ns = options.timeout_ns or SNAPSHOT_TIMEOUT, on_event = on_event }
  local said, err = session:call("HeapProfiler.enable", nil, how)
  if said then said, err = session:call("HeapProfiler.collectGarbage", nil, how) end
  if said then said, err = session:call("HeapProfiler.takeHeapSnapshot", { reportProgress = true }, how) end
  local closed, why = file:close()
  if not said then return nil, err end
  if not closed then return nil, { code = "io", message = "cannot write the snapshot: " .. tostring(why) } end
  if written() == 0 then return nil, { code = "format", message = "the inspector sent no snapshot" } end
  return true
end

local function heap(t, options, path)
  return with_session(t, function(session)
    local used, err = check_cost(session, options, path)
    if not used then return nil, err end
    local bytes, problem = files.through(path, function(part) return take_snapshot(session, options, part) end)
    if not bytes then return nil, problem end
    return { file = path, bytes = bytes, heap_bytes = used.usedSize }
  end)
end

-- ---- sampled allocations ----

local function sampling(t, options, path)
  local seconds = options.seconds or 10
  return with_session(t, function(session)
    local said, err = session:call("HeapProfiler.enable")
    if said then said, err = session:call("HeapProfiler.startSampling", { samplingInterval = 32768 }) end
    if said then said, err = core.pause(math.ceil(seconds * SECOND)) end
    if not said then return nil, err end
    local message, problem = session:call("HeapProfiler.stopSampling", nil, { timeout_ns = 60 * SECOND })
    if not message then return nil, problem end
    local profile = message:match('^{"id":%d+,"result":{"profile":(.*)}}%s*$')
    if not profile then return nil, { code = "format", message = "the inspector's profile has another shape" } end
    local bytes, failed = files.through(path, function(part) return core.write_private(part, profile) end)
    if not bytes then return nil, failed end
    return { file = path, bytes = bytes, seconds = seconds }
  end)
end

-- ---- numbers ----

local function used_of(session)
  local usage, err = session:ask("Runtime.getHeapUsage")
  return usage and usage.usedSize, err
end

local function gc(t)
  return with_session(t, function(session)
    local before = used_of(session)
    local said, err = session:call("HeapProfiler.collectGarbage", nil, { timeout_ns = 120 * SECOND })
    if not said then return nil, err end
    return { rows = { { name = "v8.heap_used", before = before, value = (used_of(session)), unit = "bytes" } } }
  end)
end

-- Of Performance.getMetrics: what keeps memory beside the nodes, documents and listeners of Memory.getDOMCounters.
local page_metrics = { Frames = "frames", LayoutObjects = "layout_objects", Resources = "resources", ArrayBufferContents = "array_buffers",
  DetachedScriptStates = "detached_script_states", WorkerGlobalScopes = "workers", V8PerContextDatas = "contexts" }

local function add_page(session, add)
  local dom = session:ask("Memory.getDOMCounters")
  if dom then
    add("dom.nodes", dom.nodes)
    add("dom.documents", dom.documents)
    add("dom.listeners", dom.jsEventListeners)
  end
  if session:call("Performance.enable") then
    for _, m in ipairs((session:ask("Performance.getMetrics") or {}).metrics or {}) do
      if page_metrics[m.name] then add("page." .. page_metrics[m.name], m.value) end
    end
  end
end

-- Node says more of itself: what lies outside of V8's heap.
local function add_node(session, add)
  local answer = session:ask("Runtime.evaluate", { expression = "process.memoryUsage()", returnByValue = true })
  local usage = answer and answer.result and answer.result.value
  if type(usage) ~= "table" then return end
  add("node.rss", usage.rss, "bytes")
  add("node.external", usage.external, "bytes")
  add("node.array_buffers", usage.arrayBuffers, "bytes")
end

local function counters(t)
  return with_session(t, function(session, about)
    local rows = {}
    local function add(name, value, unit)
      if type(value) == "number" then rows[#rows + 1] = { name = name, value = value, unit = unit or "" } end
    end
    local usage, err = session:ask("Runtime.getHeapUsage")
    if not usage then return nil, err end
    add("v8.heap_used", usage.usedSize, "bytes")
    add("v8.heap_total", usage.totalSize, "bytes")
    add("v8.embedder_used", usage.embedderHeapUsedSize, "bytes")
    add("v8.backing_stores", usage.backingStorageSize, "bytes")
    if about and about.type == "node" then add_node(session, add) else add_page(session, add) end
    return { rows = rows }
  end)
end

M.kinds = {
  heap = { what = "a heap snapshot, behind a collection; the program stands still, and takes about ten times its heap", ending = ".heapsnapshot", run = heap },
  sampling = { what = "where live memory is allocated, sampled for --seconds", ending = ".heapprofile", run = sampling },
  gc = { what = "a collection", run = gc },
  counters = { what = "the heap's size; nodes, documents and listeners of a page", run = counters },
}
M.order = { "heap", "sampling", "gc", "counters" }
M.dump = "heap"
M.with_session = with_session

return M
