-- Growth where the dump's own names change from dump to dump: Go's tables and slices are of other sizes, V8's global variables many.
local goheap = require "spec.support.goheap_writer"
local helper = require "spec.support.helper"
local v8heap = require "spec.support.v8heap_writer"

-- A map whose directory of tables grows, one group of items each; a slice of items; a chain of links.
local function go_dump(tables, items)
  return goheap(function(w)
    local at, roots = 0xc000000000, {}
    local function object(size, slots, more)
      at = at + 0x1000 * (size // 0x1000 + 1)
      w:object(at, size, slots, more)
      return at
    end
    local directory = {}
    for i = 0, tables - 1 do
      local group = {}
      for k = 0, items // tables - 1 do group[8 + 24 * k] = object(80, { [8] = object(16) }) end
      directory[8 * i] = object(32, { [16] = object(24 * (items // tables) + 8, group, { words = { [0] = 0x4b9d00 } }) })
    end
    roots[0] = object(48, { [16] = object(8 * tables, directory) })
    local slice = {}
    for i = 0, items - 1 do slice[8 * i] = object(64, {}) end
    roots[16] = object(8 * items, slice)
    w:bss(0x591820, roots)
  end, { version = "go1.26.1" })
end

local function v8_dump(sessions)
  local w = v8heap()
  local global = w:node("object", "global / ", 100)
  w:edge(1, "element", 2, global)
  for i = 1, 99 do w:edge(global, "property", "builtin" .. i, w:node("object", "Builtin" .. i, 10)) end
  local list = w:node("object", "Array", 20)
  local table_of = w:node("object", "Table", 20)
  w:edge(global, "property", "sessions", list)
  w:edge(global, "property", "byName", table_of)
  for i = 1, sessions do
    w:edge(list, "element", i, w:node("object", "Session", 50))
    w:edge(table_of, "property", "name" .. i, w:node("object", "Entry", 30))
  end
  return w:text()
end

describe("growth by stable names", function()
  teardown(helper.tidy)
  local folder = helper.folder()

  it("finds what a Go map and a slice keep, though both are moved to other sizes", function()
    local files = {}
    -- the slice is of 768 B with no type in front, 6 KiB with one in a real dump, and of 48 KiB again without
    for i, n in ipairs { 96, 768, 6144 } do files[i] = helper.write(folder .. "/" .. i .. ".heapdump", go_dump(4 ^ i // 1, n)) end
    local rows = helper.rows("growth", "growth", files[1], files[2], files[3])
    local types = {}
    for _, row in ipairs(rows) do
      types[row.type] = row
      assert.same({ 96, 768, 6144 }, row.counts)
    end
    assert.equal("static bss+0x0 48 B --p---", types["80 B -p--------"].root)
    assert.equal("static bss+0x10 array;[x] 64 B without pointers", types["64 B without pointers"].key)
  end)

  it("tells global variables of V8 apart, and counts the keys of tables together", function()
    local files = {}
    for i, n in ipairs { 200, 400, 600 } do files[i] = helper.write(folder .. "/" .. i .. ".heapsnapshot", v8_dump(n)) end
    local keys = {}
    for _, row in ipairs(helper.rows("growth", "growth", files[1], files[2], files[3], "--min-delta", "100")) do keys[row.type] = row.key end
    assert.matches("[x] global / ;sessions Array;[x] Session", keys.Session, 1, true)
    assert.matches("[x] global / ;byName Table;{x} Entry", keys.Entry, 1, true)
  end)

  it("compares V8's dumps by what hangs below the roots", function()
    local rows = helper.rows("dump-diff", "diff", folder .. "/1.heapsnapshot", folder .. "/3.heapsnapshot", "--by", "dominator")
    assert.equal("global / ", rows[1].type)
    assert.equal(400 * 80, rows[1].retained_bytes)
    assert.equal("global / ", helper.rows("holders", "holders", folder .. "/1.heapsnapshot")[1].type)
  end)

  it("compares dumps of one format only", function()
    for _, command in ipairs { "growth", "diff" } do
      local r = helper.tidemark(command, folder .. "/1.heapsnapshot", folder .. "/1.heapdump")
      assert.same({ 2, true }, { r.code, r.err:find("1.heapdump is of another format (goheap) than those before it (v8heap)", 1, true) ~= nil })
    end
  end)

  it("takes --exe for Go dumps only", function()
    for _, command in ipairs { "growth", "diff" } do
      local r = helper.tidemark(command, folder .. "/1.heapsnapshot", folder .. "/3.heapsnapshot", "--exe", "/bin/true")
      assert.same({ 2, true }, { r.code, r.err:find("--exe is for Go heap dumps", 1, true) ~= nil })
    end
  end)
end)
