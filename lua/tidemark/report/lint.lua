-- What a heap wastes, and what often leaks: one row per finding, most waste first within each check.
local core = require "tidemark.core"

local M = {}

-- Collections that keep their count in one field and their elements in the array of another. A new one is a row here.
M.collections = {
  { extends = "java.util.HashMap", size = "size", array = "table" },
  { type = "java.util.Hashtable", size = "count", array = "table" },
  { type = "java.util.WeakHashMap", size = "size", array = "table" },
  { type = "java.util.IdentityHashMap", size = "size", array = "table" },
  { type = "java.util.concurrent.ConcurrentHashMap", size = "baseCount+counterCells.value", array = "table" },
  { extends = "java.util.ArrayList", size = "size", array = "elementData" },
  { extends = "java.util.Vector", size = "elementCount", array = "elementData" },
  { type = "java.util.PriorityQueue", size = "size", array = "queue" },
  { type = "java.util.ArrayDeque", size = "tail-head", array = "elements" },
  { type = "java.util.concurrent.ArrayBlockingQueue", size = "count", array = "items" },
  { type = "java.util.concurrent.LinkedBlockingQueue", size = "count.value" },
  { type = "java.util.concurrent.LinkedBlockingDeque", size = "count" },
  { type = "java.util.concurrent.CopyOnWriteArrayList", size = "array.[]" },
  { type = "java.util.LinkedList", size = "size" },
  { type = "java.util.TreeMap", size = "size" },
  { type = "android.util.ArrayMap", size = "mSize", array = "mArray" },
  { type = "android.util.SparseArray", size = "mSize", array = "mValues" },
}

-- Types of strings and of arrays without references, by format.
local strings = { hprof = "java.lang.String", v8heap = "(string)" }
local arrays = { hprof = "^(boolean|char|float|double|byte|short|int|long)\\[\\]$", goheap = "" }

local function percent(part, whole) return whole > 0 and ("%.0f %%"):format(100 * part / whole) or "-" end
local function bytes(n) return core.format(n, "bytes") end

local checks = {}

local function add_duplicates(out, g, check, set, limit)
  local t = assert(g:duplicates(set, { nodecount = limit }))
  for _, row in t:rows() do
    out { check = check, type = row.type, count = row.count, bytes = row.bytes * row.count, waste_bytes = row.waste_bytes, node = row.node,
      text = row.preview }
  end
  if #t > 0 then
    local n = t.notes
    out { check = check .. " (all)", type = "", count = n.count, bytes = 0, waste_bytes = n.waste_bytes, node = -1,
      text = ("%s of %d are copies"):format(percent(n.count, n.contents), n.contents) }
  end
end

checks[#checks + 1] = function(out, g, limit)
  if strings[g.format] then add_duplicates(out, g, "duplicate strings", g:where { type = strings[g.format], reachable = true }, limit) end
end

-- Arrays of strings are seen with their strings.
checks[#checks + 1] = function(out, g, limit)
  if not arrays[g.format] then return end
  local set = g:where { match = arrays[g.format], reachable = true }
  if strings[g.format] then set = set - g:where { type = strings[g.format] }:outgoing() end
  add_duplicates(out, g, "duplicate arrays", set, limit)
  local zeros = g:zeros(set)
  for i, row in zeros:group("type"):rows() do
    if limit > 0 and i > limit then break end
    local first = (zeros & g:where { match = "^\\Q" .. row.name .. "\\E$" }):nodes(1)[1]
    out { check = "zero arrays", type = row.name, count = row.count, bytes = row.shallow_bytes, waste_bytes = row.shallow_bytes, node = first,
      text = "16 bytes and more of zeros" }
  end
end

checks[#checks + 1] = function(out, g)
  for _, c in ipairs(M.collections) do
    local set = g:where { type = c.type, extends = c.extends, reachable = true }
    local f = #set > 0 and g:fill(set, c.size, c.array)
    if f and f.count > 0 then
      local fill = c.array and ("; %s of %d places used, %d less than a quarter full"):format(percent(f.elements, f.capacity), f.capacity,
        f.sparse_count) or ""
      out { check = "collections", type = c.type or c.extends, count = f.count, bytes = set:shallow(), waste_bytes = f.waste_bytes,
        node = f.node or -1, text = ("%s empty (%s)%s"):format(percent(f.empty_count, f.count), bytes(f.empty_bytes), fill) }
    end
  end
end

checks[#checks + 1] = function(out, g)
  for _, name in ipairs { "Boolean", "Byte", "Character", "Double", "Float", "Integer", "Long", "Short" } do
    local set = g:where { type = "java.lang." .. name, reachable = true }
    local count, different = g:values(set, "value")
    if count and count > 0 then
      local shallow = set:shallow()
      out { check = "boxed numbers", type = "java.lang." .. name, count = count, bytes = shallow,
        waste_bytes = shallow // count * (count - different), node = set:nodes(1)[1], text = ("%d different values"):format(different) }
    end
  end
end

-- A node's field that refers to something.
local function follow(g, node, name)
  for _, field in g:fields(node):rows() do
    if field.name == name then return field.node >= 0 and field.node or nil end
  end
end

local function thread_locals(out, g, thread, map)
  local entries = follow(g, map, "table")
  if not entries then return end
  for _, entry in g:fields(entries):rows() do
    local value = entry.node >= 0 and follow(g, entry.node, "value")
    if value then
      local o = g:node(value)
      out { check = "thread locals", type = o.type, count = 1, bytes = o.retained_bytes, waste_bytes = 0, node = value,
        text = "of " .. thread.name }
    end
  end
end

checks[#checks + 1] = function(out, g)
  for _, thread in g:consumers("thread"):rows() do
    for _, name in ipairs { "threadLocals", "inheritableThreadLocals" } do
      local map = g.format == "hprof" and follow(g, thread.node, name)
      if map then thread_locals(out, g, thread, map) end
    end
  end
end

checks[#checks + 1] = function(out, g)
  for _, row in g:duplicate_classes():rows() do
    out { check = "classes loaded twice", type = row.type, count = row.loaders, bytes = row.retained_bytes, waste_bytes = 0, node = -1,
      text = ("%d loaders, %d objects; the loaders retain %s"):format(row.loaders, row.count, bytes(row.retained_bytes)) }
  end
end

checks[#checks + 1] = function(out, g)
  for _, row in g:weak_references():rows() do
    out { check = "weak references", type = row.type, count = row.count, bytes = row.only_bytes, waste_bytes = 0, node = -1,
      text = ("%s; %d cleared, of %d nothing else holds the referent"):format(row.strength, row.cleared_count, row.only_count) }
  end
end

--- Findings of all checks, in the order of the checks, each with most waste first. limit: rows per check; 0 = all.
---@return table rows  check, type, count, bytes, waste_bytes, node (-1 = none), text
function M.rows(g, limit)
  local rows = {}
  for _, check in ipairs(checks) do
    local found, order = {}, {}
    check(function(row)
      found[#found + 1] = row
      order[row] = #found
    end, g, limit)
    table.sort(found, function(a, b)
      if a.waste_bytes ~= b.waste_bytes then return a.waste_bytes > b.waste_bytes end
      if a.bytes ~= b.bytes then return a.bytes > b.bytes end
      return order[a] < order[b]
    end)
    local shown = {}
    for _, row in ipairs(found) do
      shown[row.check] = (shown[row.check] or 0) + 1
      if limit == 0 or shown[row.check] <= limit then rows[#rows + 1] = row end
    end
  end
  return rows
end

return M
