-- Captures of running programs: heap dumps, histograms, collections. Finds out what a word names and which runtime it is.
--
--   local t = capture.target("jvm:4711")          -- { runtime = "jvm", pid = 4711, name = "java-4711" }
--   local result, err = capture.run(t, "dump", { output = "app.hprof" })
--
-- result: { file, bytes, ... } or { rows }, both with took_ns. Options: output, force, gz, seconds, timeout_ns, redact, progress(done, total, what),
-- note(text).
local core = require "tidemark.core"
local files = require "tidemark.capture.files"
local go = require "tidemark.capture.go"

local M = {}

M.runtimes = { jvm = require "tidemark.capture.jvm", v8 = require "tidemark.capture.v8", go = go }

local function bad(message, advice) error({ message = message, code = "argument", advice = advice, exit = 2 }, 0) end

local function is_node(pid)
  local p = core.describe(pid)
  return p ~= nil and ((p.exe:match("([^/]+)$") or ""):match("^node") ~= nil or p.name:match("^node") ~= nil)
end

local function jvm(rest)
  local pid = math.tointeger(tonumber(rest))
  if not pid then bad("'jvm:" .. rest .. "' names no JVM", "give its process: jvm:4711") end
  return { runtime = "jvm", pid = pid, name = (core.describe(pid) or { name = "jvm" }).name .. "-" .. pid }
end

-- PORT, PID, HOST:PORT, each with /WORDS of a title or address.
local function v8(kind, rest)
  local place, match = rest:match("^([^/]+)/?(.*)$")
  local number = math.tointeger(tonumber(place or ""))
  match = match ~= "" and match or nil
  if number and kind == "node" and is_node(number) then return { runtime = "v8", pid = number, name = "node-" .. number, match = match } end
  if number and number < 65536 then return { runtime = "v8", base = "http://127.0.0.1:" .. number, name = kind .. "-" .. number, match = match } end
  if number then bad(("process %d is no Node"):format(number), "give the port of its inspector: " .. kind .. ":9229") end
  if not place or not place:match(":%d+$") then bad(("'%s:%s' names no inspector"):format(kind, rest), "give its port: " .. kind .. ":9229") end
  return { runtime = "v8", base = "http://" .. place, name = kind .. "-" .. place, match = match }
end

local prefixes = { jvm = jvm, java = jvm, node = function(rest) return v8("node", rest) end, chrome = function(rest) return v8("chrome", rest) end,
  electron = function(rest) return v8("electron", rest) end }

--- True for a word that names a runtime and where it is, "jvm:4711" or "node:9229".
function M.names_runtime(word) return prefixes[word:match("^(%a+):") or ""] ~= nil or word:match("^ws://") ~= nil end

-- The agent's own paths stand at the root of an address.
local function agent_base(word)
  local socket = word:match("^unix:[^:]+")
  return socket and socket .. ":" or word:match("^https?://[^/]+")
end

--- What can be captured of a process: as M.target, or nil. endpoint: an address where a Go program may have its agent.
function M.of(pid, endpoint)
  if core.jvm_find(pid) then return jvm(tostring(pid)) end
  if is_node(pid) then return { runtime = "v8", pid = pid, name = "node-" .. pid } end
  local p = core.describe(pid)
  local path = p and go.socket_of(pid, p.uid)
  local base = path and "unix:" .. path .. ":" or endpoint and agent_base(endpoint)
  if base and (path or go.is_there(base)) then return { runtime = "go", base = base, name = p.name .. "-" .. pid, pid = pid } end
end

--- What a word names, or nil when it is no program that can be captured this way (an app's pprof address, a name).
--- kind: tells apart what an address is asked for. endpoint: where a process's agent may be.
function M.target(word, kind, endpoint)
  local prefix, rest = word:match("^(%a+):(.+)$")
  if prefix and prefixes[prefix] then return prefixes[prefix](rest) end
  if word:match("^ws://") or word:match("^cdp:ws://") then
    return { runtime = "v8", url = word:gsub("^cdp:", ""), name = "v8" }
  end
  if word:match("^%d+$") then return M.of(math.tointeger(tonumber(word)), endpoint) end
  local base = agent_base(word)
  if base and kind and (go.kinds[kind] or kind == "dump") then
    local pid = word:match("^unix:") and core.listener("unix", word:match("^unix:([^:]+)"))
    local p = pid and core.describe(pid)
    return { runtime = "go", base = base, name = p and p.name .. "-" .. pid or "go" }
  end
end

--- The kinds of a target, in order: { name, what }.
function M.kinds(t)
  local runtime, out = M.runtimes[t.runtime], {}
  for i, name in ipairs(runtime.order) do out[i] = { name = name, what = runtime.kinds[name].what } end
  return out
end

-- One word for what is a dump, a heap or a heapdump of the runtime.
local dumps = { dump = true, heapdump = true }

--- True when a kind is a capture of some runtime and not a profile that a policy takes over HTTP.
function M.is_dump(name)
  return dumps[name] or M.runtimes.jvm.kinds[name] ~= nil and M.runtimes.jvm.kinds[name].ending ~= nil
end

--- True when a kind is a capture. Of a JVM and a V8 nothing else can be had, so that a wrong word is explained by M.run.
function M.has(t, name) return t.runtime ~= "go" or go.kinds[name] ~= nil or dumps[name] ~= nil end

local redactable = { [".hprof"] = true, [".heapsnapshot"] = true, [".goheap"] = true }

--- Writes a heap dump anew without its contents; from and to may be one file.
---@return table|nil done  { format, blanked_count, blanked_bytes }
---@return table|nil err
function M.redact(from, to, options)
  local done
  local ok, err = files.through(to, function(part)
    local problem
    done, problem = core.redact(from, part, { gz = to:match("%.gz$") ~= nil, progress = options.progress })
    return done, problem
  end)
  if not ok then return nil, err end
  return done
end

--- Takes one. Raises for an unknown kind; answers nil and an error when the world fails.
function M.run(t, name, options)
  local runtime = M.runtimes[t.runtime]
  name = runtime.kinds[name] and name or dumps[name] and runtime.dump or name
  local kind = runtime.kinds[name]
  if not kind then
    bad(("%s has no capture called '%s'"):format(t.name, name), "it has " .. table.concat(runtime.order, ", "))
  end
  if options.redact and not redactable[kind.ending] then bad("--redact is for heap dumps, not for " .. name) end
  local path = kind.ending and (options.output or files.name(options.dir, t.name, name, kind.ending .. (options.gz and ".gz" or "")))
  if path and path:match("^%-$") then bad("a capture goes into a file, not to standard output") end
  local _, began = core.now()
  t.note = options.note
  local result, err = kind.run(t, options, path)
  if result and options.redact then
    result.redacted, err = M.redact(path, path, options)
    if not result.redacted then
      os.remove(path)
      return nil, err
    end
    result.bytes = core.stat(path).size_bytes
  end
  if not result then return nil, err end
  local _, now = core.now()
  result.took_ns = now - began
  return result
end

return M
