-- The gate's decision over profiles that are made here: collapsed stacks, one number for each path.
local core = require "tidemark.core"
local gate = require "tidemark.report.gate"

-- A fixed sequence of noise between -1 and 1.
local function noise(seed)
  local state = seed
  return function()
    state = (state * 1103515245 + 12345) % 2147483648
    return state / 1073741824 - 1
  end
end

-- The decision over so many runs; values(i) -> { ["main.main;main.f"] = n }.
local function decide(options, values)
  local g, err = gate.new(options)
  if not g then return nil, err end
  for i = 1, options.runs do
    local lines = {}
    for path, n in pairs(values(i)) do lines[#lines + 1] = ("%s %d\n"):format(path, math.floor(n)) end
    table.sort(lines)
    local p = assert(core.read { bytes = table.concat(lines) })
    assert(g:add("run" .. i, p))
    p:close()
  end
  return g:decide()
end

describe("a gate", function()
  it("fails on growth that is large and even, and names what grew", function()
    local rnd = noise(7)
    local r = decide({ runs = 100 }, function(i)
      return { ["main.main;main.cache"] = 10000 + 100 * i + 200 * rnd(), ["main.main;main.other"] = 30000 + 200 * rnd(),
        ["main.main;main.shrinks"] = 2000 - 10 * i }
    end)
    assert.is_true(r.failed)
    assert.is_true(r.tested and r.p < 1e-4)
    assert.is_true(r.growth > 0.15 and r.growth < 0.25, "growth " .. r.growth)
    assert.equal("main.cache", r.sites[1].name)
    assert.is_true(r.sites[1].share > 0.9)
    assert.same({ "main.cache", "main.main" }, r.sites[1].path)
    assert.equal("main.shrinks", r.sites[#r.sites].name)
    assert.is_true(r.sites[#r.sites].delta < 0)
    assert.is_truthy(gate.sentence(r):find("grew by", 1, true))
    assert.equal(100, #r.totals)
  end)

  it("passes noise of any size that does not grow", function()
    for seed = 1, 20 do
      local rnd = noise(seed * 7919)
      local r = decide({ runs = 30, max_growth = 0.01, min_amount = 1 }, function() return { ["a;b"] = 100000 * (1 + 0.3 * rnd()) } end)
      -- One seed in a hundred may look like growth: none of these does.
      assert.is_false(r.failed, "seed " .. seed .. " p " .. r.p)
    end
  end)

  it("passes growth below the ratio, and growth below the absolute size", function()
    local function slow(i) return { ["a;b"] = 100000 + 100 * i } end
    assert.is_false(decide({ runs = 100 }, slow).failed)
    assert.is_true(decide({ runs = 100, max_growth = 0.05 }, slow).failed)
    local function small(i) return { ["a;b"] = 100 + i // 2 } end
    local r = decide({ runs = 100 }, small)
    assert.is_false(r.failed)
    assert.is_true(r.growth > 0.15)
    assert.is_truthy(gate.sentence(r):find("less than the 100 that count", 1, true))
    assert.is_true(decide({ runs = 100, min_amount = 10 }, small).failed)
  end)

  it("drops the warm-up", function()
    local function warming(i) return { ["a;b"] = i <= 5 and 1000 * i or 50000 + i % 2 } end
    assert.is_true(decide({ runs = 20, group = 5 }, warming).failed)
    local r = decide({ runs = 20, group = 5, warm_up = 5 }, warming)
    assert.is_false(r.failed)
    assert.is_true(math.abs(r.delta) <= 1)
    assert.is_truthy(gate.method(r):find("5 warm-up runs dropped", 1, true))
  end)

  it("compares a baseline with new runs, warm-up of both dropped", function()
    local r = decide({ runs = 12, baseline = 6, warm_up = 1 }, function(i)
      if i == 1 or i == 7 then return { ["a;b"] = 1000000 } end
      return { ["a;b"] = (i <= 6 and 1000 or 2000) + i }
    end)
    assert.is_true(r.failed and r.tested)
    assert.equal(5, r.head)
    assert.equal(5, r.tail)
    assert.equal(1004, r.before)
    assert.equal(2010, r.after)
  end)

  it("says how weak a comparison of few runs is, and wants the groups apart", function()
    local r = decide({ runs = 2 }, function(i) return { ["a;b"] = 1000 * i } end)
    assert.is_true(r.failed)
    assert.is_false(r.tested)
    assert.is_truthy(r.weak:find("cannot be tested", 1, true))
    local overlapping = { 1000, 3000, 1000, 2000, 2500, 2600 }
    r = decide({ runs = 6 }, function(i) return { ["a;b"] = overlapping[i] } end)
    assert.is_false(r.failed)
    assert.is_true(r.growth > 1)
    assert.is_truthy(gate.sentence(r):find("overlap", 1, true))
    assert.is_nil(decide({ runs = 10 }, function(i) return { ["a;b"] = i } end).weak)
    local none, err = gate.new { runs = 1 }
    assert.is_nil(none)
    assert.equal("argument", err.code)
    assert.is_nil(gate.new { runs = 6, warm_up = 5 })
  end)

  it("limits a site of its own though the total is within bounds", function()
    local function values(i) return { ["main;big"] = 1000000, ["main;leak"] = 1000 + 50 * i, ["main;new"] = i > 50 and 900 or nil } end
    assert.is_false(decide({ runs = 100 }, values).failed)
    local r = decide({ runs = 100, max_growth_site = 0.5 }, values)
    assert.is_true(r.failed)
    assert.is_false(r.over)
    assert.equal(2, r.sites_over)
    assert.equal("leak", r.sites[1].name)
    assert.equal("new", r.sites[2].name)
    assert.is_nil(r.sites[2].growth)
    assert.is_truthy(gate.sentence(r):find("2 sites", 1, true))
  end)

  it("shows the path that grew, not the heaviest one", function()
    local r = decide({ runs = 20 }, function(i) return { ["main;init;main.put"] = 50000, ["main;serve;main.put"] = 1000 * i } end)
    assert.equal(1, #r.sites)
    assert.same({ "main.put", "serve", "main" }, r.sites[1].path)
  end)

  it("refuses runs that hold different values", function()
    local g = assert(gate.new { runs = 2 })
    assert(g:add("a", core.read { bytes = "a;b 1\n" }))
    local ok, err = g:add("goroutines", assert(core.read { bytes = "goroutine 1 [running]:\nmain.main()\n\t/src/main.go:3 +0x1\n" }))
    assert.is_nil(ok)
    assert.equal("argument", err.code)
  end)

  it("keeps the two groups only", function()
    local g = assert(gate.new { runs = 100, warm_up = 5 })
    assert.equal("warm-up", g:role(5))
    assert.equal("head", g:role(6))
    assert.equal("head", g:role(15))
    assert.equal("middle", g:role(16))
    assert.equal("middle", g:role(90))
    assert.equal("tail", g:role(91))
  end)
end)
