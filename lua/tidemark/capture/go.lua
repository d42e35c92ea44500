-- Captures of a Go program through tidemark's agent (agent/go), on its unix socket: heap dumps, the flight recorder's trace, a
-- collection, session resources. Profiles of it are those of net/http/pprof.
local core = require "tidemark.core"
local fetch = require "tidemark.fetch"

local M = {}

local SECOND <const> = 1000000000

--- Where the agent of a process listens when nobody says otherwise; nil when it does not.
function M.socket_of(pid, uid)
  for _, dir in ipairs { ("/run/user/%d"):format(uid or core.uid()), os.getenv("XDG_RUNTIME_DIR") or "/tmp", "/tmp" } do
    local path = ("%s/tidemark-%d.sock"):format(dir, pid)
    local st = core.stat(path)
    if st and st.kind == "socket" and (not uid or st.uid == uid) and core.listener("unix", path) == pid then return path end
  end
end

local function request(t, method, path, options, file, max_bytes)
  local answer, err = core.http { url = t.base .. path, method = method, timeout_ns = options.timeout_ns or 600 * SECOND, file = file,
    max_body_bytes = max_bytes or 64 << 20, progress = file and options.progress or nil }
  if not answer then return nil, err end
  if answer.status == 200 then return answer end
  if answer.status == 404 or answer.status == 405 then
    return nil, { code = "unsupported", message = t.base .. " has no " .. path .. ": no tidemark agent answers there",
      advice = "import the package agent/go, and call agent.Serve" }
  end
  return nil, { code = "io", message = ("%s is answered with HTTP %d: %s"):format(path, answer.status, answer.body:match("^[^\r\n]*"):sub(1, 200)) }
end

local function file_of(method, path)
  return function(t, options, out)
    local answer, err = request(t, method, path, options, out, 1 << 50)
    if not answer then return nil, err end
    return { file = out, bytes = answer.bytes }
  end
end

local function asked(path)
  return function(t, options)
    local answer, err = request(t, "POST", path, options)
    local said = answer and core.json_decode(answer.body)
    if type(said) ~= "table" then return nil, err or { code = "format", message = path .. " answers no JSON" } end
    return { rows = { { name = "go.heap_alloc", before = said.before, value = said.after, unit = "bytes" },
      { name = "go.heap_released", before = said.released_before, value = said.released_after, unit = "bytes" } } }
  end
end

local function sessions(t, options)
  local answer, err = request(t, "GET", "/sessions", options)
  local list = answer and core.json_decode(answer.body)
  if type(list) ~= "table" then return nil, err or { code = "format", message = "/sessions answers no JSON" } end
  local rows = {}
  for _, s in ipairs(list) do
    for _, r in ipairs(s.resources or {}) do
      rows[#rows + 1] = { session = tostring(s.session), kind = tostring(r.kind), id = tostring(r.id), bytes = r.bytes, age_ns = r.age_ns }
    end
  end
  return { rows = rows }
end

M.kinds = {
  heapdump = { what = "all objects, with roots and stacks; the program stands still", ending = ".goheap", run = file_of("POST", "/heapdump") },
  flight = { what = "execution trace: what the flight recorder kept (Go 1.25), else of one second", ending = ".trace", run = file_of("GET", "/trace") },
  gc = { what = "a collection", run = asked "/gc" },
  ["free-os-memory"] = { what = "a collection, and free memory back to the system", run = asked "/free-os-memory" },
  sessions = { what = "what sessions hold, by their own word", run = sessions },
}
M.order = { "heapdump", "flight", "gc", "free-os-memory", "sessions" }
M.dump = "heapdump"

--- True when an agent answers at the address.
function M.is_there(base)
  local answer = fetch.small(base .. "/agent", {})
  return answer ~= nil and answer.status == 200 and answer.body:find("tidemark", 1, true) ~= nil
end

return M
