-- What leaks of a native heap: snapshots of the malloc agent over some seconds, a look for who refers to the blocks, and the verdict.
--
--   local r, err = leaks.watch(4711, { seconds = 10, trim = false, scan = true, registers = true, whole = false })
--     -> { sites = { { name, verdict, confidence, why, live_bytes, lost_bytes, ages, holders, ... }, ... }, total, about, scan, books }
--   local r, err = leaks.compare({ "a.pb.gz", "b.pb.gz" }, {})     -- the same of saved snapshots, without a look
local core = require "tidemark.core"
local verdicts = require "tidemark.report.leaks"

local M = {}

local ADDRESSES <const> = 1
local SECOND <const> = 1000000000

-- ---- names ----

-- What cgo calls its wrappers: _cgo_1234_Cfunc__Cmalloc is C.malloc.
local function plain(name)
  local c = name and name:match("^_cgo_%x+_Cfunc_(.+)$")
  return c and "C." .. c:gsub("^_C", "") or name
end

--- A site in a few words: who allocates, and who called it from Go.
function M.name(row)
  local owner = plain(row.owner) or "?"
  local frame = row.frames[row.caller_frame or row.owner_frame]
  if row.caller and row.caller ~= row.owner then owner = owner .. " < " .. row.caller end
  if not frame or not frame.file then return owner end
  return ("%s %s:%d"):format(owner, frame.file:match("[^/]+$"), frame.line or 0)
end

-- ---- snapshots ----

local function named(profile)
  local p, err = core.read { bytes = profile, name = "malloc agent" }
  if not p then return nil, err end
  core.symbolize(p, {})
  return p
end

local function sites_of(p, options)
  local sites, err = core.native_sites(p, { whole = options.whole })
  if not sites then return nil, err end
  return sites
end

local function take(pid, options, flags)
  local about, profile = core.malloc_agent(pid, "snapshot", { flags = flags, timeout_ns = options.timeout_ns })
  if not about then return nil, profile end
  local p, err = named(profile)
  if not p then return nil, err end
  local sites
  sites, err = sites_of(p, options)
  if not sites then return nil, err end
  local _, now = core.now()
  return { sites = sites, about = about, time_ns = now, profile = p }
end

local function by_key(rows)
  local all = {}
  for _, row in ipairs(rows) do all[row.key] = row end
  return all
end

-- ---- putting together ----

local nothing <const> = { live_count = 0, live_bytes = 0, made_count = 0, made_bytes = 0 }

local function name_holders(row, rows)
  for _, h in ipairs(row.holders or {}) do
    h.site = h.through and (h.through == row.number and "this site" or rows[h.through].name) or nil
    h.through, h.text = nil, verdicts.holder(h)
  end
end

local function worse(a, b)
  local x, y = verdicts.order[a.verdict], verdicts.order[b.verdict]
  if x ~= y then return x < y end
  if a.lost_bytes ~= b.lost_bytes then return a.lost_bytes > b.lost_bytes end
  if a.slope_bytes_per_s ~= b.slope_bytes_per_s then return a.slope_bytes_per_s > b.slope_bytes_per_s end
  if a.live_bytes ~= b.live_bytes then return a.live_bytes > b.live_bytes end
  return a.key < b.key
end

