-- Go heap dumps of which every object is known: roots, interior pointers, names, both byte orders and widths, damaged dumps.
local core = require "tidemark.core"
local goheap = require "spec.support.goheap_writer"
local helper = require "spec.support.helper"

local A, B, C, D, G = 0xc000000000, 0xc000002000, 0xc000004000, 0xc000006000, 0xc000008000

-- global -> A -> B (from inside) -> C; a goroutine's frame -> D; garbage behind C
local function small(w)
  w:memstats()
  w:type(0x4a0000, 640, "main.conn")
  w:itab(0x4a1000, 0x4a0000)
  w:object(A, 32, { [0] = B + 24, [16] = 0 })
  w:object(B, 48, { [8] = C })
  w:object(C, 16, {}, { letters = "hello, heap" })
  w:object(C + 16, 16, { [0] = C })
  w:object(D, 64, { [0] = D + 8, [8] = 0x1234 })
  w:object(G, 416, {})
  w:goroutine(G, 12, "chan receive")
  w:frame("runtime.gopark", {})
  w:frame("main.stuck", { [16] = D + 63 })
  w:frame("runtime.goexit")
  w:thread(0x99, 1)
  w:data(0x500000, { [16] = A })
end

local function types(g)
  local out = {}
  for _, row in g:objects({}):rows() do out[row.type] = row end
  return out
end

local function way(g, address)
  local out = {}
  for i, row in g:path(assert(g:find(address))):rows() do out[i] = row.edge .. " " .. row.type end
  return out
end

