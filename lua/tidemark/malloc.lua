-- The malloc agent seen from outside: what starts a program with it, and what is made of its profiles.
--
--   local env = malloc.environment({ mode = "sampled", rate = 512 << 10 }, "/run/last.sock")  -- raises where it cannot work
--   local row, err = malloc.snapshot(4711, "leak.pb.gz", {})                                   -- { file, bytes, took_ns }
local core = require "tidemark.core"

local M = {}

M.library = "libtidemark-malloc.so"
M.modes = { "sampled", "full", "idle" }
-- Bits of the kinds of blocks, as the wire counts them.
M.kinds = { malloc = 1, mmap = 2, all = 7 }

local function refuse(message, advice) error({ message = message, code = "unsupported", advice = advice, exit = 6 }, 0) end

--- The agent's library: TIDEMARK_AGENT, beside the program, or where it is installed.
function M.find()
  local named = os.getenv("TIDEMARK_AGENT")
  if named then
    if core.stat(named) then return core.realpath(named) end
    refuse("TIDEMARK_AGENT names " .. named .. ", which is not there")
  end
  local own = core.realpath("/proc/self/exe") or ""
  local dir = own:match("^(.*)/") or "."
  for _, place in ipairs { "", "/../lib/tidemark", "/../lib/x86_64-linux-gnu/tidemark", "/../lib/aarch64-linux-gnu/tidemark", "/../lib64/tidemark" } do
    local path = dir .. place .. "/" .. M.library
    if core.stat(path) then return core.realpath(path) end
  end
  refuse("the malloc agent (" .. M.library .. ") is not installed", "name it by TIDEMARK_AGENT")
end

-- ---- what it cannot be put into ----

local HEAD <const> = 16 << 20 -- the names of a program's dynamic symbols stand before

local function find_program(word)
  if word:find("/", 1, true) then return word end
  for dir in (os.getenv("PATH") or "/usr/bin:/bin"):gmatch("[^:]+") do
    local st = core.stat(dir .. "/" .. word)
    if st and st.kind == "file" and st.mode & 73 ~= 0 then return dir .. "/" .. word end
  end
  return word
end

-- Source: the gABI's program header; type 3 is the loader's name, without which nothing is preloaded.
local function has_loader(head)
  if #head < 64 or head:byte(5) ~= 2 then return true end
  local offset, size, count = ("<I8"):unpack(head, 33), ("<I2"):unpack(head, 55), ("<I2"):unpack(head, 57)
  for i = 0, count - 1 do
    local at = offset + i * size + 1
    if at + 3 > #head then return true end
    if ("<I4"):unpack(head, at) == 3 then return true end
  end
  return false
end

local others = { __asan_init = "AddressSanitizer", __tsan_init = "ThreadSanitizer", __msan_init = "MemorySanitizer", __hwasan_init = "HWASan" }

--- Raises when the agent cannot work in a program: static, sanitized, under valgrind, or with other rights.
function M.check(word)
  local path = find_program(word)
  if path:match("([^/]+)$") == "valgrind" then refuse("valgrind has its own allocator, which the malloc agent would stand before") end
  local f = io.open(path, "rb")
  local head = f and f:read(HEAD)
  if f then f:close() end
  if not head or head:sub(1, 4) ~= "\127ELF" then return end -- a script: its interpreter is looked at by the loader
  if not has_loader(head) then
    refuse(word .. " is linked statically: no library can be preloaded into it",
      "a Go program is dynamic when it uses cgo (CGO_ENABLED=1); pprof shows its Go heap")
  end
  for symbol, name in pairs(others) do
    if head:find(symbol, 1, true) then refuse(("%s is built with %s, which has its own allocator"):format(word, name), "build it without to use --malloc") end
  end
  local st = core.stat(path)
  if st and st.mode & 3072 ~= 0 and st.uid ~= core.uid() then
    refuse(word .. " runs with rights of its own (setuid): the loader preloads nothing into it", "run it as its user, or use `tidemark inject`")
  end
end

