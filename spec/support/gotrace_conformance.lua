-- The verdicts of tidemark on the Go project's conformance files: gotrace_conformance.lua FILE.test… Each must be as the file says,
-- and of those in order every event must have been put in order.
local core = require "tidemark.core"
local here = arg[0]:match "^(.*)/" or "."
local text = dofile(here .. "/gotrace_text.lua")

local failed = 0
for _, path in ipairs(arg) do
  local expect, bytes, events = text.read(path)
  local v = assert(core.check_trace { bytes = bytes })
  local good = v.valid == (expect == "SUCCESS") and (not v.valid or v.events == events)
  local t, err = core.read { bytes = bytes }
  if v.valid and t then -- the fast mode must agree
    local info = t:info()
    good = good and not err and info.created == v.created and info.ended == v.ended and info.goroutines == v.alive
  end
  failed = failed + (good and 0 or 1)
  print(("%s %s: %s, %d of %d events%s"):format(good and "same" or "DIFFERS", path:match "[^/]+$", expect, v.events, events,
    v.problem and " (" .. v.problem .. ")" or ""))
end
print(("%d files, %d differ"):format(#arg, failed))
os.exit(failed == 0 and #arg > 0)
