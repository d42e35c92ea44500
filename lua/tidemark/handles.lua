-- Who opened the descriptors and made the pixmaps that a process holds, as its malloc agent recorded it.
--
--   local p, err = handles.profile(4711)       -- handles/count and space/bytes by stack; labels kind, age, thread, epoch, state
--   local rows = handles.rows(p)               -- { { count, bytes, kind, name, frames = { { name, file, line } } }, ... }, the most first
--   handles.start(4711); handles.stop(4711)    -- nothing is recorded before
local core = require "tidemark.core"

local M = {}

M.KINDS = 4 -- bit of the kind on the agent's wire

function M.start(pid, options) return core.malloc_agent(pid, "handles_start", options or {}) end
function M.stop(pid, options) return core.malloc_agent(pid, "handles_stop", options or {}) end

--- What the process holds now, with names.
---@return table|nil profile
---@return table err_or_about
function M.profile(pid, options)
  local how = { kinds = M.KINDS }
  for name, value in pairs(options or {}) do how[name] = value end
  local about, bytes = core.malloc_agent(pid, "snapshot", how)
  if not about then return nil, bytes end
  local p, err = core.read { bytes = bytes, name = "malloc agent" }
  if not p then return nil, err end
  core.symbolize(p, {}) -- what has no names keeps its addresses
  return p, about
end

-- The innermost function of the program's own, with its place: libraries open what they are asked to.
local function name_of(frames, site)
  local frame = frames[site > 0 and site or 1]
  if not frame then return "?" end
  return frame.file and ("%s %s:%d"):format(frame.name, frame.file:match("[^/]+$"), frame.line or 0) or frame.name
end

local function key_of(frames)
  local parts = {}
  for i, frame in ipairs(frames) do parts[i] = ("%s:%s:%d"):format(frame.name, frame.file or "", frame.line or 0) end
  return table.concat(parts, ";")
end

-- One value of the handles of a kind by stack: { key = { value, frames, name } }, and the sum of all.
local function by_stack(p, kind, value)
  local sites = assert(core.sites { columns = 1, by = "line", sample_index = value, tagfocus = "kind=^" .. kind .. "$" })
  assert(sites:add(p, 1))
  local found, sum = {}, 0
  for i = 1, #sites do
    local row, frames = sites:row(i), sites:path(i)
    if row.values[1] > 0 and #frames > 0 then
      local key = key_of(frames)
      local known = found[key]
      found[key] = { value = row.values[1] + (known and known.value or 0), frames = frames, name = name_of(row.frames, row.site) }
      sum = sum + row.values[1]
    end
  end
  sites:close()
  return found, sum
end

-- { kind = { handles, space } } of all, with what nobody saw opened.
local function totals(p)
  local all = {}
  for i, value in ipairs { "handles", "space" } do
    local t = assert(p:report("tags", { sample_index = value }))
    for k = 1, #t do
      local row = t[k]
      if row.key == "kind" then
        all[row.value] = all[row.value] or { 0, 0 }
        all[row.value][i] = row.amount
      end
    end
  end
  return all
end

--- Rows by kind and stack, the most first; what nobody saw opened is a row without frames for each kind.
function M.rows(p)
  local rows = {}
  for kind, total in pairs(totals(p)) do
    local counts, seen = by_stack(p, kind, "handles")
    local bytes, seen_bytes = by_stack(p, kind, "space")
    for key, c in pairs(counts) do
      rows[#rows + 1] = { kind = kind, count = math.tointeger(c.value) or 0, bytes = bytes[key] and math.tointeger(bytes[key].value) or 0,
        name = c.name, frames = c.frames, is_seen = true }
    end
    local left = math.tointeger(total[1] - seen) or 0
    if left > 0 then
      rows[#rows + 1] = { kind = kind, count = left, bytes = math.tointeger(total[2] - seen_bytes) or 0, name = "(opened before, or by raw system calls)",
        frames = {}, is_seen = false }
    end
  end
  table.sort(rows, function(a, b)
    if a.is_seen ~= b.is_seen then return a.is_seen end
    if a.count ~= b.count then return a.count > b.count end
    if a.kind ~= b.kind then return a.kind < b.kind end
    return a.name < b.name
  end)
  return rows
end

return M