describe("a Go heap dump", function()
  teardown(helper.tidy)

  it("follows pointers into objects and names objects by shape", function()
    local g = assert(core.read { bytes = goheap(small) })
    assert.equal("goheap", g.format)
    assert.is_false(g.partial)
    assert.same({ 6, 32 + 48 + 16 + 16 + 64 + 416 }, { g:info().nodes, g:info().shallow_bytes })
    local t = types(g)
    assert.same({ 1, 96 }, { t["32 B p-p-"].count, t["32 B p-p-"].retained_bytes })
    assert.equal(64, t["48 B -p----"].retained_bytes)
    assert.equal(1, t["16 B p-"].unreachable_count)
    assert.equal(0, t["16 B without pointers"].unreachable_count)
    assert.equal(g:find(B), g:find(B + 47))
    assert.is_nil(g:find(B + 48))
    assert.equal(B, g:node(g:find(B + 9)).id)
    assert.equal("hello, heap", g:node(g:find(C)).preview)
  end)

  it("names the way: the global, then offsets", function()
    local g = assert(core.read { bytes = goheap(small) })
    assert.same({ "static data+0x10 (0x500010) 32 B p-p-", "+0 48 B -p----", "+8 16 B without pointers" }, way(g, C))
  end)

  it("lets a goroutine hold what its frames hold", function()
    local g = assert(core.read { bytes = goheap(small) })
    assert.same({ "thread goroutine 12 [chan receive] goroutine main.stuck", "main.stuck, goroutine 12 [chan receive] 64 B pp------" }, way(g, D))
    assert.equal(416 + 64, types(g)["goroutine main.stuck"].retained_bytes)
  end)

  it("shows an object's words", function()
    local g = assert(core.read { bytes = goheap(small) })
    local rows = {}
    for i, row in g:fields(g:find(D)):rows() do rows[i] = row.name .. " " .. row.type .. " " .. row.value end
    assert.equal(8, #rows)
    assert.same({ "+0 64 B pp------ 0xc000006008", "+8 pointer 0x1234", "+16 word 0x0" }, { rows[1], rows[2], rows[3] })
  end)

  it("reads both byte orders and both widths alike", function()
    local function narrow(w)
      w:object(0x10000, 16, { [0] = 0x12004, [4] = 0 })
      w:object(0x12000, 8, {})
      w:bss(0x8000, { [4] = 0x10000 })
    end
    for _, big in ipairs { false, true } do
      local g = assert(core.read { bytes = goheap(small, { big_endian = big }) })
      assert.equal(96, g:node(g:find(A)).retained_bytes)
      g = assert(core.read { bytes = goheap(narrow, { big_endian = big, pointer_bytes = 4 }) })
      assert.same({ "static bss+0x4 (0x8004) 16 B pp--", "+0 8 B without pointers" }, way(g, 0x12000))
    end
  end)

  it("takes finalizers, deferred calls, panics and other roots for what they are", function()
    local g = assert(core.read { bytes = goheap(function(w)
      for i = 0, 6 do w:object(A + i * 16, 16, {}) end
      w:object(G, 416, {})
      w:goroutine(G, 1, nil, A)
      w:frame("main.main")
      w:defer(0, A + 16)
      w:panic(0, A + 32)
      w:finalizer(A + 48, A + 64)
      w:queued(A + 80, 0)
      w:other_root("profiler", A + 96)
    end) })
    assert.same({ "thread goroutine 1 [runnable] goroutine main.main", "goroutine 1 [runnable] 16 B without pointers" }, way(g, A))
    assert.matches("^defer, goroutine 1", way(g, A + 16)[2])
    assert.matches("^panic, goroutine 1", way(g, A + 32)[2])
    assert.same({}, way(g, A + 48)) -- its finalizer does not hold it
    assert.same({ "finalizer finalizer's function 16 B without pointers" }, way(g, A + 64))
    assert.same({ "finalizer waits for its finalizer 16 B without pointers" }, way(g, A + 80))
    assert.same({ "other profiler 16 B without pointers" }, way(g, A + 96))
  end)

  it("names objects after who allocated them, or after the type in front of them", function()
    local g = assert(core.read { bytes = goheap(function(w)
      w:type(0x4a0000, 640, "main.conn")
      w:object(A, 640, { [8] = 0 }, { words = { [0] = 0x4a0000 } })
      w:object(A + 640, 640, { [8] = 0 }, { words = { [0] = 0x4b0000 } })
      w:object(B, 1024, { [0] = 0, [16] = 0, [32] = 0 })
      w:object(C, 512, {})
      w:bucket(0x77, { "runtime.makeslice", "main.leak", "main.main" })
      w:sample(C, 0x77)
    end, { version = "go1.22.1" }) })
    local function name(address) return g:node(g:find(address)).type end
    assert.equal("main.conn, 640 B", name(A))
    assert.equal("type 0x4b0000, 640 B", name(A + 640))
    assert.matches("^1024 B ", name(B))
    assert.equal("main.leak 512 B", name(C))
  end)

  it("sees arrays by what repeats", function()
    local g = assert(core.read { bytes = goheap(function(w)
      local slots = {}
      for i = 0, 39 do slots[i * 24 + 8] = 0 end
      w:object(A, 1024, slots)
      slots[40 * 24 + 16] = 0
      w:object(B, 1024, slots)
    end) })
    assert.equal("1024 B (-p-)*", g:node(0).type)
    assert.matches("^1024 B %-p%-%-p.*%.%. %x+$", g:node(1).type)
  end)

  it("leaves out the slots that lie over the collector's bits", function()
    local function page(pointers) -- all 64 slots of 128 bytes
      return function(w) for i = 0, 63 do w:object(A + i * 128, 128, pointers and { [0] = 0 } or {}) end end
    end
    local function count(version, pointers) return assert(core.read { bytes = goheap(page(pointers), { version = version }) }):info().nodes end
    assert.same({ 64, 64 }, { count("go1.21.9", true), count("go1.21.9", false) })
    assert.same({ 63, 64 }, { count("go1.22.9", true), count("go1.22.9", false) })
    assert.same({ 62, 63 }, { count("go1.26.8", true), count("go1.26.8", false) })
    assert.same({ 63, 64 }, { count("go1.26.8 X:nogreenteagc", true), count("go1.26.8 X:nogreenteagc", false) })
    assert.same({ 62, 63 }, { count("go1.25.0 X:greenteagc", true), count("go1.25.0 X:greenteagc", false) })
  end)

  it("keeps what is whole of a dump that is cut anywhere, and says where", function()
    local whole = goheap(small)
    for cut = 1, #whole - 1 do
      local g, err = core.read { bytes = whole:sub(1, cut) }
      assert.is_not_nil(err, "no word of the cut at " .. cut)
      if g then
        assert.is_true(g.partial)
        assert.is_true(err.offset <= cut)
        g:objects {}
      end
    end
    local g = core.read { bytes = whole:sub(1, -60) } -- without the global: what nothing refers to
    assert.is_true(g:info().roots > 0)
    assert.is_true(g:node(g:find(A)).reachable) -- though the goroutine before it is a root
  end)

  it("is named by the shape of what repeats twice, as buckets of maps do", function()
    local function name(words, slots)
      local g = assert(core.read { bytes = goheap(function(w)
        w:object(A, 8 * words, slots)
        w:data(0x500000, { [0] = A })
      end, { version = "go1.19" }) })
      return g:objects({})[1].type
    end
    local function buckets(count, keys, width) -- tophash, keys with a pointer first, values without, overflow
      local slots = {}
      for b = 0, count - 1 do
        for k = 0, keys - 1 do slots[8 * (b * width + 1 + 2 * k)] = B end
        slots[8 * (b * width + width - 1)] = B
      end
      return count * width, slots
    end
    assert.equal("208 B -p-p-p-p-p-p-p-p---------p", name(buckets(1, 8, 26)))
    assert.equal("832 B (-p-p-p-p-p-p-p-p---------p)*", name(buckets(4, 8, 26)))
  end)

  it("passes over slots that go back or out of their object", function()
    local g = assert(core.read { bytes = goheap(function(w)
      w:object(B, 16, {})
      w:raw("\1" .. "\x80\x80\x80\x80\x80\x18" .. "\8" .. ("<I8"):pack(B) .. ("\1\0"):rep(1000) .. "\1\1\1\8\1\x90\x01\0")
      w:data(0x500000, { [0] = A })
    end) })
    assert.equal(1, g:info().edges)
    assert.equal(2, g:info().nodes)
  end)

  it("refuses an unknown record and a length of 2^63, with their place", function()
    local whole = goheap(small, { no_end = true })
    for _, bad in ipairs { "\x12", "\1\0\xff\xff\xff\xff\xff\xff\xff\xff\x7f", "\x10\1\1\xff\xff\xff\xff\x7f" } do
      local g, err = core.read { bytes = whole .. bad }
      assert.is_true(g.partial)
      assert.equal(#whole, err.offset)
      assert.equal(6, g:info().nodes)
    end
  end)

  it("tells which stacks allocated, as a profile", function()
    local name = helper.write(helper.folder() .. "/dump", goheap(function(w)
      small(w)
      w:bucket(0x1000, { "runtime.mallocgc", "main.leak", "main.main" })
      w:bucket(0x2000, { "main.other", "main.main" })
    end))
    local rows, meta = helper.rows("sites", "sites", name, "--sample_index", "alloc_space")
    local found = {}
    for _, row in ipairs(rows) do found[row.name] = { row.flat, row.cum } end
    assert.same({ ["runtime.mallocgc"] = { 64, 64 }, ["main.leak"] = { 0, 64 }, ["main.other"] = { 64, 64 }, ["main.main"] = { 0, 128 } }, found)
    assert.equal(128, meta.total)
    local other = helper.tidemark("sites", helper.write(helper.folder() .. "/x.heapsnapshot",
      '{"snapshot":{"meta":{"node_fields":["type","name","id","self_size","edge_count"],"node_types":[["hidden"]],'
      .. '"edge_fields":["type","name_or_index","to_node"],"edge_types":[["context"]]},"node_count":1,"edge_count":0},"nodes":[0,0,1,8,0],"edges":[],'
      .. '"strings":[""]}'))
    assert.equal(6, other.code)
  end)
end)
