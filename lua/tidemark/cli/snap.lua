-- snap: take profiles and heap dumps of a running app into files.
local args = require "tidemark.cli.args"
local capture = require "tidemark.capture"
local core = require "tidemark.core"
local endpoint = require "tidemark.endpoint"
local fetch = require "tidemark.fetch"
local handles = require "tidemark.handles"
local malloc = require "tidemark.malloc"
local target = require "tidemark.cli.target"
local text = require "tidemark.show.text"

local options = {
  { "gc", "let the app collect garbage first (heap)" },
  { "seconds", "N", "collect for so long; of the others: the difference over so long" },
  { "debug", "N", "text instead of a profile: 1, or 2 for goroutines", kind = "integer" },
  { "output", "FILE", "where to; - is standard output (TARGET-KIND-TIME.pb.gz)" },
  { "endpoint", "URL", "the app's pprof endpoint, when TARGET is a process (found where it listens)" },
  { "dir", "DIR", "the folder for files that are named here (made if need be)" },
  { "gz", "let the JVM compress its dump (JDK 16 and later)" },
  { "force", "dump though memory or disk are short" },
  { "paths", "keep the type paths of a heap dump beside it, as FILE.paths.pb.gz: what growth over dumps needs; of a trace what rules compare" },
  { "malloc-kind", "KIND", "malloc: blocks of the allocator, mmap: large mappings, or all", choices = { "malloc", "mmap", "all" }, default = "malloc" },
  { "since-epoch", "N", "malloc: only blocks since the N-th `tidemark malloc PID mark`", kind = "integer" },
  { "min-age", "DUR", "malloc: only blocks that live so long already", kind = "duration" },
  { "inject", "malloc: bring the agent, let it record for --seconds (10), and take it out again" },
  { "redact", "blank what strings and arrays of a heap dump hold; sizes stay" },
}
table.move(fetch.options, 1, #fetch.options, #options + 1, options)

local function fail(err, name)
  local advice = err.advice
  local exit = err.code == "cancelled" and 130 or (err.code == "io" and 4) or nil
  error({ message = name .. ": " .. err.message, code = err.code, advice = advice, exit = exit }, 0)
end

-- The process behind the address when it runs here, else the address.
local function name_of(word)
  local pid = target.listener(word)
  local p = pid and core.describe(pid)
  local name = p and p.name or word:gsub("^%a[%w+.-]*://", ""):gsub("/debug/pprof/?$", "")
  return (name:gsub("[^%w._-]+", "-"):gsub("^%-+", ""):gsub("%-+$", ""))
end

local function file_name(word, kind, opts)
  local ending = kind == "trace" and ".trace" or opts.debug and ".txt" or ".pb.gz"
  local stem = ("%s-%s-%s"):format(name_of(word), (kind:gsub("[^%w._-]+", "-")), os.date("!%Y%m%dT%H%M%SZ"))
  local path, n = stem .. ending, 1
  while core.stat(path) do
    n = n + 1
    path = ("%s-%d%s"):format(stem, n, ending)
  end
  return path
end

-- A line that is written over: what has come, or how long it still takes.
local function progress(kind, seconds, quiet)
  if quiet or not core.terminal(2).tty then return nil end
  local began = core.now()
  return function(done, total)
    local waited = (core.now() - began) // 1000000000
    local so_far = total and ("%s of %s"):format(core.format(done, "bytes"), core.format(total, "bytes")) or core.format(done, "bytes")
    if done == 0 and seconds then so_far = ("%d of %g s"):format(waited, seconds) end
    io.stderr:write("\r\27[K", kind, ": ", so_far)
  end
end

-- What stands in the file: samples and the total of its default value. Traces are not looked into.
local function look(row, path)
  if row.kind == "trace" then return row end
  local p, err = core.read(path)
  if not p then
    row.problem = "cannot be read as a profile: " .. err.message
    return row
  end
  local info = p:info()
  local index, type, unit = p:sample_index("")
  row.samples = info.samples
  if index then row.value, row.unit, row.total = type, unit, info.types[index + 1].total end
  p:close()
  return row
end

local function line(row)
  local parts = { core.format(row.bytes, "bytes"), row.problem }
  if row.samples then parts[#parts + 1] = row.samples .. (row.samples == 1 and " sample" or " samples") end
  if row.total then
    local unit = row.unit == "nanoseconds" and "ns" or row.unit
    local total = (unit == "bytes" or unit == "ns") and core.format(row.total, unit) or ("%d"):format(row.total)
    parts[#parts + 1] = row.value .. " " .. total
  end
  return ("%s: %s (%s)\n"):format(row.file, table.concat(parts, ", "), core.format(row.took_ns, "ns"))
end

local function take(word, kind, opts)
  local how = fetch.from_options(opts)
  local known = fetch.kinds[kind]
  local path = opts.output or file_name(word, kind, opts)
  how.progress = progress(kind, how.seconds or known and known.seconds, opts.quiet)
  local about, err = fetch.save(word, kind, path, how)
  if how.progress then io.stderr:write("\r\27[K") end
  if not about then fail(err, kind) end
  local row = { target = word, kind = kind, file = path, bytes = about.bytes, took_ns = about.total_ns, url = about.url }
  return path ~= "-" and look(row, path) or row
end

-- ---- heap dumps and what else a runtime does ----

local function capture_progress(kind, quiet)
  if quiet or not core.terminal(2).tty then return nil end
  local began = core.now()
  return function(done, total, what)
    local so_far = what and ("%d of %d %s"):format(done, total, what) or core.format(done, "bytes")
    if total and not what then so_far = so_far .. " of about " .. core.format(total, "bytes") end
    io.stderr:write("\r\27[K", kind, ": ", so_far, " (", core.format((core.now()) - began, "ns"), ")")
  end
end

local columns = {
  type = { { key = "count", title = "COUNT", right = true }, { key = "shallow_bytes", title = "SHALLOW", unit = "bytes", right = true },
    { key = "type", title = "TYPE" } },
  session = { { key = "session", title = "SESSION" }, { key = "kind", title = "KIND" }, { key = "id", title = "ID" },
    { key = "bytes", title = "BYTES", unit = "bytes", right = true }, { key = "age_ns", title = "AGE", unit = "ns", right = true } },
}

-- A number of the runtime, and what it was before.
local function print_number(row)
  local function shown(value) return row.unit == "bytes" and core.format(value, "bytes") or ("%.14g"):format(value) end
  if not row.value then return end
  io.write(text.pad(row.name, 26), row.before and shown(row.before) .. " -> " or "", shown(row.value), "\n")
end

local function print_rows(rows)
  local known = rows[1] and (rows[1].type and columns.type or rows[1].session and columns.session)
  if known then return io.write(text.table(known, rows)) end
  for _, row in ipairs(rows) do print_number(row) end
end

local function print_capture(row, opts)
  if opts.quiet then return end
  if row.file then
    io.write(("%s: %s (%s)\n"):format(row.file, core.format(row.bytes, "bytes"), core.format(row.took_ns, "ns")))
  else
    print_rows(row.rows)
  end
  if row.note then io.stderr:write("tidemark: ", row.note, "\n") end
end

-- What rules compare of it: of a dump its type paths, of a browser's trace its tasks, operations and counters. The file may be pruned;
-- this is some tens of kB.
local function keep_paths(row)
  local g, err = core.read(row.file)
  if not g or g.kind ~= "graph" and g.kind ~= "timeline" then
    row.problem = err and err.message
    return
  end
  local kind = g.kind
  local p, problem = (kind == "graph" and g.paths or g.snapshot)(g)
  row.format = g.format
  g:close()
  if not p then
    row.problem = problem.message
    return
  end
  local path = row.file .. ".paths.pb.gz"
  local ok, bad = core.write_private(path, p:write("pprof"))
  row.stats = kind == "timeline" and p:info().stats or nil
  if ok then row.paths = path else row.problem = bad.message end
end

local function take_capture(t, word, kind, opts)
  local how = { output = opts.output, dir = opts.dir, force = opts.force, gz = opts.gz, redact = opts.redact, seconds = opts.seconds, timeout_ns = opts.timeout,
    progress = capture_progress(kind, opts.quiet or opts.json),
    note = function(said) if not opts.quiet then io.stderr:write("tidemark: ", said, "\n") end end }
  local result, err = capture.run(t, kind, how)
  if how.progress then io.stderr:write("\r\27[K") end
  if not result then fail(err, kind) end
  result.target, result.kind = word, kind
  if opts.paths and result.file and result.file ~= "-" then keep_paths(result) end
  if not opts.json then print_capture(result, opts) end
  return result
end

local function seconds_of(opts)
  local n = opts.seconds and tonumber(opts.seconds)
  if opts.seconds and (not n or n <= 0 or n > 86400) then args.usage("--seconds: '" .. opts.seconds .. "' is no span from 0 to 86400") end
  if n then opts.seconds = math.tointeger(n) or n end
end

-- The app's pprof address: that of a Go program's agent when it has one, else where the process itself serves it.
local function endpoint_of(word, opts, captured)
  if opts.endpoint then return opts.endpoint end
  if target.is_address(word) then return word end
  if captured and captured.runtime == "go" then return (captured.base:gsub(":$", "")) end
  local unseen = word:match("^%d+$") and ("process %s is no JVM, no Node and has no agent that can be seen, and "):format(word) or ""
  local found, err = endpoint.find(target.resolve(word), fetch.from_options(opts))
  if found then return found end
  err.message = unseen .. err.message
  fail(err, word)
end

local function take_profile(word, kind, opts)
  local row = take(word, kind, opts)
  if not opts.json and not opts.quiet and row.file ~= "-" then io.write(line(row)) end
  return row
end

-- Handles that nobody recorded until now are recorded for so long.
local function record_handles(pid, opts)
  local about, err = core.malloc_agent(pid, "hello", {})
  if not about then fail(err, "handles") end
  if not opts.seconds then
    if about.handles_on == 0 and about.handles_seen == 0 and not opts.quiet then
      io.stderr:write("tidemark: nobody has recorded who opens what yet: --seconds N, or tidemark malloc ", pid, " handles start\n")
    end
    return nil
  end
  handles.start(pid)
  core.sleep(math.floor(opts.seconds * 1e9))
  return about.handles_on == 0 and handles.stop
end

-- Whoever has the agent already keeps it.
local function record_malloc(pid, opts)
  local brought, err = malloc.inject(pid, { timeout_ns = opts.timeout })
  if not brought then fail(err, "malloc") end
  local ok, problem = pcall(core.sleep, math.floor((opts.seconds or 10) * 1e9))
  local function finish()
    if not brought.was_there then core.malloc_agent(pid, "detach") end
  end
  if ok then return finish, brought end
  finish()
  error(problem, 0)
end

local function take_malloc(word, kind, opts)
  local pid = target.resolve(word)
  local path = opts.output or file_name(word, kind, opts)
  local brought
  local finish = kind == "handles" and record_handles(pid, opts)
  if kind == "malloc" and opts.inject then finish, brought = record_malloc(pid, opts) end
  local row, err = malloc.snapshot(pid, path, { timeout_ns = opts.timeout,
    kinds = kind == "handles" and handles.KINDS or malloc.kinds[opts["malloc-kind"]],
    since_epoch = opts["since-epoch"], min_age_ms = opts["min-age"] and opts["min-age"] // 1000000,
    progress = capture_progress(kind, opts.quiet or opts.json) })
  if finish then finish(pid) end
  if not row then fail(err, kind) end
  row.target, row.kind, row.stopped_ns = word, kind, brought and brought.stopped_ns
  if path ~= "-" then look(row, path) end
  if not opts.json and not opts.quiet and path ~= "-" then io.write(line(row)) end
  return row
end

-- One kind that answers a table is the document's rows itself.
local function print_document(word, rows)
  local meta = { target = word }
  if #rows == 1 and rows[1].rows then
    meta.kind, meta.took_ns, meta.note, rows = rows[1].kind, rows[1].took_ns, rows[1].note, rows[1].rows
  end
  io.write(text.document("snap", meta, text.array(rows)))
end

return {
  name = "snap", summary = "take profiles and heap dumps of a running app into files", usage = "snap TARGET KIND... [OPTIONS]",
  examples = { "tidemark snap http://127.0.0.1:6060 heap --gc", "tidemark snap localhost:6060 cpu --seconds 5 -o cpu.pb.gz",
    "tidemark snap unix:/run/app.sock:/debug/pprof goroutine mutex", "tidemark snap unix:/run/caddy.sock heap --host-header ''",
    "tidemark snap jvm:4711 dump -o app.hprof", "tidemark snap node:9229 heap", "tidemark snap chrome:9222/Shop counters",
    "tidemark snap 4711 histogram --json", "tidemark snap 4711 malloc -o native.pb.gz",
    "tidemark snap 4711 malloc --inject --seconds 30 -o native.pb.gz",
    "tidemark snap 4711 handles --seconds 30 -o handles.pb.gz" },
  doc = "KIND: heap, allocs, goroutine, cpu, mutex, block, threadcreate, trace, goroutineleak, or the name of a profile that the app\n"
    .. "made (`tidemark attach` lists them). Files are readable by you alone. `tidemark top FILE` shows one.\n"
    .. "jvm:PID has dump, dump-all, histogram, histogram-all, gc, memory. node:PORT, node:PID and chrome:PORT[/TITLE] have heap,\n"
    .. "sampling, trace, gc, counters. A Go app with tidemark's agent has heapdump, flight, gc, free-os-memory, sessions.\n"
    .. "malloc: the native heap of a process with tidemark's malloc agent (`tidemark run --malloc`). handles: who opened what it holds.\n"
    .. "A plain PID works where the runtime can be seen. `tidemark objects FILE` shows a heap dump.",
  options = options,
  run = function(opts, words)
    if #words < 2 then args.usage("TARGET and KIND are needed: tidemark snap http://127.0.0.1:6060 heap") end
    if opts.output and #words > 2 then args.usage("-o takes one profile: give one KIND") end
    seconds_of(opts)
    local captured, rows, code = capture.target(words[1], words[2], opts.endpoint), {}, 0
    for i = 2, #words do
      local kind = words[i]
      if (kind == "malloc" or kind == "handles") and not target.is_address(words[1]) then
        rows[i - 1] = take_malloc(words[1], kind, opts)
      elseif captured and capture.has(captured, kind) then
        rows[i - 1] = take_capture(captured, words[1], kind, opts)
      else
        rows[i - 1] = take_profile(endpoint_of(words[1], opts, captured), kind, opts)
      end
      if rows[i - 1].problem then code = 3 end
    end
    if opts.json then print_document(words[1], rows) end
    return code
  end,
}
