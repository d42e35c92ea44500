-- Packed files that broke: what was whole before the damage is read, whatever the format, and said to be a part.
local core = require "tidemark.core"
local helper = require "spec.support.helper"
local v8heap = require "spec.support.v8heap_writer"

local SEEDS <const> = "spec/fuzz/seeds/fuzz_"

local cases = {
  chrome = SEEDS .. "chrome_json/chrome",
  perfetto = SEEDS .. "perfetto/slices",
  hprof = SEEDS .. "hprof/ids_of_8",
  goheap = SEEDS .. "goheap/page26.heapdump",
  gotrace = SEEDS .. "gotrace/v26.trace",
  v8heap = SEEDS .. "v8heap/six_places.heapsnapshot",
}

describe("packed files that broke", function()
  local folder
  setup(function() folder = helper.folder() end)
  teardown(helper.tidy)

  local function pack(how, path) return helper.shell(how .. " -c " .. helper.quote(path)).out end

  for format, path in pairs(cases) do
    it("are read as far as they are whole: " .. format, function()
      for _, how in ipairs { "gzip", "zstd" } do
        local packed = pack(how, path)
        local whole, none = core.read { bytes = packed, name = "whole" }
        assert.is_nil(none)
        assert.falsy(whole.partial)
        -- zstd holds back a whole block; of gzip all but the last bytes come out
        local cut = how == "gzip" and packed:sub(1, -30) or packed:sub(1, -2)
        local part, err = core.read { bytes = cut, name = "cut" }
        if how == "gzip" then
          assert.is_true(part.partial)
          assert.equal(format, part.format)
          assert.matches("^only what came before is counted: gzip data is cut or damaged at byte %d+", err.message)
          assert.equal(#cut, err.offset)
        else
          assert.matches("zstd data is cut or damaged", err.message)
        end
      end
    end)
  end

  it("answer as the same bytes unpacked and cut do", function()
    local text = { '{"traceEvents":[{"name":"thread_name","ph":"M","pid":1,"tid":1,"args":{"name":"CrRendererMain"}},' }
    for i = 1, 5000 do
      text[i + 1] = ('{"name":"RunTask","ph":"X","ts":%d,"dur":%d,"pid":1,"tid":1},'):format(i * 100000, i * 7919 % 90000)
    end
    local path = helper.write(folder .. "/trace.json", table.concat(text, "\n") .. '{"name":"end","ph":"i","ts":1,"pid":1,"tid":1}]}')
    local packed = pack("gzip", path)
    local cut = helper.write(folder .. "/cut.json.gz", packed:sub(1, #packed // 2))
    local plain = helper.shell("gzip -dc " .. helper.quote(cut) .. " 2>/dev/null").out
    helper.write(folder .. "/plain.json", plain)
    local from_packed = helper.tidemark("tasks", cut, "--json")
    local from_plain = helper.tidemark("tasks", folder .. "/plain.json", "--json")
    assert.equal(from_plain.code, from_packed.code)
    local a, b = assert(core.json_decode(from_packed.out)), assert(core.json_decode(from_plain.out))
    assert.is_true(#a.rows > 0)
    assert.same(b.rows, a.rows)
    assert.matches("^" .. cut .. ": only what came before is counted: gzip data is cut or damaged at byte " .. #packed // 2, a.meta.problems[1])
  end)

  it("are opened again by their index", function()
    local packed = pack("gzip", SEEDS .. "hprof/ids_of_8")
    local cut = helper.write(folder .. "/heap.hprof.gz", packed:sub(1, -30))
    local first = helper.tidemark("objects", cut, "--index", "--json")
    assert.truthy(core.stat(cut .. ".tmx"))
    local again = helper.tidemark("objects", cut, "--json")
    assert.equal(first.code, again.code)
    local a, b = core.json_decode(first.out), core.json_decode(again.out)
    assert.same(a.rows, b.rows)
    assert.same(a.meta.problems, b.meta.problems)
    assert.matches("gzip data is cut or damaged", a.meta.problems[1])
  end)

  it("may begin with frames of zstd that are to be skipped", function()
    local packed = "\x50\x2a\x4d\x18\4\0\0\0abcd" .. pack("zstd", cases.hprof)
    local whole, none = core.read { bytes = packed, name = "whole" }
    assert.is_nil(none)
    assert.equal("hprof", whole.format)
  end)

  it("name objects of V8 by their kind, when the names stood behind the damage", function()
    local w = v8heap()
    local a = w:root("object", "Session", 100)
    for i = 1, 3000 do w:edge(a, "property", "field" .. i * 7919 % 4001, w:node("object", "Part" .. i, 10)) end
    local path = helper.write(folder .. "/names.heapsnapshot", w:text())
    local text = helper.read(path)
    local names = text:find('"strings"', 1, true)
    for _, cut in ipairs { helper.write(folder .. "/cut.heapsnapshot", text:sub(1, names)),
      helper.write(folder .. "/cut.heapsnapshot.gz", (pack("gzip", path):sub(1, -2000))) } do
      local g = core.read(cut)
      assert.is_true(g.partial)
      local types = {}
      for _, row in g:objects({}):rows() do types[row.type] = row.count end
      assert.is_true(types["(object)"] > 0)
      assert.is_nil(types[""])
      if cut:find("heapsnapshot$") then assert.equal("?", g:path(g:find(7), {})[3].edge) end
    end
  end)

  it("are refused where a part would mislead: nothing came out, and profiles, whose names stand last", function()
    assert.matches("cut or damaged", select(2, core.read { bytes = "\x28\xb5\x2f\xfd\0\0", name = "cut" }).message)
    local packed = helper.read(SEEDS .. "profile_read/block.pb.gz")
    assert.is_truthy((core.read { bytes = packed, name = "whole" }))
    local none, err = core.read { bytes = packed:sub(1, -20), name = "cut" }
    assert.is_nil(none)
    assert.matches("^gzip data is cut or damaged at byte %d+", err.message)
  end)
end)
