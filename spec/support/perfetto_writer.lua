-- Writes Perfetto traces as Chromium does, from events in the form of Chrome's JSON: so that a spec has both forms of one trace. Independent of
-- core/read/perfetto*.c. Each thread is a sequence of its own, and the sequences stand one after another, not in order of time.
--
--   local bytes = writer.trace(events, { clear_every = 3, plain_names = true, pack = "deflate" })
--
-- X becomes a begin and an end (arguments named in `late` stand at the end), b and e a track below the process, C a counter track, P a legacy event
-- with JSON in it, v a memory dump (args.dumps.allocators with effective_size left out). Times are whole microseconds.
-- Source: protos/perfetto/trace/*.proto of github.com/google/perfetto.
local core = require "tidemark.core"

local M = {}

local function varint(n)
  local out = {}
  repeat
    local low = n & 0x7f
    n = n >> 7
    out[#out + 1] = string.char(n ~= 0 and low | 0x80 or low)
  until n == 0
  return table.concat(out)
end

local function number(field, n) return varint(field << 3) .. varint(n) end
local function bytes(field, s) return varint(field << 3 | 2) .. varint(#s) .. s end
local function real(field, n) return varint(field << 3 | 1) .. string.pack("<d", n) end
M.number, M.bytes, M.real = number, bytes, real

-- A packet of a sequence: its parts are fields of TracePacket.
function M.packet(sequence, ...) return bytes(1, table.concat { ... } .. number(3, 0) .. number(10, sequence)) end

local base_us = 5000000000

local function uuid_of(...)
  local h = 1469598103934665603
  for c in table.concat({ ... }, "\0"):gmatch "." do h = (h ~ c:byte()) * 1099511628211 end
  return h
end

local function thread_uuid(pid, tid) return uuid_of("thread", pid, tid) end
local function process_uuid(pid) return uuid_of("process", pid) end

-- What a sequence has interned since its state was cleared.
local Sequence = {}
Sequence.__index = Sequence

function Sequence:packet(...) self.out[#self.out + 1] = M.packet(self.id, ...) end

function Sequence:clear(first)
  self.tables = { {}, {}, {} }
  self.fresh = {}
  self.last_us = base_us
  self:packet(number(13, 1), first and number(87, 1) or "", number(42, first and 1 or 0))
  self:packet(number(13, 2), number(58, 3), number(8, base_us * 1000), bytes(6, number(2, 3) .. bytes(1, number(1, 3) .. number(2, base_us * 1000))
    .. bytes(1, number(1, 64) .. number(2, base_us) .. number(3, 1) .. number(4, 1000))))
  self:packet(number(13, 2), bytes(59, number(58, 64) .. bytes(11, number(11, thread_uuid(self.pid, self.tid)))))
  self:packet(number(13, 2), bytes(60, number(1, thread_uuid(self.pid, self.tid)) .. number(5, process_uuid(self.pid))
    .. bytes(4, number(1, self.pid) .. number(2, self.tid) .. (self.name and bytes(5, self.name) or ""))))
  self:packet(number(13, 2), bytes(60, number(1, process_uuid(self.pid)) .. bytes(3, number(1, self.pid)
    .. (self.process and bytes(6, self.process) or "")) .. bytes(6, number(1, 2))))
end

-- The field that names a string: by id, or as it is.
function Sequence:text(which, id_field, text_field, text)
  if self.options.plain_names then return bytes(text_field, text) end
  local known = self.tables[which]
  if not known[text] then
    known.count = (known.count or 0) + 1
    known[text] = known.count
    self.fresh[#self.fresh + 1] = bytes(which, number(1, known.count) .. bytes(2, text))
  end
  return number(id_field, known[text])
end

function Sequence:annotation(name, value)
  local out = name and self:text(3, 1, 10, name) or ""
  if type(value) == "boolean" then return out .. number(2, value and 1 or 0) end
  if math.type(value) == "integer" then return out .. number(4, value) end
  if type(value) == "number" then return out .. real(5, value) end
  if type(value) == "string" then return out .. bytes(6, value) end
  for _, item in ipairs(value) do out = out .. bytes(12, self:annotation(nil, item)) end
  if #value > 0 then return out end
  local keys = {}
  for key in pairs(value) do keys[#keys + 1] = key end
  table.sort(keys)
  for _, key in ipairs(keys) do out = out .. bytes(11, self:annotation(key, value[key])) end
  return out
end

local states = { STATE_NO_UPDATE_DESIRED = 0, STATE_PRESENTED_ALL = 1, STATE_PRESENTED_PARTIAL = 2, STATE_DROPPED = 3 }

function Sequence:args(args, want)
  local out = ""
  for key, value in pairs(args or {}) do
    if not want(key) then goto next end
    if key == "frame_reporter" then
      out = out .. bytes(1075, number(1, states[value.state]))
    else
      out = out .. bytes(4, self:annotation(key, value))
    end
    ::next::
  end
  return out
end

function Sequence:event(at_us, ...)
  local interned = table.concat(self.fresh)
  self.fresh = {}
  self:packet(number(13, 2), number(8, base_us + at_us - self.last_us), interned ~= "" and bytes(12, interned) or "", bytes(11, table.concat { ... }))
  self.last_us = base_us + at_us
end

function Sequence:head(e, kind) return number(9, kind) .. self:text(1, 3, 22, e.cat) .. self:text(2, 10, 23, e.name) end

function Sequence:track(uuid, parent, ...)
  if self.shared[uuid] then return end
  self.shared[uuid] = true
  self:packet(number(13, 2), bytes(60, number(1, uuid) .. number(5, parent) .. table.concat { ... }))
end

local function always() return true end

local function async_uuid(e) return uuid_of("async", e.pid, e.id2["local"]) end

local write = {}

function write.X(s, e, ends)
  local late = {}
  for _, key in ipairs(e.late or {}) do late[key] = true end
  if ends then return s:event(e.ts + e.dur, number(9, 2), s:args(e.args, function(key) return late[key] end)) end
  s:event(e.ts, s:head(e, 1), s:args(e.args, function(key) return not late[key] end))
end

function write.B(s, e) s:event(e.ts, s:head(e, 1), s:args(e.args, always)) end
function write.I(s, e) s:event(e.ts, s:head(e, 3), s:args(e.args, always)) end

function write.b(s, e)
  if e.legacy then
    return s:event(e.ts, s:text(1, 3, 22, e.cat), s:text(2, 10, 23, e.name), s:args(e.args, always),
      bytes(6, number(2, e.ph:byte()) .. number(10, tonumber(e.id2["local"]))))
  end
  s:track(async_uuid(e), process_uuid(e.pid), bytes(10, e.name))
  s:event(e.ts, s:head(e, 1), number(11, async_uuid(e)), s:args(e.args, always))
end

function write.e(s, e)
  if e.legacy then return write.b(s, e) end
  s:event(e.ts, number(9, 2), number(11, async_uuid(e)))
end

write.S, write.F = write.b, write.e

function write.C(s, e)
  local uuid = uuid_of("counter", e.pid, e.name)
  s:track(uuid, process_uuid(e.pid), bytes(2, e.name), bytes(8, e.unit and number(4, e.unit) or ""))
  local value = e.unit and e.args.value // e.unit or e.args.value
  s:event(e.ts, number(9, 4), number(11, uuid), math.type(value) == "integer" and number(30, value) or real(44, value))
end

function write.P(s, e)
  s:event(e.ts, s:text(1, 3, 22, e.cat), s:text(2, 10, 23, e.name), bytes(6, number(2, 80) .. number(6, tonumber(e.id))),
    bytes(4, s:text(3, 1, 10, "data") .. bytes(9, core.json(e.args.data))))
end

function write.v(s, e)
  local nodes = ""
  for name, a in pairs(e.args.dumps.allocators) do
    local size, objects = a.attrs.size, a.attrs.object_count
    nodes = nodes .. bytes(2, number(1, uuid_of(name)) .. bytes(2, name) .. (size and number(4, tonumber(size.value, 16)) or "")
      .. (objects and bytes(5, bytes(1, "object_count") .. number(2, 2) .. number(3, tonumber(objects.value, 16))) or ""))
  end
  s:packet(number(58, 3), number(8, (base_us + e.ts) * 1000), bytes(73, bytes(3, number(1, e.pid) .. nodes)))
end

-- Ends before begins of the same moment, the outer of two begins first, and the inner of two ends.
local function before(a, b)
  if a.at ~= b.at then return a.at < b.at end
  if a.ends ~= b.ends then return a.ends end
  local longer, shorter = a.event.dur or 0, b.event.dur or 0
  if longer ~= shorter then return (longer > shorter) ~= a.ends end
  return a.order < b.order
end

local function points_of(list)
  local out = {}
  for order, e in ipairs(list) do
    out[#out + 1] = { at = e.ts, event = e, ends = false, order = order }
    if e.ph == "X" then out[#out + 1] = { at = e.ts + e.dur, event = e, ends = true, order = order } end
  end
  table.sort(out, before)
  return out
end

local function adler(s)
  local a, b = 1, 0
  for c in s:gmatch "." do
    a = (a + c:byte()) % 65521
    b = (b + a) % 65521
  end
  return b << 16 | a
end

-- Packed without packing: stored blocks are valid zlib and zstd.
M.pack = {}

function M.pack.deflate(s)
  local out = { "\x78\x01" }
  for at = 1, #s, 65535 do
    local part = s:sub(at, at + 65534)
    out[#out + 1] = string.char(at + 65535 > #s and 1 or 0) .. string.pack("<I2I2", #part, ~#part & 0xffff) .. part
  end
  return bytes(1, bytes(50, table.concat(out) .. string.pack(">I4", adler(s))))
end

function M.pack.zstd(s)
  local out = { "\x28\xb5\x2f\xfd\xa0" .. string.pack("<I4", #s) }
  for at = 1, #s, 65536 do
    local part = s:sub(at, at + 65535)
    out[#out + 1] = string.pack("<I3", #part << 3 | (at + 65536 > #s and 1 or 0)) .. part
  end
  return bytes(1, bytes(133, table.concat(out)))
end

local function sequences_of(events, options)
  local out, shared, names, processes = {}, {}, {}, {}
  for _, e in ipairs(events) do
    if e.name == "thread_name" then names[e.pid .. "/" .. e.tid] = e.args.name end
    if e.name == "process_name" then processes[e.pid] = e.args.name end
  end
  for _, e in ipairs(events) do
    local key = e.pid .. "/" .. e.tid
    if e.ph ~= "M" and not out[key] then
      out[key] = setmetatable({ id = #out + 1, pid = e.pid, tid = e.tid, name = names[key], process = processes[e.pid], out = {}, list = {}, shared = shared,
        options = options }, Sequence)
      out[#out + 1] = out[key]
    end
    if e.ph ~= "M" then table.insert(out[key].list, e) end
  end
  return out
end

function M.trace(events, options)
  options = options or {}
  local out = {}
  for _, s in ipairs(sequences_of(events, options)) do
    s:clear(true)
    for i, p in ipairs(points_of(s.list)) do
      if options.clear_every and i % options.clear_every == 0 then s:clear(false) end
      write[p.event.ph](s, p.event, p.ends)
    end
    out[#out + 1] = options.pack and M.pack[options.pack](table.concat(s.out)) or table.concat(s.out)
  end
  return table.concat(out)
end

return M
