-- tidemark as a module of a stock Lua 5.4: reads profiles and says what grew.
--
--   lua5.4 stock.lua [PROFILE...]
local tm = require "tidemark"

local before = { "main.main;main.serve;cache.Put 1000000", "main.main;main.log 5000" }
local after = { "main.main;main.serve;cache.Put 9000000", "main.main;main.log 5000" }

local function show(p)
  for _, row in ipairs { table.unpack(tm.top(p), 1, 5) } do print(row.flat, row.cum, row.name) end
end

print("tidemark " .. tm.version .. " in " .. _VERSION)
if #arg > 0 then
  for _, path in ipairs(arg) do show(assert(tm.read(path))) end
else
  local old = assert(tm.read { bytes = table.concat(before, "\n") .. "\n" })
  local new = assert(tm.read { bytes = table.concat(after, "\n") .. "\n" })
  show(new)
  local grown = tm.top(assert(require("tidemark.core").combine({ new }, { old })))
  assert(grown[1].name == "cache.Put" and grown[1].flat == 8000000)
  print("grew most: " .. grown[1].name .. " by " .. grown[1].flat)
end
