-- The decision table of hotspots: its own tests, and tables of users.
local core = require "tidemark.core"
local verdicts = require "tidemark.report.verdicts"

local function load_error(source)
  local ok, err = pcall(verdicts.load, { { origin = "my.lua", source = source } })
  assert.is_false(ok)
  return err.message
end

describe("verdicts", function()
  it("pass the tests that stand in the table, and each row has one", function()
    local rows = verdicts.load()
    assert.is_true(#rows >= 30)
    for _, t in ipairs(verdicts.test(rows)) do assert.is_true(t.ok, ("%s, %s: %s"):format(t.id, t.name, t.why)) end
  end)

  it("match names by globs", function()
    for pattern, names in pairs {
      ["encoding/json.(*Decoder).*"] = { ["encoding/json.(*Decoder).Decode"] = true, ["encoding/json.Unmarshal"] = false },
      ["*.func?"] = { ["main.f.func1"] = true, ["main.f.func12"] = false }, ["a*b*c"] = { aXbYc = true, abc = true, acb = false, aXbYcZ = false },
      [""] = { [""] = true, x = false }, ["*"] = { [""] = true, x = true }, ["main.f"] = { ["main.f"] = true, ["main.ff"] = false },
    } do
      for name, yes in pairs(names) do assert.equal(yes, verdicts.glob_matches(pattern, name), pattern .. " " .. name) end
    end
    assert.is_false(verdicts.glob_matches(("*a"):rep(20) .. "b", ("a"):rep(5000)))
  end)

  it("take rows of users before their own", function()
    local mine = [[tm.hotspot { id = "my.render", match = { path = { "example.com/app/render.*" } }, needs = { cpu_share = "2%", growth = "1MB" },
      verdict = "v", advice = "a", tests = { { path = { "runtime.mallocgc", "example.com/app/render.Page" }, growth = "2MB", is = true } } }
      tm.hotspot { id = "fmt", match = { path = "fmt.*" }, verdict = "mine", advice = "a", tests = {} }
      tm.rule { id = "beside" }]]
    local rows = verdicts.load { { origin = "my.lua", source = mine } }
    assert.equal("my.render", rows[1].id)
    assert.equal(0.02, rows[1].needs.cpu_share)
    assert.equal(1048576, rows[1].needs.growth)
    local fmt, results = 0, {}
    for _, row in ipairs(rows) do
      if row.id == "fmt" then
        fmt = fmt + 1
        assert.equal("mine", row.verdict)
      end
    end
    assert.equal(1, fmt)
    for _, t in ipairs(verdicts.test(rows)) do results[t.id] = t end
    assert.is_true(results["my.render"].ok)
    assert.equal("it has no test", results.fmt.why)
  end)

  it("say which row of a table is wrong, and how", function()
    assert.is_truthy(load_error("tm.hotspot {"):find("my.lua:1", 1, true))
    assert.is_truthy(load_error("tm.hotspot { id = 'x', verdict = 'v' }"):find("'x': advice is missing", 1, true))
    assert.is_truthy(load_error("tm.hotspot { id = 'x', verdict = 'v', advice = 'a', macth = {} }"):find("did you mean match?", 1, true))
    assert.is_truthy(load_error("tm.hotspot { id = 'x', verdict = 'v', advice = 'a', match = { pth = 'a' } }"):find("did you mean path?", 1, true))
    assert.is_truthy(load_error("tm.hotspot { id = 'x', verdict = 'v', advice = 'a', needs = { chrun = 1 } }"):find("did you mean churn?", 1, true))
    assert.is_truthy(load_error("tm.hotspot { id = 'x', verdict = 'v', advice = 'a', needs = { growth = 'much' } }"):find("'much' is no bytes", 1, true))
    assert.is_truthy(load_error("while true do end"):find("does not end", 1, true))
    assert.is_truthy(load_error("os.exit()"):find("os", 1, true))
    local twice = "tm.hotspot { id = 'x', verdict = 'v', advice = 'a' } "
    assert.is_truthy(load_error(twice .. twice):find("declared before", 1, true))
  end)

  it("weigh needs: an unknown number meets none", function()
    local rows = verdicts.read("tm.hotspot { id = 'x', verdict = 'v', advice = 'a', needs = { churn = 10 } }", "x", {})
    assert.is_true(verdicts.meets(rows[1], { cpu_share = 0.1, churn = 10 }))
    assert.is_false(verdicts.meets(rows[1], { cpu_share = 0.1, churn = 9.9 }))
    assert.is_false(verdicts.meets(rows[1], { cpu_share = 0.1 }))
    assert.equal("number", type(core.bytes("1MB")))
  end)
end)
