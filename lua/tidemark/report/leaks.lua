-- What becomes of the native heap's sites: leak, cache, or memory that the allocator keeps. Pure: numbers in, words out.
--
--   local v = verdicts.site(row, { { live_count=, live_bytes=, made_count=, made_bytes= }, ... }, { seconds=, rate_bytes= })
--     -> { verdict=, confidence=, why=, slope_bytes_per_s=, new_count=, freed_count=, freed_ratio=, lost_count=, lost_bytes= }
--   local t = verdicts.total(sites, books, { seconds= })      -> { verdict=, confidence=, evidence={...}, ... }
--
-- Verdicts of a site, worst first: leak (lost, or grows and nothing is freed), grows (more comes than goes), cache (blocks are replaced),
-- kept (made once, never freed), steady (nothing moved).
local core = require "tidemark.core"

local M = {}

M.order = { leak = 1, grows = 2, cache = 3, kept = 4, steady = 5 }

local LEAST_NEW <const> = 3       -- blocks (or samples) that a growth rests on at least
local FREED_FEW <const> = 0.2     -- of what came in the window: less than that is freed by a leak
local FREED_MANY <const> = 0.75   -- and more than that by a cache
local AGES_OF_A_DRIP <const> = 3  -- age steps that blocks which nobody frees are spread over
local SKEW_RATIO <const> = 0.005
local HELD_RATIO <const> = 0.25   -- of the heap free but held: retention
local HELD_BYTES <const> = 8 << 20
local NOISE_RATIO <const> = 0.02  -- of the live bytes: less is flat

local function bytes(n) return core.format(n, "bytes") end
local function per_second(n) return core.format(math.floor(n + 0.5), "bytes") .. "/s" end

-- How many samples so many blocks rest on: a sample of the agent stands for rate bytes, or for one block if that is larger.
local function samples_of(count, size, rate)
  if not rate or rate <= 1 or count <= 0 then return count end
  return count * (1 - math.exp(-math.max(size, 1) / rate))
end

-- Certainty by so many independent samples: half as unsure with each.
local function certainty(samples) return 1 - 0.5 ^ math.min(samples, 60) end

local function steps_up(series)
  local up, n = 0, 0
  for i = 2, #series do
    n = n + 1
    if series[i].live_bytes > series[i - 1].live_bytes then up = up + 1 end
  end
  return n > 0 and up / n or 0
end

local function ages_used(row)
  local n = 0
  for _, age in ipairs(row.ages or {}) do n = n + (age.count > 0 and 1 or 0) end
  return n
end

