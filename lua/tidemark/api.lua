-- The library as documents: docs/lua-api.md for people, lua/meta/tidemark.lua for editors (LuaLS). Both are made of what is said of
-- each verb and type where it is defined (docs.lua), by scripts/gen_lua_api.lua.
local docs = require "tidemark.docs"
local examples = require "tidemark.examples"

local M = {}

-- ---- signatures ----

-- What a parameter that is written as it would be called is called: "10m" is a word, function(o) ... end a function.
local function name_of(text)
  if text:match("^[%a_][%w_]*$") or text == "..." then return text end
  return text:match("^function") and "fn" or text:match('^"') and "word" or "value"
end

-- 'tm.growth(profiles, {by="path", rows=20}) -> Table' as { name, params = { { name, options } }, returns = { "Table" } }.
local function parse(signature)
  local head, tail = signature:match("^(.-)%s*%->%s*(.+)$")
  head = head or signature
  local name, args = head:match("^([%w_.:]+)%s*%((.*)%)$")
  if not name then
    local braced, inside = head:match("^([%w_.:]+)%s*(%b{})$")
    name, args = braced or head, inside or nil
  end
  local out = { name = name, params = {}, returns = {}, call = args ~= nil }
  local rest = (args or ""):gsub("^%s+", "")
  while rest ~= "" do
    local options = rest:match("^%b{}")
    local text = options or rest:match("^[^,]*")
    out.params[#out.params + 1] = { name = options and "options" or name_of(text), options = options }
    rest = rest:sub(#text + 1):gsub("^%s*,%s*", ""):gsub("^%s+", "")
  end
  for word in (tail or ""):gmatch("[^,]+") do out.returns[#out.returns + 1] = word:match("^%s*(.-)%s*$") end
  return out
end
M.parse = parse

local types = { Profile = "tidemark.Profile", Table = "tidemark.Table", Graph = "tidemark.Graph", Set = "tidemark.Set", Target = "tidemark.Target",
  rows = "table[]", list = "table[]", text = "string", bytes = "string", table = "table", integer = "integer", number = "number", count = "integer",
  node = "integer", index = "integer", id = "integer", ns = "integer", ["true"] = "boolean", ok = "boolean", value = "number", unit = "string",
  type = "string", time_ns = "integer", times = "integer[]", values = "number[]", different = "integer", p = "number" }

local params = { path = "string", profile = "tidemark.Profile|string", before = "tidemark.Profile|string", after = "tidemark.Profile|string",
  profiles = "(tidemark.Profile|string)[]", dump = "tidemark.Graph|string", dumps = "(tidemark.Graph|string)[]", target = "tidemark.Target|string|integer",
  node = "integer", kind = "string", regexp = "string", options = "table", numbers = "number[]", pid = "integer", fn = "function", word = "string",
  signal = "string", metric = "string", trace = "table|string", source = "any", set = "tidemark.Set", recording = "string", text = "string" }

-- ---- editors ----

local function lines_of(doc)
  local out = {}
  for line in doc:gmatch("[^\n]+") do out[#out + 1] = "---" .. line end
  return out
end

local reserved = { ["end"] = true, ["function"] = true, ["local"] = true, ["repeat"] = true, ["until"] = true, ["in"] = true, ["or"] = true, ["and"] = true,
  ["not"] = true, ["nil"] = true, ["for"] = true, ["if"] = true, ["then"] = true, ["else"] = true, ["do"] = true, ["while"] = true, ["goto"] = true,
  ["return"] = true, ["break"] = true, ["true"] = true, ["false"] = true }

local function add_function(out, owner, entry)
  local s = parse(entry.signature)
  for _, line in ipairs(lines_of(entry.doc)) do out[#out + 1] = line end
  local names, used = {}, {}
  for _, p in ipairs(s.params) do
    local name = reserved[p.name] and p.name .. "_" or p.name
    while used[name] and name ~= "..." do name = name .. "2" end
    used[name], names[#names + 1] = true, name
    out[#out + 1] = ("---@param %s%s %s%s"):format(name, (p.options or name == "...") and name ~= "..." and "?" or "", params[p.name] or "any",
      p.options and "  " .. p.options or "")
  end
  for i, r in ipairs(s.returns) do
    local known = types[r] or "any"
    out[#out + 1] = ("---@return %s%s"):format(known, i == 1 and known ~= "any" and known ~= "boolean" and "|nil" or "")
  end
  if #s.returns == 1 and types[s.returns[1]] and s.returns[1] ~= "true" then
    out[#out + 1] = "---@return { code: string, message: string, advice: string? }? error"
  end
  out[#out + 1] = ("function %s(%s) end"):format(owner .. entry.name, table.concat(names, ", "))
  out[#out + 1] = ""
end

--- The text of lua/meta/tidemark.lua.
---@return string
function M.meta()
  require "tidemark"
  local out = { "---@meta", "-- Made by scripts/gen_lua_api.lua: what editors know of `tm`, the library of tidemark.", "", "---@class tidemark", "tm = {}", "" }
  for _, entry in ipairs(docs.order) do add_function(out, "tm.", entry) end
  for _, name in ipairs(M.type_names()) do
    local t = docs.types[name]
    out[#out + 1] = "---" .. t.doc
    out[#out + 1] = "---@class " .. name
    local methods = {}
    for _, m in ipairs(t.order) do
      local s = parse(m[2])
      if s.call or m[2]:find("[{(]") then
        methods[#methods + 1] = { name = m[1], signature = m[2]:gsub("^for .- in ", ""):gsub(" do$", ""), doc = m[3] }
      else
        out[#out + 1] = ("---@field %s any %s"):format(m[1], m[3])
      end
    end
    local class = name:match("[^.]+$")
    out[#out + 1] = ("local %s = {}"):format(class)
    out[#out + 1] = ""
    for _, m in ipairs(methods) do add_function(out, class .. ":", m) end
  end
  out[#out + 1] = "return tm"
  return table.concat(out, "\n") .. "\n"
end

--- The names of all types, in order.
function M.type_names()
  local names = {}
  for name in pairs(docs.types) do names[#names + 1] = name end
  table.sort(names)
  return names
end

-- ---- people ----

local function cell(text) return (text:gsub("|", "\\|"):gsub("\n", " ")) end

--- The text of docs/lua-api.md.
---@return string
function M.markdown()
  require "tidemark"
  local out = { "# The Lua library", "",
    "`tm` is the same in the REPL (`tidemark repl`), in scripts (`tidemark lua FILE`, with `local tm = require \"tidemark\"`) and in a stock Lua 5.4 with the",
    "module installed. A verb answers data; what the world does wrong is `nil` and an error `{ code, message, advice }`; what the caller does wrong",
    "is raised, and an unknown option names the nearest. Made by `scripts/gen_lua_api.lua` of what is said at each definition; `?tm.top` in the",
    "REPL shows the same, editors take `lua/meta/tidemark.lua`.", "", "## Verbs", "" }
  for _, entry in ipairs(docs.order) do
    out[#out + 1] = "### `" .. entry.signature .. "`"
    out[#out + 1] = ""
    out[#out + 1] = entry.doc
    out[#out + 1] = ""
    if examples[entry.name] then
      out[#out + 1] = "```lua"
      out[#out + 1] = examples[entry.name]
      out[#out + 1] = "```"
      out[#out + 1] = ""
    end
  end
  out[#out + 1] = "## Types"
  out[#out + 1] = ""
  for _, name in ipairs(M.type_names()) do
    local t = docs.types[name]
    out[#out + 1] = "### " .. name
    out[#out + 1] = ""
    out[#out + 1] = "*" .. t.doc .. "*"
    out[#out + 1] = ""
    out[#out + 1] = "| | |"
    out[#out + 1] = "|---|---|"
    for _, m in ipairs(t.order) do out[#out + 1] = ("| `%s` | %s |"):format(cell(m[2]), cell(m[3])) end
    out[#out + 1] = ""
  end
  return table.concat(out, "\n")
end

return M
