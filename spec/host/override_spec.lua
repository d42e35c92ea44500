-- What changes rules without editing them: overrides and lists; what ties rules together: needs and inhibits; report formats.
local virtual = require "spec.support.virtual"

local function rule(id, more)
  return ([[
tm.rule {
  id = "%s", every = "1s", hold = "0s", level = "warn",
  inputs = { fds = tm.series("proc.fds", { every = "1s" }), maps = tm.series("proc.maps", { every = "1s" }) },
  params = { most = 100, least = 0 }, say = "{value:count} of {most:count}",
  check = function(c)
    if (c.fds.last or 0) > c.p.most then return c:finding { value = c.fds.last, unit = "count" } end
  end,
  %s
}
]]):format(id, more or "")
end

describe("tm.override", function()
  local r
  before_each(function()
    r = virtual.open(nil, "checkout-7")
    r:live("a.lua", rule "a.rule")
  end)
  after_each(function() r:close() end)

  it("changes params of one app", function()
    r:live("config.lua", [[tm.override { rule = "a.rule", app = "checkout*", params = { most = 300 } }]])
    r:feed(200, 3)
    assert.equal("none", r:state("a.rule"))
    r:feed(400, 3)
    assert.equal("400 of 300", r:alert("a.rule").text)
  end)

  it("leaves other apps alone", function()
    r:live("config.lua", [[tm.override { rule = "a.rule", app = "cart*", params = { most = 300 } }]])
    r:feed(200, 3)
    assert.equal("firing", r:state("a.rule"))
  end)

  it("merges overrides, the later one last", function()
    r:live("config.lua", [[
      tm.override { rule = "a.*", params = { most = 150, least = 5 } }
      tm.override { rule = "a.rule", params = { most = 180 } }]])
    r:feed(170, 3)
    assert.equal("none", r:state("a.rule"))
    r:feed(190, 3)
    assert.equal("190 of 180", r:alert("a.rule").text)
  end)

  it("maps levels", function()
    r:live("config.lua", [[tm.override { rule = "a.rule", level = { warn = "critical" } }]])
    r:feed(200, 3)
    assert.equal("critical", r:alert("a.rule").level)
  end)

  it("changes hold, and what it was when the override is gone", function()
    r:live("config.lua", [[tm.override { rule = "a.rule", hold = "10s" }]])
    r:feed(200, 5)
    assert.equal("pending", r:state("a.rule"))
    assert.equal(10 * virtual.SECOND, r:rule("a.rule").hold_ns)
    r.engine:unload_rules("config.lua")
    r:feed(200, 2)
    assert.equal(0, r:rule("a.rule").hold_ns)
    assert.equal("firing", r:state("a.rule"))
  end)

  it("turns a rule off and on again", function()
    r:live("config.lua", [[tm.override { rule = "a.rule", enabled = false }]])
    r:feed(200, 5)
    assert.equal("disabled", r:rule("a.rule").state)
    assert.equal("none", r:state("a.rule"))
    r:live("config.lua", [[tm.override { rule = "a.rule", enabled = true }]])
    r:feed(200, 5)
    assert.equal("firing", r:state("a.rule"))
  end)

  it("turns a rule off for one app, and what it found there ends", function()
    r:feed(200, 5)
    assert.equal("firing", r:state("a.rule"))
    r:live("config.lua", [[tm.override { rule = "a.rule", app = "checkout*", enabled = false }
      tm.override { rule = "a.rule", app = "cart*", enabled = true }]])
    r:feed(200, 5)
    assert.equal("resolved", r:state("a.rule"))
    r.engine:unload_rules("config.lua")
    r:feed(200, 5)
    assert.equal("firing", r:state("a.rule"))
  end)

  it("refuses for one app what can only hold for all", function()
    assert.matches("LOAD_SCHEMA.*hold is the same for all apps",
      r:load("config.lua", [[tm.override { rule = "a.rule", app = "x", hold = "5s" }]]).problem)
  end)

  it("reaches rules that are loaded later", function()
    r:live("config.lua", [[tm.override { rule = "late.rule", params = { most = 300 } }]])
    r:live("late.lua", rule "late.rule")
    r:feed(200, 3)
    assert.equal("firing", r:state("a.rule"))
    assert.equal("none", r:state("late.rule"))
  end)

  it("refuses keys it does not know, and a bare number where a time is meant", function()
    assert.matches("LOAD_SCHEMA.*did you mean 'params'", r:load("config.lua", [[tm.override { rule = "a", parms = {} }]]).problem)
    assert.matches("LOAD_SCHEMA.*has no unit", r:load("config.lua", [[tm.override { rule = "a", hold = 5 }]]).problem)
    assert.matches("LOAD_SCHEMA.*either rule = or list =", r:load("config.lua", [[tm.override { enabled = false }]]).problem)
  end)
end)

