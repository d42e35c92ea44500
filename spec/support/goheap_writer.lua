-- Writes Go heap dumps of which a spec knows every object.
--
--   local bytes = goheap(function(w)
--     w:object(0xc000000000, 48, { [0] = 0xc000002000, [16] = 0 })   -- address, size, pointer slots by offset
--     w:goroutine(0xc000004000, 7, "chan receive")
--     w:frame("main.stuck", { [8] = 0xc000000000 })
--     w:data(0x500000, { [16] = 0xc000000000 })
--   end, { version = "go1.21.0", pointer_bytes = 4, big_endian = true })
--
-- The head and the end come by themselves. Source: runtime/heapdump.go.
local function varint(n)
  local out = {}
  repeat
    local low = n & 0x7f
    n = n >> 7
    out[#out + 1] = string.char(n ~= 0 and low | 0x80 or low)
  until n == 0
  return table.concat(out)
end

local function varints(...)
  local out = { ... }
  for i, n in ipairs(out) do out[i] = varint(n) end
  return table.concat(out)
end

local function text(s) return varint(#s) .. s end

return function(build, options)
  options = options or {}
  local width = options.pointer_bytes or 8
  local pack = (options.big_endian and ">I" or "<I") .. width
  local out = { "go1.7 heap dump\n", varints(6, options.big_endian and 1 or 0, width, 0, 0), text("amd64"), text(options.version or "go1.21.0"), varint(2) }
  local function put(...)
    for _, piece in ipairs { ... } do out[#out + 1] = piece end
  end

  -- Contents and field list of slots by offset. words: other words by offset. letters: the first bytes.
  local function range(size, slots, words, letters)
    local bytes, offsets = {}, {}
    for offset in pairs(slots) do offsets[#offsets + 1] = offset end
    table.sort(offsets)
    if not size then size = #offsets == 0 and 0 or offsets[#offsets] + width end
    for i = 0, size // width - 1 do bytes[#bytes + 1] = pack:pack(slots[i * width] or words and words[i * width] or 0) end
    local contents, fields = table.concat(bytes), {}
    contents = contents .. ("\0"):rep(size - #contents)
    if letters then contents = letters .. contents:sub(#letters + 1) end
    for i, offset in ipairs(offsets) do fields[i] = varints(1, offset) end
    return text(contents), table.concat(fields) .. "\0"
  end

  local w = {}
  function w.object(_, address, size, slots, o)
    put(varints(1, address), range(size, slots or {}, o and o.words, o and o.letters))
  end
  function w.other_root(_, what, pointer) put("\2", text(what), varint(pointer)) end
  function w.type(_, address, size, name) put("\3", varints(address, size), text(name), "\1") end
  function w.itab(_, address, type_address) put("\8", varints(address, type_address)) end
  function w.thread(_, address, id) put("\9", varints(address, id, id)) end
  function w.goroutine(_, address, id, reason, ctxt)
    put("\4", varints(address, 0x7000, id, 0x401000, reason and 4 or 1, 0, 0, 0), text(reason or ""), varints(ctxt or 0, 0, 0, 0))
  end
  function w.frame(_, name, slots, words)
    local contents, fields = range(nil, slots or {}, words)
    put("\5", varints(0x7000, 0, 0), contents, varints(0x401000, 0x401010, 0x401010), text(name), fields)
  end
  function w.defer(_, address, fn) put("\14", varints(address, 0, 0x7000, 0x401000, fn, 0x401000, 0)) end
  function w.panic(_, address, data) put("\15", varints(address, 0, 0, data, 0, 0)) end
  function w.data(_, address, slots) put("\12", varint(address), range(nil, slots)) end
  function w.bss(_, address, slots) put("\13", varint(address), range(nil, slots)) end
  function w.finalizer(_, object, fn) put("\7", varints(object, fn, 0x401000, 0, 0)) end
  function w.queued(_, object, fn) put("\11", varints(object, fn, 0x401000, 0, 0)) end
  function w.memstats() put("\10", ("\0"):rep(281)) end
  function w.bucket(_, address, functions)
    put("\16", varints(address, 64, #functions))
    for i, name in ipairs(functions) do put(text(name), text("main.go"), varint(i)) end
    put(varints(1, 0))
  end
  function w.sample(_, object, bucket) put("\17", varints(object, bucket)) end
  function w.raw(_, bytes) put(bytes) end

  build(w)
  if not options.no_end then put("\0") end
  return table.concat(out)
end
