-- The gate (R22): did memory grow from the first runs to the last, or from a baseline to a new build, and what grew?
--
-- Each run is one profile. Two groups are compared: the medians of their totals must differ by more than a ratio and an
-- absolute size, and Mann-Whitney must call it more than chance. Runs are added one by one and may be freed at once: totals
-- are kept of all, call paths only of the two groups (core.sites: memory per distinct path, not per run).
local core = require "tidemark.core"
local sites = require "tidemark.report.sites"

local M = {}

local units = { bytes = "bytes", nanoseconds = "ns" }

-- The least p that so many runs can reach: one order of all.
local function least_p(head, tail)
  local orders = 1
  for i = 1, math.min(head, tail) do orders = orders * (head + tail - i + 1) / i end
  return 1 / orders
end

local gate = {}
gate.__index = gate

--- A gate over runs yet to come.
---@param options table  runs (how many will be added), baseline (how many of them are the baseline, added first; nil = compare
---  the first with the last), warm_up (runs dropped at the start of each group of runs), group (10), max_growth (0.15),
---  max_growth_site, min_amount (nil = 1 MiB, or 100 of anything else), p (0.01), report (options of the reports)
function M.new(options)
  local o = { group = 10, max_growth = 0.15, p = 0.01, warm_up = 0, report = {} }
  for name, value in pairs(options) do o[name] = value end
  local g = setmetatable({ options = o, totals = {}, names = {}, added = 0 }, gate)
  if o.baseline then
    g.head_from, g.head_to = o.warm_up + 1, o.baseline
    g.tail_from, g.tail_to = o.baseline + o.warm_up + 1, o.runs
  else
    local used = o.runs - o.warm_up
    local size = math.min(o.group, used // 2)
    g.head_from, g.head_to = o.warm_up + 1, o.warm_up + size
    g.tail_from, g.tail_to = o.runs - size + 1, o.runs
  end
  if g.head_to < g.head_from or g.tail_to < g.tail_from then
    return nil, { code = "argument", message = ("%d runs with %d of warm-up leave nothing to compare"):format(o.runs, o.warm_up),
      advice = "two runs are the least; ten let chance be told from growth" }
  end
  local wanted = { columns = g.head_to - g.head_from + g.tail_to - g.tail_from + 2, by = "function" }
  for name, value in pairs(o.report) do wanted[name] = value end
  g.sites = core.sites(wanted)
  return g
end

--- "head", "tail", "middle" or "warm-up": what the i-th run counts as.
function gate:role(i)
  if i >= self.head_from and i <= self.head_to then return "head" end
  if i >= self.tail_from and i <= self.tail_to then return "tail" end
  local o = self.options
  if i <= o.warm_up or o.baseline and i > o.baseline and i <= o.baseline + o.warm_up then return "warm-up" end
  return "middle"
end

local function total_of(p, report)
  local wanted = { nodecount = 1, relative_percentages = true }
  for name, value in pairs(report) do wanted[name] = value end
  local t, err = p:report("top", wanted, "table")
  if not t then return nil, err end
  return t.notes.total
end

--- Adds the next run. The profile may be closed afterwards.
---@return boolean|nil ok
---@return table|nil err
function gate:add(name, p)
  local run = self.added + 1
  local index, value, unit = p:sample_index(self.options.report.sample_index or "")
  if not index then return nil, value end
  if self.value and self.value ~= value then
    return nil, { code = "argument", message = ("%s holds %s, the runs before it %s"):format(name, value, self.value), advice = "name one value with --value" }
  end
  local total, err = total_of(p, self.options.report)
  if not total then return nil, err end
  self.added, self.value, self.raw_unit, self.unit = run, value, unit, units[unit] or "count"
  self.totals[run], self.names[run] = total, name
  local role = self:role(run)
  if role == "head" then return self.sites:add(p, -1 / (self.head_to - self.head_from + 1)) end
  if role == "tail" then return self.sites:add(p, 1 / (self.tail_to - self.tail_from + 1)) end
  return true
end

-- Two groups of numbers: { before, after, delta, growth, p, tested, apart }.
local function compare(head, tail, limit_p)
  local c = { before = core.median(head), after = core.median(tail) }
  c.delta = c.after - c.before
  if c.before > 0 then c.growth = c.delta / c.before end
  c.tested = least_p(#head, #tail) <= limit_p
  if c.tested then c.p = core.mann_whitney(head, tail) end
  -- Without a test at least no run of the second group may be as low as one of the first.
  c.apart = math.min(table.unpack(tail)) > math.max(table.unpack(head))
  return c
end

local function is_over(c, limit, o)
  if not limit or c.delta < o.min_amount or c.delta <= 0 then return false end
  if c.growth and c.growth <= limit then return false end
  if c.tested then return c.p < o.p end
  return c.apart
end

local function site_row(g, i, o, total_delta)
  local e = g.sites:row(i)
  local heads = g.head_to - g.head_from + 1
  local c = compare(table.move(e.values, 1, heads, 1, {}), table.move(e.values, heads + 1, #e.values, 1, {}), o.p)
  if c.delta == 0 then return nil end
  local site, owner = e.frames[math.max(e.site, 1)], e.frames[#e.frames]
  return { name = owner.name, file = owner.file, line = owner.line, where = sites.where(owner), site = site.name, frames = e.frames,
    before = c.before, after = c.after, delta = c.delta, growth = c.growth, p = c.p, order = i,
    share = total_delta > 0 and c.delta / total_delta or nil, failed = is_over(c, o.max_growth_site, o) }
end

-- The stack of a row that grew most, without the runtime's frames at its leaf.
local function add_path(g, row)
  local frames, first = g.sites:path(row.order), 1
  while first < #frames and frames[first].runtime do first = first + 1 end
  row.frames, row.path = table.move(frames, first, #frames, 1, {}), {}
  for i, frame in ipairs(row.frames) do row.path[i] = frame.name end
end

local ROWS_MAX = 500 -- of all the sites that changed; those over their limit are always among them

local function site_rows(g, o, total_delta)
  local rows = {}
  for i = 1, #g.sites do rows[#rows + 1] = site_row(g, i, o, total_delta) end
  table.sort(rows, function(a, b)
    if a.failed ~= b.failed then return a.failed end
    if a.delta ~= b.delta then return a.delta > b.delta end
    return a.order < b.order
  end)
  for i = #rows, 1, -1 do
    if i > ROWS_MAX and not rows[i].failed then rows[i] = nil else add_path(g, rows[i]) end
  end
  return rows
end

local function weakness(c, head, tail)
  if c.tested then return nil end
  return ("%d against %d run%s cannot be tested against chance: a single odd run decides. Ten runs or more can be."):format(head, tail,
    tail == 1 and "" or "s")
end

--- The decision over all runs added.
function gate:decide()
  local o = self.options
  o.min_amount = o.min_amount or (self.unit == "bytes" and 1048576 or 100)
  local head = table.move(self.totals, self.head_from, self.head_to, 1, {})
  local tail = table.move(self.totals, self.tail_from, self.tail_to, 1, {})
  local r = compare(head, tail, o.p)
  r.value, r.unit, r.runs, r.warm_up, r.head, r.tail = self.value, self.unit, self.added, o.warm_up, #head, #tail
  r.limit, r.limit_site, r.min_amount, r.limit_p, r.baseline = o.max_growth, o.max_growth_site, o.min_amount, o.p, o.baseline
  r.totals, r.names = self.totals, self.names
  r.weak = weakness(r, #head, #tail)
  r.over = is_over(r, o.max_growth, o)
  r.sites = site_rows(self, o, r.delta)
  r.sites_over = 0
  for _, row in ipairs(r.sites) do
    if row.failed then r.sites_over = r.sites_over + 1 end
  end
  r.failed = r.over or r.sites_over > 0
  return r
end

--- A value for people: medians of counts are rounded.
function M.show(value, unit) return core.format(math.floor(value + 0.5), unit) end

--- Why it passed or failed, in one sentence.
function M.sentence(r)
  local from, to = M.show(r.before, r.unit), M.show(r.after, r.unit)
  local by = r.growth and core.format(math.abs(r.growth), "ratio") or "from nothing"
  local change = r.delta >= 0 and "grew by " .. by or "shrank by " .. by
  if r.delta == 0 then change = "did not change" end
  local text = ("%s %s: %s -> %s"):format(r.value, change, from, to)
  if r.over then return text .. (", more than %s"):format(core.format(r.limit, "ratio")) end
  if r.sites_over > 0 then
    return text .. (", and %d site%s by more than %s"):format(r.sites_over, r.sites_over == 1 and "" or "s", core.format(r.limit_site, "ratio"))
  end
  if r.delta <= 0 or r.growth and r.growth <= r.limit then return text .. (", within %s"):format(core.format(r.limit, "ratio")) end
  if r.delta < r.min_amount then return text .. (", less than the %s that count"):format(core.format(r.min_amount, r.unit)) end
  if r.tested then return text .. (", which may be chance (p = %.2g)"):format(r.p) end
  return text .. ", but the runs of both groups overlap"
end

--- How it was decided, in one sentence.
function M.method(r)
  local groups = r.baseline and ("medians of %d baseline and %d new run%s"):format(r.head, r.tail, r.tail == 1 and "" or "s")
    or ("medians of the first %d and the last %d of %d runs"):format(r.head, r.tail, r.runs)
  local test = r.tested and ("Mann-Whitney p = %.2g (limit %g)"):format(r.p, r.limit_p) or "no test"
  local dropped = r.warm_up > 0 and ("; %d warm-up run%s dropped"):format(r.warm_up, r.warm_up == 1 and "" or "s") or ""
  return ("%s; %s; growth below %s is not counted%s"):format(groups, test, core.format(r.min_amount, r.unit), dropped)
end

return M
