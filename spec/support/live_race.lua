-- A live engine under a race detector: rules that are saved twice a second while they run and act. arg[1] = the leaky app.
local core = require "tidemark.core"

local dir = os.tmpname()
os.remove(dir)
core.mkdir(dir)

local function save(name, source)
  local f = assert(io.open(dir .. "/." .. name, "w"))
  f:write(source)
  f:close()
  os.rename(dir .. "/." .. name, dir .. "/" .. name)
end

for _, name in ipairs { "pressure", "handles", "threads", "mappings" } do
  save(name .. ".lua", core.embedded("rules/" .. name .. ".lua"))
end
local engine = assert(core.engine { every_ns = 100000000, allow = { "act:*" }, settle_ns = 1000000000 })
local loads = 0
engine:on(function(event)
  if event.kind == "rule_loaded" then loads = loads + 1 end
end)
assert(engine:watch_rules(dir))
assert(engine:spawn({ arg[1], "--fds", "30/s", "--burst", "fds=400@3s", "--heap", "5MB/s", "--quiet", "--for", "10s" }, {}))
local saves = 0
engine:every(500000000, function()
  saves = saves + 1
  save("threads.lua", core.embedded("rules/threads.lua") .. "-- " .. saves .. "\n")
  engine:rules()
  engine:alerts()
end)
engine:run { for_ns = 6000000000, until_idle = true }
engine:end_spawned(1000000000)
engine:close()
for _, name in ipairs(core.list(dir)) do os.remove(dir .. "/" .. name) end
os.remove(dir)
assert(loads >= 8, "only " .. loads .. " loads were seen")
