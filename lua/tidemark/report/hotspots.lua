-- CPU beside heap (R6): call paths that are hot in the allocator, in write barriers, in the collector's assist or in copying,
-- charged to the code that asked for it, beside what the heap profiles say of the same paths.
--
-- A path of the CPU profile and one of a heap profile are the same when their functions and lines from the site to the owner are
-- (functions alone when no line agrees: other builds): heap profiles leave the runtime's frames out, and stacks are cut at
-- different depths. Paths are grouped by owner and by the first row of the decision table that fits; the group's numbers then
-- choose the verdict.
local core = require "tidemark.core"
local sites = require "tidemark.report.sites"
local verdicts = require "tidemark.report.verdicts"

local M = {}

-- ---- the CPU profile ----

local background = { "runtime.gcBgMarkWorker*", "runtime.bgsweep*", "runtime.bgscavenge*", "runtime.gcDrain*", "runtime.gcStart*",
  "runtime.gcMarkTermination*", "runtime.gcMarkDone*", "runtime.forcegchelper*" }

local function is_background(frames)
  for i = #frames, 1, -1 do
    for _, pattern in ipairs(background) do
      if verdicts.glob_matches(pattern, frames[i].name) then return true end
    end
  end
  return false
end

-- One group: an owner's paths under the first row that fits them.
local function group_of(all, rows, frames, site, owner, class)
  local candidates = verdicts.candidates(rows, frames, site, owner, class)
  local key = frames[owner].name .. "\0" .. (candidates[1] or 0)
  local g = all.by_key[key]
  if not g then
    g = { owner = frames[owner], cpu = 0, classes = {}, chains = {}, line_chains = {}, weight = -1 }
    all.by_key[key] = g
    all.list[#all.list + 1] = g
  end
  return g, candidates
end

local function charge(all, rows, frames, value)
  local site, owner = sites.place(frames)
  if site == 0 and is_background(frames) then
    all.background = all.background + value
    return
  end
  local class = verdicts.class(frames, site > 0 and site or #frames + 1)
  if site == 0 then site, owner = #frames, #frames end -- a stack that was not unwound further
  if not class then return end
  local g, candidates = group_of(all, rows, frames, site, owner, class)
  g.cpu = g.cpu + value
  g.classes[class] = (g.classes[class] or 0) + value
  g.chains[sites.chain(frames, site, owner)] = true
  g.line_chains[sites.line_chain(frames, site, owner)] = true
  if value > g.weight then g.weight, g.frames, g.site, g.owner_at, g.candidates, g.owner = value, frames, site, owner, candidates, frames[owner] end
  all.charged = all.charged + value
end

local function read_cpu(p, rows)
  local all = { by_key = {}, list = {}, total = 0, charged = 0, background = 0 }
  local ok, err = sites.each(p, {}, function(frames, value)
    all.total = all.total + value
    charge(all, rows, frames, value)
  end)
  if not ok then return nil, err end
  return all
end

-- ---- the heap profiles ----

-- Values by chain of one sample type (with lines, and without), and their sum; nil when the profile lacks the type.
local function by_chain(p, value_type)
  local has = false
  for _, t in ipairs(p:info().types) do has = has or t.type == value_type end
  if not has then return nil end
  local all, out = core.sites { columns = 1, by = "line", sample_index = value_type }, { total = 0, values = {} }
  local ok, err = all:add(p)
  if not ok then error(err, 0) end
  for i = 1, #all do
    local row = all:row(i)
    local value = row.values[1]
    out.total = out.total + value
    if row.site > 0 then
      for _, key in ipairs { sites.chain(row.frames, row.site, #row.frames), sites.line_chain(row.frames, row.site, #row.frames) } do
        out.values[key] = (out.values[key] or 0) + value
      end
    end
  end
  all:close()
  return out
end

-- What all heap profiles together say: in use at first and last, allocated, and over which time.
local function read_heaps(heaps, allocs)
  local first, last = heaps[1], heaps[#heaps]
  local h = { count = #heaps }
  if last then h.inuse = by_chain(last, "inuse_space") end
  if #heaps > 1 then h.before = by_chain(first, "inuse_space") end
  local source = allocs or last
  if not source then return h end
  h.alloc = by_chain(source, "alloc_space")
  if allocs and allocs:info().duration_ns > 0 then
    h.alloc_ns = allocs:info().duration_ns
  elseif not allocs and #heaps > 1 then
    h.alloc_before = by_chain(first, "alloc_space")
    h.alloc_ns = last:info().time_ns - first:info().time_ns
    if h.alloc_ns <= 0 then h.alloc_ns = nil end
  end
  return h
end

local function sum(chains, table_of)
  if not table_of then return nil end
  local total, seen = 0, false
  for chain in pairs(chains) do
    local value = table_of.values[chain]
    if value then
      total = total + value
      seen = true
    end
  end
  return total, seen
end

-- grows: kept, and more each time; churns: ten times more made than kept; steady; nil when no heap profile knows the path.
local function heap_state(f)
  if f.growth and f.growth >= 1048576 and (not f.growth_ratio or f.growth_ratio >= 0.1) then return "grows" end
  if f.churn and f.churn >= 10 then return "churns" end
  return f.inuse and "steady" or nil
end

-- The chains of a group that the heap profiles know: those with lines, if any is.
local function known_chains(g, h)
  for _, values in ipairs { h.alloc or h.inuse, h.inuse, h.before } do
    local _, seen = sum(g.line_chains, values)
    if seen then return g.line_chains end
  end
  return g.chains
end

local function figures_of(g, cpu, h)
  local f = { cpu = g.cpu, cpu_share = cpu.total > 0 and g.cpu / cpu.total or 0 }
  local chains = known_chains(g, h)
  local inuse, known = sum(chains, h.inuse)
  local alloc, allocated = sum(chains, h.alloc)
  local before, was = sum(chains, h.before)
  if known or allocated or was then
    f.inuse = inuse
    if alloc and allocated then
      f.alloc, f.alloc_share = alloc, h.alloc.total > 0 and alloc / h.alloc.total or nil
      if inuse then f.churn = inuse > 0 and alloc / inuse or math.huge end
      local made = alloc - (sum(chains, h.alloc_before) or 0)
      if h.alloc_ns and made >= 0 then f.alloc_rate = made * 1e9 / h.alloc_ns end
    end
    if h.before and inuse then
      f.growth = inuse - before
      if before > 0 then f.growth_ratio = f.growth / before end
    end
  end
  f.heap = heap_state(f)
  return f
end

-- ---- the answer ----

local function row_of(g, f, verdict)
  local path, chain_names = {}, {}
  for i, frame in ipairs(g.frames) do path[i] = frame.name end
  for i = g.site, g.owner_at do chain_names[#chain_names + 1] = g.frames[i].name end
  return { name = g.owner.name, file = g.owner.file, line = g.owner.line, where = sites.where(g.owner), site = g.frames[g.site].name, path = path,
    chain = chain_names, cpu = f.cpu, cpu_share = f.cpu_share, classes = g.classes, inuse = f.inuse, growth = f.growth, growth_ratio = f.growth_ratio,
    alloc = f.alloc, alloc_share = f.alloc_share, alloc_rate = f.alloc_rate, churn = f.churn, heap = f.heap, id = verdict.id,
    verdict = verdict.verdict, advice = verdict.advice, origin = verdict.origin }
end

local function rank(a, b)
  if a.cpu ~= b.cpu then return a.cpu > b.cpu end
  if a.name ~= b.name then return a.name < b.name end
  return a.id < b.id
end

-- Groups too small for a row of their own, together by verdict: much may be spread over many places.
local function spread(small)
  local by_id, out = {}, {}
  for _, one in ipairs(small) do
    local all = by_id[one.verdict.id]
    if not all then
      all = { verdict = one.verdict, count = 0, group = { cpu = 0, classes = {}, chains = {}, line_chains = {}, weight = -1 } }
      by_id[one.verdict.id] = all
      out[#out + 1] = all
    end
    local to, from = all.group, one.group
    all.count = all.count + 1
    to.cpu = to.cpu + from.cpu
    for class, value in pairs(from.classes) do to.classes[class] = (to.classes[class] or 0) + value end
    for chain in pairs(from.chains) do to.chains[chain] = true end
    for chain in pairs(from.line_chains) do to.line_chains[chain] = true end
    if from.weight > to.weight then
      to.weight, to.frames, to.site, to.owner_at, to.owner = from.weight, from.frames, from.site, from.owner_at, from.owner
    end
  end
  return out
end

-- The rows of all groups: large ones each, small ones together; and how much is in none.
local function rows_of(cpu, h, input)
  local rows, small, hidden, least = {}, {}, 0, input.least or 0.005
  for _, g in ipairs(cpu.list) do
    local f = figures_of(g, cpu, h)
    local verdict = verdicts.decide(input.table, g.candidates, f)
    if not verdict then hidden = hidden + g.cpu
    elseif f.cpu_share >= least then rows[#rows + 1] = row_of(g, f, verdict)
    else small[#small + 1] = { group = g, verdict = verdict } end
  end
  for _, all in ipairs(spread(small)) do
    local f = figures_of(all.group, cpu, h)
    if f.cpu_share >= least then
      local row = row_of(all.group, f, all.verdict)
      row.places = all.count
      rows[#rows + 1] = row
    else
      hidden = hidden + all.group.cpu
    end
  end
  table.sort(rows, rank)
  return rows, hidden
end

--- Joins the profiles. Raises what a report refuses.
---@param input table  cpu = profile, heaps = { profile, ... } (oldest first), allocs = profile|nil, table = rows of verdicts,
---  least = smallest share of the CPU worth a row (0.005)
---@return table rows  places: of so many owners together, of whom the heaviest is named
---@return table meta
function M.data(input)
  local cpu, err = read_cpu(input.cpu, input.table)
  if not cpu then error(err, 0) end
  local h = read_heaps(input.heaps or {}, input.allocs)
  local rows, hidden = rows_of(cpu, h, input)
  local _, type_name, unit = input.cpu:sample_index ""
  return rows, { cpu_total = cpu.total, cpu_charged = cpu.charged, cpu_background = cpu.background, cpu_hidden = hidden, cpu_type = type_name,
    cpu_unit = unit, heaps = h.count, alloc_ns = h.alloc_ns }
end

--- What the numbers of one row say together, in words.
function M.evidence(row)
  local parts = {}
  for _, class in ipairs { "alloc", "assist", "barrier", "copy" } do
    local value = row.classes[class]
    if value then parts[#parts + 1] = ("%s %s"):format(class, core.format(row.cpu_share * value / row.cpu, "ratio")) end
  end
  local text = "CPU: " .. table.concat(parts, ", ")
  if row.heap == "grows" then text = text .. ("; its heap grew by %s"):format(core.format(row.growth, "bytes"))
  elseif row.heap == "churns" then
    local kept = row.inuse > 0 and core.format(row.inuse, "bytes") or "nothing"
    text = text .. ("; %s made in all, %s kept"):format(core.format(row.alloc, "bytes"), kept)
  elseif row.heap == "steady" then text = text .. "; its heap is steady"
  else text = text .. "; no heap profile knows this path" end
  return text
end

return M
