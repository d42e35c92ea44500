-- How long a saved rule file takes to be live: build/release/tidemark lua bench/bench_reload.lua
--
-- A live engine watches this process and a folder of rules; rules/pressure.lua is saved there 30 times with another
-- parameter each time, as an editor does it: a new file renamed over the old one. Two times are taken: from the rename
-- to the rule_loaded event as a subscriber sees it, and the event's own figure, from the start of the load (the rule's
-- six tests included) to the swap. The bar: 20 ms from the event to the swap. The median is held to it, since whatever else
-- runs on the machine stretches single loads; how many took longer is printed.
local core = require "tidemark.core"

local SAVES, BAR_MS = 30, 20
local dir = assert(os.getenv "TMPDIR" or "/tmp") .. "/tidemark-reload-" .. tostring({}):match "0x(%x+)"
assert(os.execute("mkdir -p " .. dir))

local file = assert(io.open("rules/pressure.lua", "rb"))
local source = file:read "a"
file:close()

local function mono_ms()
  local _, mono_ns = core.now()
  return mono_ns / 1e6
end

local function save(limit)
  local out = assert(io.open(dir .. "/.new", "wb"))
  out:write((source:gsub('warning = "512MB"', ('warning = "%dMB"'):format(limit), 1)))
  out:close()
  assert(os.rename(dir .. "/.new", dir .. "/pressure.lua"))
  return mono_ms()
end

local e = assert(core.engine {})
local self = io.open "/proc/self/stat":read "n"
assert(e:watch(self))
save(512)
local saved_at, wall, own = nil, {}, {}
e:on(function(event)
  if event.kind ~= "rule_loaded" then return end
  if not saved_at then return end
  wall[#wall + 1] = mono_ms() - saved_at
  own[#own + 1] = tonumber(event.text:match "([%d.]+) ms")
  saved_at = nil
end)
assert(e:watch_rules(dir))
-- A save every 200 ms; the first tick comes after the load at the start.
local count = 0
e:every(200 * 1000000, function()
  if count == SAVES then return e:stop() end
  if saved_at then return end
  count = count + 1
  saved_at = save(500 + count)
end)
e:run { for_ns = 30 * 1000000000 }
local rules = e:rules()
e:close()
os.execute("rm -r " .. dir)

local failed = #wall < SAVES
local function row(what, list)
  if #list == 0 then return print(("%-44s not seen"):format(what)) end
  table.sort(list)
  local median, over = list[(#list + 1) // 2], 0
  for _, ms in ipairs(list) do
    if ms > BAR_MS then over = over + 1 end
  end
  failed = failed or median > BAR_MS
  print(("%-44s %8.2f %8.2f %8.2f %8d  %s"):format(what, list[1], median, list[#list], over, median <= BAR_MS and "ok" or "FAIL"))
end
print(("%d of %d saves seen; bar: %d ms; the rule was checked %d times meanwhile, %d missed"):format(#wall, SAVES, BAR_MS,
  rules and rules[1].evaluations or -1, rules and rules[1].missed or -1))
print(("%-44s %8s %8s %8s %8s"):format("ms", "min", "median", "max", "over"))
row("rename to the rule_loaded event", wall)
row("start of the load to the swap", own)
os.exit(failed and 1 or 0)
