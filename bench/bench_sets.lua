-- What questions to a heap dump cost, after it was read: seconds of CPU each.
--
--   tidemark lua bench/bench_sets.lua DUMP [GLOB]     GLOB: the type that sets are made of; default java.util.HashMap*
local core = require "tidemark.core"
local g = assert(core.read(arg[1]))
local wanted = arg[2] or "java.util.HashMap*"
local i = g:info()
print(("%d objects, %d references, %d types"):format(i.nodes, i.edges, i.types))
local function show(name, f)
  local begun = os.clock()
  local answer, err = f()
  print(("%-24s %.3f s  %s"):format(name, os.clock() - begun, tostring(answer or err.message)))
  return answer
end
show("objects (with the tree)", function() return #g:objects {} end)
local s = show("where type", function() return g:where { type = wanted } end)
show("where all", function() return g:where {} end)
show("where type size", function() return g:where { type = "*", min_size = "1kB" } end)
show("where unreachable", function() return g:where { unreachable = true } end)
show("count", function() return #s end)
show("shallow", function() return s:shallow() end)
show("retained exact", function() return s:retained() end)
show("retained least", function() return s:retained { exact = false } end)
show("dominators", function() return s:dominators() end)
show("incoming", function() return s:incoming() end)
show("outgoing", function() return s:outgoing() end)
show("group type", function() return #s:group "type" end)
show("paths by type", function() return #s:paths { by = "type" } end)
show("suspects", function() return #g:suspects {} end)
show("consumers package", function() return #g:consumers "package" end)
show("consumers root", function() return #g:consumers "root" end)
show("garbage", function() return #g:garbage {} end)
show("duplicates", function() return #g:duplicates(g:where { match = "\\[\\]$" }, { nodecount = 5 }) end)
show("references", function() return #g:incoming(s:nodes(1)[1]) end)
