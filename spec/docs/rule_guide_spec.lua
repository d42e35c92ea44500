-- Every Lua block of docs/rule-guide.md is a rule file that loads and passes its own tests.
local core = require "tidemark.core"

local function blocks(path)
  local file = assert(io.open(path))
  local text, out = file:read("a"), {}
  file:close()
  for code in text:gmatch("\n```lua\n(.-)\n```") do out[#out + 1] = code end
  return out
end

describe("docs/rule-guide.md", function()
  local all = blocks("docs/rule-guide.md")

  it("has examples", function() assert.is_true(#all >= 4) end)

  for i, code in ipairs(all) do
    it("block " .. i .. " loads", function()
      local rules, err = core.rules_check("block" .. i .. ".lua", code)
      assert.is_truthy(rules, err and err.message)
    end)
    it("block " .. i .. " passes its tests", function()
      local ok, tests = core.rules_test("block" .. i .. ".lua", code)
      for _, t in ipairs(ok ~= nil and tests or {}) do assert.is_true(t.ok, t.test .. ": " .. t.why) end
      assert.is_truthy(ok, type(tests) == "table" and tests.message)
    end)
  end
end)
