-- Reload by the whole protocol, on a virtual engine: what is carried into the new version, and that no broken edit gets there.
local virtual = require "spec.support.virtual"

local SECOND = virtual.SECOND

-- A rule on descriptors above a threshold; fields is further Lua text of its table.
local function rule(fields, body)
  return ([[
tm.rule {
  id = "a.rule", every = "1s", hold = "10s", linger = "2s", level = "warn",
  inputs = { fds = tm.series("proc.fds", { every = "1s", window = "5m" }) },
  params = { most = 100 }, say = "{value:count} of {most:count}",
  check = function(c)
    %s
    if (c.fds.last or 0) > c.p.most then return c:finding { value = c.fds.last, unit = "count" } end
  end,
  %s
}
]]):format(body or "", fields or "")
end

local counting = "c.state.n = (c.state.n or 0) + 1 c:log(c.state.n)"

describe("a good edit", function()
  local r
  before_each(function() r = virtual.open() end)
  after_each(function() r:close() end)

  it("goes live and is told of", function()
    r:live("a.lua", rule())
    assert.equal(1, r:count("rule_loaded", "a.lua: 1 rule"))
    assert.equal("ok", r:rule("a.rule").state)
    assert.equal(1, r:rule("a.rule").bound)
  end)

  it("carries c.state", function()
    r:live("a.lua", rule("", counting))
    r:feed(1, 5)
    local before = tonumber(r:logged("a.rule"))
    assert.is_true(before >= 4)
    r:live("a.lua", rule("", counting .. " -- edited"))
    r:feed(1, 2)
    assert.equal(before + 2, tonumber(r:logged("a.rule")))
  end)

  it("migrates c.state when its version rises", function()
    r:live("a.lua", rule("state = { version = 1, new = function() return { n = 0 } end },", "c.state.n = c.state.n + 1"))
    r:feed(1, 5)
    r:live("a.lua", rule([[state = { version = 2, new = function() return { total = 0 } end,
      migrate = function(old, version) return { total = old.n * 100, was = version } end },]],
      "c:log(c.state.total, c.state.was)"))
    r:feed(1, 1)
    assert.equal("500 1", r:logged("a.rule"))
  end)

  it("starts empty, and says so, when migrate fails", function()
    r:live("a.lua", rule("", counting))
    r:feed(1, 5)
    r:live("a.lua", rule("state = { version = 1, migrate = function(old) return old.no.such end },", counting))
    assert.equal(1, r:count("note", "state could not be migrated and starts empty"))
    r:feed(1, 1)
    assert.equal("1", r:logged("a.rule"))
  end)

  it("leaves behind, and says so, state that is not plain data", function()
    r:live("a.lua", rule("", counting .. " c.state.f = function() end"))
    r:feed(1, 5)
    r:live("a.lua", rule("", counting))
    assert.equal(1, r:count("note", "its state is not carried over"))
    r:feed(1, 1)
    assert.equal("1", r:logged("a.rule"))
  end)

  it("does not start a hold anew", function()
    r:live("a.lua", rule())
    r:feed(200, 7)
    assert.equal("pending", r:state("a.rule"))
    local since_ns = r:alert("a.rule").since_ns
    r:live("a.lua", rule("tags = { \"edited\" },"))
    r:feed(200, 2)
    assert.equal("pending", r:state("a.rule"))
    r:feed(200, 3)
    assert.equal("firing", r:state("a.rule"))
    assert.equal(10 * SECOND, r:alert("a.rule").fired_ns - since_ns)
  end)

  it("keeps a firing alert firing, and tells nobody again", function()
    r:live("a.lua", rule())
    r:feed(200, 15)
    local fired_ns = r:alert("a.rule").fired_ns
    for i = 1, 3 do
      r:live("a.lua", rule("doc = \"edit " .. i .. "\","))
      r:feed(200, 3)
    end
    assert.equal("firing", r:state("a.rule"))
    assert.equal(fired_ns, r:alert("a.rule").fired_ns)
    assert.equal(1, r:times("a.rule", "firing"))
  end)

  it("ends an alert that the new version no longer finds", function()
    r:live("a.lua", rule())
    r:feed(200, 15)
    r:live("a.lua", (rule():gsub("most = 100", "most = 300")))
    r:feed(200, 5)
    assert.equal("resolved", r:state("a.rule"))
  end)

  it("says what it would now find in the last samples", function()
    r:live("a.lua", rule())
    r:feed(200, 20)
    local report = r:live("a.lua", (rule():gsub("most = 100", "most = 300")))
    assert.matches("it would now find: nothing %(before: a.rule warn%)", report.notes)
  end)

  it("runs the file's tests, which leave nothing in what goes live", function()
    local source = "local runs = 0\n" .. rule([[tests = { { name = "counts", feed = { ["proc.fds"] = "1s 1x60" }, never = true } },]],
      "runs = runs + 1 c:log(runs)")
    assert.equal(1, r:live("a.lua", source).tests)
    r:feed(1, 1)
    assert.equal("1", r:logged("a.rule"))
  end)

  it("is nothing when the text is the same", function()
    r:live("a.lua", rule("", counting))
    r:feed(1, 3)
    local report = r:live("a.lua", rule("", counting))
    assert.is_true(report.unchanged)
    assert.equal(1, r:count("rule_loaded"))
  end)

  it("takes a rule out that the file no longer declares", function()
    r:live("a.lua", rule() .. rule():gsub("a%.rule", "a.second"))
    r:feed(200, 15)
    assert.equal("firing", r:state("a.second"))
    r:live("a.lua", rule())
    assert.is_nil(r:rule("a.second"))
    assert.not_equal("firing", r:state("a.second"))
    assert.equal("firing", r:state("a.rule"))
  end)

  it("is forgotten when the file is unloaded, and its alerts end", function()
    r:live("a.lua", rule())
    r:feed(200, 15)
    r.engine:unload_rules("a.lua")
    assert.is_nil(r:rule("a.rule"))
    assert.not_equal("firing", r:state("a.rule"))
    r:feed(200, 15)
    assert.not_equal("firing", r:state("a.rule"))
    r:live("a.lua", rule())
    assert.equal(1, r:rule("a.rule").bound)
  end)
end)

