-- What JVM heap dumps say beside their objects: frames of locals, threads, parts of an Android heap, several dumps in a file, allocation
-- sites, and what could not be read of a damaged one.
local core = require "tidemark.core"
local helper = require "spec.support.helper"
local hprof = require "spec.support.hprof_writer"

local dir
setup(function() dir = helper.folder() end)
teardown(helper.tidy)

local function file(name, build, options) return helper.write(dir .. "/" .. name, hprof(build, options)) end

-- A thread "main" in app.Main.work, which has a list in a local.
local function threads(w)
  local text = w:class("java.lang.String", { fields = { { "value", "object" }, { "coder", "byte" } } })
  local thread = w:class("java.lang.Thread", { fields = { { "name", "object" } } })
  local main = w:class("app.Main")
  local list = w:class("app.List", { fields = { { "items", "object" } } })
  w:trace(7, { w:frame(main, "work", "Main.java", 12), w:frame(main, "main", "Main.java", -1) })
  local name = w:new(text, { value = w:primitive_array("byte", { 109, 97, 105, 110 }) })
  local t = w:new(thread, { name = name })
  local held = w:new(list, { items = w:primitive_array("long", { 1, 2, 3 }) })
  local native = w:new(list, {})
  w:root("thread", t, 3, 7)
  w:root("local_", held, 3, 0)
  w:root("local_", native, 3, 0xffffffff)
  return held, native
end

local function edges(path, object)
  local out = {}
  for i, row in ipairs((helper.rows("path", "path", path, ("0x%x"):format(object)))) do out[i] = row.edge end
  return out
end

describe("roots of a JVM dump", function()
  it("are named by thread, method and line", function()
    local held, native
    local f = file("threads.hprof", function(w) held, native = threads(w) end)
    assert.same({ 'thread "main"', "<local> app.Main.work (Main.java:12)" }, edges(f, held))
    assert.same({ 'thread "main"', "<local>" }, edges(f, native))
    local rows = helper.rows("consumers", "consumers", f, "--by", "thread")
    assert.equal('java.lang.Thread "main"', rows[1].name)
    local folded = helper.rows("consumers", "consumers", f, "--by", "root")
    assert.equal("thread", folded[1].name)
  end)

  it("of chars before JDK 9, and of what the VM said when a thread began", function()
    local first, second
    local f = file("old.hprof", function(w)
      local thread = w:class("java.lang.Thread", { fields = { { "name", "object" } } })
      first = w:new(thread, { name = w:primitive_array("char", { 0x6a, 0xe9 }) })
      second = w:new(thread, {})
      w:class("worker")
      w:record(0x01, (">I8"):pack(0x99) .. "worker-2")
      w:record(0x0a, (">I4I8I4I8I8I8"):pack(9, second, 0, 0x99, 0, 0))
      w:root("thread", first, 8)
      w:root("thread", second, 9)
    end)
    assert.same({ 'thread "jé"' }, edges(f, first))
    assert.same({ 'thread "worker-2"' }, edges(f, second))
  end)

  it("give type paths that do not change with the line", function()
    local f = file("threads.hprof", threads)
    local found
    local t = assert(assert(core.read(f)):paths {}):report("top", {})
    for _, row in t:rows() do found = found or row.name:find("<local> app.Main.work", 1, true) and row.name end
    assert.equal("<local> app.Main.work app.List", found)
  end)
end)

describe("an Android dump", function()
  it("says which part of the heap objects lie in", function()
    local f = file("android.hprof", function(w)
      local node = w:class("app.Node", { fields = { { "next", "object" } } })
      w:part(65, "app")
      local a = w:new(node)
      w:part(90, "zygote")
      w:root("jni_global", w:new(node, { next = a }))
      w:root("jni_global", w:new(node))
    end, { version = "1.0.3", id_bytes = 4 })
    local r = {}
    for _, row in ipairs((helper.rows("consumers", "consumers", f, "--by", "heap"))) do r[row.name] = row end
    assert.equal(1, r.app.count)
    assert.equal(2, r.zygote.count)
    assert.equal(3 * 16, r.zygote.retained_bytes)
    assert(assert(core.read(f, { index = { f .. ".tmx" } })):save_index(f .. ".tmx"))
    local again = assert(core.read(f, { index = { f .. ".tmx" } }))
    assert.is_true(again:indexed())
    assert.equal(2, assert(again:consumers("heap", {}))[1].count)
  end)
end)

describe("a file of several dumps", function()
  local function dump(count)
    return function(w)
      local node = w:class("app.Node", { fields = { { "n", "int" } } })
      for i = 1, count do w:root("jni_global", w:new(node, { n = i })) end
    end
  end
  for _, one in ipairs { true, false } do
    it("gives the one that is asked for, " .. (one and "of HEAP_DUMP records" or "of segments"), function()
      local options = { one_record = one }
      local bytes = hprof(dump(2), options) .. hprof(dump(5), options):sub(32) .. hprof(dump(9), options):sub(32)
      local f = helper.write(dir .. "/several.hprof", bytes)
      for part, count in pairs { [""] = 2, ["#1"] = 2, ["#2"] = 5, ["#3"] = 9 } do
        local rows, meta = helper.rows("objects", "objects", f .. part)
        assert.equal("app.Node", rows[1].type)
        assert.equal(count, rows[1].count)
        assert.truthy(meta.problems[1]:find("2 further dumps in the file", 1, true))
      end
      assert.truthy(helper.tidemark("objects", f .. "#4").err:find("the file holds 3 dumps, not 4", 1, true))
    end)
  end
end)

