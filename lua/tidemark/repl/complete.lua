-- Candidates for Tab: keys of tables, members of our types, verbs with their docs, options of a verb, names of commands, rules,
-- signals, programs, and paths within strings. Nothing of the user's is run: raw tables and the lists of our own types only.
local core = require "tidemark.core"
local docs = require "tidemark.docs"
local help = require "tidemark.repl.help"
local print_value = require "tidemark.repl.print"
local targets = require "tidemark.targets"
local text = require "tidemark.show.text"

local M = {}

local function add(list, word, name, doc)
  if name:sub(1, #word) == word then list[#list + 1] = { name, doc or "" } end
end

local function doc_of(value)
  local entry = docs.of[value]
  if entry then return docs.summary(entry) end
  local kind = type(value)
  if kind == "table" or kind == "function" or kind == "userdata" then return print_value.type_name(value) end
  return text.cut((print_value.render(value):gsub("\n.*$", "")), 40)
end

local function sorted(list)
  table.sort(list, function(a, b) return a[1] < b[1] end)
  local out = {}
  for _, c in ipairs(list) do
    if #out == 0 or out[#out][1] ~= c[1] then out[#out + 1] = c end
  end
  return out
end

-- ---- members ----

local function add_keys(list, t, word, only_functions)
  for k, v in next, t do
    if type(k) == "string" and k:match("^[%a_][%w_]*$") and not (k:match("^__")) and (not only_functions or type(v) == "function") then
      add(list, word, k, doc_of(v))
    end
  end
end

local function members(value, word, sign)
  local list = {}
  local known = docs.types[print_value.type_name(value)]
  for name, m in pairs(known and known.members or {}) do
    local method = m.signature:find(":" .. name, 1, true) ~= nil
    if method == (sign == ":") then add(list, word, name, m.doc) end
  end
  if type(value) == "table" then add_keys(list, value, word, sign == ":") end
  local meta = debug.getmetatable(value)
  local index = type(meta) == "table" and rawget(meta, "__index")
  if type(index) == "function" then index = select(2, debug.getupvalue(index, 1)) end
  if type(index) == "table" and (sign == ":" or type(value) == "string") then add_keys(list, index, word, true) end
  return list
end

-- ---- words in strings ----

local function paths(word)
  local dir, stem = word:match("^(.*/)([^/]*)$")
  local list = {}
  local home = os.getenv("HOME")
  local real = (dir or "./"):gsub("^~/", (home or "~") .. "/")
  for _, name in ipairs(core.list(real) or {}) do
    if name:sub(1, 1) ~= "." or (stem or word):sub(1, 1) == "." then
      local stat = core.stat(real .. name)
      local folder = stat and stat.kind == "directory"
      add(list, word, (dir or "") .. name .. (folder and "/" or ""), folder and "" or stat and core.format(stat.size_bytes, "bytes"))
    end
  end
  return list
end

local function programs(word)
  local list, seen = {}, {}
  for _, p in ipairs(core.processes() or {}) do
    if not seen[p.name] and not p.name:find("[^%w._-]") then
      seen[p.name] = true
      add(list, word, p.name, text.cut(text.clean(p.command), 60))
    end
    if word:match("^%d") then add(list, word, tostring(p.pid), text.clean(p.name)) end
  end
  return list
end

local function rules(word)
  local list = {}
  for _, r in ipairs(targets.rules()) do add(list, word, r.id, r.doc) end
  return list
end

local function signals(word)
  local list = {}
  for _, s in ipairs(core.signals()) do
    add(list, word, s.name, s.doc)
    add(list, word, s.name:match("([^.]+)$"), s.doc)
  end
  return list
end

local kinds = { heap = "memory in use", allocs = "memory allocated since the start", goroutine = "stacks of all goroutines", cpu = "where CPU time goes",
  mutex = "waits for mutexes", block = "waits of any kind", threadcreate = "stacks that made threads" }

local function kinds_of(word)
  local list = {}
  for name, doc in pairs(kinds) do add(list, word, name, doc) end
  return list
end

-- What a string holds, by the call around it.
local function in_string(before, word)
  if before:match("rule%s*=%s*$") or before:match("next_alert%s*%(?%s*$") then return rules(word) end
  if before:match("[%.:]series%s*%(?%s*$") or before:match("[%.:]last%s*%(?%s*$") or before:match("[%.:]trend%s*%(?%s*$")
    or before:match("[%.:]plot%s*%(?%s*$") then return signals(word) end
  if before:match("[%.:]snap%s*%([^,]*,%s*$") or before:match(":snap%s*%(?%s*$") then return kinds_of(word) end
  if before:match("tm%.attach%s*%(?%s*$") or before:match("tm%.watch%s*%(?%s*$") or before:match("tm%.processes%s*%(?%s*$") then
    return programs(word)
  end
  return paths(word)
end

-- The begin of the string that the cursor is in, or nil.
local function open_string(line)
  local quote, start
  local i = 1
  while i <= #line do
    local c = line:sub(i, i)
    if quote then
      if c == "\\" then i = i + 1 elseif c == quote then quote = nil end
    elseif c == '"' or c == "'" then quote, start = c, i + 1
    elseif line:sub(i, i + 1) == "--" then return nil end
    i = i + 1
  end
  return quote and start
end

-- ---- commands ----

local arguments = { attach = programs, plot = signals, snap = kinds_of, source = paths, load = paths, try = paths, pprof = paths, save = paths,
  diff = paths }

local function of_command(repl, line)
  local name, word = line:match("^%s*:(%a+)%s+.-(%S*)$")
  local magic = require "tidemark.repl.magic"
  if not name then
    local list, typed = {}, line:match("^%s*(:%a*)$") or ":"
    for known, row in pairs(magic.commands) do add(list, typed, ":" .. known, row.doc) end
    return #line - #typed, list
  end
  local from = #line - #word
  if name == "explain" or name == "silence" then return from, rules(word) end
  local list = arguments[name] and arguments[name](word) or {}
  if name == "help" then
    for known, row in pairs(magic.commands) do add(list, word, known, row.doc) end
  elseif name == "diff" or name == "time" or name == "watch" then
    local start, names = M.expression(repl, line)
    if start == from then table.move(names, 1, #names, #list + 1, list) end
  end
  return from, list
end

-- ---- expressions ----

-- The options of the verb whose call is open before the cursor: "tm.top(p, { fo".
local function options(repl, line, word)
  local call = line:sub(1, #line - #word):match("([%a_][%w_%.:]*)%s*%(?[^%(%)]*{[^{}]*$")
  local entry = call and docs.of[help.resolve(repl.env, call)]
  local list = {}
  for name in (entry and entry.signature:match("{(.-)}") or ""):gmatch("([%a_]+)%s*=") do add(list, word, name .. " = ", "option of " .. entry.name) end
  if entry and entry.signature:find("...}", 1, true) then
    for _, o in ipairs(core.report_options()) do add(list, word, o.name .. " = ", o.doc) end
  end
  return list
end

--- Candidates for the expression that ends at the cursor.
function M.expression(repl, line)
  local chain = line:match("([%a_][%w_%.:%[%]]*)$") or ""
  local owner, sign, word = chain:match("^(.+)([%.:])([%a_]?[%w_]*)$")
  if owner then
    local value = help.resolve(repl.env, owner)
    return #line - #word, value ~= nil and members(value, word, sign) or {}
  end
  word = chain
  local list = options(repl, line, word)
  if #list == 0 then
    add_keys(list, repl.env, word)
    add_keys(list, _G, word)
    if word ~= "" then
      for _, k in ipairs { "and", "break", "do", "else", "elseif", "end", "false", "for", "function", "if", "in", "local", "nil", "not", "or", "repeat",
        "return", "then", "true", "until", "while" } do add(list, word, k, "") end
    end
  end
  return #line - #word, list
end

--- Candidates for a text that ends at the cursor: the offset at which they begin, and { word, doc } each.
---@return integer from, table list
function M.candidates(repl, line)
  local from, list
  local question = line:match("^%s*%?%??%s*(%S*)$")
  local start = open_string(line)
  if line:match("^%s*:%a*$") or line:match("^%s*:%a+%s") then from, list = of_command(repl, line)
  elseif question then
    from, list = M.expression(repl, line)
    table.move(rules(question), 1, 100, #list + 1, list)
    from = math.min(from, #line - #question)
    if question:find("[%.:]") then from = #line - #(question:match("([%a_][%w_]*)$") or "") end
  elseif start then from, list = start - 1, in_string(line:sub(1, start - 2), line:sub(start))
  else from, list = M.expression(repl, line) end
  return from, sorted(list)
end

return M
