-- What people see of odd objects: texts of every letter, nodes that are not there, long lists, great arrays.
local helper = require "spec.support.helper"
local hprof = require "spec.support.hprof_writer"
local v8heap = require "spec.support.v8heap_writer"

local LINKS <const> = 500

local function texts(w)
  local string = w:class("java.lang.String", { fields = { { "value", "object" }, { "coder", "byte" } } })
  local function utf16(s)
    local units = {}
    for i = 1, #s do units[i] = ("b"):unpack(s, i) end
    return w:new(string, { value = w:primitive_array("byte", units), coder = 1 })
  end
  local odd = w:class("app.Odd", { fields = { { "text", "object" }, { "none", "object" }, { "null", "object" } } })
  -- a, tab, a pair (U+1F600), half of one, a zero, line break, z
  return w:new(odd, { text = utf16("a\0\t\0\x3d\xd8\x00\xde\x3d\xd8\0\0\n\0z\0"), none = utf16("\0\0\0\0") })
end

local function list(w)
  local link = w:class("app.Link", { fields = { { "next", "object" } } })
  local at
  for _ = 1, LINKS do at = w:new(link, { next = at }) end
  return at
end

describe("what people see", function()
  teardown(helper.tidy)
  local file, odd, last
  setup(function()
    file = helper.write(helper.folder() .. "/odd.hprof", hprof(function(w)
      odd = texts(w)
      local head = list(w)
      last = head - (LINKS - 1) * 64
      local array = {}
      for i = 1, 300 do array[i] = i end
      w:root("jni_global", odd)
      w:root("jni_global", head)
      w:root("jni_global", w:primitive_array("int", array))
    end))
  end)
  local function out(...) return helper.tidemark(...).out end

  it("joins the halves of letters, and keeps a row on its line", function()
    local letters = "a \u{1F600}\u{FFFD}\u{2400} z"
    assert.matches(letters, out("object", file, ("0x%x"):format(odd)), 1, true)
    assert.matches(letters, out("references", file, ("0x%x"):format(odd), "--outgoing"), 1, true)
    local fields = helper.rows("object", "object", file, ("0x%x"):format(odd))
    assert.equal("a\t\u{1F600}\u{FFFD}\u{2400}\nz", fields[1].preview)
    assert.equal("", fields[2].preview) -- blanked
    assert.same({ "null", -1, "" }, { fields[3].value, fields[3].node, fields[3].preview })
    assert.is_nil(out("object", file, ("0x%x"):format(odd)):find("-1", 1, true))
  end)

  it("says which nodes there are", function()
    for _, command in ipairs { "object", "references", "path", "holders" } do
      for _, word in ipairs { "#99999", "#" .. ("9"):rep(30) } do
        local r = helper.tidemark(command, file, word)
        assert.equal(2, r.code)
        assert.matches("no object is #9+: the dump has %d+", r.err)
      end
    end
  end)

  it("shows the ends of a long way", function()
    local way = ("0x%x"):format(last)
    local text = out("path", file, way)
    assert.equal(62, select(2, text:gsub("\n", "\n")))
    assert.matches(("... %d steps"):format(LINKS - 60), text, 1, true)
    assert.equal(LINKS + 1, select(2, out("path", file, way, "--nodecount", "0"):gsub("\n", "\n")))
    assert.equal(LINKS, #helper.rows("path", "path", file, way))
  end)

  it("draws three links of a list, and counts the rest", function()
    local rows, links = helper.rows("topology", "topology", file), {}
    for _, row in ipairs(rows) do
      if row.type == "app.Link" then links[#links + 1] = row end
    end
    assert.equal(3, #links)
    assert.equal(LINKS - 2, links[3].piled_count)
    assert.matches("int%[%]", out("topology", file))
  end)

  it("says nothing twice", function()
    local w = v8heap()
    w:edge(w:root("object", "Session", 100), "property", "part", w:node("object", "Part", 10))
    local v8 = helper.write(helper.folder() .. "/twice.heapsnapshot", w:text())
    assert.equal(1, select(2, out("object", v8, "5"):gsub("Session", "")))
    assert.equal(2, select(2, out("object", v8, "5"):gsub("Part", ""))) -- as value and type
    assert.equal(1, select(2, out("holders", v8):gsub("Session", "")))
  end)

  it("shows the first elements of a great array", function()
    local array = helper.tidemark("query", file, "g:where{type='int[]'}:nodes()[1]").out:match("%d+")
    local text = out("object", file, "#" .. array)
    assert.matches("the first 100 are shown", text)
    assert.is_nil(text:find("[100]", 1, true))
    assert.matches("[299]", out("object", file, "#" .. array, "--nodecount", "0"), 1, true)
    assert.equal(300, #helper.rows("object", "object", file, "#" .. array))
  end)
end)
