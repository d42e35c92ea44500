-- Writes profile.proto, so that a spec knows every number that it reads back. Independent of core/write/pprof.c.
--
--   local bytes = pprof_writer { types = { "inuse_space/bytes" }, time_ns = 1, { "main;serve;log", 10 }, { "main", 5, labels = { k = "v" } } }
--
-- Each sample: a stack from root to leaf ("file.go:12" may stand behind a name, after a space), one value per type, labels
-- (numbers are numeric). Source: profile.proto of github.com/google/pprof.
local function varint(n)
  local out = {}
  repeat
    local low = n & 0x7f
    n = n >> 7
    out[#out + 1] = string.char(n ~= 0 and low | 0x80 or low)
  until n == 0
  return table.concat(out)
end

local function number(field, n) return n == 0 and "" or varint(field << 3) .. varint(n) end
local function bytes(field, s) return varint(field << 3 | 2) .. varint(#s) .. s end

local function packed(field, list)
  local out = {}
  for i, n in ipairs(list) do out[i] = varint(n) end
  return bytes(field, table.concat(out))
end

return function(spec)
  local out, strings, ids = {}, { "" }, { [""] = 0 }
  local function id(s)
    if not ids[s] then
      ids[s] = #strings
      strings[#strings + 1] = s
    end
    return ids[s]
  end
  local function value_type(text)
    local type, unit = text:match("^(.-)/(.*)$")
    return number(1, id(type)) .. number(2, id(unit))
  end
  for _, type in ipairs(spec.types) do out[#out + 1] = bytes(1, value_type(type)) end
  local locations, count = {}, 0
  local function location(frame)
    if locations[frame] then return locations[frame] end
    count = count + 1
    locations[frame] = count
    local name, file, line = frame:match("^(.-) (.*):(%d+)$")
    out[#out + 1] = bytes(5, number(1, count) .. number(2, id(name or frame)) .. number(4, id(file or "")))
    out[#out + 1] = bytes(4, number(1, count) .. number(3, 0x1000 + count) .. bytes(4, number(1, count) .. number(2, math.tointeger(line) or 0)))
    return count
  end
  for _, sample in ipairs(spec) do
    local stack, values = {}, {}
    for frame in sample[1]:gmatch("[^;]+") do table.insert(stack, 1, location(frame)) end
    for i = 2, #spec.types + 1 do values[i - 1] = sample[i] end
    local s = packed(1, stack) .. packed(2, values)
    for key, value in pairs(sample.labels or {}) do
      s = s .. bytes(3, number(1, id(key)) .. (math.type(value) and number(3, value) or number(2, id(value))))
    end
    out[#out + 1] = bytes(2, s)
  end
  out[#out + 1] = number(9, spec.time_ns or 0) .. number(10, spec.duration_ns or 0) .. number(12, spec.period or 0)
  if spec.default_type then out[#out + 1] = number(14, id(spec.default_type)) end
  for _, comment in ipairs(spec.comments or {}) do out[#out + 1] = number(13, id(comment)) end
  for _, s in ipairs(strings) do out[#out + 1] = bytes(6, s) end
  return table.concat(out)
end
