-- Handlers on.<level>: coroutines that wait, on a virtual clock.
local core = require "tidemark.core"
local virtual = require "spec.support.virtual"

local function rule(handlers, more)
  return ([[
tm.rule {
  id = "h.rule", every = "1s", hold = "0s", linger = "1s", level = "warn",
  inputs = { fds = tm.series("proc.fds", { every = "1s", window = "5m" }) },
  check = function(c)
    if (c.fds.last or 0) > 200 then return c:finding { level = "high", value = c.fds.last } end
    if (c.fds.last or 0) > 100 then return c:finding { value = c.fds.last } end
  end,
  on = { %s },
  %s
}
]]):format(handlers, more or "")
end

describe("a handler", function()
  local r
  before_each(function() r = virtual.open() end)
  after_each(function() r:close() end)

  local function fires(handlers, more, value)
    r:live("h.lua", rule(handlers, more))
    r:feed(value or 150, 3)
    assert.equal("firing", r:state("h.rule"))
  end

  it("runs once when its level is reached, with the finding at hand", function()
    fires "warn = function(c) c:log('warned', c.level, c.value) end, high = function(c) c:log('high', c.level) end"
    r:feed(150, 5)
    assert.equal(1, r:count("note", "h.rule: warned warn 150"))
    r:feed(250, 3)
    assert.equal(1, r:count("note", "h.rule: high high"))
  end)

  it("runs on.resolve when the alert ends", function()
    fires "resolve = function(c) c:log('came back') end"
    assert.equal(0, r:count("note", "came back"))
    r:feed(1, 5)
    assert.equal(1, r:count("note", "came back"))
  end)

  it("sleeps in engine time", function()
    fires "warn = function(c) c:log('before') c:await(c.sleep '20s') c:log('after') end"
    r:feed(150, 15)
    assert.equal("before", r:logged("h.rule"))
    r:feed(150, 8)
    assert.equal("after", r:logged("h.rule"))
  end)

  it("waits for all of several jobs", function()
    fires "warn = function(c) c:await(c.all { c.sleep '5s', c.sleep '20s' }) c:log('both') end"
    r:feed(150, 10)
    assert.is_nil(r:logged("h.rule"))
    r:feed(150, 12)
    assert.equal("both", r:logged("h.rule"))
  end)

  it("waits for any of several jobs", function()
    fires "warn = function(c) c:await(c.any { c.sleep '5s', c.sleep '200s' }) c:log('one') end"
    r:feed(150, 8)
    assert.equal("one", r:logged("h.rule"))
  end)

  it("that waits for nothing is told so", function()
    fires "warn = function(c) local ok, why = pcall(c.await, c, c.all {}) c:log(ok, why) end"
    assert.matches("^false all: this is no job", r:logged("h.rule"))
  end)

  it("that awaits something else than a job is told so", function()
    fires "warn = function(c) local ok, why = pcall(c.await, c, 5) c:log(ok, why) end"
    assert.matches("c:await takes a job", r:logged("h.rule"))
  end)

  it("gets a take's failure as an error that names the job", function()
    fires("warn = function(c) local ok, why = pcall(c.await, c, c.take.handle_table {}) c:log(ok, why) end",
      [[caps = { "take:handle_table" },]])
    assert.matches("^false .*handle_table: not available in a replay", r:logged("h.rule"))
  end)

  it("is denied a take that its rule does not ask for", function()
    fires("warn = function(c) local ok, why = pcall(c.await, c, c.take.mapping_table {}) c:log(ok, why) end",
      [[caps = { "take:handle_*" },]])
    assert.matches("denied take:mapping_table: the rule does not ask for it in caps", r:logged("h.rule"))
  end)

  it("is denied an action that its rule does not ask for", function()
    fires "warn = function(c) local ok, why = pcall(c.act, c, 'runtime.gc', {}) c:log(ok, why) end"
    assert.matches("act:runtime.gc is not in the rule's caps", r:logged("h.rule"))
  end)

  it("gets an action's failure as an error, and the action is recorded", function()
    fires("warn = function(c) local ok, why = pcall(c.await, c, c:act('no.such', {})) c:log(ok, why) end", [[caps = { "act:no.*" },]])
    r:feed(150, 5)
    assert.equal("failed", r.actions[1].outcome)
    assert.equal("no.such", r.actions[1].name)
    assert.matches("^false no.such", r:logged("h.rule"))
    assert.equal("firing", r:state("h.rule"))
  end)

  it("that fails leaves the finding, and says where", function()
    fires "warn = function(c) error('no hands') end"
    assert.equal(1, r:rule("h.rule").errors)
    assert.equal(1, r:count("rule_error", "h.rule: its handler failed: h.lua:8: no hands"))
    r:feed(250, 3)
    assert.equal("high", r:alert("h.rule").level)
  end)

  it("that never ends is stopped", function()
    fires "warn = function(c) while true do end end"
    assert.is_true(r:rule("h.rule").errors >= 1)
    r:feed(250, 3)
    assert.equal("high", r:alert("h.rule").level)
  end)

  it("attaches evidence to the alert", function()
    fires "warn = function(c) c:attach('socket 500\\n', 'table') end"
    assert.equal(1, r:count("evidence"))
  end)

  it("is cancelled when its target ends", function()
    fires "warn = function(c) c:await(c.sleep '20s') c:log('too late') end"
    r.engine:remove_target(r.target.id, "ended")
    r:wait(60)
    assert.equal(0, r:count("note", "too late"))
  end)

  it("may end within five seconds after a reload", function()
    fires "warn = function(c) c:await(c.sleep '6s') c:log('in time') end"
    r:live("h.lua", rule "warn = function(c) end")
    r:feed(150, 5)
    assert.equal(1, r:count("note", "in time"))
  end)

  it("is cancelled when it takes longer than that", function()
    fires "warn = function(c) c:await(c.sleep '20s') c:log('too late') end"
    r:live("h.lua", rule "warn = function(c) end")
    r:feed(150, 40)
    assert.equal(0, r:count("note", "too late"))
  end)

  it("is not started again while it runs", function()
    fires "high = function(c) c:log('began') c:await(c.sleep '60s') end"
    for _ = 1, 3 do
      r:feed(250, 3)
      r:feed(1, 5)
    end
    assert.equal(1, r:count("note", "began"))
  end)

  it("closes an engine while it waits", function()
    fires "warn = function(c) c:await(c.all { c.sleep '20s', c.take.handle_table {} }) end"
    r:close()
  end)
end)

describe("a handler on a live process", function()
  -- Whether the kernel lets the action be done depends on the machine; here it counts that it was tried.
  it("is denied an action that nobody granted, and may try it when somebody did", function()
    for _, case in ipairs { { {}, true }, { { "act:mem.*" }, false } } do
      local engine = assert(core.engine { every_ns = 100000000, quiet = true, allow = case[1] })
      local outcomes = {}
      engine:on_action(function(a)
        outcomes[#outcomes + 1] = a.outcome
        engine:stop()
      end)
      local source = rule("warn = function(c) c:act('mem.page_out', { bytes = '4MB' }) end", [[caps = { "act:mem.page_out" },]])
      engine:load_rules("h.lua", "h.lua", (source:gsub("> 100", ">= 0")))
      assert(engine:spawn({ "sleep", "60" }, {}))
      engine:run { for_ns = 10000000000 }
      engine:end_spawned(1000000000)
      engine:close()
      assert.is_truthy(outcomes[1])
      assert.equal(case[2], outcomes[1] == "denied")
    end
  end)
end)