describe("tm.list", function()
  local r
  local source = [[tm.list("quiet.kinds", { "socket" })]]
    .. rule("l.rule"):gsub("if %(c", "c:log(table.concat(c.lists[\"quiet.kinds\"], \" \"))\n    if (c")
  before_each(function()
    r = virtual.open()
    r:live("l.lua", source)
  end)
  after_each(function() r:close() end)

  local function is(expected)
    r:feed(1, 1)
    assert.equal(expected, r:logged("l.rule"))
  end

  it("is what the file declares", function() is "socket" end)

  it("can be appended to, once, however often the override is saved", function()
    r:live("config.lua", [[tm.override { list = "quiet.kinds", append = { "pipe" } }]])
    is "socket pipe"
    r:live("config.lua", [[tm.override { list = "quiet.kinds", append = { "pipe" } } -- saved again]])
    is "socket pipe"
  end)

  it("can be replaced", function()
    r:live("config.lua", [[tm.override { list = "quiet.kinds", replace = { "file", "memfd" } }]])
    is "file memfd"
  end)
end)

describe("rules that know each other", function()
  local r
  before_each(function() r = virtual.open() end)
  after_each(function() r:close() end)

  local other = (rule("b.rule"):gsub("c%.fds%.last", "c.maps.last"))

  it("count nothing while what they need does not fire", function()
    r:live("a.lua", rule("a.rule", [[needs = { "b.rule" },]]))
    r:live("b.lua", other)
    r:feed(200, 5)
    assert.not_equal("firing", r:state("a.rule"))
    for _ = 1, 5 do
      r:feed(200, 1, "proc.maps")
      r:feed(200, 1)
    end
    assert.equal("firing", r:state("b.rule"))
    assert.equal("firing", r:state("a.rule"))
  end)

  it("mute what they inhibit", function()
    r:live("b.lua", rule("b.rule", [[inhibits = { "a.rule" },]]):gsub("c%.fds%.last", "c.maps.last"))
    r:live("a.lua", rule "a.rule")
    for _ = 1, 3 do r:feed(200, 1, "proc.maps") end
    assert.equal("firing", r:state("b.rule"))
    r:feed(200, 3)
    assert.equal("b.rule", r:alert("a.rule").inhibited_by)
    for _, a in ipairs(r.alerts) do
      if a.rule == "a.rule" then assert.is_false(a.notify) end
    end
  end)
end)

describe("tm.format", function()
  local r
  before_each(function() r = virtual.open() end)
  after_each(function() r:close() end)

  it("renders a report", function()
    r:live("f.lua", [[tm.format { id = "tsv", ext = "tsv", render = function(rep, out)
      for f in rep.findings() do out:write(f.rule, "\t", f.level, "\n") end
      for t in rep.targets() do out:write(t.name, "\n") end
    end }]])
    local text = r.engine:render("tsv", { findings = { { rule = "a", level = "warn" }, { rule = "b", level = "high" } },
      targets = { { name = "app" } } })
    assert.equal("a\twarn\nb\thigh\napp\n", text)
  end)

  it("that fails, or that nobody declared, is an error and no crash", function()
    r:live("f.lua", [[tm.format { id = "bad", render = function(rep, out) error("no ink") end }]])
    local text, err = r.engine:render("bad", {})
    assert.is_nil(text)
    assert.matches("no ink", err.message)
    text, err = r.engine:render("none", {})
    assert.is_nil(text)
    assert.matches("no format is called 'none'", err.message)
  end)
end)

describe("a rule with an unknown key", function()
  it("is told the nearest", function()
    local r <close> = virtual.open()
    assert.matches("unknown key 'lingr'.*did you mean 'linger'", r:load("a.lua", rule("a.rule", [[lingr = "5s",]])).problem)
    assert.matches("on.hihg is no level.*did you mean 'high'", r:load("a.lua", rule("a.rule", "on = { hihg = print },")).problem)
    assert.matches("'warmup' must be a string, not a number", r:load("a.lua", rule("a.rule", "warmup = 5,")).problem)
  end)
end)
