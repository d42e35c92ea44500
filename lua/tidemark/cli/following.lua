-- `goroutines --follow`: a Go trace read while it is written or while an app sends it, a table for every second of it.
local core = require "tidemark.core"
local fetch = require "tidemark.fetch"
local profile = require "tidemark.profile"

local M = {}

local CHUNK = 1 << 12 -- a pipe answers only when so much is there
local PAUSE_NS = 200000000
local BROKEN = {} -- raised to end a request

-- Feeds what a file has, and waits for more: the end of a pipe; or, for a file, `idle_s` seconds without a byte more.
local function follow_file(word, idle_s, feed)
  local file, err = io.stdin, nil
  if word ~= "-" then file, err = io.open(word, "rb") end
  if not file then error({ message = "cannot read " .. err, code = "io" }, 0) end
  local waited, good = 0, true
  while good do
    local bytes = file:read(CHUNK)
    if bytes then
      waited = 0
      good = feed(bytes)
    elseif word == "-" or waited >= idle_s * 1000000000 then
      break
    else
      core.sleep(PAUSE_NS)
      waited = waited + PAUSE_NS
      file:seek("cur", 0) -- forgets that the end was seen
    end
  end
  if word ~= "-" then file:close() end
end

-- Takes a trace of an app, and feeds it as it comes. What is wrong with the trace ends the request.
local function follow_app(word, options, feed)
  local wanted = setmetatable({ kind = not fetch.is_one(word) and "trace" or nil }, { __index = options })
  function wanted.sink(bytes)
    if not feed(bytes) then error(BROKEN, 0) end
  end
  local ok, bytes, err = pcall(fetch.bytes, word, wanted)
  if not ok and bytes ~= BROKEN then error(bytes, 0) end
  if ok and not bytes then error(err, 0) end
end

--- Reads `word` while it is written: a file that grows, "-", or an app, whose trace is begun. Calls show(trace, last) for each
--- generation that is whole and at the end.
---@param word string
---@param idle_s number  a file that has not grown for so long is at its end
---@param options table  of fetch.bytes
---@return table? problem  what is wrong with the trace, if anything
function M.run(word, idle_s, options, show)
  local stream = assert(core.trace_stream())
  local shown, problem = 0, nil
  local function feed(bytes)
    local count
    count, problem = stream:feed(bytes)
    if problem then return false end
    if count > shown then
      shown = count
      show(assert(stream:trace()), false)
    end
    return true
  end
  if profile.is_remote(word) then follow_app(word, options, feed) else follow_file(word, idle_s, feed) end
  local count
  if not problem then count, problem = stream:finish() end
  if count and count > shown or shown == 0 and not problem then show(assert(stream:trace()), true) end
  return problem
end

return M