describe("allocation sites", function()
  it("are those of the last record, the class as the leaf", function()
    local f = file("sites.hprof", function(w)
      local node = w:class("app.Node", { fields = { { "n", "int" } } })
      local main = w:class("app.Main")
      w:trace(7, { w:frame(main, "make", "Main.java", 12), w:frame(main, "main", "Main.java", 3) })
      w:root("jni_global", w:new(node, {}, 7))
      local function sites(live, gone)
        return (">I2I4I4I4I8I8I4"):pack(0, 0, 0, 0, 0, 0, 1) .. (">I1I4I4I4I4I4I4"):pack(0, w:serial(node), 7, live * 24, live, gone * 24, gone)
      end
      w:record(0x06, sites(1, 1))
      w:record(0x06, sites(3, 10))
    end)
    local rows = helper.rows("sites", "sites", f, "--sample_index", "alloc_objects")
    assert.equal("app.Node", rows[1].name)
    assert.equal(10, rows[1].flat)
    local cum = {}
    for _, row in ipairs((helper.rows("sites", "sites", f, "--sample_index", "inuse_space", "--cum"))) do cum[row.name] = row.cum end
    assert.equal(3 * 24, cum["app.Main.make"])
    assert.equal(3 * 24, cum["app.Main.main"])
  end)

  it("are counted from live objects when there is no such record; HotSpot names none", function()
    local f = file("traces.hprof", function(w)
      local node = w:class("app.Node", { fields = { { "n", "int" } } })
      w:trace(7, { w:frame(node, "make", "Main.java", 12) })
      for _ = 1, 4 do w:root("jni_global", w:new(node, {}, 7)) end
    end)
    local rows = helper.rows("sites", "sites", f, "--sample_index", "inuse_objects")
    assert.equal("app.Node.make", rows[1].name)
    assert.equal(4, rows[1].flat)
    assert.truthy(helper.tidemark("sites", file("none.hprof", threads)).err:find("tells nothing of allocations", 1, true))
  end)
end)

describe("problems of a dump", function()
  it("are listed with counts and places", function()
    local f = file("damaged.hprof", function(w)
      local a = w:class("app.A", { super = 0x80000000, fields = { { "x", "object" } } }) -- its own superclass
      local b = w:class("app.B", { super = 0x7000, fields = { { "y", "object" } } })
      w:record(0x77, "what")
      w:root("jni_global", w:new(a, { x = 0x123 }))
      w:raw("\x21" .. (">I8I4I8I4"):pack(0x90000000, 0, b, 24) .. ("\0"):rep(24))
      w:raw("\x21" .. (">I8I4I8I4"):pack(0x90000100, 0, 0x6000, 8) .. ("\0"):rep(8))
      w:root("jni_global", 0x456)
    end)
    local rows, meta = helper.rows("objects-problems", "objects", f, "--problems")
    local counts = {}
    for _, row in ipairs(rows) do counts[row.problem] = row.count end
    assert.same({
      ["records of an unknown kind, skipped"] = 1, ["classes that objects name and the dump lacks"] = 1,
      ["objects whose fields do not fit their class"] = 1, ["classes with too many or circular classes above"] = 1,
      ["roots that are no object of the dump"] = 1, ["references to no object of the dump"] = 2, -- 0x123, and the class above app.B
    }, counts)
    assert.is_true(meta.partial)
    local g = core.read(f)
    assert.equal(1, g:objects({})[1].count)
  end)
end)

-- Every answer that a graph gives, of whatever is left of a dump.
local function ask_all(g)
  assert(g:objects {})
  assert(g:dominated(nil, {}))
  assert(g:paths {})
  assert(g:problems())
  for n = 0, math.min(g:info().nodes, 20) - 1 do
    assert(g:path(n, {}))
    assert(g:fields(n))
  end
end

