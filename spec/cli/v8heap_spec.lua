-- V8 heap snapshots as DevTools shows them, by small snapshots whose answers are known by hand. The differential with
-- DevTools' own worker (spec/support/v8_diff.sh) holds real ones.
local core = require "tidemark.core"
local helper = require "spec.support.helper"
local writer = require "spec.support.v8heap_writer"

local six = { "type", "name", "id", "self_size", "edge_count", "detachedness" }

local function read(w) return assert(core.read { bytes = w:text() }) end
local function types(g)
  local out = {}
  for n = 0, g:info().nodes - 1 do out[n + 1] = g:node(n).type end
  return out
end

describe("a V8 heap snapshot", function()
  teardown(helper.tidy)

  it("gives what only one object uses to that object, and shows raw bytes beside", function()
    local w = writer()
    local a, b = w:root("object", "Session", 100), w:root("object", "Session", 10)
    local own, shared, deep = w:node("array", "", 40), w:node("array", "", 7), w:node("hidden", "system / Map", 5)
    w:edge(a, "internal", "elements", own)
    w:edge(own, "internal", "map", deep)
    w:edge(a, "internal", "properties", shared)
    w:edge(b, "internal", "properties", shared)
    local g = read(w)
    assert.equal(145, g:node(a - 1).shallow_bytes)
    assert.equal(100, g:node(a - 1).raw_bytes)
    assert.equal(0, g:node(own - 1).shallow_bytes)
    assert.equal(40, g:node(own - 1).raw_bytes)
    assert.equal(7, g:node(shared - 1).shallow_bytes)
    assert.equal(162, g:info().shallow_bytes)
    for _, row in g:objects():rows() do assert.equal(row.type == "Session" and 2 or 1, row.count) end
  end)

  it("leaves sizes as they are when the engine's internals are exposed", function()
    local w = writer()
    local a = w:node("object", "Session", 100)
    w:edge(2, "element", 1, a)
    w:edge(a, "internal", "elements", w:node("array", "", 40))
    assert.equal(100, read(w):node(a - 1).shallow_bytes)
  end)

  it("measures distances from objects of the user, then from the engine's roots", function()
    local w = writer()
    local a, b = w:root("object", "Window", 8), w:node("object", "App", 8)
    local engine, key, table_, value = w:node("hidden", "x", 8), w:node("object", "Key", 8), w:node("object", "WeakMap", 8), w:node("object", "Value", 8)
    w:edge(a, "property", "app", b)
    w:edge(2, "element", 1, engine)
    w:edge(b, "property", "map", table_)
    w:edge(a, "property", "key", key)
    local pair = " / part of key (Key @%d) -> value (Value @%d) pair in WeakMap (table @%d)"
    pair = pair:format(w.nodes[key].id, w.nodes[value].id, w.nodes[table_].id)
    w:edge(table_, "internal", "3" .. pair, value)
    w:edge(key, "internal", "4" .. pair, value)
    w:edge(a, "weak", "1", w:node("object", "Gone", 8))
    local g = read(w)
    local d = {}
    for n = 0, g:info().nodes - 1 do d[n + 1] = g:distance(n) or "none" end
    assert.same({ 100000000, 100000001, 1, 2, 100000002, 2, 3, 4, "none" }, d) -- the value is as far as its table lets it
    assert.equal(16, g:node(key - 1).retained_bytes)
    assert.equal(8, g:node(table_ - 1).retained_bytes)
  end)

  it("spreads what documents hold, and what they do not, over native nodes only", function()
    local w = writer { fields = six }
    local page = w:root("native", '<body class="x">', 8, { detachedness = 1 })
    local tree = w:root("native", '<div id="a b">', 8, { detachedness = 2 })
    local inner, text, js, behind = w:node("native", "<p>", 8), w:node("native", "Text", 8), w:node("object", "Row", 8), w:node("native", "<i>", 8)
    w:edge(page, "element", 1, text)
    w:edge(tree, "element", 1, text)
    w:edge(tree, "element", 2, inner)
    w:edge(inner, "property", "row", js)
    w:edge(js, "property", "el", behind)
    w:edge(inner, "weak", "1", behind)
    local g = read(w)
    local dom = {}
    for i, n in ipairs { page, tree, inner, text, js, behind } do dom[i] = g:node(n - 1).dom or "unknown" end
    assert.same({ "attached", "detached", "detached", "attached", "unknown", "unknown" }, dom)
    assert.same({ "<body>", "Detached <div>", "Detached <p>", "Text", "Row", "<i>" }, table.move(types(g), 3, 8, 1, {}))
    assert.equal('Detached <div id="a b">', g:node(tree - 1).preview)
  end)

  it("names plain objects by the properties that many of them share", function()
    local w = writer()
    local v = w:node("object", "Value", 8)
    local function plain(...)
      local n = w:root("object", "Object", 8)
      for _, property in ipairs { ... } do w:edge(n, "property", property, v) end
      return n - 1
    end
    local ab, ba, abc, alone, odd, empty = plain("a", "b"), plain("b", "a"), plain("a", "c", "b"), plain("z"), plain("x,y", "__proto__"), plain()
    plain("a", "b")
    plain("x,y")
    local g = read(w)
    local function name(n) return g:node(n).type end
    assert.equal("{a, b}", name(ab))
    assert.equal("{a, b}", name(ba))
    assert.equal("{a, b}", name(abc))
    assert.equal("Object", name(alone))
    assert.equal('{"x,y"}', name(odd))
    assert.equal("Object", name(empty))
  end)

  it("keeps classes of one name apart by where they are defined", function()
    local w = writer()
    local a, b, c = w:root("object", "Item", 8), w:root("object", "Item", 16), w:root("object", "Item", 8)
    w:place(a, 1, 10, 2)
    w:place(b, 1, 50, 2)
    w:place(c, 1, 10, 2)
    local counts = {}
    for _, row in read(w):objects():rows() do if row.type == "Item" then counts[#counts + 1] = row.count end end
    table.sort(counts)
    assert.same({ 1, 2 }, counts)
  end)

  for form, location_fields in pairs { old = { "object_index", "script_id", "line", "column" },
    new = { "object_index", "script_id", "script_object_index", "line", "column" } } do
    it("says where functions come from, in the " .. form .. " form", function()
      local w = writer { location_fields = location_fields }
      local fn, shared, script = w:root("closure", "onClick", 8), w:node("code", "onClick", 8), w:node("code", "", 8)
      w:edge(fn, "internal", "shared", shared)
      w:edge(shared, "internal", "script", script)
      w:edge(script, "internal", "name", w:node("string", "app.js", 8))
      local other = w:root("closure", "x", 8)
      w:place(other, 9, 0, 0)
      w:place(fn, 4, 9, 3, script)
      local g = read(w)
      assert.equal("app.js:10:4", g:source(fn - 1))
      assert.equal("onClick() app.js:10:4", g:node(fn - 1).preview)
      assert.equal("script#9:1:1", g:source(other - 1))
      assert.is_nil(g:source(shared - 1))
    end)
  end

  it("says who allocated an object when that was recorded", function()
    local w = writer { fields = { "type", "name", "id", "self_size", "edge_count", "trace_node_id", "detachedness" } }
    local a, b = w:root("object", "Row", 8, { trace_node_id = 3 }), w:root("object", "Row", 8)
    local root, make, main, file = w:string("(root)"), w:string("make"), w:string("main"), w:string("app.js")
    w.functions = ("0,%d,%d,0,0,0,1,%d,%d,4,3,7,2,%d,%d,4,20,1"):format(root, root, main, file, make, file)
    w.trace_tree = "[1,0,0,0,[2,1,0,0,[3,2,1,8,[]],4,2,0,0,[]]]"
    local g = read(w)
    local stack = g:stack(a - 1)
    assert.same({ "make", "main" }, stack:column("function"))
    assert.same({ 20, 3 }, stack:column("line"))
    assert.equal("app.js", stack[1].file)
    assert.equal(0, #g:stack(b - 1))
  end)

  it("lists the sites of recorded allocations, those that are gone too", function()
    local w = writer { fields = { "type", "name", "id", "self_size", "edge_count", "trace_node_id", "detachedness" } }
    w:root("object", "Row", 8, { trace_node_id = 3 })
    w:root("object", "Row", 24, { trace_node_id = 3 })
    local root, make, main, file = w:string("(root)"), w:string("make"), w:string("main"), w:string("app.js")
    w.functions = ("0,%d,%d,0,0,0,1,%d,%d,4,3,7,2,%d,%d,4,20,1"):format(root, root, main, file, make, file)
    w.trace_tree = "[1,0,0,0,[2,1,7,70,[3,2,5,80,[]],4,2,0,0,[]]]"
    local p = read(w):allocations()
    local made, alive = p:report("top", { sample_index = "alloc_space" }), p:report("top", { sample_index = "inuse_objects", cum = true })
    assert.same({ "make", "main" }, made:column("name"))
    assert.same({ 80, 70 }, made:column("flat"))
    assert.same({ 80, 150 }, made:column("cum"))
    assert.same({ "main", "make" }, alive:column("name"))
    assert.same({ 0, 2 }, alive:column("flat"))
    assert.is_nil(read(writer()):allocations())
  end)

  it("puts a concatenated string together", function()
    local w = writer()
    local cons, left = w:root("concatenated string", "", 20), w:node("concatenated string", "", 20)
    w:edge(cons, "internal", "second", w:node("string", "c", 8))
    w:edge(cons, "internal", "first", left)
    w:edge(left, "internal", "first", w:node("string", "a", 8))
    w:edge(left, "internal", "second", w:node("string", "é", 8))
    assert.equal("aéc", read(w):node(cons - 1).preview)
  end)

  it("believes no count that the file cannot hold, and keeps what is whole at every cut", function()
    local w = writer { fields = six }
    for i = 1, 40 do w:edge(w:root("object", "Row" .. i % 3, 8), "property", "next", w:node("string", "text " .. i, 8)) end
    local whole = w:text()
    assert.equal(82, core.read({ bytes = (whole:gsub('"node_count":%d+', '"node_count":4294967295')) }):info().nodes)
    local before = 0
    for percent = 1, 99 do
      local g, err = core.read { bytes = whole:sub(1, #whole * percent // 100) }
      assert.is_true(err.offset == nil or err.offset <= #whole)
      local nodes = g and g:info().nodes or 0
      assert.is_true(nodes >= before)
      if g then assert.is_truthy(g:objects()) end
      assert.is_truthy(g or err.message)
      before = nodes
    end
    assert.equal(82, before)
  end)
end)

describe("tidemark detached", function()
  teardown(helper.tidy)

  it("groups detached trees by what they are and who holds them", function()
    local w = writer { fields = six }
    local window = w:root("object", "Window", 8)
    local rows = w:node("object", "Array", 8)
    w:edge(window, "property", "leak", rows)
    for i = 1, 3 do
      local row, div = w:node("object", "Row", 8), w:node("native", "<div>", 100, { detachedness = 2 })
      local text = w:node("native", "Text", 10, { detachedness = 2 })
      w:edge(rows, "element", i, row)
      w:edge(row, "property", "el", div)
      w:edge(div, "element", 1, text)
      w:edge(text, "element", 1, div)
    end
    w:edge(window, "property", "held", w:node("native", "<p>", 5, { detachedness = 2 }))
    local file = helper.write(helper.folder() .. "/d.heapsnapshot", w:text())
    local found, meta = helper.rows("detached", "detached", file)
    assert.equal(2, #found)
    assert.same({ "Detached <div>", "Row.el", 3, 6, 330 }, { found[1].type, found[1].holder, found[1].trees, found[1].nodes, found[1].retained_bytes })
    assert.same({ "Detached <p>", "Window.held", 1, 1, 5 }, { found[2].type, found[2].holder, found[2].trees, found[2].nodes, found[2].retained_bytes })
    assert.matches("Window.leak Array%[%d%] Row.el", found[1].path)
    assert.same({ 7, 4 }, { meta.nodes, meta.trees })
  end)

  it("says when a dump cannot tell", function()
    local ok, err = core.read({ bytes = require("spec.support.hprof_writer")(function(v) v:class("a.B") end) }):detached()
    assert.is_nil(ok)
    assert.equal("unsupported", err.code)
  end)
end)

describe("a JavaScriptCore heap snapshot", function()
  local function snapshot(kind, nodes)
    return ('{"version":3,"type":"%s","nodes":[%s],"nodeClassNames":["<root>","Window","Array","string"],'
      .. '"edges":[0,1,0,0,3,7,2,4,1,3,1,0,1,7,3,1,99,1,0,0],"edgeTypes":["Internal","Property","Index","Variable"],'
      .. '"edgeNames":["list","local"],"labels":["","a label"],"roots":[]}'):format(kind, nodes)
  end

  it("is a graph with classes, sizes and names of edges", function()
    local g = assert(core.read { bytes = snapshot("Inspector", "0,0,0,0,1,100,1,0,3,50,2,0,7,8,3,0") })
    assert.equal("jscheap", g.format)
    local window, list, text = g:find(1), g:find(3), g:find(7)
    assert.equal(158, g:node(window).retained_bytes)
    assert.equal(50, g:node(list).retained_bytes) -- the text has two holders
    assert.same({ "list", "local" }, g:fields(window):column("name"))
    assert.equal("[4]", g:fields(list)[1].name)
    assert.same({ "<root>", "Window", "string" }, g:path(text):column("type"))
    assert.equal(4, g:info().edges) -- one has no start
  end)

  it("has labels in its debugging form", function()
    local g = assert(core.read { bytes = snapshot("GCDebugging",
      '0,0,0,0,0,"0x0","0x0",1,100,1,0,1,"0x1f","0x0",3,50,2,0,0,"0x2f","0x0",7,8,3,0,0,"0x3f","0x0"') })
    assert.equal("a label", g:node(g:find(1)).preview)
    assert.equal(4, g:info().nodes)
  end)

  it("is kept in part when its end is cut", function()
    local whole = snapshot("Inspector", "0,0,0,0,1,100,1,0,3,50,2,0,7,8,3,0")
    local g, err = core.read { bytes = whole:sub(1, 120) }
    assert.is_true(g.partial)
    assert.equal(4, g:info().nodes)
    assert.is_true(err.offset <= 120)
  end)
end)
