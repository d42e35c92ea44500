-- Heap dumps with a leak in each, one per format: a static map or global that holds most of the heap in many small objects.
local goheap = require "spec.support.goheap_writer"
local hprof = require "spec.support.hprof_writer"
local v8heap = require "spec.support.v8heap_writer"

local M = {}

--- App.cache -> HashMap -> table -> 40 nodes -> Session -> byte[100]; a thread local; garbage; two loaders of one class.
function M.jvm(options)
  options = options or {}
  local bytes = hprof(function(w)
    local object = w:class("java.lang.Object")
    local class = w:class("java.lang.Class", { super = object })
    local text = w:class("java.lang.String", { super = object, fields = { { "value", "object" }, { "coder", "byte" } } })
    local node = w:class("java.util.HashMap$Node", { super = object, fields = { { "value", "object" }, { "next", "object" } } })
    local nodes = w:class("java.util.HashMap$Node[]", { super = object })
    local map = w:class("java.util.HashMap", { super = object, fields = { { "size", "int" }, { "table", "object" } } })
    local long = w:class("java.lang.Long", { super = object, fields = { { "value", "long" } } })
    local session = w:class("com.acme.Session", { super = object, fields = { { "data", "object" }, { "user", "object" } } })
    local function letters(s) return w:new(text, { value = w:primitive_array("byte", { s:byte(1, -1) }), coder = 0 }) end
    local entries = {}
    for i = 1, 40 do
      local data = {}
      for k = 1, 100 do data[k] = i end
      local s = w:new(session, { data = w:primitive_array("byte", data), user = letters(i % 2 == 0 and "anna" or "berta") })
      entries[i] = w:new(node, { value = s })
    end
    local cache = w:new(map, { size = 40, table = w:object_array(nodes, entries) })
    local spare = {}
    for i = 1, 32 do spare[i] = 0 end
    spare[1] = w:new(node, {})
    local sparse = w:new(map, { size = 1, table = w:object_array(nodes, spare) })
    local app = w:class("com.acme.App", { super = object, statics = { { "cache", "object", cache }, { "sparse", "object", sparse },
      { "empty", "object", w:new(map, { size = 0 }) }, { "a", "object", w:new(long, { value = 7 }) }, { "b", "object", w:new(long, { value = 7 }) },
      { "blank", "object", w:primitive_array("int", { 0, 0, 0, 0, 0, 0, 0, 0 }) } } })
    local loader = w:class("com.acme.Loader", { super = object })
    for _ = 1, 2 do w:root("sticky", w:class("com.acme.Plugin", { super = object, loader = w:new(loader) })) end
    local locals = w:class("java.lang.ThreadLocal$ThreadLocalMap", { super = object, fields = { { "table", "object" } } })
    local entry = w:class("java.lang.ThreadLocal$ThreadLocalMap$Entry", { super = object, fields = { { "value", "object" } } })
    local thread = w:class("java.lang.Thread", { super = object, fields = { { "name", "object" }, { "threadLocals", "object" } } })
    local value = w:primitive_array("long", { 1, 2, 3 })
    local worker = w:new(thread, { name = letters "worker-1",
      threadLocals = w:new(locals, { table = w:object_array(nodes, { w:new(entry, { value = value }) }) }) })
    w:root("thread", worker, 5)
    w:root("sticky", app)
    w:root("sticky", class)
    local lost = w:new(node, {})
    w:new(node, { next = w:new(node, { value = lost }) }) -- garbage: a chain of three
    M.jvm_nodes = { cache = cache, app = app, worker = worker, sparse = sparse, value = value }
  end, options)
  return bytes
end

--- (root) -> global.keep -> Array -> 40 Sessions -> data; a closure of an npm package holds an Object.
function M.v8()
  local w = v8heap()
  local global = w:root("object", "global", 20)
  local keep = w:node("object", "Array", 16)
  w:edge(global, "property", "keep", keep)
  for i = 1, 40 do
    local s = w:node("object", "Session", 40)
    w:edge(keep, "element", i - 1, s)
    w:edge(s, "property", "data", w:node("string", i % 2 == 0 and "even payload" or "odd payload", 60))
  end
  local closure, shared = w:node("closure", "handler", 32), w:node("code", "handler", 8)
  local script, held = w:node("code", "/app/node_modules/@acme/bus/index.js", 8), w:node("object", "Object", 500)
  w:edge(global, "property", "on", closure)
  w:edge(closure, "internal", "shared", shared)
  w:edge(shared, "internal", "script", script)
  w:edge(closure, "property", "held", held)
  M.v8_nodes = { keep = keep - 1 } -- the graph counts from 0
  return w:text()
end

--- A global -> table -> 40 objects -> bytes; a goroutine with a local of its own.
function M.go()
  local base = 0xc000000000
  local function at(i) return base + 0x1000 * i end
  return goheap(function(w)
    w:memstats()
    local slots = {}
    for i = 1, 40 do
      w:object(at(i), 32, { [8] = at(100 + i) })
      w:object(at(100 + i), 208, {}, { letters = "payload of the same letters" })
      slots[8 * (i - 1)] = at(i)
    end
    w:object(at(90), 320, slots)
    w:object(at(91), 48, { [0] = at(90) })
    w:object(at(92), 416, {})
    w:object(at(93), 512, {})
    w:goroutine(at(92), 7, "chan receive")
    w:frame("main.worker", { [0] = at(93) })
    w:data(0x500000, { [16] = at(91) })
    M.go_nodes = { table = at(90), holder = at(91), goroutine = at(92), first = at(1) }
  end)
end

return M
