-- Growth over heap dumps (R16): which type paths have more objects in every dump, from the path summaries of three or more.
--
-- A summary is the paths profile of a dump (g:paths()), some tens of kB, and is all that is kept of it. Of paths that grow in every step
-- by more than the bar only the topmost is told: what hangs below it grows because it does.
local core = require "tidemark.core"

local M = {}

-- Counts by path of one value of a profile: { ["root;step;step"] = number }.
local function by_path(profile, value)
  local growth = assert(core.growth { by = "path", sample_index = value, unchanged = true })
  assert(growth:add(profile, 0))
  local out = {}
  for _, row in growth:table(0):rows() do out[row.key] = row.last end
  return out
end

--- What is kept of a dump.
---@param profile userdata  of g:paths(), or one that was saved
---@return table summary  { counts = {path = objects}, bytes = {path = bytes} }
function M.summary(profile)
  return { counts = by_path(profile, "objects"), bytes = by_path(profile, "space") }
end

--- True for a profile of type paths.
function M.is_paths(profile)
  if profile.kind ~= "profile" then return false end
  local types = profile:info().types
  return #types == 2 and types[1].type == "objects" and types[2].type == "space"
end

local function parent_of(path) return path:match("^(.*);[^;]*$") end
local function leaf_of(path) return path:match("([^;]*)$") end

-- The type at the end of a path: behind its field, or all of a root that is bare.
local function type_of(path)
  local step = leaf_of(path)
  return step:match("^%S+ (.+)$") or step
end
M.type_of = type_of

local function rises(list, least)
  for i = 2, #list do
    if list[i] - list[i - 1] <= least then return false end
  end
  return true
end

-- One list of numbers per key over all summaries; keys that the last one lacks cannot have grown.
local function series(summaries, field, key)
  local out = {}
  for i, summary in ipairs(summaries) do out[i] = summary[field][key] or 0 end
  return out
end

-- Sums of every path and all below it.
local function with_below(values)
  local sums = {}
  for path, value in pairs(values) do
    local at = path
    while at do
      sums[at] = (sums[at] or 0) + value
      at = parent_of(at)
    end
  end
  return sums
end

-- Objects by type over all paths, to tell growth from objects that moved from one path to another.
local function type_totals(summary)
  local out = {}
  for path, count in pairs(summary.counts) do out[type_of(path)] = (out[type_of(path)] or 0) + count end
  return out
end

local function depth_of(path) return select(2, path:gsub(";", ";")) + 1 end

local function is_table(step) return step:find("%[%]$") or step:find("^%[x%]") or step:find("%(array%)$") end

-- Where it branches: the last step above whose own objects do not become more, past tables and arrays.
local function holder_of(path, summaries)
  local first, last = summaries[1].counts, summaries[#summaries].counts
  local up = parent_of(path)
  while up and parent_of(up) and (is_table(leaf_of(up)) or (last[up] or 0) > (first[up] or 0)) do up = parent_of(up) end
  return up and leaf_of(up) or ""
end

local function row_of(path, summaries, below, totals)
  local counts = series(summaries, "counts", path)
  local n = #counts
  local first, last = (below[1][path] or 0), (below[n][path] or 0)
  local type = type_of(path)
  return { key = path, first = counts[1], last = counts[n], delta = counts[n] - counts[1], steps = n - 1, counts = counts,
    bytes_delta = last - first, depth = depth_of(path), smell = depth_of(path) >= 5, root = path:match("^[^;]*"), holder = holder_of(path, summaries),
    type = type, moved = (totals[n][type] or 0) - (totals[1][type] or 0) < (counts[n] - counts[1]) // 2 }
end

--- The topmost paths that grow in every step.
---@param summaries table  two or more, oldest first
---@param options table  min_delta (500): objects, in every step
---@return table rows  most objects first: key (path from the root, joined by ';'), first, last, delta (objects), steps, counts, bytes_delta (shallow,
---  with all below), depth, smell (depth >= 5), root, holder, type, moved (the type as a whole did not grow as much: objects changed hands)
function M.growth(summaries, options)
  local least, growing, rows = options.min_delta or 500, {}, {}
  for path in pairs(summaries[#summaries].counts) do
    if rises(series(summaries, "counts", path), least) then growing[path] = true end
  end
  local below, totals = {}, {}
  for i, summary in ipairs(summaries) do
    below[i], totals[i] = with_below(summary.bytes), type_totals(summary)
  end
  for path in pairs(growing) do
    local up = parent_of(path)
    while up and not growing[up] do up = parent_of(up) end
    if not up then rows[#rows + 1] = row_of(path, summaries, below, totals) end
  end
  table.sort(rows, function(a, b)
    if a.delta ~= b.delta then return a.delta > b.delta end
    return a.key < b.key
  end)
  return rows
end

--- Adds to the first rows (32 at most) what only the last dump can tell: examples (up to three objects, as other commands take them),
--- and with options.retained retained_bytes, what would die with all objects of the path.
---@param rows table  of M.growth
---@param graph userdata  the last dump
---@param options table  follow, retained
function M.look_up(rows, graph, options)
  local keys, how = {}, { follow = options.follow }
  for i = 1, math.min(#rows, 32) do keys[i] = rows[i].key end
  if #keys == 0 then return end
  local sets, err = graph:at_paths(keys, how)
  if not sets then error(err, 0) end
  for i, set in ipairs(sets) do
    local examples = {}
    for k, node in ipairs(set:nodes(3)) do examples[k] = "#" .. node end
    rows[i].examples = examples
    if options.retained then
      local bytes, problem = set:retained(how)
      if not bytes then error(problem, 0) end
      rows[i].retained_bytes = bytes
    end
  end
end

--- Types that grow in every step, whatever path holds them.
function M.growth_by_type(summaries, options)
  local least, totals, rows = options.min_delta or 500, {}, {}
  for i, summary in ipairs(summaries) do totals[i] = type_totals(summary) end
  for type in pairs(totals[#totals]) do
    local counts = {}
    for i, total in ipairs(totals) do counts[i] = total[type] or 0 end
    if rises(counts, least) then
      rows[#rows + 1] = { key = type, first = counts[1], last = counts[#counts], delta = counts[#counts] - counts[1], steps = #counts - 1,
        counts = counts, type = type }
    end
  end
  table.sort(rows, function(a, b)
    if a.delta ~= b.delta then return a.delta > b.delta end
    return a.key < b.key
  end)
  return rows
end

--- The same in words: "3000 more java.util.HashMap$Node below static Gen, held by cache java.util.HashMap".
function M.sentence(row)
  local text = ("%d more %s (%s)"):format(row.delta, row.type, table.concat(row.counts, ", "))
  if row.root then text = text .. (" from %s"):format(row.root) end
  if row.holder and row.holder ~= "" and row.holder ~= row.root then text = text .. (", held by %s"):format(row.holder) end
  if row.moved then text = text .. "; the type as a whole grew less: some only changed hands" end
  return text
end

return M
