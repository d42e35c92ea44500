-- The pprof endpoint of a process, found by itself: everything it listens on is asked for the index of net/http/pprof.
--
--   endpoint.find(4711)                    -> "http://127.0.0.1:6060" | nil, { code, message, advice }
local core = require "tidemark.core"
local fetch = require "tidemark.fetch"

local M = {}

local MOST <const> = 32 -- addresses that are asked
local WAIT_NS <const> = 500000000

-- "127.0.0.1:6060: HTTP 404" of an address that has no pprof.
local function reason(address, err)
  local shown = address:gsub("^http://", "")
  if not err then return shown .. " (another page)" end
  local short = err.code == "timeout" and "no answer" or err.message:match("HTTP %d+") or err.code == "format" and "no HTTP"
    or err.message:find("is not there", 1, true) and "HTTP 404" or err.code
  return ("%s (%s)"):format(shown, short)
end

local function unreadable(pid, why)
  if why == "gone" then return nil, { code = "gone", message = ("process %d does not exist"):format(pid) } end
  return nil, { code = "permission", message = ("what process %d listens on is hidden from this user"):format(pid),
    advice = "give its address with --endpoint, or run as its user" }
end

--- The first address of a process that answers as net/http/pprof does, in the order TCP, unix sockets.
---@param pid integer
---@param options table|nil  as fetch's: timeout_ns is that of each address
---@return string|nil address
---@return table|nil err      names what was tried
function M.find(pid, options)
  local addresses, why = core.listeners(pid)
  if not addresses then return unreadable(pid, why) end
  options = options or {}
  local how = setmetatable({ timeout_ns = math.min(options.timeout_ns or WAIT_NS, WAIT_NS) }, { __index = options })
  local tried = {}
  for i = 1, math.min(#addresses, MOST) do
    local list, err = fetch.index(addresses[i], how)
    if list and #list > 0 then return addresses[i] end
    tried[i] = reason(addresses[i], err)
  end
  local message = ("process %d listens on nothing that loopback reaches"):format(pid)
  if #tried > 0 then
    message = ("process %d has no /debug/pprof/ where it listens: %s%s"):format(pid, table.concat(tried, ", "),
      #addresses > MOST and (", and %d more not asked"):format(#addresses - MOST) or "")
  end
  return nil, { code = "unsupported", message = message, advice = "give the app's address with --endpoint http://host:port/prefix/debug/pprof/" }
end

return M
