-- Heap dumps of which every object is known: the same answers from JVM and V8 dumps, and from damaged ones what is whole.
local core = require "tidemark.core"
local helper = require "spec.support.helper"
local hprof = require "spec.support.hprof_writer"

-- root -> a -> { b, c } -> d, and garbage -> d
local function diamond(w)
  local node = w:class("app.Node", { fields = { { "left", "object" }, { "right", "object" }, { "n", "int" } } })
  local d = w:primitive_array("byte", { 1, 2, 3, 4 })
  local b, c = w:new(node, { left = d }), w:new(node, { right = d })
  local a = w:new(node, { left = b, right = c, n = 7 })
  w:new(node, { left = d }) -- nobody holds it
  w:root("jni_global", a)
  w:root("sticky", node)
  return a, d
end

local function by_type(t)
  local out = {}
  for _, row in ipairs(t) do out[row.type] = row end
  return out
end

describe("a JVM heap dump", function()
  teardown(helper.tidy)
  local dir, file, top, tail
  setup(function()
    dir = helper.folder()
    file = helper.write(dir .. "/d.hprof", hprof(function(w) top, tail = diamond(w) end))
  end)

  it("gives counts, shallow and retained bytes by type, garbage apart", function()
    local rows, meta = helper.rows("objects", "objects", file)
    local r = by_type(rows)
    -- 16 bytes of header, two references and an int at 8 bytes a reference: 16 + 8 + 8 + 4 -> 40
    assert.same({ type = "app.Node", count = 4, shallow_bytes = 4 * 40, retained_bytes = 3 * 40 + 32, unreachable_count = 1,
      unreachable_bytes = 40 }, r["app.Node"])
    assert.equal(32, r["byte[]"].retained_bytes)
    assert.equal(6, meta.objects)
    assert.equal(40, meta.unreachable_bytes)
  end)

  it("sizes objects by where their neighbours lie, when that tells more than their fields", function()
    local function near(w, alone)
      local fields, classes, region = { { "b", "byte" }, { "l", "long" } }, {}, 0x90000000
      for n = 1, alone and 0 or 20 do
        local longs = {}
        for i = 1, n % 6 do longs[i] = { "l" .. i, "long" } end
        classes[n] = { w:class("app.C" .. n, { fields = longs }), 16 + 8 * #longs }
      end
      local packed = w:class("app.Packed", { super = w:class("app.Above", { fields = fields }), fields = fields })
      local grown, apart = w:class("app.Grown", { fields = fields }), w:class("app.Apart")
      local below = w:class("app.Below", { super = grown })
      classes[#classes + 1] = { packed, 40 } -- 16 + 2 * 9 bytes; 48 when each level is padded
      classes[#classes + 1] = { grown, 160 } -- the VM adds to it, and so to those below
      classes[#classes + 1] = { apart, 4096 }
      for _, c in ipairs(classes) do
        for i = 0, 9 do
          w:place(region + i * c[2])
          w:root("jni_global", w:new(c[1]))
        end
        region = region + 0x10000
      end
      w:root("jni_global", w:new(below))
    end
    local f = helper.write(dir .. "/near.hprof", hprof(near))
    local r = by_type((helper.rows("objects", "objects", f)))
    assert.equal(10 * 40, r["app.Packed"].shallow_bytes)
    assert.equal(10 * 160, r["app.Grown"].shallow_bytes)
    assert.equal(160, r["app.Below"].shallow_bytes)
    assert.equal(10 * 16, r["app.Apart"].shallow_bytes)
    local quick = by_type((helper.rows("objects-quick", "objects", f, "--quick")))
    for type, row in pairs(r) do assert.equal(row.shallow_bytes, quick[type].shallow_bytes) end
    -- ids that lie so for no other classes are not taken for addresses
    r = by_type((helper.rows("objects", "objects", helper.write(dir .. "/alone.hprof", hprof(function(w) near(w, true) end)))))
    assert.equal(10 * 48, r["app.Packed"].shallow_bytes)
    assert.equal(10 * 32, r["app.Grown"].shallow_bytes)
  end)

  it("sizes objects by their neighbours in the heap, when those in the file are others", function()
    local expected = 0
    local f = helper.write(dir .. "/scattered.hprof", hprof(function(w)
      local number = w:class("app.Number", { fields = { { "n", "int" } } })
      local list, at = {}, 0x90000000
      for i = 1, 40 do
        list[#list + 1] = { at, 3 * i } -- an array of that many bytes behind a header of 12 and a length of 4
        at = at + 16 + (3 * i + 7) // 8 * 8
        expected = expected + 16 + (3 * i + 7) // 8 * 8
        list[#list + 1] = { at }
        at = at + 16
      end
      for k = 1, #list do -- no two neighbours follow each other
        local place, length = table.unpack(list[k * 37 % #list + 1])
        local bytes = {}
        for i = 1, length or 0 do bytes[i] = 1 end
        w:place(place)
        w:root("jni_global", length and w:primitive_array("byte", bytes) or w:new(number, { n = 1 }))
      end
    end))
    for _, how in ipairs { {}, { "--quick" } } do
      local r = by_type((helper.rows(how[1] and "objects-quick" or "objects", "objects", f, table.unpack(how))))
      assert.equal(40 * 16, r["app.Number"].shallow_bytes)
      assert.equal(expected, r["byte[]"].shallow_bytes)
    end
  end)

  it("counts by class in one pass as the graph does", function()
    local function same(dump)
      local expected = {}
      for i, row in ipairs((helper.rows("objects", "objects", dump, "--order", "shallow"))) do
        expected[i] = { type = row.type, count = row.count, shallow_bytes = row.shallow_bytes }
      end
      local rows, meta = helper.rows("objects-quick", "objects", dump, "--quick")
      assert.same(expected, rows)
      return meta
    end
    assert.equal(6, same(file).objects)
    local text = helper.read(file)
    local cut = helper.write(dir .. "/cut.hprof", text:sub(1, #text - 20))
    assert.is_true(same(cut).partial)
    local refused = helper.tidemark("objects", helper.write(dir .. "/none", "{}"), "--quick")
    assert.truthy(refused.err:find("not a JVM heap dump", 1, true))
  end)

  it("gives a diamond's tail to its top, not to its arms", function()
    local g = assert(core.read(file))
    local a, d = g:find(top), g:find(tail)
    assert.equal(3 * 40 + 32, g:node(a).retained_bytes)
    assert.equal(a, g:node(d).dominator)
    for _, row in ipairs { g:fields(a)[1], g:fields(a)[2] } do assert.equal(40, g:node(row.node).retained_bytes) end
  end)

  it("names the way from the root", function()
    local rows = helper.rows("path", "path", file, ("0x%x"):format(tail))
    local way = {}
    for i, row in ipairs(rows) do way[i] = row.edge .. " " .. row.type end
    assert.same({ "jni global app.Node", "left app.Node", "left byte[]" }, way)
  end)

  it("shows an object's fields and values", function()
    local g = assert(core.read(file))
    local fields = {}
    for _, row in g:fields(g:find(top)):rows() do fields[row.name] = row.value end
    assert.equal("7", fields.n)
    assert.equal(("0x%x"):format(tail + 64), fields.left) -- b lies behind d
  end)

  it("lists the holders of the most", function()
    local rows = helper.rows("holders", "holders", file)
    assert.equal(3 * 40 + 32, rows[1].retained_bytes)
    local below = helper.rows("holders", "holders", file, "#" .. rows[1].node)
    assert.equal(3, #below)
  end)

  it("reads 4-byte ids and a single heap record", function()
    local g = assert(core.read { bytes = hprof(diamond, { id_bytes = 4, version = "1.0.1", one_record = true }) })
    assert.equal(6, g:info().nodes)
    assert.equal(1, #g:objects { nodecount = 1 })
  end)

  it("does not take weak references for holding ones, unless told", function()
    local g = assert(core.read { bytes = hprof(function(w)
      local reference = w:class("java.lang.ref.Reference", { fields = { { "queue", "object" }, { "referent", "object" } } })
      local weak = w:class("java.lang.ref.WeakReference", { super = reference })
      local bytes = w:primitive_array("long", { 1, 2, 3 })
      w:root("jni_global", w:new(weak, { referent = bytes }))
      w:root("jni_global", w:new(weak, {})) -- a cleared one
    end) })
    assert.equal(1, by_type({ g:objects {}[1], g:objects {}[2], g:objects {}[3], g:objects {}[4] })["long[]"].unreachable_count)
    local all = {}
    for i, row in g:objects { follow = "weak" }:rows() do all[i] = row end
    assert.equal(0, by_type(all)["long[]"].unreachable_count)
  end)

  it("lets a thread hold its locals", function()
    local g = assert(core.read { bytes = hprof(function(w)
      local thread = w:class("java.lang.Thread")
      local t, kept = w:new(thread), w:primitive_array("int", { 1 })
      w:root("thread", t, 9)
      w:root("local_", kept, 9)
    end) })
    local way = g:path(g:find(0x80000000 + 64 + 64))
    assert.equal(2, #way)
    assert.equal("java.lang.Thread", way[1].type)
    assert.equal("<local>", way[2].edge)
  end)

  it("keeps what is whole of a dump that is cut anywhere", function()
    local whole = helper.read(file)
    for cut = 1, #whole - 1, 7 do
      local g, err = core.read { bytes = whole:sub(1, cut) }
      assert.is_true(err ~= nil or cut >= #whole - 9, "no word of the cut at " .. cut)
      if g then
        assert.equal("graph", g.kind)
        g:objects {}
      end
    end
  end)

  it("assumes roots when a cut took them, and lays out a class that is its own superclass", function()
    local bytes = hprof(function(w)
      local c = w:class("app.Loop", { super = 0x80000000, fields = { { "x", "object" } } })
      w:new(c, {})
    end)
    local g = assert(core.read { bytes = bytes })
    assert.equal(1, g:info().roots)
    assert.equal(2, g:info().nodes)
  end)
end)

describe("a V8 heap snapshot", function()
  teardown(helper.tidy)
  -- (root) -> "(GC roots)" -> Leaky 3 -> Array 5 by property, weakly to 7; a WeakMap's table 9 -> value 11 by key 3
  local function snapshot(node_fields, with_detached)
    local strings = { "", "(GC roots)", "Leaky", "Array", "data", "12 / part of key (Leaky @5) -> value (Object @13) pair in WeakMap (table @11)", "gone" }
    local nodes = { { 9, 0, 1, 0, 1 }, { 9, 1, 3, 0, 2 }, { 3, 2, 5, 100, 3 }, { 3, 3, 7, 50, 0 }, { 3, 6, 9, 7, 0 }, { 1, 0, 11, 20, 1 }, { 3, 3, 13, 30, 0 } }
    local edges = { { 1, 1, 1 }, { 1, 1, 2 }, { 1, 2, 5 }, { 2, 4, 3 }, { 6, 4, 4 }, { 3, 5, 6 }, { 3, 5, 6 } }
    local out, width = {}, with_detached and 6 or 5
    for i, n in ipairs(nodes) do
      if with_detached then n[6] = i == 4 and 2 or 0 end
      out[i] = table.concat(n, ",")
    end
    local e = {}
    for i, x in ipairs(edges) do e[i] = ("%d,%d,%d"):format(x[1], x[2], x[3] * width) end
    for i, s in ipairs(strings) do strings[i] = core.json(s) end
    return ([[{"snapshot":{"meta":{"node_fields":%s,"node_types":[["hidden","array","string","object","code","closure","regexp","number",
"native","synthetic"],"string","number","number","number"],"edge_fields":["type","name_or_index","to_node"],
"edge_types":[["context","element","property","internal","hidden","shortcut","weak"],"string_or_number","node"]},
"node_count":%d,"edge_count":%d},"nodes":[%s],"edges":[%s],"trace_tree":[],"locations":[],"strings":[%s]}]]):format(node_fields, #nodes, #edges,
      table.concat(out, "\n,"), table.concat(e, "\n,"), table.concat(strings, ",\n"))
  end
  local five = '["type","name","id","self_size","edge_count"]'

  it("gives a WeakMap's value to its key, and nothing to weak edges", function()
    local g = assert(core.read { bytes = snapshot(five) })
    assert.equal(180, g:node(g:find(5)).retained_bytes) -- Leaky, its Array and the value in the table
    assert.equal(20, g:node(g:find(11)).retained_bytes)
    local way = g:path(g:find(7), { follow = "strong" })
    assert.same({ "(synthetic)", "(synthetic)", "Leaky", "Array" }, way:column("type"))
    assert.equal("data", way[4].edge)
    assert.equal(7 + 100 + 50 + 20 + 30, g:info().shallow_bytes)
  end)

  it("reads records by the names of their fields, whatever their number", function()
    local six = '["type","name","id","self_size","edge_count","detachedness"]'
    local a, b = assert(core.read { bytes = snapshot(five) }), assert(core.read { bytes = snapshot(six, true) })
    assert.equal(a:objects({}):json(), b:objects({}):json())
  end)

  it("keeps the graph when the end is cut, and says where", function()
    local whole = snapshot(five)
    local g, err = core.read { bytes = whole:sub(1, #whole - 60) }
    assert.equal(7, g:info().nodes)
    assert.is_true(g.partial)
    assert.matches("at byte", err.message)
    local part, problem = core.read { bytes = whole:sub(1, 500) }
    assert.is_true(part.partial)
    assert.matches("inside its nodes", problem.message)
    local none = core.read { bytes = whole:sub(1, 400) }
    assert.is_nil(none)
  end)

  it("refuses edges that lead nowhere", function()
    local g, err = core.read { bytes = (snapshot(five):gsub("3,5,30\n,3,5,30", "3,5,3000\n,3,5,31")) }
    assert.is_true(g == nil or g.partial)
    assert.matches("leads to no node", err.message)
  end)
end)
