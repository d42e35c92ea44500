-- Checks that misbehave: each is stopped or refused, said, and neither sampling nor the other rules notice.
local virtual = require "spec.support.virtual"

local function rule(id, body, more)
  return ([[
tm.rule {
  id = "%s", every = "1s", hold = "0s", level = "warn",
  inputs = { fds = tm.series("proc.fds", { every = "1s", window = "5m" }) },
  check = function(c)
    %s
  end,
  %s
}
]]):format(id, body, more or "")
end

local good = rule("good.rule", "if (c.fds.last or 0) > 100 then return c:finding { value = c.fds.last, unit = 'count' } end")

describe("a check", function()
  local r
  before_each(function()
    r = virtual.open()
    r:live("good.lua", good)
  end)
  after_each(function() r:close() end)

  local function others_are_well()
    r:feed(200, 5)
    assert.equal("firing", r:state("good.rule"))
    assert.equal(200, (r.engine:last(r.target.id, "proc.fds")))
  end

  it("that never ends is stopped, rests longer each time, and is quarantined after the third", function()
    r:live("loop.lua", rule("loop.rule", "while true do end"))
    r:feed(1, 3)
    assert.equal(1, r:rule("loop.rule").kills)
    assert.equal(1, r:count("rule_killed", "rests for a while"))
    r:feed(1, 50)
    assert.equal(1, r:rule("loop.rule").kills)
    r:feed(1, 60)
    assert.equal(2, r:rule("loop.rule").kills)
    r:feed(1, 60)
    assert.equal(2, r:rule("loop.rule").kills)
    r:feed(1, 90)
    assert.equal(3, r:rule("loop.rule").kills)
    assert.equal("quarantined", r:rule("loop.rule").state)
    assert.equal(1, r:count("rule_killed", "is quarantined until its file changes"))
    r:feed(1, 300)
    assert.equal(3, r:rule("loop.rule").kills)
    others_are_well()
    r:live("loop.lua", rule("loop.rule", "-- mended"))
    assert.equal("ok", r:rule("loop.rule").state)
  end)

  it("that hides its loop in pcall is stopped all the same", function()
    r:live("loop.lua", rule("loop.rule", "while true do pcall(function() while true do end end) end"))
    r:feed(1, 3)
    assert.equal(1, r:rule("loop.rule").kills)
    others_are_well()
  end)

  it("that loops inside a library function is stopped", function()
    r:live("loop.lua", rule("loop.rule", "string.find(string.rep('a', 1000), string.rep('.-', 30) .. 'b')"))
    r:feed(1, 3)
    local seen = r:rule("loop.rule")
    assert.is_true(seen.kills + seen.errors >= 1)
    others_are_well()
  end)

  it("that eats memory is refused it", function()
    r:live("bomb.lua", rule("bomb.rule", "local t = {} for i = 1, 1e9 do t[i] = { i } end"))
    r:feed(1, 3)
    local seen = r:rule("bomb.rule")
    assert.is_true(seen.errors >= 1)
    assert.equal(0, seen.findings)
    others_are_well()
  end)

  it("that asks for one huge string is refused it", function()
    r:live("bomb.lua", rule("bomb.rule", "return c:finding { text = string.rep('x', 1 << 30) }"))
    r:feed(1, 3)
    assert.equal("error", r:rule("bomb.rule").state)
    others_are_well()
  end)

  it("that raises is an error with its line, told once", function()
    r:live("bad.lua", rule("bad.rule", "local t = nil return t.x"))
    r:feed(1, 10)
    assert.equal(1, r:count("rule_error"))
    assert.matches("bad.lua:5:", r:rule("bad.rule").problem)
    assert.is_true(r:rule("bad.rule").errors >= 9)
    others_are_well()
  end)

  it("that raises something strange is an error too", function()
    for i, what in ipairs { "nil", "{}", "setmetatable({}, { __tostring = function() error('again') end })", "42" } do
      r:live("bad.lua", rule("bad.rule", "error(" .. what .. ")"))
      r:feed(1, 2)
      assert.equal("error", r:rule("bad.rule").state, i)
      r.engine:unload_rules("bad.lua")
    end
    others_are_well()
  end)

  local garbage = {
    ["a number"] = "return 42", ["a string"] = "return 'leak'", ["a list of numbers"] = "return { 1, 2 }",
    ["a list with a hand-made finding"] = "return { { level = 'high', value = 1 } }",
    ["an unknown level"] = "return c:finding { level = 'huge', value = 1 }",
    ["no table to c:finding"] = "return c:finding(5)",
    ["an undeclared input"] = "return c.rss.last", ["a field set on c"] = "c.x = 1",
    ["an await in a check"] = "c:await(c.sleep '5s')", ["an act in a check"] = "c:act('runtime.gc', {})",
    ["a text that is no text"] = "return c:finding { value = 1, text = {} }",
  }
  for what, body in pairs(garbage) do
    it("with " .. what .. " is refused, and fires nothing", function()
      r:live("bad.lua", rule("bad.rule", body))
      r:feed(1, 3)
      assert.equal("error", r:rule("bad.rule").state)
      assert.equal("none", r:state("bad.rule"))
      others_are_well()
    end)
  end

  it("with evidence that is no data keeps the finding", function()
    r:live("odd.lua", rule("odd.rule", "return c:finding { value = 0/0, f = print, t = { 1, { deep = true } } }"))
    r:feed(1, 3)
    assert.equal("firing", r:state("odd.rule"))
    assert.is_nil(r:alert("odd.rule").value)
    others_are_well()
  end)

  it("with hundreds of findings makes no more alerts than its limit", function()
    r:live("many.lua", rule("many.rule", "local t = {} for i = 1, 300 do t[i] = c:finding { key = i, value = i } end return t",
      "limit = 20,"))
    r:feed(1, 3)
    local n = 0
    for _, a in ipairs(r.engine:alerts()) do n = n + (a.rule == "many.rule" and 1 or 0) end
    assert.is_true(n >= 1 and n <= 21, n .. " alerts")
    others_are_well()
  end)

  it("finds no way out of its sandbox", function()
    r:live("out.lua", rule("out.rule", [[
      local found = {}
      for _, name in ipairs { "io", "load", "loadstring", "dofile", "loadfile", "require", "debug", "package", "coroutine",
        "newproxy", "arg" } do
        if _G[name] ~= nil then found[#found + 1] = name end
      end
      for _, name in ipairs { "execute", "getenv", "remove", "rename", "exit", "tmpname" } do
        if os and os[name] ~= nil then found[#found + 1] = "os." .. name end
      end
      if string.dump then found[#found + 1] = "string.dump" end
      if pcall(collectgarbage, "stop") then found[#found + 1] = "collectgarbage" end
      if pcall(rawset, string, "upper", print) then found[#found + 1] = "rawset" end
      if getmetatable("") then found[#found + 1] = "the metatable of strings" end
      c:log("found:", table.concat(found, " "))]]))
    r:feed(1, 2)
    assert.equal("found: ", r:logged("out.rule"))
  end)

  it("cannot reach what another file changes", function()
    assert.matches("library tables are read%-only", r:load("one.lua", "string.upper = print").problem)
    r:live("one.lua", "x = 1 tostring = print\n" .. rule("one.rule", "x = 2"))
    r:live("two.lua", rule("two.rule", "c:log(tostring(x))"))
    r:feed(1, 2)
    assert.equal("nil", r:logged("two.rule"))
  end)
end)
