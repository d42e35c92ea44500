-- The verdicts over a native heap, from numbers alone.
local verdicts = require "tidemark.report.leaks"

local function row(fields)
  local r = { live_count = 100, live_bytes = 10000, made_count = 100, made_bytes = 10000, samples = 100, ages = {}, holders = {} }
  for key, value in pairs(fields or {}) do r[key] = value end
  return r
end

-- Numbers of snapshots: live and made blocks of 100 bytes.
local function series(...)
  local out = {}
  for i, pair in ipairs { ... } do
    out[i] = { live_count = pair[1], live_bytes = pair[1] * 100, made_count = pair[2], made_bytes = pair[2] * 100 }
  end
  return out
end

local ten <const> = { seconds = 10, rate_bytes = 1 }

describe("the verdict of a site", function()
  local cases = {
    { "leak", "lost blocks are proof, whatever they do", row { lost_count = 2, lost_too_count = 3, lost_bytes = 500 }, series({ 100, 100 }, { 100, 100 }) },
    { "leak", "grows and nothing is freed", row { live_count = 160, made_count = 160 }, series({ 100, 100 }, { 130, 130 }, { 160, 160 }) },
    { "leak", "grows and next to nothing is freed", row { live_count = 150, made_count = 160 }, series({ 100, 100 }, { 150, 160 }) },
    { "grows", "half of what comes is freed", row { live_count = 150, made_count = 1200 }, series({ 100, 1100 }, { 150, 1200 }) },
    { "cache", "what comes replaces what was", row { made_count = 5000 }, series({ 100, 1000 }, { 101, 3000 }, { 100, 5000 }) },
    { "cache", "shrinks under churn", row { live_count = 60, made_count = 5000 }, series({ 100, 1000 }, { 60, 5000 }) },
    { "kept", "made once, never freed", row(), series({ 100, 100 }, { 100, 100 }) },
    { "steady", "what is left of many", row { made_count = 5000 }, series({ 100, 5000 }, { 100, 5000 }) },
    { "kept", "two new blocks are no trend", row { live_count = 102, made_count = 102 }, series({ 100, 100 }, { 102, 102 }) },
    { "grows", "drips slower than one looks", row { ages = { { count = 1 }, { count = 0 }, { count = 4 }, { count = 90 } } }, series({ 100, 100 }) },
    { "leak", "came up within the window", row { live_count = 50, made_count = 50 }, series({ 0, 0 }, { 50, 50 }) },
  }
  for _, case in ipairs(cases) do
    it("is " .. case[1] .. ": " .. case[2], function()
      local v = verdicts.site(case[3], case[4], ten)
      assert.equal(case[1], v.verdict, v.why)
      assert.is_true(v.confidence > 0 and v.confidence <= 1)
    end)
  end

  it("wants more blocks where each of them is seldom sampled", function()
    local r, s = row { live_count = 2000, made_count = 2000 }, series({ 0, 0 }, { 2000, 2000 })
    assert.equal("leak", verdicts.site(r, s, { seconds = 10, rate_bytes = 1 }).verdict)
    assert.equal("kept", verdicts.site(r, s, { seconds = 10, rate_bytes = 512 << 10 }).verdict) -- 200 kB: no half a sample
  end)

  it("is surer the more it sees", function()
    local function sure(n) return verdicts.site(row { live_count = n, made_count = n }, series({ 0, 0 }, { n, n }), ten).confidence end
    assert.is_true(sure(3) < sure(6) and sure(6) < sure(60))
  end)

  it("gives rates by the time that was watched", function()
    local v = verdicts.site(row { live_count = 160, made_count = 160 }, series({ 100, 100 }, { 160, 160 }), ten)
    assert.equal(600, v.slope_bytes_per_s)
    assert.equal(60, v.new_count)
    assert.equal(0, v.freed_count)
  end)
end)

describe("the verdict of a heap", function()
  local function site(verdict, live, slope)
    return { verdict = verdict, live_bytes = live, slope_bytes_per_s = slope or 0, lost_count = 0, lost_bytes = 0, confidence = 0.9 }
  end
  local MIB <const> = 1 << 20
  local function books(free, rss, trimmed)
    return { allocator_is_libc = true, arena_bytes = 100 * MIB, used_bytes = 100 * MIB - free, free_bytes = free, rss_bytes = rss, trimmed_bytes = trimmed }
  end

  it("is the leak when one is there", function()
    local t = verdicts.total({ site("leak", 50 * MIB, MIB), site("cache", 90 * MIB) }, books(MIB, 120 * MIB), ten)
    assert.equal("leak", t.verdict)
    assert.matches("leak: 1 site with 50 MiB", table.concat(t.evidence, "\n"), 1, true)
  end)

  it("is retention when much is free but held and nothing grows", function()
    assert.equal("retention", verdicts.total({ site("kept", MIB) }, books(80 * MIB, 110 * MIB), ten).verdict)
    assert.equal("retention", verdicts.total({ site("leak", 10000, 10) }, books(80 * MIB, 110 * MIB), ten).verdict)
    assert.equal("leak", verdicts.total({ site("leak", 10000, 10 * MIB) }, books(80 * MIB, 110 * MIB), ten).verdict)
  end)

  it("believes a trim, and RSS, rather than the books", function()
    assert.equal("retention", verdicts.total({}, books(80 * MIB, 110 * MIB, 75 * MIB), ten).verdict)
    assert.equal("steady", verdicts.total({}, books(80 * MIB, 110 * MIB, 0), ten).verdict)
    assert.equal("steady", verdicts.total({}, books(80 * MIB, 25 * MIB), ten).verdict) -- given back already
  end)

  it("says nothing of another allocator's books", function()
    local other = books(80 * MIB, 110 * MIB)
    other.allocator_is_libc = false
    local t = verdicts.total({ site("cache", 90 * MIB) }, other, ten)
    assert.equal("cache", t.verdict)
    for _, line in ipairs(t.evidence) do assert.is_nil(line:find("allocator", 1, true)) end
  end)
end)
