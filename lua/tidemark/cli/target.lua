-- TARGET: one grammar for all commands.
local core = require "tidemark.core"
local fetch = require "tidemark.fetch"

local M = {}

local function fail(message, exit, advice) error({ message = message, exit = exit, advice = advice }, 0) end

local function by_name(name)
  local found, own = {}, nil
  for _, p in ipairs(core.processes() or {}) do
    local base = p.exe:match("([^/]+)$")
    if (p.name == name or base == name) and not p.command:find("^tidemark ") then found[#found + 1] = p end
  end
  if #found > 1 then -- a tree of one program is its root
    local pids = {}
    for _, p in ipairs(found) do pids[p.pid] = true end
    for _, p in ipairs(found) do
      if not pids[p.parent] then
        if own then own = false break end
        own = p
      end
    end
    if own then return own.pid end
  end
  if #found == 1 then return found[1].pid end
  if #found == 0 then fail("no process is called '" .. name .. "'", 4, "give a PID, or a name as `ps -e` shows it") end
  local list = {}
  for i = 1, math.min(#found, 8) do list[i] = ("%d (%s)"):format(found[i].pid, found[i].command:sub(1, 60)) end
  fail(("%d processes are called '%s'"):format(#found, name), 2, "choose one: " .. table.concat(list, ", "))
end

--- True for a word that is an address rather than a process.
function M.is_address(word)
  return (word:match("^https?://") or word:match("^unix:") or word:match("^%w[%w%.%-]*:%d+") or word:match("^%[.*%]:%d+")) ~= nil
end

--- The process on this machine that listens at an address, or nil.
function M.listener(url)
  if url:match("^unix:") then return core.listener("unix", url:match("^unix:([^:]+)")) end
  local port = url:gsub("^%a+://", ""):match("^[^/]*:(%d+)")
  return core.listener("tcp", tonumber(port) or (url:match("^https:") and 443 or 80))
end

local function by_url(url)
  local pid = M.listener(url)
  if not pid then
    fail("nothing on this machine listens at " .. url, 4, "start the app, or give its PID with --endpoint " .. url)
  end
  local base, query = fetch.base(url)
  return pid, base .. query
end

-- jvm:PID, node:PORT, chrome:PORT/WORDS...
local function by_runtime(word)
  local capture = require "tidemark.capture"
  local t = capture.names_runtime(word) and capture.target(word)
  if not t then return nil end
  if t.runtime ~= "v8" then return t.pid end
  local pid, err = capture.runtimes.v8.process(t)
  if not pid then fail(err.message, err.code == "argument" and 2 or 4, err.advice) end
  t.word = word
  return pid, t
end

--- Resolves a TARGET: returns a pid, the endpoint when it was a URL, and the capture target when an inspector was named. Raises with
--- exit code 2 or 4.
---@param word string
---@return integer pid, string|nil endpoint, table|nil v8
function M.resolve(word)
  local pid, v8 = by_runtime(word)
  if pid then return pid, nil, v8 end
  if word:match("^%d+$") then return math.tointeger(tonumber(word)) end
  if M.is_address(word) then return by_url(word) end
  return by_name(word)
end

return M