-- What came and went between the first and the last snapshot.
local function movement(series, seconds)
  local first, last = series[1], series[#series]
  local m = { new_count = last.made_count - first.made_count, new_bytes = last.made_bytes - first.made_bytes,
    delta_count = last.live_count - first.live_count, delta_bytes = last.live_bytes - first.live_bytes }
  m.new_count, m.new_bytes = math.max(m.new_count, m.delta_count, 0), math.max(m.new_bytes, m.delta_bytes, 0)
  m.freed_count = math.max(0, m.new_count - m.delta_count)
  m.freed_ratio = m.new_count > 0 and m.freed_count / m.new_count or nil
  m.slope_bytes_per_s = #series > 1 and seconds > 0 and m.delta_bytes / seconds or 0
  return m
end

local function held_by(row)
  local h = row.holders and row.holders[1]
  return h and ((row.lost_count or 0) > 0 and ", others" or ", still") .. " held by " .. M.holder(h) or ""
end

--- Who holds, in words.
function M.holder(h)
  local out
  if h.kind == "data" then
    out = h.name and ("%s in %s"):format(h.name, h.module) or "data of " .. (h.module or "?")
  elseif h.kind == "stack" then
    out = h.name and ("the stack of %s (%d)"):format(h.name, h.tid) or "the stack of a thread"
  else
    out = ({ go = "Go's heap", heap = "other or freed heap memory", shared = "shared memory", memory = "other anonymous memory" })[h.kind] or h.kind
  end
  if h.interior then out = out .. " (inside only)" end
  if h.site then out = "blocks of " .. h.site .. " from " .. out end
  return out
end

local function leak(confidence, why) return "leak", confidence, why end

-- A snapshot is no instant: what is made while it is written stands in one of the two numbers.
local function never_freed(row) return row.made_count > 0 and row.made_count - row.live_count <= row.made_count * SKEW_RATIO end

local function judge_lost(row, m)
  local share = row.live_count > 0 and m.lost_count / row.live_count or 0
  local growing = m.delta_count > 0 and (", and %d more came"):format(m.delta_count) or ""
  return leak(m.lost_count >= 3 and 0.99 or 0.9,
    ("nothing points to %d of %d blocks (%s, %.0f %%)%s%s"):format(m.lost_count, row.live_count, bytes(m.lost_bytes), share * 100, growing, held_by(row)))
end

local function judge_growth(row, m, series, samples)
  local up = steps_up(series)
  local confidence = certainty(samples / LEAST_NEW) * (1 - m.freed_ratio) * (0.5 + up / 2)
  if row.held_count then confidence = confidence * 0.9 end -- whoever holds it may yet let it go
  return leak(math.min(confidence, 0.98), ("%s: %d new blocks, %d freed%s"):format(per_second(m.slope_bytes_per_s), m.new_count, m.freed_count, held_by(row)))
end

local function judge(row, m, series, rate)
  local size = row.live_count > 0 and row.live_bytes / row.live_count or 1
  local samples = samples_of(m.new_count, size, rate)
  if m.lost_count > 0 then return judge_lost(row, m) end
  if samples >= LEAST_NEW and m.delta_count > 0 and m.freed_ratio <= FREED_FEW then return judge_growth(row, m, series, samples) end
  if samples >= LEAST_NEW and m.freed_ratio >= FREED_MANY then
    return "cache", certainty(samples / LEAST_NEW) * math.min(m.freed_ratio, 1),
      ("blocks are replaced: %d new, %d freed, %d live%s"):format(m.new_count, m.freed_count, row.live_count, held_by(row))
  end
  if samples >= LEAST_NEW and m.delta_count > 0 then
    return "grows", certainty(samples / LEAST_NEW) * (1 - m.freed_ratio), ("%s: %d new blocks, %d freed: a cache that fills, or a leak"):format(
      per_second(m.slope_bytes_per_s), m.new_count, m.freed_count)
  end
  local ages = ages_used(row)
  if never_freed(row) and ages >= AGES_OF_A_DRIP and row.samples >= LEAST_NEW then
    return "grows", 0.5, ("never freed: %d blocks of %d ages%s"):format(row.live_count, ages, held_by(row))
  end
  if never_freed(row) then return "kept", 0.5, ("never freed, none came in the window%s"):format(held_by(row)) end
  return "steady", 0.5, ("%d of %d ever made are left"):format(row.live_count, row.made_count)
end

--- The verdict of one site. series: its numbers at each snapshot, the last one now; rate_bytes: 1 = all blocks are seen.
function M.site(row, series, about)
  local m = movement(series, about.seconds or 0)
  m.lost_count = (row.lost_count or 0) + (row.lost_too_count or 0)
  m.lost_bytes = (row.lost_bytes or 0) + (row.lost_too_bytes or 0)
  m.never_freed = never_freed(row)
  m.verdict, m.confidence, m.why = judge(row, m, series, about.rate_bytes or 1)
  return m
end

-- ---- the whole heap ----

local function sum_by_verdict(sites)
  local sums = {}
  for name in pairs(M.order) do sums[name] = { sites = 0, bytes = 0, slope = 0, confidence = 0 } end
  for _, s in ipairs(sites) do
    local sum = sums[s.verdict]
    sum.sites, sum.bytes, sum.slope = sum.sites + 1, sum.bytes + s.live_bytes, sum.slope + s.slope_bytes_per_s
    sum.confidence = math.max(sum.confidence, s.confidence)
  end
  return sums
end

-- What was given back by a trim stays in the allocator's books as free: no more of it can be resident than RSS leaves room for.
local function retention(books)
  local arena, free = books.arena_bytes or 0, books.free_bytes or 0
  if not books.allocator_is_libc or arena == 0 then return nil, nil, 0, 0 end
  local trim, held = books.trimmed_bytes, free
  if books.rss_bytes then held = math.max(0, math.min(free, books.rss_bytes - (books.used_bytes or 0))) end
  local line = ("the allocator holds %s free of %s (%.0f %%)"):format(bytes(free), bytes(arena), free / arena * 100)
  if held < free then line = line .. (", at most %s of it resident"):format(bytes(held)) end
  if trim then line = line .. ("; a trim gave %s of RSS back"):format(bytes(math.max(trim, 0))) end
  if trim then return trim >= HELD_BYTES and trim >= arena * HELD_RATIO, line, trim, 0.95 end
  return held >= HELD_BYTES and held >= arena * HELD_RATIO, line, held, 0.75
end

--- The verdict of the heap. books: of `stats` (arena_bytes, used_bytes, free_bytes, allocator_is_libc), rss_bytes,
--- trimmed_bytes after a trial trim.
function M.total(sites, books, about)
  local sums, live, slope, lost_count, lost_bytes = sum_by_verdict(sites), 0, 0, 0, 0
  for _, s in ipairs(sites) do
    live, slope = live + s.live_bytes, slope + s.slope_bytes_per_s
    lost_count, lost_bytes = lost_count + s.lost_count, lost_bytes + s.lost_bytes
  end
  local t = { live_bytes = live, slope_bytes_per_s = slope, lost_count = lost_count, lost_bytes = lost_bytes, evidence = {} }
  local function say(...) t.evidence[#t.evidence + 1] = (...):format(select(2, ...)) end
  local is_held, held_line, held_bytes, held_confidence = retention(books)
  local flat = math.abs(slope * (about.seconds or 0)) <= live * NOISE_RATIO
  say("live blocks: %s, %s in %.3g s", bytes(live), flat and "flat" or per_second(slope), about.seconds or 0)
  if lost_count > 0 then say("nothing points to %d %s (%s)", lost_count, lost_count == 1 and "block" or "blocks", bytes(lost_bytes)) end
  for _, name in ipairs { "leak", "grows", "cache" } do
    local sum = sums[name]
    if sum.sites > 0 then say("%s: %d %s with %s, %s", name, sum.sites, sum.sites == 1 and "site" or "sites", bytes(sum.bytes), per_second(sum.slope)) end
  end
  if held_line then say("%s", held_line) end
  local outweighs = is_held and held_bytes > sums.leak.bytes and sums.leak.slope * 60 < held_bytes
  if sums.leak.sites > 0 and not outweighs then t.verdict, t.confidence = "leak", sums.leak.confidence
  elseif is_held then t.verdict, t.confidence = "retention", held_confidence
  elseif sums.grows.sites > 0 and not flat then t.verdict, t.confidence = "grows", sums.grows.confidence
  elseif sums.cache.sites > 0 then t.verdict, t.confidence = "cache", sums.cache.confidence
  else t.verdict, t.confidence = "steady", flat and 0.75 or 0.5 end
  return t
end

return M
