-- `goroutines --follow`: a Go trace read while it is written, a table for every second of it.
local core = require "tidemark.core"

local M = {}

local CHUNK = 1 << 12 -- a pipe answers only when so much is there
local PAUSE_NS = 200000000

--- Reads `word` (a file that grows, or "-") until its writer ends it: the end of a pipe; or, for a file, `idle_s` seconds without a byte
--- more. Calls show(trace, last) for each generation that is whole and at the end.
---@return table? problem  what is wrong with the trace, if anything
function M.run(word, idle_s, show)
  local file, err = io.stdin, nil
  if word ~= "-" then file, err = io.open(word, "rb") end
  if not file then error({ message = "cannot read " .. err, code = "io" }, 0) end
  local stream = assert(core.trace_stream())
  local shown, waited, problem = 0, 0, nil
  while not problem do
    local bytes = file:read(CHUNK)
    local count
    if bytes then
      waited = 0
      count, problem = stream:feed(bytes)
    elseif word == "-" or waited >= idle_s * 1000000000 then
      break
    else
      core.sleep(PAUSE_NS)
      waited = waited + PAUSE_NS
      file:seek("cur", 0) -- forgets that the end was seen
      count = shown
    end
    if count > shown then
      shown = count
      show(assert(stream:trace()), false)
    end
  end
  if word ~= "-" then file:close() end
  local count
  if not problem then count, problem = stream:finish() end
  if count and count > shown or shown == 0 then show(assert(stream:trace()), true) end
  return problem
end

return M
