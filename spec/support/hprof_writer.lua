-- Writes JVM heap dumps of which a spec knows every object.
--
--   local bytes = hprof_writer(function(w)
--     local node = w:class("app.Node", { fields = { { "next", "object" }, { "n", "int" } } })
--     local tail = w:new(node, { next = 0, n = 2 })
--     w:root("sticky", w:new(node, { next = tail, n = 1 }))
--   end)
--
-- Ids are addresses, 8 bytes wide, 16 bytes and more apart. Options: version ("1.0.2"), id_bytes, order ("roots_first").
-- Source: heapDumper.cpp of OpenJDK.
local types = { object = 2, boolean = 4, char = 5, float = 6, double = 7, byte = 8, short = 9, int = 10, long = 11 }
local packs = { boolean = ">I1", char = ">I2", float = ">f", double = ">d", byte = ">i1", short = ">i2", int = ">i4", long = ">i8" }

local roots = { unknown = 0xff, jni_global = 0x01, local_ = 0x03, sticky = 0x05, monitor = 0x07, thread = 0x08 }

return function(build, options)
  options = options or {}
  local id_bytes = options.id_bytes or 8
  local id_pack = id_bytes == 8 and ">I8" or ">I4"
  local records, heap, root_records = {}, {}, {}
  local next_address, strings, classes, serial = options.base or 0x80000000, {}, {}, 0
  local function id(n) return id_pack:pack(n) end
  local function record(tag, body) records[#records + 1] = (">I1I4I4"):pack(tag, 0, #body) .. body end
  local function address(bytes)
    local at = next_address
    next_address = next_address + (bytes + 15) // 16 * 16
    return at
  end
  local function string_id(text)
    if not strings[text] then
      strings[text] = 0x1000 + #text + 64 * (#records + 1)
      record(0x01, id(strings[text]) .. text)
    end
    return strings[text]
  end
  local function value(kind, v) return kind == "object" and id(v or 0) or packs[kind]:pack(v or 0) end

  local w = {}
  --- A string of the table of symbols; answers its id.
  function w.string(_, text) return string_id(text) end
  --- A class: options super (a class id), loader, fields { { name, type } }, statics { { name, type, value } }. Answers its id.
  function w.class(_, name, o)
    o = o or {}
    serial = serial + 1
    local class = { id = address(64), fields = o.fields or {}, super = o.super, name = name, serial = serial }
    classes[class.id] = class
    record(0x02, (">I4"):pack(serial) .. id(class.id) .. (">I4"):pack(0) .. id(string_id((name:gsub("%.", "/")))))
    local body = { "\x20", id(class.id), (">I4"):pack(0), id(o.super or 0), id(o.loader or 0), id(0), id(0), id(0), id(0), (">I4I2"):pack(0, 0) }
    body[#body + 1] = (">I2"):pack(#(o.statics or {}))
    for _, s in ipairs(o.statics or {}) do body[#body + 1] = id(string_id(s[1])) .. string.char(types[s[2]]) .. value(s[2], s[3]) end
    body[#body + 1] = (">I2"):pack(#class.fields)
    for _, f in ipairs(class.fields) do body[#body + 1] = id(string_id(f[1])) .. string.char(types[f[2]]) end
    heap[#heap + 1] = table.concat(body)
    return class.id
  end
  --- An instance with values by field name, allocated at that trace. Answers its id.
  function w.new(_, class, values, trace)
    local at, bytes, c = address(64), {}, classes[class]
    while c do
      for _, f in ipairs(c.fields) do bytes[#bytes + 1] = value(f[2], (values or {})[f[1]]) end
      c = c.super ~= c.id and classes[c.super]
    end
    local body = table.concat(bytes)
    heap[#heap + 1] = "\x21" .. id(at) .. (">I4"):pack(trace or 0) .. id(class) .. (">I4"):pack(#body) .. body
    return at
  end
  function w.object_array(_, class, elements)
    local at, bytes = address(32 + 8 * #elements), {}
    for i, e in ipairs(elements) do bytes[i] = id(e) end
    heap[#heap + 1] = "\x22" .. id(at) .. (">I4I4"):pack(0, #elements) .. id(class) .. table.concat(bytes)
    return at
  end
  function w.primitive_array(_, kind, elements)
    local at, bytes = address(32 + 8 * #elements), {}
    for i, e in ipairs(elements) do bytes[i] = value(kind, e) end
    heap[#heap + 1] = "\x23" .. id(at) .. (">I4I4I1"):pack(0, #elements, types[kind]) .. table.concat(bytes)
    return at
  end
  --- A frame of a class's method; answers its id. A stack of frames, leaf first, with its serial.
  function w.frame(_, class, method, file, line)
    local at = address(64)
    record(0x04, id(at) .. id(string_id(method)) .. id(string_id("()V")) .. id(string_id(file)) .. (">I4i4"):pack(classes[class].serial, line))
    return at
  end
  function w.trace(_, number, frames)
    local ids = {}
    for i, f in ipairs(frames) do ids[i] = id(f) end
    record(0x05, (">I4I4I4"):pack(number, 0, #frames) .. table.concat(ids))
  end
  --- Any record beside the heap, and the serial of a class for it.
  function w.record(_, tag, body) record(tag, body) end
  function w.serial(_, class) return classes[class].serial end
  --- The part of an Android heap that the objects from here on lie in.
  function w.part(_, number, name) heap[#heap + 1] = "\xfe" .. (">I4"):pack(number) .. id(string_id(name)) end
  --- A root: unknown, jni_global, local_ (thread_serial, frame), sticky, monitor, thread (thread_serial, trace).
  function w.root(_, kind, object, thread_serial, second)
    local body = string.char(roots[kind]) .. id(object)
    if kind == "jni_global" then body = body .. id(1)
    elseif kind == "local_" or kind == "thread" then body = body .. (">I4I4"):pack(thread_serial or 1, second or 0) end
    root_records[#root_records + 1] = body
  end
  --- Where the next object lies, if not behind the last one.
  function w.place(_, at) next_address = at end
  --- Raw bytes among the sub-records: damage.
  function w.raw(_, bytes) heap[#heap + 1] = bytes end

  build(w)
  local segment = table.concat(heap) .. table.concat(root_records)
  if options.one_record then record(0x0c, segment)
  else
    record(0x1c, segment)
    record(0x2c, "")
  end
  return "JAVA PROFILE " .. (options.version or "1.0.2") .. "\0" .. (">I4I8"):pack(id_bytes, 0) .. table.concat(records)
end
