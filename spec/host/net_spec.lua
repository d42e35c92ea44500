-- core.http, core.json_decode, core.listener: what trusted Lua gets from apps on this machine.
local core = require "tidemark.core"

local function offset_of(text)
  local value, err = core.json_decode(text)
  assert.is_nil(value)
  assert.equal("format", err.code)
  return err.offset
end

describe("json_decode", function()
  it("keeps 64-bit whole numbers exact and makes floats of the rest", function()
    for _, n in ipairs { 0, -1, math.maxinteger, math.mininteger, 9007199254740993 } do
      local value = core.json_decode(tostring(n))
      assert.equal("integer", math.type(value))
      assert.equal(n, value)
    end
    assert.equal(1500.0, core.json_decode "1.5e3")
    assert.equal("float", math.type(core.json_decode "9223372036854775808"))
    assert.equal(2.0 ^ 63, core.json_decode "9223372036854775808")
  end)

  it("nests objects and arrays", function()
    assert.same({ a = { 1, { b = "x" }, {} }, c = true }, core.json_decode ' { "a" : [1,{"b":"x"},[ ]],\n"c":true}')
  end)

  it("keeps places of nulls in arrays and leaves them out of objects", function()
    local list = core.json_decode "[1,null,3]"
    assert.equal(3, #list)
    assert.equal(core.json_null, list[2])
    assert.same({ b = 2 }, core.json_decode '{"a":null,"b":2}')
    assert.equal(core.json_null, core.json_decode "null")
  end)

  it("reads every code point that is escaped", function()
    for _, c in ipairs { 0x1, 0x7f, 0x80, 0x7ff, 0x800, 0xd7ff, 0xe000, 0xffff } do
      assert.equal(utf8.char(c), core.json_decode(('"\\u%04x"'):format(c)))
    end
    for _, c in ipairs { 0x10000, 0x1f600, 0x10ffff } do
      local rest = c - 0x10000
      local pair = ('"<\\u%04X\\u%04X>"'):format(0xd800 + (rest >> 10), 0xdc00 + (rest & 0x3ff))
      assert.equal("<" .. utf8.char(c) .. ">", core.json_decode(pair))
    end
    assert.equal("\u{fffd}x\u{fffd}", core.json_decode [["\ud800x\udc00"]])
    assert.equal('a"\\/\b\f\n\r\t', core.json_decode [["a\"\\\/\b\f\n\r\t"]])
  end)

  it("names the byte at which it is not JSON", function()
    local cases = {
      [""] = 0, ["nul"] = 0, ["01"] = 1, ["[1,]"] = 3, ['{"a" 1}'] = 5, ["{1:2}"] = 1, ["[1}"] = 2, ["1 2"] = 2,
      ['"x'] = 2, ["1."] = 2, ["-"] = 1, ["1e"] = 2, ['"\\q"'] = 2, ['"\\u12g4"'] = 3, ['"a\1"'] = 2, ["1\0"] = 1,
      ["[1"] = 2, ['{"a":1'] = 6, ["+1"] = 0, ["NaN"] = 0,
    }
    for text, offset in pairs(cases) do assert.equal(offset, offset_of(text), text) end
  end)

  it("goes 64 levels deep and no further", function()
    assert.is_table(core.json_decode(("["):rep(64) .. ("]"):rep(64)))
    assert.is_table(core.json_decode(('{"a":'):rep(64) .. "1" .. ("}"):rep(64)))
    assert.equal(64, offset_of(("["):rep(65) .. ("]"):rep(65)))
    assert.equal(64, offset_of(("["):rep(1000000)))
  end)

  it("reads back what the writer wrote", function()
    math.randomseed(7)
    local function any(depth)
      local kind = math.random(depth > 4 and 4 or 6)
      if kind == 1 then return math.random(0) end
      if kind == 2 then return math.random() * 10 ^ math.random(-300, 300) end
      if kind == 3 then return math.random(2) == 1 end
      if kind == 4 then return utf8.char(math.random(0xd7ff), math.random(0xe000, 0x10ffff), math.random(127)) end
      local out = {}
      for i = 1, math.random(5) do out[kind == 5 and i or "k" .. i] = any(depth + 1) end
      return out
    end
    for _ = 1, 300 do
      local value = any(1)
      assert.same(value, core.json_decode(core.json(value)))
    end
  end)
end)

describe("http", function()
  it("answers nil and what happened when nobody listens", function()
    local answer, err = core.http { url = "unix:" .. os.tmpname() .. ".none" }
    assert.is_nil(answer)
    assert.equal("gone", err.code)
    answer, err = core.http { url = "gopher://x/" }
    assert.is_nil(answer)
    assert.equal("argument", err.code)
  end)

  it("refuses options that it does not know or understand", function()
    assert.has_error(function() core.http { url = "http://x/", timeout = 1 } end)
    assert.has_error(function() core.http { url = "http://x/", timeout_ns = -1 } end)
    assert.has_error(function() core.http { url = 1 } end)
    assert.has_error(function() core.http {} end)
    assert.has_error(function() core.http { url = "http://x/", headers = { "a" } } end)
    assert.has_error(function() core.http { url = "http://x/", sink = 1 } end)
    assert.has_error(function() core.http { url = "http://x/", sink = print, file = "x" } end)
  end)
end)

describe("listener", function()
  it("finds nobody where nobody listens", function()
    assert.is_nil(core.listener("tcp", 1))
    assert.is_nil(core.listener("tcp", 70000))
    assert.is_nil(core.listener("unix", "/nowhere/x.sock"))
    assert.is_nil(core.listener("unix", ("/x"):rep(200)))
  end)
end)
