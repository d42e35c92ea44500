-- Gates: rules over the runs of a workload, fed one sample a run.
local core = require "tidemark.core"

local gate = [[
tm.gate {
  id = "ci.growth", every = "1s",
  inputs = { r = tm.runs("pprof.heap", { n = 100, keep = 100, every = "1s" }) },
  params = { ratio = 0.15, p = 0.01, runs = 100 },
  check = function(c)
    if c.r.n < c.p.runs then return c:skip("needs 100 runs, got " .. c.r.n) end
    local g = c.r:growth { head = 10, tail = 10 }
    if g.ratio > c.p.ratio and g.p < c.p.p then return c:finding { level = "fail", value = g.ratio } end
  end,
  say = "inuse_space +{value:pct} over 100 runs",
  tests = {
    { name = "fails above 15 %", feed = { ["pprof.heap"] = "1s 100M+500Kx110" }, fires = "fail" },
    { name = "passes below", feed = { ["pprof.heap"] = "1s 100M+50Kx110" }, never = true },
    { name = "waits for 100 runs", feed = { ["pprof.heap"] = "1s 100M+5Mx50" }, never = true },
  },
}
]]

describe("gates", function()
  it("compare the last runs with the first", function()
    local ok, tests = core.rules_test("gate.lua", gate)
    for _, t in ipairs(ok ~= nil and tests or {}) do assert.is_true(t.ok, t.test .. ": " .. t.why) end
    assert.is_true(ok, type(tests) == "table" and tests.message or nil)
    assert.equal(3, #tests)
  end)
end)
