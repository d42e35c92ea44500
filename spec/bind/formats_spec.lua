-- The formats of other makers through core.read: found by content, and ready for every report.
local core = require "tidemark.core"

local function read(bytes)
  return assert(core.read { bytes = bytes, name = "x" })
end

describe("core.read", function()
  it("keeps the numbers that Go writes below a heap", function()
    local p = read "heap profile: 1: 8 [1: 8] @ heap/2\n1: 8 [1: 8] @ 0x11\n\n# HeapAlloc = 123\n# Stack = 4 / 8\n# MaxRSS = 4096\n"
    assert.equal("pprof-text", p.format)
    assert.same({ HeapAlloc = 123, Stack = 4, StackSys = 8, MaxRSS = 4096 }, p:info().stats)
  end)

  it("reads jemalloc's heaps by thread", function()
    local p = read "heap_v2/1\n  t*: 3: 30 [0: 0]\n@ 0x11 0x21\n  t*: 3: 30 [0: 0]\n  t0: 1: 10 [0: 0]\n  t7: 2: 20 [0: 0] io\n"
    assert.equal("jemalloc", p.format)
    local t = p:report("top", { tagfocus = "thread_name=io" })
    assert.equal(20, t[1].flat)
  end)

  it("reads speedscope files", function()
    local p = read [[{"shared":{"frames":[{"name":"main"},{"name":"f"}]},"profiles":[
      {"type":"evented","unit":"milliseconds","name":"t","events":[{"type":"O","frame":0,"at":1},{"type":"O","frame":1,"at":2},
      {"type":"C","frame":1,"at":5},{"type":"C","frame":0,"at":5}]}]}]]
    assert.equal("speedscope", p.format)
    local t = p:report("top")
    assert.same({ "f", 3000000 }, { t[1].name, t[1].flat })
  end)

  it("reads binary CPU profiles", function()
    local words = { 0, 3, 0, 10000, 0, 5, 1, 0x1000, 0, 1, 0 }
    for _, form in ipairs { "<I4", ">I4", "<I8", ">I8" } do
      local parts = {}
      for i, word in ipairs(words) do parts[i] = string.pack(form, word) end
      local p = read(table.concat(parts) .. "1000-2000 r-xp 00000000 08:01 12 /bin/x\n")
      assert.equal("pprof-cpu", p.format)
      assert.equal("/bin/x", p:info().binaries[1].file)
      assert.equal(50000000, p:info().types[2].total)
    end
  end)

  it("keeps what stands before the damage, and says where it is", function()
    local p, err = core.read { bytes = "heap_v2/1\n@ 0x11\n  t*: 3: 30 [0: 0]\n@ 0x21\n  t*: 3: x [0: 0]\n", name = "x" }
    assert.is_true(p.partial)
    assert.equal(43, err.offset)
    assert.matches("another shape", p.problem)
    assert.equal(1, p:info().samples)
  end)
end)
