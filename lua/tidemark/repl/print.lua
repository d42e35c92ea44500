-- Values for people: tables to a depth and a number of items, lists of rows as aligned tables, core's tables with their units,
-- errors as one line. Nothing that a value defines is run but __tostring, and that guarded.
local core = require "tidemark.core"
local text = require "tidemark.show.text"

local M = {}

local DEPTH <const> = 3
local ITEMS <const> = 20
local STRING <const> = 400

local ellipsis = text.utf8 and "…" or "..."

-- Names that need no brackets.
local keywords = {}
for word in ("and break do else elseif end false for function goto if in local nil not or repeat return then true until while"):gmatch("%a+") do
  keywords[word] = true
end

local escapes = { ["\n"] = "\\n", ["\t"] = "\\t", ["\r"] = "\\r", ['"'] = '\\"', ["\\"] = "\\\\" }

local function quoted(s)
  local cut = #s > STRING and #s - STRING
  if cut then s = s:sub(1, utf8.len(s) and utf8.offset(s, 0, STRING) - 1 or STRING) end
  s = s:gsub('[%c"\\]', function(c) return escapes[c] or ("\\%d"):format(c:byte()) end)
  if not utf8.len(s) then s = s:gsub("[\128-\255]", function(c) return ("\\x%02X"):format(c:byte()) end) end
  return '"' .. text.clean(s) .. '"' .. (cut and text.style("dim", (" %s(+%d bytes)"):format(ellipsis, cut)) or "")
end

local function number(v)
  if math.type(v) == "integer" then return ("%d"):format(v) end
  if v ~= v then return "nan" end
  if v == math.huge then return "inf" elseif v == -math.huge then return "-inf" end
  local s = ("%.14g"):format(v)
  return s:find("[%.en]") and s or s .. ".0"
end

local function type_name(v)
  local meta = debug.getmetatable(v)
  local name = type(meta) == "table" and rawget(meta, "__name")
  return type(name) == "string" and name or type(v)
end
M.type_name = type_name

local function described(v)
  local meta = debug.getmetatable(v)
  local f = type(meta) == "table" and rawget(meta, "__tostring")
  if not f then return nil end
  local ok, s = pcall(f, v)
  return ok and type(s) == "string" and text.clean(s) or nil
end

local function function_name(f)
  local info = debug.getinfo(f, "S")
  if info.what == "C" then return "function (C)" end
  return ("function (%s:%d)"):format(text.clean(info.short_src), info.linedefined)
end

-- ---- scalars ----

local colours = { number = "cyan", string = "green", boolean = "magenta", ["nil"] = "dim", ["function"] = "blue", thread = "blue" }

local function scalar(v)
  local kind = type(v)
  local s
  if kind == "string" then s = quoted(v)
  elseif kind == "number" then s = number(v)
  elseif kind == "function" then s = function_name(v)
  elseif kind == "thread" then s = "coroutine (" .. coroutine.status(v) .. ")"
  elseif kind == "userdata" then s = described(v) or type_name(v)
  else s = tostring(v) end
  return text.style(colours[kind] or "bold", s)
end

-- ---- tables ----

