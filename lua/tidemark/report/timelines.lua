-- What two traces of a browser have more and less of, by keys that stay from run to run; and the suspicious part of one for Chrome's viewer.
local core = require "tidemark.core"
local text = require "tidemark.show.text"

local M = {}

-- Paths of processes and ports differ from run to run, functions and files do not.
local function place(where) return (where:gsub("(%a+://[^/%s:]+):%d+", "%1")) end

local function work_of(row)
  if row.work ~= "" then return place(row.work) end
  return row.hot ~= "" and place(row.hot) or "(no script)"
end

local keys = {
  tasks = function(row) return { work = work_of(row), thread = row.thread } end,
  asyncs = function(row) return { kind = row.kind, name = row.name, detail = place(row.detail), owner = place(row.owner) } end,
  counters = function(row) return { name = row.name, process = row.process, thread = row.thread } end,
}

local numbers = {
  tasks = function(row) return { count = 1, duration_ns = row.duration_ns } end,
  asyncs = function(row) return { count = row.count } end,
  counters = function(row) return { last = row.last, delta = row.delta } end,
}

local function fold(verb, rows)
  local by = {}
  for _, row in ipairs(rows) do
    local key, own = keys[verb](row), {}
    for name, value in pairs(key) do own[#own + 1] = name .. "\0" .. value end
    table.sort(own)
    local id = table.concat(own, "\1")
    local sum = by[id] or { key = key, values = {} }
    by[id] = sum
    for name, value in pairs(numbers[verb](row)) do sum.values[name] = (sum.values[name] or 0) + value end
  end
  return by
end

--- Rows with the key's fields, the numbers of `now`, those of `base` as base_NAME, and change: of the first of counts and last values.
function M.diff(verb, now, base)
  local new, old, out = fold(verb, now), fold(verb, base), {}
  local main = verb == "counters" and "last" or "count"
  local function add(id)
    local a, b = new[id], old[id]
    local row = {}
    for name, value in pairs((a or b).key) do row[name] = value end
    for name in pairs((a or b).values) do
      row[name], row["base_" .. name] = a and a.values[name] or 0, b and b.values[name] or 0
    end
    row.change = row[main] - row["base_" .. main]
    out[#out + 1] = row
  end
  for id in pairs(new) do add(id) end
  for id in pairs(old) do if not new[id] then add(id) end end
  local function name(row) return (row.work or row.name) .. (row.owner or row.process or "") .. (row.detail or row.thread or "") end
  table.sort(out, function(a, b)
    if a.change ~= b.change then return a.change > b.change end
    return name(a) < name(b)
  end)
  return out
end

--- Chrome's trace events of the tasks over a time with all in them, and of the operations without an end that a page began.
function M.chrome(trace, over_ns, thread)
  local events, named = {}, {}
  local function add(event) events[#events + 1] = event end
  local slices, err = trace:slices { over_ns = over_ns, thread = thread }
  if not slices then return nil, err end
  for _, s in slices:rows() do
    local id = s.pid .. "/" .. s.tid
    if s.thread ~= "" and not named[id] then add { ph = "M", name = "thread_name", pid = s.pid, tid = s.tid, args = { name = s.thread } } end
    named[id] = true
    add { ph = "X", name = s.name, cat = s.category, pid = s.pid, tid = s.tid, ts = s.begin_ns / 1000, dur = s.duration_ns / 1000,
      args = s.detail ~= "" and { data = { functionName = s.detail } } or nil }
  end
  local asyncs
  asyncs, err = trace:asyncs()
  if not asyncs then return nil, err end
  for i, a in asyncs:rows() do
    if a.eternal == 0 then
      add { ph = "b", name = a.name, cat = "blink." .. a.kind, id = ("0x%x"):format(i), pid = a.pid, tid = 0, ts = a.begin_ns / 1000,
        args = { detail = a.detail, owner = a.owner, count = a.count, fired = a.fired } }
    end
  end
  return core.json { displayTimeUnit = "ms", traceEvents = text.array(events) } .. "\n"
end

return M