describe("a broken edit", function()
  local function swap(from, to) return (rule():gsub(from, to)) end
  local broken = {
    LOAD_SYNTAX = { "tm.rule {", "" },
    LOAD_SCHEMA = { swap("hold =", "hodl ="), "did you mean 'hold'" },
    LOAD_DUPLICATE = { rule() .. rule(), "a.rule" },
    LOAD_TEMPLATE = { swap("{value:count} of", "{value:cuont} of"), "did you mean 'count'" },
    LOAD_INPUT = { swap("proc%.fds", "proc.fdx"), "the nearest is 'proc.fd" },
    LOAD_TEST = { rule([[tests = { { name = "never true", feed = { ["proc.fds"] = "1s 200x60" }, never = true } },]]), "never true" },
    LOAD_SHADOW = { rule("", "if c.fds.n > 3 then error('late trouble') end"), "late trouble" },
    LOAD_LIMIT = { rule() .. "while true do end", "" },
    LOAD_RUNTIME = { rule() .. "error('at the top')", "at the top" },
  }

  for code, case in pairs(broken) do
    it("of kind " .. code .. " keeps the version before, and says why", function()
      local r <close> = virtual.open()
      r:live("a.lua", rule())
      r:feed(1, 5)
      local report = r:load("a.lua", case[1])
      assert.is_false(report.ok)
      assert.equal(code, report.problem:match("^LOAD_%u+"), report.problem)
      assert.is_truthy(report.problem:find(case[2], 1, true), report.problem)
      assert.is_true(report.kept_old)
      assert.equal(1, r:count("rule_load_failed", "the version before goes on running"))
      assert.equal("stale", r:rule("a.rule").state)
      assert.equal(report.problem, r:rule("a.rule").problem)
      r:feed(200, 15)
      assert.equal("firing", r:state("a.rule"))
      r:live("a.lua", rule("tags = { \"mended\" },"))
      assert.equal("ok", r:rule("a.rule").state)
    end)
  end

  it("is no longer held against a file that was set back", function()
    local r <close> = virtual.open()
    r:live("a.lua", rule())
    r:load("a.lua", "tm.rule {")
    r:live("a.lua", rule())
    assert.equal("ok", r:rule("a.rule").state)
  end)

  it("names the file that declares the id already", function()
    local r <close> = virtual.open()
    r:live("a.lua", rule())
    local report = r:load("b.lua", rule())
    assert.matches("^LOAD_DUPLICATE: b.lua: rule 'a.rule' is declared in a.lua too", report.problem)
    assert.is_false(report.kept_old)
  end)

  it("that eats memory at the top level is stopped", function()
    local r <close> = virtual.open()
    r:live("a.lua", rule())
    local report = r:load("a.lua", rule() .. "local t = {} for i = 1, 1e9 do t[i] = { i } end")
    assert.matches("^LOAD_LIMIT", report.problem)
    assert.is_true(report.kept_old)
  end)
end)
