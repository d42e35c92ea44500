-- Who owns a process's RSS: what a word names, whom its runtime's numbers come from, one reading after the other.
--
--   local a <close> = account.open("127.0.0.1:6060")     -- or a PID, a name, jvm:PID, node:PORT, chrome:PORT/WORDS
--   local r = a:read()                                   -- { rows = { { owner, title, bytes, share, detail, ... } }, rss_bytes, runtime, ... }
local access = require "tidemark.cli.access"
local capture = require "tidemark.capture"
local core = require "tidemark.core"
local endpoint = require "tidemark.endpoint"
local fetch = require "tidemark.fetch"
local target = require "tidemark.cli.target"

local M = {}

local Account = {}
Account.__index = Account

local function of_inspector(t)
  local rows, told = capture.runtimes.v8.with_session(t, capture.runtimes.v8.numbers)
  if not rows then error(told, 0) end
  return told
end

-- ---- malloc's own account ----

--- Bytes in use by the text of glibc's malloc_info: all it has from the system less what lies free. nil when it is none.
function M.read_malloc_info(xml)
  local totals = xml:match("<malloc.*</heap>(.*)</malloc>")
  local system = totals and totals:match('<system type="current" size="(%d+)"')
  if not system then return nil end
  local function total(kind) return tonumber(totals:match('<total type="' .. kind .. '" count="%d+" size="(%d+)"') or 0) end
  return math.tointeger(math.max(0, tonumber(system) + total "mmap" - total "fast" - total "rest"))
end

-- From a file, or a page of the app.
local function malloc_info(where, how)
  local body, err
  if target.is_address(where) then
    local answer, problem = fetch.small(where, fetch.from_options(how))
    body, err = answer and answer.status == 200 and answer.body, problem
  else
    local f, problem = io.open(where)
    body, err = f and f:read("a"), { message = "cannot read " .. tostring(problem), code = "io" }
    if f then f:close() end
  end
  if not body then error(err or { message = where .. " has no malloc_info", code = "format" }, 0) end
  local bytes = M.read_malloc_info(body)
  if not bytes then error({ message = where .. " is no text of malloc_info", code = "format" }, 0) end
  return bytes
end

-- ---- opening ----

--- Opens an account of a target. options: as a command's of access.options (call = true: as a library
--- call's), and outside = true: never ask the program. Raises.
---@return table account
function M.open(word, options)
  options = options or {}
  local self = setmetatable({ word = word }, Account)
  local found_address
  self.pid, found_address, self.v8 = target.resolve(word)
  local address = options.endpoint or found_address
  local p, err = core.describe(self.pid)
  if not p then error(err, 0) end
  self.name, self.command = p.name, p.command
  local found = core.exe_runtime("/proc/" .. self.pid .. "/exe")
  self.version = found and found.version
  if not address and not options.outside and found and found.name == "go" then address = endpoint.find(self.pid) end
  local how = (options.call and access.of_call or access.of)(options, address)
  how.outside, how.timeout_ns = options.outside, options.timeout
  self.core, err = core.account(self.pid, how)
  if not self.core then error(err, 0) end
  self.outside, self.malloc_info, self.how = options.outside, options["malloc-info"], options
  return self
end

-- ---- reading ----

local function bytes(n) return core.format(n, "bytes") end

local function where(row)
  if not row.largest_start or row.bytes == 0 then return nil end
  local name = row.largest_name ~= "" and row.largest_name:match("([^/]+)$") or ("%x"):format(row.largest_start)
  return ("%d mapping%s, largest %s %s"):format(row.mappings, row.mappings == 1 and "" or "s", name, bytes(row.largest_bytes))
end

local function detail(row)
  local out = {}
  if row.told_bytes then out[1] = (row.group == "c_heap" and "malloc says " or "the runtime says ") .. bytes(row.told_bytes) end
  local place = not row.told_bytes and where(row)
  if place then out[#out + 1] = place end
  if row.swap_bytes and row.swap_bytes > 0 then out[#out + 1] = bytes(row.swap_bytes) .. " more in swap" end
  return table.concat(out, "; ")
end

--- Reads once. nil and an error when the process ended or may not be looked into.
function Account:read()
  local problem
  if self.v8 and not self.outside then
    local ok, told = pcall(of_inspector, self.v8)
    if ok then self.core:tell(told) else problem = type(told) == "table" and told.message or tostring(told) end
  end
  if self.malloc_info then self.core:tell { c_heap_inuse = malloc_info(self.malloc_info, self.how) } end
  local r, err = self.core:read()
  if not r then return nil, err end
  r.pid, r.name, r.version, r.time_ns = self.pid, self.name, self.version, (core.now())
  if problem then r.problem = problem end
  if self.v8 then r.runtime = "v8" end
  if r.source == "told" then r.source = self.v8 and "inspector" or "malloc_info" end
  for _, row in ipairs(r.rows) do row.detail = detail(row) end
  return r
end

function Account:close()
  if self.core then self.core:close() end
  self.core = nil
end
Account.__close = Account.close

--- One reading of a target. Raises.
function M.once(word, options)
  local a <close> = M.open(word, options)
  local r, err = a:read()
  if not r then error(err, 0) end
  return r
end

--- The bytes of all owners of a group, or of one owner, in a reading.
function M.of(reading, name)
  local sum = 0
  for _, row in ipairs(reading.rows) do
    if row.group == name or row.owner == name then sum = sum + row.bytes end
  end
  return sum
end

return M
