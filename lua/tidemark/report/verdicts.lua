-- The decision table of hotspots: rows of `tm.hotspot` from rule files, first match first, each with its own tests.
--
--   tm.hotspot { id = "json.decode", match = { path = { "encoding/json.Unmarshal" } }, needs = { cpu_share = 0.01, churn = 10 },
--     verdict = "decoding JSON makes garbage", advice = "decode into a struct that is used again",
--     tests = { { name = "...", path = { "runtime.mallocgc", "encoding/json.Unmarshal", "main.load" }, churn = 50, is = true } } }
--
-- match: every field that is given must hold for a path; a field holds when one of its patterns does. Patterns are globs over
-- whole function names (* = anything, also dots and brackets; ? = one byte).
--   runtime  a frame of the runtime under the site, such as runtime.growslice (only CPU profiles have them)
--   site     the function that asked the runtime          owner  the first one outside the standard library
--   path     a frame from the site to the owner           any    a frame anywhere in the stack
--   class    what the time went to: alloc, assist, barrier, copy
-- needs: least values of the numbers of the whole group; a number that is not known meets none.
--   cpu_share, alloc_share, growth_ratio (ratios), churn (allocated / in use), growth, inuse, alloc_rate (bytes; "1MB" is fine)
local core = require "tidemark.core"
local sites = require "tidemark.report.sites"

local M = {}

-- ---- globs ----

-- Greedy, without going back but to the last star: linear in practice, quadratic at worst, for names of any origin.
local function glob_matches(pattern, name)
  local p, n, star, mark = 1, 1, nil, nil
  while n <= #name do
    local c = pattern:byte(p)
    if c == 42 then
      star, mark = p, n
      p = p + 1
    elseif c == 63 or c and c == name:byte(n) then
      p, n = p + 1, n + 1
    elseif star then
      mark = mark + 1
      p, n = star + 1, mark
    else
      return false
    end
  end
  while pattern:byte(p) == 42 do p = p + 1 end
  return p > #pattern
end
M.glob_matches = glob_matches

-- Whether one of the patterns matches; answers are remembered, names repeat in every stack.
local function matcher(patterns)
  local known = {}
  return function(name)
    local yes = known[name]
    if yes == nil then
      yes = false
      for _, pattern in ipairs(patterns) do
        if glob_matches(pattern, name) then
          yes = true
          break
        end
      end
      known[name] = yes
    end
    return yes
  end
end

-- ---- rows from files ----

local keys = { id = "string", doc = "string", match = "table", needs = "table", verdict = "string", advice = "string", tests = "table" }
local fields = { runtime = true, site = true, owner = true, path = true, any = true, class = true }
local numbers = { cpu_share = "ratio", alloc_share = "ratio", growth_ratio = "ratio", churn = "number", growth = "bytes", inuse = "bytes",
  alloc_rate = "bytes" }

