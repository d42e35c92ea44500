-- Writes the seeds of fuzz_hprof: lua5.4 spec/support/hprof_seeds.lua spec/fuzz/seeds/fuzz_hprof
local hprof = require "spec.support.hprof_writer"
local folder = assert(arg[1], "which folder")

local function write(name, bytes)
  local f = assert(io.open(folder .. "/" .. name, "wb"))
  f:write(bytes)
  f:close()
end

-- Classes above each other, a list in a circle, strings, arrays of both kinds, a weak reference, a thread with a local, every kind of root.
local function heap(w)
  local object = w:class("java.lang.Object")
  local class = w:class("java.lang.Class", { super = object })
  local text = w:class("java.lang.String", { super = object, fields = { { "value", "object" }, { "coder", "byte" }, { "hash", "int" } } })
  local reference = w:class("java.lang.ref.Reference", { super = object, fields = { { "referent", "object" }, { "queue", "object" } } })
  local weak = w:class("java.lang.ref.WeakReference", { super = reference })
  local thread = w:class("java.lang.Thread", { super = object, fields = { { "name", "object" }, { "tid", "long" } } })
  local objects = w:class("[Ljava.lang.Object;", { super = object })
  local letters = w:primitive_array("byte", { 104, 105 })
  local hello = w:new(text, { value = letters })
  local node = w:class("app.Node", { super = object, statics = { { "all", "object", hello }, { "n", "int", 3 } },
    fields = { { "next", "object" }, { "n", "int" }, { "flag", "boolean" }, { "ratio", "double" }, { "c", "char" }, { "f", "float" } } })
  local first = w:new(node, { next = 0x80001000, n = 1, ratio = 0.5 })
  local list = w:new(node, { next = first, n = 2 })
  local array = w:object_array(objects, { list, 0, hello, 0x7, class })
  local pointer = w:new(weak, { referent = array })
  local main = w:new(thread, { name = hello, tid = 1 })
  w:primitive_array("long", { 1, 2, 3 })
  w:new(node, { next = letters }) -- nobody holds it
  w:root("thread", main, 1)
  w:root("local_", array, 1)
  for _, kind in ipairs { "unknown", "jni_global", "sticky", "monitor" } do w:root(kind, kind == "sticky" and node or pointer) end
end

local whole = hprof(heap)
write("ids_of_8", whole)
write("ids_of_4", hprof(heap, { id_bytes = 4 }))
write("one_record", hprof(heap, { one_record = true, version = "1.0.1" }))
write("android", hprof(function(w)
  w:raw("\xfe\0\0\0\x01" .. (">I4"):pack(0))
  heap(w)
  w:raw("\xc3" .. (">I4I4I4I1"):pack(0x90000000, 0, 100, 8) .. "\x89" .. (">I4"):pack(0x90000000))
end, { id_bytes = 4, version = "1.0.3" }))
write("cut", whole:sub(1, #whole - 90))
write("own_super", hprof(function(w)
  local a = w:class("app.A", { super = 0x80000000, fields = { { "next", "object" } } })
  w:root("sticky", w:new(a, { next = a }))
end))
write("long_array", hprof(function(w)
  heap(w)
  w:raw("\x22" .. (">I8I4I4I8"):pack(0x90000000, 0, 0xffffffff, 0x80000000))
end))
