-- core.median and core.mann_whitney.
local core = require "tidemark.core"

describe("statistics of lists", function()
  it("give the median, and nothing of nothing", function()
    assert.equal(3, core.median { 5, 1, 3 })
    assert.equal(2.5, core.median { 4, 1, 3, 2 })
    assert.is_nil(core.median {})
    assert.has_error(function() core.median { "x" } end)
  end)

  it("test whether the second list is greater", function()
    -- All 25 pairs rise: one order of C(10,5) = 252.
    local p, u = core.mann_whitney({ 1, 2, 3, 4, 5 }, { 6, 7, 8, 9, 10 })
    assert.equal(25, u)
    assert.is_true(math.abs(p - 1 / 252) < 1e-12)
    assert.is_true(core.mann_whitney({ 6, 7, 8, 9, 10 }, { 1, 2, 3, 4, 5 }) > 0.99)
    assert.is_true(core.mann_whitney({ 1, 1, 1 }, { 1, 1, 1 }) >= 0.5)
    assert.is_nil(core.mann_whitney({}, { 1 }))
  end)
end)
