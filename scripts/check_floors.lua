-- Holds the stairs: a C file includes only headers of its own floor or of floors below it; floors on
-- one stair do not see each other; the engine and all below it are free of Lua.
--
--   lua5.4 scripts/check_floors.lua [FILE...]      all tracked C files without arguments
--
-- The table is the one place that says which floor may see which (docs/design.md draws it).
local below = {
  base = {},
  platform = { "base" },
  model = { "base" },
  read = { "model", "base" },
  write = { "model", "base" },
  analyze = { "model", "base" },
  symbol = { "model", "base" },
  net = { "base" },
  live = { "read", "analyze", "symbol", "model", "platform", "net", "base" },
  engine = { "live", "read", "write", "analyze", "symbol", "net", "model", "platform", "base" },
  bind = { "engine", "live", "read", "write", "analyze", "symbol", "net", "model", "platform", "base" },
  host = { "bind", "engine", "live", "read", "write", "analyze", "symbol", "net", "model", "platform", "base" },
  facade = { "host", "bind", "engine", "live", "read", "write", "analyze", "symbol", "net", "model", "platform", "base" },
}
local speaks_lua = { bind = true, host = true }

local function floor_of(path)
  if path:match("^core/tidemark[%w_]*%.[ch]$") then return "facade" end -- the public header and what is behind it
  return path:match("^core/([%w_]+)/") or path:match("^(platform)/")
end

local function tracked()
  local files, out = io.popen("git ls-files 'core/*.c' 'core/*.h' 'platform/*.c' 'platform/*.h'"), {}
  for line in files:lines() do out[#out + 1] = line end
  files:close()
  return out
end

local function may_see(floor, other)
  if floor == other then return true end
  for _, name in ipairs(below[floor]) do
    if name == other then return true end
  end
  return false
end

local function problem_of(floor, include)
  local other = floor_of("core/" .. include) or floor_of(include)
  if include:match("^platform/") then other = "platform" end
  if include:match("^lua") or include:match("^lauxlib") then
    return not speaks_lua[floor] and "includes Lua; only bind and host may" or nil
  end
  if other and below[other] and not may_see(floor, other) then
    return ("includes %s, which is no floor below %s"):format(other, floor)
  end
end

local problems = 0
for _, path in ipairs(#arg > 0 and arg or tracked()) do
  local floor = floor_of(path)
  local file = floor and io.open(path)
  if file then
    if not below[floor] then
      print(path .. ": the floor '" .. floor .. "' stands in no table of scripts/check_floors.lua")
      problems = problems + 1
    else
      local number = 0
      for line in file:lines() do
        number = number + 1
        local include = line:match('^%s*#%s*include%s*["<]([^">]+)[">]')
        local problem = include and problem_of(floor, include)
        if problem then
          print(("%s:%d: %s"):format(path, number, problem))
          problems = problems + 1
        end
      end
    end
    file:close()
  end
end
os.exit(problems == 0)
