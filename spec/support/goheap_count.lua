-- What goheap_count.py says, by tidemark: objects, bytes, reachable objects and bytes, then retained bytes of goroutines.
local core = require "tidemark.core"
local g = assert(core.read(arg[1]))
local n = g:objects({ nodecount = 1 }).notes
print(("%d %d %d %d"):format(n.objects, n.shallow_bytes, n.objects - n.unreachable_count, n.reachable_bytes))
local shown = 0
for node = 0, g:info().nodes - 1 do
  local o = g:node(node)
  if o.type:find("^goroutine ") and shown < 40 then
    print(("0x%x %d"):format(o.id, o.retained_bytes))
    shown = shown + 1
  end
end