-- rows of the last snapshot, judged over all of them; what is suppressed is no part of it.
local function judge(rows, history, about, suppressions)
  local sites = {}
  for i, row in ipairs(rows) do row.number, row.name = i, M.name(row) end
  for _, row in ipairs(rows) do
    local series = {}
    for i, earlier in ipairs(history) do series[i] = earlier[row.key] or nothing end
    name_holders(row, rows)
    for key, value in pairs(verdicts.site(row, series, about)) do row[key] = value end
    local is_known = suppressions and suppressions:match { frames = row.frames, values = row }
    if not is_known and (row.live_count > 0 or row.freed_count > 0) then sites[#sites + 1] = row end
  end
  table.sort(sites, worse)
  return sites
end

local function rss_of(pid)
  local f = io.open(("/proc/%d/status"):format(pid))
  local kib = f and f:read("a"):match("VmRSS:%s+(%d+)")
  if f then f:close() end
  return kib and math.tointeger(tonumber(kib)) << 10 or 0
end

local function books_of(pid)
  local books = core.malloc_agent(pid, "stats", {})
  if not books then return {} end
  books.allocator_is_libc, books.rss_bytes = books.allocator_is_libc == 1, rss_of(pid)
  return books
end

local function try_trim(pid, books)
  local before = rss_of(pid)
  local done, err = core.malloc_agent(pid, "trim", {})
  if done then books.trimmed_bytes, books.trim_ns = before - rss_of(pid), done.trim_ns end
  return done, err
end

-- ---- a living process ----

-- Snapshots without addresses, evenly over the time.
local function watch_history(pid, options, seconds)
  local count = seconds > 0 and math.max(2, math.min(6, math.floor(seconds / 2) + 1)) or 1
  local history, first, last, _, began = {}, nil, nil, core.now()
  for i = 1, count do
    local shot, err = take(pid, options)
    if not shot then return nil, err end
    first, last = first or shot.time_ns, shot.time_ns
    history[i] = by_key(shot.sites:rows())
    shot.sites:close()
    shot.profile:close()
    if options.progress then options.progress(i, count) end
    local _, now = core.now()
    local rest = i < count and began + math.floor(seconds * SECOND * i / (count - 1)) - now or 0
    if rest > 0 and not core.pause(rest) then return nil, { code = "cancelled", message = "interrupted" } end
  end
  return history, (last - first) / SECOND
end

local function rate_of(about)
  return about.mode == 2 and 1 or about.rate_bytes
end

-- Blocks that are freed while somebody looks are not lost: a snapshot afterwards tells.
local function look(pid, shot, options)
  if options.scan == false then return nil, shot.sites:rows() end
  local seen, err = shot.sites:scan(pid, { known_from = shot.about.known_from, registers = options.registers ~= false, passes = options.passes })
  if not seen then return nil, nil, err end
  local later
  later, err = take(pid, options, ADDRESSES)
  if not later then return nil, nil, err end
  local rows = shot.sites:rows(later.sites)
  later.sites:close()
  later.profile:close()
  return seen, rows
end

--- Watches a process with the malloc agent for some seconds.
---@param pid integer
---@param options table  seconds (10), scan, registers, passes, trim, whole, suppressions, progress, timeout_ns
---@return table|nil result
---@return table|nil err
function M.watch(pid, options)
  local seconds = options.seconds or 10
  local history, watched = watch_history(pid, options, seconds)
  if not history then return nil, watched end
  local shot, err = take(pid, options, ADDRESSES)
  if not shot then return nil, err end
  local seen, rows
  seen, rows, err = look(pid, shot, options)
  if not rows then return nil, err end
  local books = books_of(pid)
  if options.trim then
    local done
    done, err = try_trim(pid, books)
    if not done then return nil, err end
  end
  local about = { pid = pid, mode = ({ [0] = "idle", "sampled", "full" })[shot.about.mode], rate_bytes = rate_of(shot.about), snapshots = #history,
    seconds = watched, knows_all = shot.about.known_from ~= nil and shot.about.known_from >= 0 }
  local sites = judge(rows, history, about, options.suppressions)
  return { sites = sites, total = verdicts.total(sites, books, about), about = about, scan = seen, books = books }
end

-- ---- saved snapshots ----

--- Compares saved snapshots of one process, the oldest first: what grows and what is never freed; nobody can be asked who refers to it.
function M.compare(paths, options)
  local history, rows, first, last, rate = {}, nil, nil, nil, 1
  for i, path in ipairs(paths) do
    local p, err = core.read(path)
    if not p then return nil, err end
    if p.kind ~= "profile" then return nil, { code = "format", message = path .. " is no profile of a heap" } end
    local sites
    sites, err = sites_of(p, options)
    if not sites then
      err.message = path .. ": " .. err.message
      return nil, err
    end
    local info = p:info()
    first, last, rate = first or info.time_ns, info.time_ns, math.max(rate, info.period or 1)
    rows = sites:rows()
    history[i] = by_key(rows)
    sites:close()
    p:close()
  end
  local about = { files = paths, rate_bytes = rate, snapshots = #paths, seconds = math.max(0, (last - first) / SECOND) }
  local sites = judge(rows, history, about, options.suppressions)
  return { sites = sites, total = verdicts.total(sites, {}, about), about = about, books = {} }
end

return M