local function nearest(word, names)
  local list = {}
  for name in pairs(names) do list[#list + 1] = name end
  table.sort(list)
  return require("tidemark.cli.args").nearest(tostring(word), list)
end

local function quantity(what, kind, value)
  if type(value) == "number" then return value end
  if type(value) == "string" and kind == "ratio" and value:match("^[%d%.]+%%$") then return tonumber(value:sub(1, -2)) / 100 end
  if type(value) == "string" and kind == "bytes" then
    local bytes = core.bytes(value)
    if bytes then return bytes end
  end
  error(("%s: '%s' is no %s"):format(what, tostring(value), kind), 0)
end

local function check_match(what, match)
  local out = {}
  for field, patterns in pairs(match) do
    if not fields[field] then error(("%s: match.%s is no field%s"):format(what, tostring(field), nearest(field, fields)), 0) end
    if type(patterns) == "string" then patterns = { patterns } end
    if type(patterns) ~= "table" or #patterns == 0 then error(("%s: match.%s must be a list of patterns"):format(what, field), 0) end
    for _, pattern in ipairs(patterns) do
      if type(pattern) ~= "string" then error(("%s: match.%s holds something that is no text"):format(what, field), 0) end
    end
    out[field] = matcher(patterns)
  end
  return out
end

local function new_row(spec, origin)
  if type(spec) ~= "table" then error(origin .. ": tm.hotspot takes one table", 0) end
  local what = ("%s: tm.hotspot '%s'"):format(origin, tostring(spec.id))
  for key, value in pairs(spec) do
    if not keys[key] then error(("%s: unknown key '%s'%s"):format(what, tostring(key), nearest(key, keys)), 0) end
    if type(value) ~= keys[key] then error(("%s: %s must be a %s, not a %s"):format(what, key, keys[key], type(value)), 0) end
  end
  for _, key in ipairs { "id", "verdict", "advice" } do
    if not spec[key] or spec[key] == "" then error(("%s: %s is missing"):format(what, key), 0) end
  end
  local row = { id = spec.id, verdict = spec.verdict, advice = (spec.advice:gsub("%s+", " ")), tests = spec.tests or {}, origin = origin, needs = {} }
  row.match = check_match(what, spec.match or {})
  for name, value in pairs(spec.needs or {}) do
    if not numbers[name] then error(("%s: needs.%s is no number of a path%s"):format(what, tostring(name), nearest(name, numbers)), 0) end
    row.needs[name] = quantity(what .. ": needs." .. name, numbers[name], value)
  end
  row.needs.cpu_share = row.needs.cpu_share or 0
  return row
end

-- What a file of rows sees: tm.hotspot, and the pure part of the library. Rules beside the rows are left to the rule host.
local function environment(origin, rows)
  local nothing = setmetatable({}, { __call = function() return {} end })
  local tm = setmetatable({ hotspot = function(spec) rows[#rows + 1] = new_row(spec, origin) end }, { __index = function() return nothing end })
  return { tm = tm, ipairs = ipairs, pairs = pairs, type = type, tostring = tostring, tonumber = tonumber, select = select, error = error,
    assert = assert, math = math, table = { concat = table.concat, insert = table.insert, unpack = table.unpack, sort = table.sort } }
end

local STEPS = 10000000

--- Adds the rows of one source text to a list. Raises { message, code = "rule" }.
function M.read(source, origin, rows)
  local chunk, problem = load(source, "@" .. origin, "t", environment(origin, rows))
  if not chunk then error({ message = problem, code = "rule" }, 0) end
  local thread = coroutine.create(chunk)
  debug.sethook(thread, function() error(origin .. ": it does not end", 0) end, "", STEPS)
  local ok, err = coroutine.resume(thread)
  if ok and coroutine.status(thread) ~= "dead" then ok, err = false, origin .. ": it yields" end
  if not ok then error({ message = tostring(err), code = "rule", advice = "docs/rule-guide.md describes tm.hotspot" }, 0) end
  return rows
end

local BUILT_IN = "lua/tidemark/report/hotspots_table.lua"

--- The table: rows of the files first, in their order, then those that come with tidemark.
---@param files table[]|nil  { origin, source }
function M.load(files)
  local rows = {}
  for _, f in ipairs(files or {}) do M.read(f.source, f.origin, rows) end
  M.read(core.embedded(BUILT_IN), "builtin:hotspots", rows)
  local seen, kept = {}, {}
  for _, row in ipairs(rows) do -- an id of a user's file stands for the built-in one
    if seen[row.id] and seen[row.id] == row.origin then
      error({ message = ("%s: '%s' was declared before"):format(row.origin, row.id), code = "rule" }, 0)
    end
    if not seen[row.id] then kept[#kept + 1] = row end
    seen[row.id] = seen[row.id] or row.origin
  end
  return kept
end

-- ---- deciding ----

local function any_of(match, frames, from, to)
  for i = from, to do
    if match(frames[i].name) then return true end
  end
  return false
end

--- Whether a row's match holds for a path (frames leaf first, with its site and owner) whose time went to a class.
function M.fits(row, frames, site, owner, class)
  local m = row.match
  if m.class and not m.class(class or "") then return false end
  if m.runtime and not any_of(m.runtime, frames, 1, site - 1) then return false end
  if m.site and not (site > 0 and m.site(frames[site].name)) then return false end
  if m.owner and not (owner > 0 and m.owner(frames[owner].name)) then return false end
  if m.path and not any_of(m.path, frames, math.max(site, 1), owner) then return false end
  return not m.any or any_of(m.any, frames, 1, #frames)
end

--- Whether the numbers of a group meet a row's needs.
function M.meets(row, figures)
  for name, least in pairs(row.needs) do
    local value = figures[name]
    if not value or value < least then return false end
  end
  return true
end

--- Indexes of the rows that fit a path, in the table's order.
function M.candidates(rows, frames, site, owner, class)
  local out = {}
  for i, row in ipairs(rows) do
    if M.fits(row, frames, site, owner, class) then out[#out + 1] = i end
  end
  return out
end

--- The first row among candidates whose needs are met, or nil.
function M.decide(rows, candidates, figures)
  for _, i in ipairs(candidates) do
    if M.meets(rows[i], figures) then return rows[i] end
  end
end

-- ---- tests that stand in the rows ----

local classes = { { "assist", { "runtime.gcAssist*", "runtime.gcParkAssist*" } },
  { "barrier", { "runtime.gcWriteBarrier*", "gcWriteBarrier*", "runtime.wbBufFlush*", "runtime.bulkBarrierPreWrite*", "runtime.wbMove", "runtime.wbZero" } },
  { "alloc", { "runtime.mallocgc*", "runtime.newobject", "runtime.newarray", "runtime.makeslice*", "runtime.growslice*", "runtime.rawbyteslice",
    "runtime.rawruneslice", "runtime.rawstring*", "runtime.slicebytetostring*", "runtime.stringtoslice*", "runtime.slicerunetostring",
    "runtime.concatstring*", "runtime.concatbyte*", "runtime.convT*", "runtime.makemap*", "runtime.hashGrow", "runtime.growWork*", "runtime.evacuate*",
    "internal/runtime/maps.NewMap*", "internal/runtime/maps.New*", "internal/runtime/maps.(*table).grow", "internal/runtime/maps.(*table).rehash",
    "internal/runtime/maps.(*table).split", "internal/runtime/maps.(*Map).growTo*", "internal/runtime/maps.new*", "runtime.makechan*",
    "runtime.newdefer", "runtime.malg", "runtime.gobytes", "runtime.gostring*", "runtime.nextslicecap", "malloc", "calloc", "realloc",
    "operator new*", "__libc_malloc", "__libc_calloc", "__libc_realloc" } },
  { "copy", { "runtime.memmove*", "memmove*", "runtime.memclr*", "memclr*", "runtime.typedslicecopy", "runtime.typedmemmove",
    "runtime.duffcopy", "runtime.duffzero" } } }
for _, class in ipairs(classes) do class.matches = matcher(class[2]) end

--- What the time of a path went to: assist, barrier, alloc or copy, by the runtime's frames under the site; nil for other work.
function M.class(frames, site)
  local best
  for i = 1, site - 1 do
    for rank, class in ipairs(classes) do
      if class.matches(frames[i].name) and (not best or rank < best) then best = rank end
    end
  end
  return best and classes[best][1]
end

local function test_frames(names)
  local frames = {}
  for i, name in ipairs(names) do
    local runtime = sites.is_runtime(name)
    frames[i] = { name = name, runtime = runtime, standard = runtime or sites.is_standard(name) }
  end
  return frames
end

-- Figures of a test: 5 % of the CPU when it says nothing.
local function test_figures(what, test)
  local figures = { cpu_share = 0.05 }
  for name, kind in pairs(numbers) do
    if test[name] ~= nil then figures[name] = quantity(what .. ": " .. name, kind, test[name]) end
  end
  return figures
end

local function run_test(rows, row, test)
  if type(test) ~= "table" or type(test.path) ~= "table" then return false, "a test needs path = { leaf, ..., root }" end
  local frames = test_frames(test.path)
  local site, owner = sites.place(frames)
  local class = M.class(frames, site)
  local got = M.decide(rows, M.candidates(rows, frames, site, owner, class), test_figures(row.id, test))
  local id = got and got.id or "nothing"
  if test.is == false then return id ~= row.id, "it is " .. id end
  return id == row.id, "it is " .. id
end

--- Runs all tests of a table: a list of { id, name, ok, why, origin }. A row without a test is one that fails.
function M.test(rows)
  local out = {}
  for _, row in ipairs(rows) do
    if #row.tests == 0 then out[#out + 1] = { id = row.id, name = "", ok = false, why = "it has no test", origin = row.origin } end
    for i, test in ipairs(row.tests) do
      local ok, why = run_test(rows, row, test)
      out[#out + 1] = { id = row.id, name = type(test) == "table" and test.name or "test " .. i, ok = ok, why = ok and "" or why, origin = row.origin }
    end
  end
  return out
end

return M