--- The environment of a program that shall have the agent. last: the socket that it tells its end.
function M.environment(options, last)
  local preload = os.getenv("LD_PRELOAD")
  local words = { "mode=" .. (options.mode or "sampled"), "rate=" .. (options.rate or 512 << 10) }
  if options.handles then words[#words + 1] = "handles=on" end
  if last then words[#words + 1] = "exit=" .. last end
  return { "LD_PRELOAD=" .. M.find() .. (preload and preload ~= "" and ":" .. preload or ""), "TIDEMARK_AGENT_OPTIONS=" .. table.concat(words, ",") }
end

--- Removes the socket of a process that ended without doing so.
function M.forget(pid)
  for _, dir in ipairs { (os.getenv("XDG_RUNTIME_DIR") or "") .. "/tidemark", ("/tmp/tidemark-%d"):format(core.uid()) } do
    local path = ("%s/%d.sock"):format(dir, pid)
    local st = core.stat(path)
    if st and st.kind == "socket" then os.remove(path) end
  end
end

-- ---- programs that run already ----

local MS <const> = 1000000

-- Waits until the agent's thread stands before the allocator, or says why it does not.
local function wait_for(pid, timeout_ns)
  local _, began = core.now()
  local about, err, now
  repeat
    about, err = core.malloc_agent(pid, "hello", { timeout_ns = 1000 * MS })
    if about and (about.is_preloaded == 1 or about.is_patched == 1) then return about end
    if err and err.code == "unsupported" then return nil, err end
    if not core.describe(pid) then return nil, { code = "gone", message = ("process %d ended meanwhile"):format(pid) } end
    core.pause(20 * MS)
    _, now = core.now()
  until now - began > timeout_ns
  return nil, { code = "timeout", message = ("the agent is in process %d, but does not answer yet: somebody there holds the loader"):format(pid),
    advice = "give it a moment, then run `tidemark inject` again" }
end

--- Brings the agent into a program that runs: one of its threads loads it. Whoever has it already is only started.
---@param options table  mode, rate, timeout_ns
---@return table|nil row  { pid, thread, stopped_ns, took_ns, mode, rate_bytes, was_there }
---@return table|nil err
function M.inject(pid, options)
  local _, began = core.now()
  local mode, rate = options.mode or "sampled", options.rate or 512 << 10
  local about = core.malloc_agent(pid, "hello", { timeout_ns = 1000 * MS })
  local done, err = { stopped_ns = 0 }
  local was_there = about ~= nil and (about.is_preloaded == 1 or about.is_patched == 1)
  if was_there then
    about, err = core.malloc_agent(pid, "start", { mode = mode, rate = rate })
  else
    done, err = core.inject(pid, M.find(), { argument = ("mode=%s,rate=%d"):format(mode, rate), timeout_ns = options.timeout_ns })
    if done then about, err = wait_for(pid, options.timeout_ns or 10000 * MS) end
    if done and not about and err.code == "unsupported" then core.malloc_agent(pid, "detach", { timeout_ns = 1000 * MS }) end
  end
  if not done or not about then return nil, err end
  local _, now = core.now()
  return { pid = pid, thread = done.thread, stopped_ns = done.stopped_ns, took_ns = now - began, mode = mode, rate_bytes = about.rate_bytes,
    was_there = was_there }
end

-- ---- profiles ----

--- What lives in a process's native heap, with names: a Profile, or nil and an error.
function M.take(pid, options)
  local about, bytes = core.malloc_agent(pid, "snapshot", options)
  if not about then return nil, bytes end
  local p, err = core.read { bytes = bytes, name = "malloc agent" }
  if not p then return nil, err end
  core.symbolize(p, {}) -- what has no names keeps its addresses
  return p
end

--- Names the functions of an agent's profile and writes it; returns the file's size.
---@param bytes string
---@param path string  "-" is standard output
function M.save(bytes, path)
  local p, err = core.read { bytes = bytes, name = "malloc agent" }
  if not p then return nil, err end
  core.symbolize(p, {})
  local written
  written, err = p:write("pprof")
  p:close()
  if not written then return nil, err end
  if path == "-" then
    io.write(written)
    return #written
  end
  local ok, problem = core.write_private(path, written)
  if not ok then return nil, problem end
  return #written
end

--- Takes a snapshot of a process's agent into a file.
---@return table|nil row  { file, bytes, took_ns }
---@return table|nil err
function M.snapshot(pid, path, options)
  local _, began = core.now()
  local about, profile = core.malloc_agent(pid, "snapshot", options)
  if not about then return nil, profile end
  local bytes, err = M.save(profile, path)
  if not bytes then return nil, err end
  local _, now = core.now()
  return { file = path, bytes = bytes, took_ns = now - began }
end

return M
