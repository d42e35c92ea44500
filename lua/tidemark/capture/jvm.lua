-- Captures of a JVM, asked for as jcmd asks: heap dumps, class histograms, a collection, its own memory figures.
local core = require "tidemark.core"
local files = require "tidemark.capture.files"

local M = {}

local MINUTE <const> = 60000000000
local DUMP_RATIO <const> = 1.4 -- of the file to the heap that is in use

local function ask(pid, command, args, options)
  return core.jvm(pid, command, args, { timeout_ns = options.timeout_ns or 10 * MINUTE, progress = options.progress })
end

-- ---- memory ----

local factors = { B = 1, K = 1 << 10, M = 1 << 20, G = 1 << 30 }
local spaces = { "^%s*garbage%-first heap", "^%s*def new generation", "^%s*tenured generation", "^%s*PSYoungGen", "^%s*ParOldGen",
  "^%s*par new generation", "^%s*concurrent mark", "^%s*ZHeap", "^%s*Z[YO]%a* Generation", "^%s*Epsilon Heap" }

--- Bytes of heap in use by the text of GC.heap_info, of any collector; nil when it does not say.
function M.read_heap_info(text)
  local total
  for line in text:gmatch("[^\n]+") do
    local known = false
    for _, pattern in ipairs(spaces) do known = known or line:find(pattern) end
    local n, unit = line:match("used (%d+)([BKMG])")
    if not n then n, unit = line:match("(%d+)([BKMG]) used") end -- Shenandoah
    if n and (known or not total and line:find("used", 1, true) and not line:find("Metaspace", 1, true) and not line:find("class space", 1, true)) then
      total = (total or 0) + math.tointeger(tonumber(n)) * factors[unit]
    end
  end
  return total
end

local function memory(t, options)
  local info, err = ask(t.pid, "jcmd", { "GC.heap_info" }, options)
  if not info then return nil, err end
  local rows = { { name = "jvm.heap_used", value = M.read_heap_info(info), unit = "bytes" } }
  for line in info:gmatch("[^\n]+") do
    local what, used, committed = line:match("^%s*(%a[%a ]-)%s+used (%d+)K, %a+ (%d+)K")
    what = what and ({ Metaspace = "metaspace", ["class space"] = "class_space" })[what]
    if what then
      rows[#rows + 1] = { name = "jvm." .. what .. "_used", value = tonumber(used) * 1024, unit = "bytes" }
      rows[#rows + 1] = { name = "jvm." .. what .. "_committed", value = tonumber(committed) * 1024, unit = "bytes" }
    end
  end
  local native = ask(t.pid, "jcmd", { "VM.native_memory summary scale=KB" }, options) or ""
  for what, reserved, committed in native:gmatch("%-%s+([%a][%w ]-) %(reserved=(%d+)KB, committed=(%d+)KB") do
    local name = "jvm.native." .. what:lower():gsub(" ", "_")
    rows[#rows + 1] = { name = name, value = tonumber(committed) * 1024, unit = "bytes", reserved = tonumber(reserved) * 1024 }
  end
  local note
  if not native:find("committed", 1, true) then note = "native memory is not tracked: start the JVM with -XX:NativeMemoryTracking=summary" end
  return { rows = rows, note = note }
end

-- ---- histogram ----

local primitives = { B = "byte", C = "char", D = "double", F = "float", I = "int", J = "long", S = "short", Z = "boolean" }

--- "[[I" is int[][], "[Ljava.lang.Object;" is java.lang.Object[].
function M.type_name(name)
  local dims, rest = name:match("^(%[+)(.*)$")
  if not dims then return name end
  return (primitives[rest] or rest:match("^L(.*);$") or rest) .. ("[]"):rep(#dims)
end

--- The text of a class histogram as rows { type, count, shallow_bytes, module }.
function M.read_histogram(text)
  local rows = {}
  for count, bytes, rest in text:gmatch("%d+:%s+(%d+)%s+(%d+)%s+([^\n]+)") do
    local name, module = rest:match("^(%S+) %((.-)%)$")
    rows[#rows + 1] = { type = M.type_name(name or rest), count = math.tointeger(tonumber(count)),
      shallow_bytes = math.tointeger(tonumber(bytes)), module = module }
  end
  return rows
end

local function histogram(which)
  return function(t, options)
    local text, err = ask(t.pid, "inspectheap", { which }, options)
    if not text then return nil, err end
    local rows = M.read_histogram(text)
    if #rows == 0 then return nil, { code = "format", message = "the JVM's histogram cannot be read: " .. text:sub(1, 80) } end
    return { rows = rows }
  end
end

-- ---- dumps ----

--- How large a dump will be at most: garbage is counted, since its share is not known before the collection.
function M.estimate(pid, options)
  local info = ask(pid, "jcmd", { "GC.heap_info" }, options)
  local used = info and M.read_heap_info(info)
  return used and math.ceil(used * DUMP_RATIO)
end

-- The JVM writes into a folder that is its user's and nobody else's; of another file system that is its /tmp.
local function dump(which)
  return function(t, options, path)
    local jvm, err = core.jvm_find(t.pid)
    if not jvm then return nil, err end
    local expected = M.estimate(t.pid, options)
    local at = jvm.apart and ("/proc/%d/root/tmp"):format(t.pid) or files.folder_of(path)
    for _, folder in ipairs { at, files.folder_of(path) } do
      local ok, problem = files.check_room(folder, not options.gz and expected, options.force)
      if not ok then return nil, problem end
    end
    local bytes, failed = files.through(path, function(part)
      local inside = jvm.apart and part:sub(#("/proc/%d/root"):format(t.pid) + 1) or core.realpath(files.folder_of(part)) .. "/capture"
      local watching = options.progress and function() options.progress((core.stat(part) or { size_bytes = 0 }).size_bytes, expected) end
      local said, problem = ask(t.pid, "dumpheap", { inside, which, options.gz and "1" or nil },
        { timeout_ns = options.timeout_ns, progress = watching })
      if not said then return nil, problem end
      if core.stat(part) then return true end
      local words = said:match("[^\n]+\n([^\n]+)") or said
      return nil, { code = "io", message = "the JVM wrote no dump: " .. words, advice = "may its user write there? give another place with -o" }
    end, { at = at, uid = jvm.uid, gid = jvm.gid })
    if not bytes then return nil, failed end
    return { file = path, bytes = bytes, expected_bytes = expected }
  end
end

local function gc(t, options)
  local before = ask(t.pid, "jcmd", { "GC.heap_info" }, options)
  local said, err = ask(t.pid, "jcmd", { "GC.run" }, options)
  if not said then return nil, err end
  local after = ask(t.pid, "jcmd", { "GC.heap_info" }, options)
  return { rows = { { name = "jvm.heap_used", before = before and M.read_heap_info(before), value = after and M.read_heap_info(after), unit = "bytes" } } }
end

M.kinds = {
  dump = { what = "the objects that live, behind a collection", ending = ".hprof", run = dump "-live" },
  ["dump-all"] = { what = "all objects, garbage too", ending = ".hprof", run = dump "-all" },
  histogram = { what = "live objects by class, behind a collection", run = histogram "-live" },
  ["histogram-all"] = { what = "objects by class, garbage too", run = histogram "-all" },
  gc = { what = "a full collection", run = gc },
  memory = { what = "heap and metaspace; native memory where it is tracked", run = memory },
}
M.order = { "dump", "dump-all", "histogram", "histogram-all", "gc", "memory" }
M.dump = "dump"

return M