local function sorted_keys(t)
  local keys, n = {}, rawlen(t)
  for k in next, t do
    if not (math.type(k) == "integer" and k >= 1 and k <= n) then keys[#keys + 1] = k end
  end
  table.sort(keys, function(a, b)
    if type(a) ~= type(b) then return type(a) < type(b) end
    if type(a) == "number" or type(a) == "string" then return a < b end
    return tostring(a) < tostring(b)
  end)
  return keys
end

local function key_text(k)
  if type(k) == "string" and k:match("^[%a_][%w_]*$") and not keywords[k] then return k end
  return "[" .. (type(k) == "string" and quoted(k) or type(k) == "number" and number(k) or type_name(k)) .. "]"
end

local show -- the general case, below

-- One entry a line unless all fits on one.
local function joined(parts, indent, width)
  local plain = table.concat(parts, ", ")
  if not plain:find("\n") and core.width((plain:gsub("\27%[[%d;]*m", ""))) + #indent + 4 <= width then return "{ " .. plain .. " }" end
  local inner = indent .. "  "
  return "{\n" .. inner .. table.concat(parts, ",\n" .. inner) .. "\n" .. indent .. "}"
end

local function show_table(t, state, depth, indent)
  if state.seen[t] then return text.style("dim", "<the table at " .. state.seen[t] .. ">") end
  if next(t) == nil then return "{}" end
  if depth > state.depth then
    state.cut = true
    return "{" .. ellipsis .. "}"
  end
  state.seen[t] = state.path == "" and "the top" or state.path
  local parts, left, path = {}, state.items, state.path
  local function add(prefix, step, v)
    left = left - 1
    state.path = path .. step
    parts[#parts + 1] = prefix .. show(v, state, depth + 1, indent .. "  ")
  end
  local n, keys = rawlen(t), sorted_keys(t)
  for i = 1, math.min(n, left) do add("", "[" .. i .. "]", rawget(t, i)) end
  for _, k in ipairs(keys) do
    if left <= 0 then break end
    local name = key_text(k)
    add(name .. " = ", (name:sub(1, 1) == "[" and "" or ".") .. name, rawget(t, k))
  end
  state.path, state.seen[t] = path, nil
  local rest = n + #keys - state.items
  if rest > 0 then
    state.cut = true
    parts[#parts + 1] = text.style("dim", ("%s(+%d)"):format(ellipsis, rest))
  end
  return joined(parts, indent, state.width)
end

function show(v, state, depth, indent)
  if type(v) ~= "table" then return scalar(v) end
  return described(v) and text.style("bold", described(v)) or show_table(v, state, depth, indent)
end

-- ---- rows ----

local function is_number_column(rows, key)
  for _, row in ipairs(rows) do
    if row[key] ~= nil and type(row[key]) ~= "number" then return false end
  end
  return true
end

-- "rss_bytes" is a size, "age_ns" a span: the unit stands in the name.
local function unit_of(key)
  if key:match("bytes$") then return "bytes" end
  if key:match("_ns$") and not key:match("time_ns$") then return "ns" end
  if key:match("ratio$") then return "ratio" end
end

local function cell(v, unit)
  if v == nil then return "" end
  if type(v) == "number" then
    if unit == "" or unit == nil then return number(v) end
    return core.format(v, unit)
  end
  if type(v) == "table" then return "{" .. ellipsis .. "}" end
  return text.clean(tostring(v))
end

-- So many columns of a text, with a sign that it was cut.
local function cut(s, columns)
  if core.width(s) <= columns then return s end
  local at, used = 1, 1
  for p, code in utf8.codes(s, true) do
    local w = core.width(utf8.char(code))
    if used + w > columns then break end
    used, at = used + w, p + #utf8.char(code)
  end
  return s:sub(1, at - 1) .. (text.utf8 and "…" or "~")
end

-- Cuts text columns, the widest first, until the rows fit.
local function fit(heads, cells, width)
  for _ = 1, #heads do
    local total, widest, most = -2, nil, 0
    for _, c in ipairs(heads) do
      local w = core.width(c.title)
      for _, row in ipairs(cells) do w = math.max(w, core.width(row[c.key])) end
      total = total + w + 2
      if not c.right and w > most then widest, most = c, w end
    end
    if total <= width or most <= 12 then return end
    local room = math.max(12, most - (total - width))
    for _, row in ipairs(cells) do row[widest.key] = cut(row[widest.key], room) end
  end
end

--- Rows under heads, within the width: the widest text column gives way.
---@param columns table  list of { key=, unit=, right= }
---@param rows table
---@param width integer
function M.rows(columns, rows, width)
  local cells, heads = {}, {}
  for _, c in ipairs(columns) do heads[#heads + 1] = { key = c.key, title = c.key, right = c.right } end
  for i, row in ipairs(rows) do
    cells[i] = {}
    for _, c in ipairs(columns) do cells[i][c.key] = cell(row[c.key], c.unit) end
  end
  fit(heads, cells, width)
  return text.table(heads, cells)
end

-- A list of tables with the same few scalar fields is shown as rows.
local function row_columns(t)
  local n, meta = rawlen(t), debug.getmetatable(t)
  local order = {}
  for i, name in ipairs(type(meta) == "table" and meta.columns or {}) do order[name] = i end
  if n < 1 or n > 100000 or type(rawget(t, 1)) ~= "table" or rawlen(rawget(t, 1)) > 0 then return nil end
  local seen, keys = {}, {}
  for i = 1, math.min(n, 50) do
    local row = rawget(t, i)
    if type(row) ~= "table" or rawlen(row) > 0 or debug.getmetatable(row) then return nil end
    for k, v in next, row do
      if type(k) ~= "string" or type(v) == "function" then return nil end
      if not seen[k] and type(v) ~= "table" then
        seen[k] = true
        keys[#keys + 1] = k
      end
    end
  end
  if #keys == 0 or #keys > 12 or next(t, n) ~= nil then return nil end
  table.sort(keys)
  local columns = {}
  for i, k in ipairs(keys) do
    local right = is_number_column(t, k)
    columns[i] = { key = k, right = right, unit = right and unit_of(k) or nil }
  end
  table.sort(columns, function(a, b)
    local x, y = order[a.key] or 100, order[b.key] or 100
    if x ~= y then return x < y end
    if a.right ~= b.right then return not a.right end
    return a.key < b.key
  end)
  return columns
end

local function more_line(state, shown, total)
  if shown >= total then return "" end
  state.cut = true
  return text.style("dim", ("%s(+%d rows; more() shows them)"):format(ellipsis, total - shown)) .. "\n"
end

local function show_rows(t, columns, state)
  local rows = table.move(t, 1, math.min(#t, state.items), 1, {})
  return M.rows(columns, rows, state.width) .. more_line(state, #rows, #t)
end

-- A core table: units per column, notes under it.
local function show_core_table(t, state)
  local columns, rows = {}, {}
  for i, c in ipairs(t.columns) do columns[i] = { key = c.name, unit = c.unit ~= "" and c.unit or nil, right = c.cell ~= "text" } end
  for i = 1, math.min(#t, state.items) do rows[i] = t[i] end
  local out, notes = {}, t.notes
  if notes.total then
    out[1] = text.style("dim", ("%s%s total, %d rows"):format(notes.type and notes.type .. ": " or "", cell(notes.total, notes.unit), #t)) .. "\n"
  end
  out[#out + 1] = #rows > 0 and M.rows(columns, rows, state.width) or text.style("dim", "no rows") .. "\n"
  out[#out + 1] = more_line(state, #rows, #t)
  for _, warning in ipairs(notes.warnings or {}) do out[#out + 1] = text.style("yellow", text.clean(warning)) .. "\n" end
  return table.concat(out)
end

-- ---- series ----

-- { times, values } as the engine answers them, or a plain list of many numbers.
local function numbers_of(t)
  local n = rawlen(t)
  if n < 8 or next(t, n) ~= nil then return nil end
  for i = 1, n do
    if type(rawget(t, i)) ~= "number" then return nil end
  end
  return t
end

local function show_numbers(values, state)
  local copy, lo, hi, sum, n = {}, math.huge, -math.huge, 0, 0
  for _, v in ipairs(values) do
    if v == v then
      lo, hi, sum, n = math.min(lo, v), math.max(hi, v), sum + v, n + 1
      copy[n] = v
    end
  end
  local width, thin = math.max(10, math.min(state.width - 60, 60)), {}
  for i = 1, math.min(width, #values) do thin[i] = values[#values <= width and i or (i - 1) * #values // width + 1] end
  return ("%d numbers  min %s  med %s  max %s  %s\n"):format(#values, number(lo), n > 0 and number(core.median(copy)) or "nan", number(hi),
    text.style("cyan", text.spark(thin)))
end

-- ---- errors ----

--- What went wrong, for people: an error table of ours, or any value.
function M.problem(err)
  if type(err) == "table" and (rawget(err, "message") or rawget(err, "usage")) then
    local message = tostring(rawget(err, "message") or rawget(err, "usage"))
    local advice = rawget(err, "advice")
    return text.style("red", text.clean(message)) .. (advice and advice ~= "" and "\n  " .. text.clean(advice) or "")
  end
  if type(err) == "table" and described(err) then return text.style("red", described(err)) end
  return text.style("red", type(err) == "string" and text.clean(err) or (M.render(err):gsub("\n$", "")))
end

-- ---- the whole ----

local function is_problem(v) return type(v) == "table" and type(rawget(v, "code")) == "string" and type(rawget(v, "message")) == "string" end

local function render(v, state)
  if type(v) == "string" then
    if not v:find("\n") or not utf8.len(v) or v:find("[%z\1-\8\11-\31]") then return scalar(v) .. "\n" end
    return text.clean(v):gsub("\n?$", "\n", 1)
  elseif type(v) == "userdata" and type_name(v) == "tidemark.Table" then return show_core_table(v, state)
  elseif is_problem(v) then return M.problem(v) .. "\n"
  elseif type(v) == "table" and not described(v) then
    local columns = row_columns(v)
    if columns then return show_rows(v, columns, state) end
    local numbers = not state.plain and numbers_of(v)
    if numbers and #numbers > state.items then return show_numbers(numbers, state) end
  end
  return show(v, state, 1, "") .. "\n"
end

--- The value as text that ends with a line break. options: width, depth, items. The second answer: something was left out.
---@param v any
---@param options table|nil
---@return string out, boolean cut
function M.render(v, options)
  options = options or {}
  local state = { depth = options.depth or DEPTH, items = options.items or ITEMS, width = options.width or 100, seen = {}, path = "" }
  local out = render(v, state)
  return out, state.cut or false
end

return M
