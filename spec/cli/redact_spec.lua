-- Redaction of dumps of which every object is known: what goes, what stays, and that damage is refused.
local core = require "tidemark.core"
local goheap = require "spec.support.goheap_writer"
local helper = require "spec.support.helper"
local hprof = require "spec.support.hprof_writer"

local dir
setup(function() dir = helper.folder() end)
teardown(helper.tidy)

local function redact(bytes)
  local from, to = helper.write(dir .. "/in", bytes), dir .. "/out"
  os.remove(to)
  local done, err = core.redact(from, to)
  if not done then
    assert.is_nil((core.stat(to)))
    return nil, err
  end
  return helper.read(to), done
end

local dumps = {
  hprof = function()
    return hprof(function(w)
      w:string "jdbc:user:pw@db" -- a constant of the code, in the table of symbols
      local node = w:class("app.Node", { fields = { { "next", "object" }, { "n", "int" } } })
      local text = w:primitive_array("byte", { ("secret text"):byte(1, -1) })
      w:primitive_array("long", { 0x1122334455667788, 7 })
      w:root("sticky", w:new(node, { next = text, n = 0x01020304 }))
    end)
  end,
  goheap = function()
    return goheap(function(w)
      w:object(0xc000000000, 48, { [0] = 0xc000002000, [16] = 0 }, { words = { [8] = 0x1122334455667788 } })
      w:object(0xc000002000, 16, {}, { letters = "secret text" })
      w:data(0x500000, { [16] = 0xc000000000 })
    end)
  end,
  v8 = function()
    local meta = '{"node_fields":["type","name","id","self_size","edge_count"],"node_types":[["hidden","string","object","regexp"],"string"],'
      .. '"edge_fields":["type","name_or_index","to_node"],"edge_types":[["property","element"],"string_or_number","node"]}'
    return '{"snapshot":{"meta":' .. meta .. ',"node_count":5,"edge_count":2},\n"nodes":[2,0,1,8,2,1,1,3,8,0,1,2,5,8,0,3,3,7,8,0,1,4,9,8,0],\n'
      .. '"edges":[0,4,5,1,3,10],\n"strings":["Order","secret \\u00fc \\"text\\" \xF0\x9F\x98\x80","key","re","both"]}'
  end,
}

describe("redaction", function()
  it("blanks arrays of a JVM's dump and strings that name nothing, and nothing else", function()
    local bytes = dumps.hprof()
    local clean, done = redact(bytes)
    assert.same({ format = "hprof", blanked_count = 3, blanked_bytes = 11 + 16 + 15 }, done)
    local want = bytes:gsub("secret text", ("\0"):rep(11)):gsub("jdbc:user:pw@db", ("?"):rep(15)):gsub((">I8I8"):pack(0x1122334455667788, 7), ("\0"):rep(16))
    assert.equal(want, clean)
    assert.is_truthy(clean:find("\1\2\3\4", 1, true)) -- a number in a field
  end)

  it("blanks words of a Go dump that are no pointers", function()
    local bytes = dumps.goheap()
    local clean, done = redact(bytes)
    assert.equal("goheap", done.format)
    local want, words, letters
    want, letters = bytes:gsub("secret text", ("\0"):rep(11))
    want, words = want:gsub(("<I8"):pack(0x1122334455667788), ("\0"):rep(8))
    assert.same({ 1, 1 }, { words, letters })
    assert.equal(want, clean)
    assert.is_truthy(clean:find(("<I8"):pack(0xc000002000), 1, true))
  end)

  it("blanks strings of a V8 snapshot that are no names", function()
    local clean, done = redact(dumps.v8())
    assert.same({ format = "v8heap", blanked_count = 3, blanked_bytes = 18 + 3 + 2 }, done)
    assert.is_truthy(clean:find('"strings":["Order","' .. ("x"):rep(18) .. '","xxx","xx","both"]}', 1, true), clean)
  end)

  it("refuses a dump that is cut anywhere, and leaves no file", function()
    for name, make in pairs(dumps) do
      local bytes = make()
      for size = 0, #bytes - 1 do
        local clean, err = redact(bytes:sub(1, size))
        -- an HPROF may end behind any of its records; what is there is redacted then
        if clean then
          assert.equal("hprof", name)
          assert.equal(size, #clean)
          assert.is_nil(clean:find("secret", 1, true))
        else
          assert.is_truthy(err.code == "format" or err.code == "unsupported", name .. size .. ": " .. err.message)
        end
      end
    end
  end)

  it("refuses what it does not know", function()
    local _, err = redact("no dump at all")
    assert.equal("unsupported", err.code)
    _, err = redact((dumps.hprof():gsub("\8secret", "\3secret"))) -- an array of no type
    assert.equal("format", err.code)
    _, err = redact((dumps.v8():gsub('"edges"', '"etches"'))) -- then names cannot be told from contents
    assert.equal("format", err.code)
  end)
end)