describe("a damaged dump", function()
  it("gives what is whole of it when it is cut at any hundredth", function()
    local whole = hprof(function(w)
      threads(w)
      local node = w:class("app.Node", { fields = { { "next", "object" } } })
      local last = 0
      for _ = 1, 200 do last = w:new(node, { next = last }) end
      w:root("jni_global", last)
    end)
    local before = 0
    for percent = 1, 99 do
      local g, err = core.read { bytes = whole:sub(1, #whole * percent // 100) }
      assert.truthy(err and err.message, percent .. " %")
      if g then
        assert.is_true(g.partial)
        assert.is_true(err.offset <= #whole * percent // 100)
        assert.is_true(g:info().nodes >= before)
        before = g:info().nodes
        ask_all(g)
      end
    end
    assert.is_true(before > 190)
  end)

  it("takes the VM's classes, threads, loaders and what they lost for roots, when the end with the classes is cut", function()
    local statics, thread, orphan
    local whole = hprof(function(w)
      local object = w:class("java.lang.Object")
      local above = w:class("java.lang.Thread", { super = object, fields = { { "name", "object" } } })
      local loader = w:class("java.lang.ClassLoader", { super = object })
      local kept = w:new(loader)
      statics = w:primitive_array("byte", { 1 })
      w:class("app.Held", { loader = kept, statics = { { "a", "object", statics } } })
      orphan = w:primitive_array("byte", { 2 })
      w:class("app.Orphan", { loader = 0x666000, statics = { { "a", "object", orphan } } })
      thread = w:new(w:class("app.Worker", { super = above }), { name = w:primitive_array("char", { 65 }) })
      w:root("jni_global", w:new(object))
      w:root("sticky", object)
    end)
    local g = core.read { bytes = whole:sub(1, -15) } -- in the last root
    assert.is_true(g.partial)
    for _, id in ipairs { orphan, thread } do assert.is_true(g:node(g:find(id)).reachable) end
    assert.is_false(g:node(g:find(statics)).reachable) -- its class hangs on a loader that has no list of classes here
    assert.equal(0, #g:path(g:find(statics), {}))
    assert.equal("assumed", g:path(g:find(thread), {})[1].edge)
  end)

  it("has lengths of 4 GB that nothing stands behind", function()
    local lengths = "\xff\xff\xff\xff"
    local tails = {
      array = "\x22" .. (">I8I4"):pack(0x90000000, 0) .. lengths .. (">I8"):pack(0x80000000),
      bytes = "\x23" .. (">I8I4"):pack(0x90000000, 0) .. lengths .. "\x08",
      instance = "\x21" .. (">I8I4I8"):pack(0x90000000, 0, 0x80000000) .. lengths,
      class = "\x20" .. (">I8I4I8I8I8I8I8I8I4"):pack(0x90000000, 0, 0, 0, 0, 0, 0, 0, 0) .. "\xff\xff\xff\xff",
    }
    for name, tail in pairs(tails) do
      local g, err = core.read { bytes = hprof(function(w)
        w:root("jni_global", w:new(w:class("app.Node")))
        w:raw(tail)
      end) }
      assert.truthy(err.message:find("a heap segment holds what is no object", 1, true), name)
      assert.equal(2, g:info().nodes, name)
      ask_all(g)
    end
    for _, tag in ipairs { 0x01, 0x02, 0x04, 0x05, 0x06, 0x0a } do
      local bytes = hprof(function(w) w:root("jni_global", w:new(w:class("app.Node"))) end)
      local g, err = core.read { bytes = bytes .. string.char(tag) .. "\0\0\0\0" .. lengths .. "xx" }
      assert.truthy(err.message:find("ends inside a record", 1, true))
      ask_all(g)
    end
    local sites = (">I2I4I4I4I8I8"):pack(0, 0, 0, 0, 0, 0) .. lengths
    local g = assert(core.read { bytes = hprof(function(w)
      w:record(0x06, sites)
      w:record(0x05, (">I4I4"):pack(7, 0) .. lengths)
      w:root("jni_global", w:new(w:class("app.Node"), {}, 7))
    end) })
    g:allocations()
    ask_all(g)
  end)

  it("has ids of nothing: in fields, roots, frames and classes", function()
    local g = assert(core.read { bytes = hprof(function(w)
      local wild = { 1, 0x7fffffffffffffff, -1, 0x80000001 }
      local node = w:class("app.Node", { loader = -1, fields = { { "a", "object" }, { "b", "object" } }, statics = { { "s", "object", -1 } } })
      for _, id in ipairs(wild) do
        w:root("jni_global", w:new(node, { a = id, b = id }, id & 0xffff))
        w:root("local_", id, id & 0xff, id & 0xff)
        w:root("thread", id, id & 0xff, id & 0xff)
      end
      w:object_array(node, wild)
      w:trace(1, wild)
    end) })
    ask_all(g)
    assert.equal(5, g:objects({})[1].count) -- with the array, which is of that class
  end)
end)

describe("a dump of cycles and long chains", function()
  it("of a million objects is walked without recursion", function()
    local count, at = 1000000, 0x90000000
    local g = assert(core.read { bytes = hprof(function(w)
      local node = w:class("app.Node", { fields = { { "next", "object" } } })
      local head, parts = (">I4I4"):pack(0, node), {}
      for i = 1, count do -- each refers to the one before, the first to the last
        local to = i == 1 and count or i - 1
        parts[i] = "\x21" .. (">I4"):pack(at + 16 * i) .. head .. (">I4I4"):pack(4, at + 16 * to)
      end
      w:raw(table.concat(parts))
      w:root("jni_global", at + 16 * count)
    end, { id_bytes = 4 }) })
    local rows = g:objects {}
    assert.equal(count, rows[1].count)
    assert.equal(count * 16, rows[1].retained_bytes)
    assert.equal(count, #g:path(g:find(at + 16), {}))
    assert.equal(1, #assert(g:paths {}):report("top", {}))
  end)
end)
