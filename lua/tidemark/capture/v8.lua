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

--- Opens a session with a target. Answers it, what it speaks to (nil for a ws:// address), and how to leave it, which closes a port
--- that a signal opened; or nil and an error.
---@return table|nil session
---@return table|nil about
---@return function|nil leave
function M.join(t)
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
  return session, about, function()
    if opened then
      session:call("Runtime.evaluate", { expression = "setTimeout((i) => i.close(), 100, require('inspector')) && 1",
        includeCommandLineAPI = true }, { timeout_ns = 2 * SECOND })
    end
    session:close()
    if opened then wait_until_closed(t.pid, tonumber(base:match(":(%d+)$"))) end
  end
end

-- Gives the target's session to fn, and leaves it in any case.
local function with_session(t, fn)
  local session, about, leave = M.join(t)
  if not session then return nil, about end
  local results = table.pack(pcall(fn, session, about))
  leave()
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

-- ---- traces ----

-- What `tidemark tasks`, `asyncs`, `counters` and `frames` look at.
local page_categories = { "-*", "toplevel", "blink.user_timing", "blink.console", "devtools.timeline", "devtools.timeline.async", "latencyInfo",
  "loading", "v8.execute",
  "disabled-by-default-devtools.timeline", "disabled-by-default-devtools.timeline.stack", "disabled-by-default-devtools.timeline.frame",
  "disabled-by-default-v8.cpu_profiler", "disabled-by-default-v8.gc" }
local node_categories = { "node", "node.async_hooks", "node.perf", "v8", "disabled-by-default-v8.cpu_profiler" }
local PIECE_BYTES <const> = 1 << 20

local function write_piece(file, text)
  local ok, problem = file:write(text)
  return ok and true, { code = "io", message = "cannot write the trace: " .. tostring(problem) }
end

-- A page's trace lies in a stream of the browser.
local function drain_stream(session, handle, file)
  while true do
    local piece, err = session:ask("IO.read", { handle = handle, size = PIECE_BYTES }, { timeout_ns = 60 * SECOND })
    if not piece then return nil, err end
    if piece.base64Encoded then return nil, { code = "unsupported", message = "the browser packs its trace, which was not asked for" } end
    local ok, problem = write_piece(file, tostring(piece.data or ""))
    if not ok then return nil, problem end
    if piece.eof then
      session:call("IO.close", { handle = handle })
      return true
    end
  end
end

local function trace_page(session, seconds, file)
  local said, err = session:call("Tracing.start", { transferMode = "ReturnAsStream", streamFormat = "json",
    traceConfig = { recordMode = "recordUntilFull", includedCategories = page_categories } })
  if said then said, err = core.pause(math.ceil(seconds * SECOND)) end
  local complete -- comes before or behind the answer
  local how = { timeout_ns = 60 * SECOND, on_event = function(event, text)
    if event == "Tracing.tracingComplete" then complete = core.json_decode(text) end
  end }
  if said then said, err = session:call("Tracing.end", nil, how) end
  while said and not complete do
    local of, event, text = session:next(how)
    if event then how.on_event(event, text) elseif not of then said, err = nil, text end
  end
  if not said then return nil, err end
  local stream = type(complete.params) == "table" and complete.params.stream
  if not stream then return nil, { code = "format", message = "the browser tells of no stream with its trace" } end
  return drain_stream(session, stream, file)
end

-- Node sends the events themselves, of which the last come after it said that it was complete (Node 20): until it is silent.
local function trace_node(session, seconds, file)
  local first, problem = true, nil
  local function on_event(event, text)
    local events = event == "NodeTracing.dataCollected" and text:match('^{"method":"NodeTracing.dataCollected","params":{"value":%[(.*)%]}}%s*$')
    if not events or events == "" then return end
    local ok
    ok, problem = write_piece(file, (first and "" or ",") .. events)
    first = false
    if not ok then return false, problem end
  end
  local how = { timeout_ns = 60 * SECOND, on_event = on_event }
  local said, err = write_piece(file, '{"traceEvents":[')
  if said then said, err = session:call("NodeTracing.start", { traceConfig = { includedCategories = node_categories } }, how) end
  if said then said, err = core.pause(math.ceil(seconds * SECOND)) end
  if said then said, err = session:call("NodeTracing.stop", nil, how) end
  local silence = { timeout_ns = SECOND }
  while said do
    local of, event, text = session:next(silence)
    if not of and not event then
      if text.code ~= "timeout" then said, err = nil, text end
      break
    end
    if event and on_event(event, text) == false then said, err = nil, problem end
  end
  if not said then return nil, err end
  return write_piece(file, "]}")
end

local function trace(t, options, path)
  local seconds = options.seconds or 5
  return with_session(t, function(session, about)
    local record = about and about.type == "node" and trace_node or trace_page
    local bytes, problem = files.through(path, function(part)
      local file, why = io.open(part, "wb")
      if not file then return nil, { code = "io", message = "cannot write " .. why } end
      local ok, err = record(session, seconds, file)
      file:close()
      return ok, err
    end)
    if not bytes then return nil, problem end
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

-- Each: a method, its parameters, and what its result says: numbers to add(name, value, unit), owners of RSS in told.
local of_all = { "Runtime.getHeapUsage", {}, function(r, add, told)
  add("v8.heap_used", r.usedSize, "bytes")
  add("v8.heap_total", r.totalSize, "bytes")
  add("v8.embedder_used", r.embedderHeapUsedSize, "bytes")
  add("v8.backing_stores", r.backingStorageSize, "bytes")
  told.v8_heap, told.v8_external, told.v8_array_buffers = r.totalSize, r.embedderHeapUsedSize, r.backingStorageSize
end }

-- Node says more of itself: what lies outside of V8's heap.
local of_node = { of_all, { "Runtime.evaluate", { expression = "process.memoryUsage()", returnByValue = true }, function(r, add, told)
  local usage = type(r.result) == "table" and r.result.value
  if type(usage) ~= "table" then return end
  add("node.rss", usage.rss, "bytes")
  add("node.external", usage.external, "bytes")
  add("node.array_buffers", usage.arrayBuffers, "bytes")
  told.v8_heap, told.v8_external, told.v8_array_buffers = usage.heapTotal, math.max(0, usage.external - usage.arrayBuffers), usage.arrayBuffers
end } }

local of_page = { of_all,
  { "Memory.getDOMCounters", {}, function(r, add)
    add("dom.nodes", r.nodes)
    add("dom.documents", r.documents)
    add("dom.listeners", r.jsEventListeners)
  end },
  { "Performance.enable", {}, function() end },
  { "Performance.getMetrics", {}, function(r, add)
    for _, m in ipairs(r.metrics or {}) do
      if page_metrics[m.name] then add("page." .. page_metrics[m.name], m.value) end
    end
  end } }

--- What is asked for numbers, of what M.join says that it speaks to: a list of { method, parameters, take }. take(result, add, told)
--- calls add(name, value, unit) and sets told[owner] = bytes, for the accounting of RSS.
function M.questions(about) return about and about.type == "node" and of_node or of_page end

--- Asks all of them over a session: { name, value, unit } each, and what is told of owners; or nil and an error.
---@return table|nil rows
---@return table told_or_err
function M.numbers(session, about)
  local rows, told = {}, {}
  local function add(name, value, unit)
    if type(value) == "number" then rows[#rows + 1] = { name = name, value = value, unit = unit or "" } end
  end
  for i, question in ipairs(M.questions(about)) do
    local result, err = session:ask(question[1], question[2])
    if result then question[3](result, add, told) elseif i == 1 then return nil, err end
  end
  return rows, told
end

local function counters(t)
  return with_session(t, function(session, about)
    local rows, err = M.numbers(session, about)
    if not rows then return nil, err end
    return { rows = rows }
  end)
end

-- ---- whose process it is ----

-- CPU time of a process so far; ticks are 10 ms.
local function cpu_seconds(pid)
  local f = io.open("/proc/" .. pid .. "/stat")
  local user, system = (f and f:read("a") or ""):match("%) %a" .. (" %-?%d+"):rep(10) .. " (%d+) (%d+)")
  if f then f:close() end
  return user and (tonumber(user) + tonumber(system)) / 100
end

-- The process of a page: of all renderers the one that has used as much CPU as the page says of its own.
local function renderer_of(session)
  session:call("Performance.enable")
  local seconds
  for _, m in ipairs((session:ask("Performance.getMetrics") or {}).metrics or {}) do
    if m.name == "ProcessTime" then seconds = m.value end
  end
  if not seconds then return nil end
  local best, least
  for _, p in ipairs(core.processes() or {}) do
    local used = p.command:find("--type=renderer", 1, true) and cpu_seconds(p.pid)
    local off = used and math.abs(used - seconds)
    if off and (not least or off < least) then best, least = p.pid, off end
  end
  return best
end

--- The process behind a target: its own, a page's renderer, or who listens there. nil and an error when it is not on this machine.
---@return integer|nil pid
---@return table|nil err
function M.process(t)
  if t.pid then return t.pid end
  local url, about = t.url, nil
  if not url then
    url, about = inspector.choose(t.base, t.match)
    if not url then return nil, about end
  end
  local pid, err
  if not about or about.type ~= "node" then -- Node says so to its users each time that somebody joins
    pid, err = with_session(t, function(session) return renderer_of(session) or 0 end)
    if not pid then return nil, err end
  end
  if pid and pid > 0 then return pid end
  local port = url:match(":(%d+)")
  pid = port and core.listener("tcp", tonumber(port))
  if pid then return pid end
  return nil, { code = "argument", message = "the process behind " .. t.name .. " is not on this machine", advice = "give its PID" }
end

M.kinds = {
  heap = { what = "a heap snapshot, behind a collection; the program stands still, and takes about ten times its heap", ending = ".heapsnapshot", run = heap },
  sampling = { what = "where live memory is allocated, sampled for --seconds", ending = ".heapprofile", run = sampling },
  trace = { what = "a trace of --seconds (5): tasks, frames, asyncs, collections; `tidemark tasks FILE`", ending = ".trace.json", run = trace },
  gc = { what = "a collection", run = gc },
  counters = { what = "the heap's size; nodes, documents and listeners of a page", run = counters },
}
M.order = { "heap", "sampling", "trace", "gc", "counters" }
M.dump = "heap"
M.with_session = with_session

return M
