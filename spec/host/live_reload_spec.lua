-- Rules on a real engine that watches a folder: saves take effect while samples go on.
local core = require "tidemark.core"
local helper = require "spec.support.helper"

local MS = 1000000

local function rule(text, id)
  return ([[
tm.rule {
  id = "%s", every = "100ms", hold = "0s", level = "warn",
  inputs = { fds = tm.series("proc.fds", { every = "100ms", window = "10s" }) },
  check = function(c) if c.fds.last then return c:finding { value = c.fds.last } end end,
  say = "%s",
}
]]):format(id or "live.rule", text)
end

describe("a folder of rules that is watched", function()
  local engine, dir, events, target

  before_each(function()
    dir, events = helper.folder(), {}
    engine = assert(core.engine { every_ns = 100 * MS, quiet = true })
    engine:on(function(e) events[#events + 1] = e end)
  end)
  after_each(function()
    engine:end_spawned(1000 * MS)
    engine:close()
  end)
  teardown(helper.tidy)

  local function start()
    assert(engine:watch_rules(dir))
    target = assert(engine:spawn({ "sleep", "60" }, {}))
  end

  -- Runs until a condition holds; false after ten seconds. Deadlines are generous: no test measures time.
  local function runs_until(condition)
    for _ = 1, 200 do
      if condition() then return true end
      engine:run { for_ns = 50 * MS }
    end
    return false
  end

  local function says(text)
    return function()
      for _, a in ipairs(engine:alerts()) do
        if a.state == "firing" and a.text == text then return true end
      end
    end
  end

  local function told(kind, words)
    return function()
      for _, e in ipairs(events) do
        if e.kind == kind and e.text:find(words or "", 1, true) then return true end
      end
    end
  end

  it("takes what is there, then what is saved by rename, then what is written in place", function()
    helper.write(dir .. "/a.lua", rule "first")
    start()
    assert.is_true(runs_until(says "first"))
    helper.save(dir .. "/a.lua", rule "renamed")
    assert.is_true(runs_until(says "renamed"))
    helper.write(dir .. "/a.lua", rule "in place")
    assert.is_true(runs_until(says "in place"))
    helper.save(dir .. "/b.lua", rule("another", "other.rule"))
    assert.is_true(runs_until(says "another"))
    assert.is_true(says "in place"())
  end)

  it("reports a broken save, and the version before goes on", function()
    helper.write(dir .. "/a.lua", rule "good")
    start()
    assert.is_true(runs_until(says "good"))
    helper.save(dir .. "/a.lua", "tm.rule {")
    assert.is_true(runs_until(told("rule_load_failed", "LOAD_SYNTAX")))
    local before = engine:rules()[1].evaluations
    assert.is_true(runs_until(function()
      local rules = engine:rules()
      return rules and rules[1].evaluations > before + 3
    end))
    assert.is_true(says "good"())
    helper.save(dir .. "/a.lua", rule "mended")
    assert.is_true(runs_until(says "mended"))
  end)

  it("forgets a file that is deleted, and its alerts end", function()
    helper.write(dir .. "/a.lua", rule "here")
    start()
    assert.is_true(runs_until(says "here"))
    os.remove(dir .. "/a.lua")
    assert.is_true(runs_until(function()
      local rules = engine:rules()
      return rules and #rules == 0
    end))
    assert.is_true(runs_until(function() return not says "here"() end))
  end)

  it("leaves hidden files and backups alone", function()
    helper.write(dir .. "/.a.lua", rule("hidden", "hidden.rule"))
    helper.write(dir .. "/a.lua~", rule("backup", "backup.rule"))
    helper.write(dir .. "/a.lua", rule "seen")
    start()
    assert.is_true(runs_until(says "seen"))
    assert.equal(1, #engine:rules())
  end)

  it("loses no sample to fifty saves and a rule that loops", function()
    helper.write(dir .. "/a.lua", rule "save 0")
    start()
    assert.is_true(runs_until(says "save 0"))
    helper.save(dir .. "/loop.lua", (rule("", "loop.rule"):gsub("if c.fds.last.-end end", "while true do end end")))
    local saves = 0
    engine:every(20 * MS, function()
      if saves == 50 then return end
      saves = saves + 1
      helper.save(dir .. "/a.lua", rule("save " .. saves))
    end)
    assert.is_true(runs_until(says "save 50"))
    assert.is_true(runs_until(told("rule_killed", "loop.rule")))
    local stats = engine:stats()
    assert.is_true(stats.samples > 0)
    assert.equal(0, stats.missed)
    -- Every period has its sample: no hole of two periods, however many files were swapped meanwhile.
    local times = engine:series(target.id, "proc.fds")
    assert.is_true(#times >= 10)
    local widest = 0
    for i = 2, #times do widest = math.max(widest, times[i] - times[i - 1]) end
    assert.is_true(widest < 1000 * MS, ("a hole of %d ms"):format(widest // MS))
  end)
end)
