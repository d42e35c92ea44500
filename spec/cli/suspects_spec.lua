-- Leak suspects, waste and topology of heap dumps of which every object is known, in all three formats.
local core = require "tidemark.core"
local goheap = require "spec.support.goheap_writer"
local helper = require "spec.support.helper"
local hprof = require "spec.support.hprof_writer"
local leaks = require "spec.support.leaks"

local jvm, v8, go, dir
local function write_dumps()
  dir = helper.folder()
  jvm = helper.write(dir .. "/a.hprof", leaks.jvm())
  v8 = helper.write(dir .. "/a.heapsnapshot", leaks.v8())
  go = helper.write(dir .. "/a.goheap", leaks.go())
end

local function found(schema, ...)
  local words = { ... }
  table.insert(words, 2, "--json")
  local document, code = helper.document(schema, table.unpack(words))
  return document.rows, document.meta, code
end

local function all(rows, field, value)
  local out = {}
  for _, row in ipairs(rows) do
    if row[field] == value then out[#out + 1] = row end
  end
  return out
end

describe("leak suspects", function()
  teardown(helper.tidy)
  setup(write_dumps)

  it("name the map, its static field, its loader's objects and the share", function()
    local rows, meta, code = found("suspects", "suspects", jvm)
    assert.equal(1, code)
    local s = rows[1]
    assert.same({ "object", "java.util.HashMap", "static com.acme.App.cache", "com.acme.Session", 40 },
      { s.kind, s.owner_type, s.place, s.piled_type, s.piled_count })
    assert.matches("^one java.util.HashMap in static com.acme.App.cache holds .* in 40 com.acme.Session", s.text)
    assert.equal(s.retained_bytes / meta.reachable_bytes, s.share_ratio)
    assert.equal(s.text, found("suspects", "suspects", jvm)[1].text) -- the same every time
  end)

  it("find what a property of the global object holds", function()
    local s = found("suspects", "suspects", v8)[1]
    assert.same({ "Array", "global.keep", "Session", 40 }, { s.owner_type, s.place, s.piled_type, s.piled_count })
  end)

  it("find what a global of Go holds", function()
    local s = found("suspects", "suspects", go)[1]
    assert.matches("^static", s.place)
    assert.equal(40, s.piled_count)
  end)

  it("tell a chain by its first link", function()
    local path = helper.write(dir .. "/chain.hprof", hprof(function(w)
      local node = w:class("app.Node", { fields = { { "next", "object" }, { "a", "long" } } })
      local last = 0
      for _ = 1, 500 do last = w:new(node, { next = last }) end
      w:root("sticky", w:class("app.List", { statics = { { "head", "object", last } } }))
    end))
    local s = all(found("suspects", "suspects", path), "kind", "chain")[1]
    assert.equal(500, s.count)
    assert.equal("a chain of 500 app.Node", s.text:match("^a chain of 500 app.Node"))
  end)

  it("tell of an object that is great by itself what it is", function()
    local path = helper.write(dir .. "/text.hprof", hprof(function(w)
      local many = {}
      for i = 1, 500 do many[i] = i end
      w:root("sticky", w:class("app.Text", { statics = { { "all", "object", w:primitive_array("long", many) } } }))
    end))
    local s = found("suspects", "suspects", path)[1]
    assert.matches('^one long%[%] "500 elements" in static app.Text.all is 3.9. KiB by itself', s.text)
  end)

  it("group what only the roots hold together", function()
    local path = helper.write(dir .. "/group.hprof", hprof(function(w)
      local job = w:class("app.Job", { fields = { { "x", "long" } } })
      for _ = 1, 50 do w:root("jni_global", w:new(job, {})) end
    end))
    local s = all(found("suspects", "suspects", path), "kind", "group")[1]
    assert.same({ "app.Job", 50 }, { s.type, s.count })
  end)

  it("count fans: listeners piling up on one holder that others hold too", function()
    local path = helper.write(dir .. "/fan.hprof", hprof(function(w)
      local listener, list = w:class("app.Listener"), w:class("java.lang.Object[]")
      local many = {}
      for i = 1, 1200 do many[i] = w:new(listener, {}) end
      local array = w:object_array(list, many)
      w:root("sticky", w:class("app.Bus", { statics = { { "listeners", "object", array } } }))
      for i = 1, 1200 do w:root("jni_global", many[i]) end
    end))
    local s = all(found("suspects", "suspects", path, "--share", "50%"), "kind", "fan")[1]
    assert.same({ "app.Listener", 1200, "static app.Bus.listeners" }, { s.piled_type, s.piled_count, s.place })
  end)

  it("are none where nothing holds so much", function()
    local rows, _, code = found("suspects", "suspects", v8, "--share", "100%")
    assert.equal(0, #rows)
    assert.equal(0, code)
    assert.equal(2, helper.tidemark("suspects", v8, "--share", "7").code)
  end)
end)

describe("lint", function()
  teardown(helper.tidy)
  setup(write_dumps)

  it("finds copies, zeros, empty and sparse collections, boxes, thread locals and classes of two loaders", function()
    local rows = helper.rows("lint", "lint", jvm)
    local strings = all(rows, "check", "duplicate strings")
    assert.equal(2, #strings)
    assert.same({ 20, 20 }, { strings[1].count, strings[2].count })
    assert.equal("berta", strings[1].text)
    assert.equal(38, all(rows, "check", "duplicate strings (all)")[1].count)
    assert.equal(1, #all(rows, "check", "zero arrays"))
    assert.equal("int[]", all(rows, "check", "zero arrays")[1].type)
    assert.equal(0, #all(rows, "check", "duplicate arrays"))
    local maps = all(rows, "check", "collections")[1]
    assert.same({ "java.util.HashMap", 3 }, { maps.type, maps.count })
    assert.matches("33 %% empty .* 1 less than a quarter full", maps.text)
    local boxes = all(rows, "check", "boxed numbers")[1]
    assert.same({ 2, "1 different values" }, { boxes.count, boxes.text })
    assert.equal(boxes.bytes // 2, boxes.waste_bytes)
    local locals = all(rows, "check", "thread locals")[1]
    assert.same({ "long[]", 'of java.lang.Thread "worker-1"' }, { locals.type, locals.text })
    local twice = all(rows, "check", "classes loaded twice")[1]
    assert.same({ "com.acme.Plugin", 2 }, { twice.type, twice.count })
  end)

  it("counts what a map has in cells, and a deque around the end of its array", function()
    local path = helper.write(dir .. "/counts.hprof", hprof(function(w)
      local cell = w:class("java.util.concurrent.ConcurrentHashMap$CounterCell", { fields = { { "value", "long" } } })
      local map = w:class("java.util.concurrent.ConcurrentHashMap",
        { fields = { { "baseCount", "long" }, { "counterCells", "object" }, { "table", "object" } } })
      local deque = w:class("java.util.ArrayDeque", { fields = { { "elements", "object" }, { "head", "int" }, { "tail", "int" } } })
      local function places(n)
        local list = {}
        for i = 1, n do list[i] = 0 end
        return w:object_array(w:class("[Ljava.lang.Object;"), list)
      end
      local cells = w:object_array(w:class("[Lcells;"), { w:new(cell, { value = 20 }), 0, w:new(cell, { value = 9 }) })
      w:root("jni_global", w:new(map, { baseCount = -5, counterCells = cells, table = places(32) }))
      w:root("jni_global", w:new(deque, { elements = places(16), head = 14, tail = 3 }))
      w:root("jni_global", w:new(deque, { elements = places(16), head = 7, tail = 7 }))
    end))
    local rows = all(helper.rows("lint", "lint", path), "check", "collections")
    assert.same({ { "java.util.ArrayDeque", 2 }, { "java.util.concurrent.ConcurrentHashMap", 1 } },
      { { rows[1].type, rows[1].count }, { rows[2].type, rows[2].count } })
    assert.matches("50 %% empty .* 16 %% of 32 places used", rows[1].text) -- five
    assert.matches("0 %% empty .* 75 %% of 32 places used", rows[2].text) -- 24
  end)

  it("counts references whose referent nothing else holds", function()
    local path = helper.write(dir .. "/weak.hprof", hprof(function(w)
      local reference = w:class("java.lang.ref.Reference", { fields = { { "referent", "object" } } })
      local weak = w:class("java.lang.ref.WeakReference", { super = reference })
      local kept, lost = w:primitive_array("long", { 1 }), w:primitive_array("long", { 1, 2 })
      w:root("jni_global", kept)
      for _, referent in ipairs { kept, lost, 0 } do w:root("jni_global", w:new(weak, { referent = referent })) end
    end))
    local row = all(helper.rows("lint", "lint", path), "check", "weak references")[1]
    assert.equal(3, row.count)
    assert.equal("weak; 1 cleared, of 1 nothing else holds the referent", row.text)
    assert.equal(40, row.bytes)
  end)

  it("finds equal strings of V8 and equal bytes of Go", function()
    local strings = all(helper.rows("lint", "lint", v8), "check", "duplicate strings")
    assert.same({ 20, 19 * 60 }, { strings[1].count, strings[1].waste_bytes })
    local arrays = all(helper.rows("lint", "lint", go), "check", "duplicate arrays")
    assert.same({ 40, 39 * 208 }, { arrays[1].count, arrays[1].waste_bytes })
    assert.matches("^payload of the same", arrays[1].text)
  end)
end)

describe("topology", function()
  teardown(helper.tidy)
  setup(write_dumps)

  it("draws the biggest holders with real references", function()
    local rows = helper.rows("topology", "topology", jvm, "--nodecount", "6")
    local nodes, edges = all(rows, "kind", "node"), all(rows, "kind", "edge")
    assert.equal(6, #nodes)
    local map = all(nodes, "type", "java.util.HashMap")[1]
    assert.is_true(#all(all(edges, "to", map.name), "label", "cache") == 1)
    local out = helper.tidemark("topology", jvm, "--nodecount", "6").out
    assert.matches("^flowchart TD\n", out)
    assert.matches('|"cache"| n%d', out)
    assert.equal(out, helper.tidemark("topology", jvm, "--nodecount", "6").out)
    assert.matches("^digraph heap {\n.*n1 %-> n%d.*}\n$", helper.tidemark("topology", v8, "--form", "dot").out)
    assert.matches("40 Session", helper.tidemark("topology", v8).out)
  end)

  it("marks what an earlier dump had and no stack reaches", function()
    for _, path in ipairs { jvm, v8, go } do
      local old = path:gsub("/a%.", "/old.")
      helper.write(old, helper.read(path))
      assert.equal(2, helper.tidemark("topology", path, "--dump", old).code) -- too young
      os.execute("touch -d '2 hours ago' " .. helper.quote(old))
      local rows = all(helper.rows("topology", "topology", path, "--dump", old), "kind", "node")
      assert.is_true(#all(rows, "stale", true) > 0, path)
      for _, row in ipairs(all(rows, "stale", true)) do
        assert.is_false(row.active)
        assert.is_true(row.age_ns > 7000 * 1000000000)
      end
    end
    local local_row
    for _, row in ipairs(helper.rows("topology", "topology", go)) do
      if row.kind == "node" and row.retained_bytes == 512 then local_row = row end
    end
    assert.is_true(local_row.active) -- a frame holds it
  end)

  it("archives chosen objects compressed", function()
    local to = dir .. "/kept"
    local bytes, whole = ("0x%x"):format(leaks.jvm_nodes.value), ("0x%x"):format(leaks.jvm_nodes.cache)
    assert.equal(0, helper.tidemark("topology", jvm, "--archive", bytes, "--archive", whole, "--archive-to", to).code)
    local raw = helper.shell(("gzip -dc %s/hprof-%d.bin.gz"):format(to, leaks.jvm_nodes.value)).out
    assert.equal((">I8I8I8"):pack(1, 2, 3), raw)
    local json = core.json_decode(helper.shell(("gzip -dc %s/hprof-%d.json.gz"):format(to, leaks.jvm_nodes.cache)).out)
    assert.equal(40, #json.texts)
    assert.equal("java.util.HashMap", json.object.type)
  end)
end)

-- No dump may bring a verb down: objects that refer to themselves, nothing at all, a goroutine alone.
describe("questions to odd dumps", function()
  it("end in an answer", function()
    local odd = {
      hprof(function() end),
      hprof(function(w)
        local c = w:class("a.Self", { fields = { { "self", "object" } } })
        w:root("sticky", w:new(c, { self = 0x80000000 + 64 }))
      end),
      goheap(function(w) w:memstats() end),
    }
    for i, bytes in ipairs(odd) do
      local g = core.read { bytes = bytes }
      if g then
        local set = g:where {}
        assert.is_true(set:retained() >= 0, i)
        assert(set:paths {})
        assert(g:suspects {})
        assert(g:garbage {})
        for _, by in ipairs { "type", "package", "loader", "module", "context", "global", "root", "thread" } do assert(g:consumers(by)) end
        require("tidemark.report.lint").rows(g, 0)
        require("tidemark.report.topology").of(g, {})
      end
    end
  end)
end)
