-- A trace cut at every 1 %: each must be read in part, with the place where it ends and no more than the whole has: gotrace_cuts.lua FILE.
local core = require "tidemark.core"
local f = assert(io.open(arg[1], "rb"))
local bytes = f:read "a"
f:close()
local whole = assert(core.read { bytes = bytes }):info()
local last, generations = 0, 0
for percent = 1, 99 do
  local cut = bytes:sub(1, #bytes * percent // 100)
  local t, err = core.read { bytes = cut }
  if not t then
    assert(err.code == "format", err.message)
  else
    local info = t:info()
    assert(not err or err.offset <= #cut, err and err.message)
    assert(info.events <= whole.events and info.generations >= generations and info.goroutines + info.ended <= whole.goroutines + whole.ended + 1000)
    last, generations = math.max(last, info.events), info.generations
    t:goroutines {}
  end
  local v = assert(core.check_trace { bytes = cut })
  assert(not v.valid or v.events <= whole.events)
end
print(("  cut at 99 places: up to %d of %d events, %d of %d generations"):format(last, whole.events, generations, whole.generations))
