-- Go execution traces by hand: each thread's events in order, strings and stacks by what they say.
--
--   local bytes = gotrace(26, function(w)
--     w:generation(1, function(gen)
--       gen:thread(7, 100, { { "GoStatus", 1, 7, 2 }, { "GoCreate", 2, gen:stack { "main.f", "f.go", 3 }, 0 } })
--     end)
--   end)
-- An event is { name, args…, dt = 1 }; names and arguments as in the Go project's tables.
local numbers = { ProcsChange = 9, ProcStart = 10, ProcStop = 11, ProcSteal = 12, ProcStatus = 13, STWBegin = 26, STWEnd = 27, GCActive = 28,
  GCBegin = 29, GCEnd = 30, GCSweepActive = 31, GCSweepBegin = 32, GCSweepEnd = 33, GCMarkAssistBegin = 35, GCMarkAssistEnd = 36, GoCreate = 14,
  GoCreateSyscall = 15, GoStart = 16, GoDestroy = 17, GoDestroySyscall = 18, GoStop = 19, GoBlock = 20,
  GoUnblock = 21, GoSyscallBegin = 22, GoSyscallEnd = 23, GoSyscallEndBlocked = 24, GoStatus = 25, HeapAlloc = 37, HeapGoal = 38,
  TaskBegin = 40, TaskEnd = 41, RegionBegin = 42, RegionEnd = 43, Log = 44, GoSwitch = 45, GoSwitchDestroy = 46, GoCreateBlocked = 47,
  GoStatusStack = 48 }

local function varint(n)
  local out = {}
  repeat
    local low = n & 0x7f
    n = n >> 7
    out[#out + 1] = string.char(n ~= 0 and low | 0x80 or low)
  until n == 0
  return table.concat(out)
end

local function varints(list)
  for i, n in ipairs(list) do list[i] = varint(n) end
  return table.concat(list)
end

local Generation = {}
Generation.__index = Generation

function Generation:batch(m, time, payload)
  self.out[#self.out + 1] = "\1" .. varints { self.number, m, time, #payload } .. payload
end

--- The id of a string.
function Generation:string(s)
  if s == "" then return 0 end
  if not self.ids[s] then
    self.strings[#self.strings + 1] = s
    self.ids[s] = #self.strings
  end
  return self.ids[s]
end

--- The id of a stack: { function, file, line, function, file, line, … }, leaf first.
function Generation:stack(frames)
  local parts = { self.next_stack, #frames // 3 }
  for i = 1, #frames, 3 do
    table.move({ i, self:string(frames[i]), self:string(frames[i + 1]), frames[i + 2] }, 1, 4, #parts + 1, parts)
  end
  self.stacks[#self.stacks + 1] = "\3" .. varints(parts)
  self.next_stack = self.next_stack + 1
  return self.next_stack - 1
end

--- A batch of a thread's events; time in units of 64 ns.
function Generation:thread(m, time, events)
  local out = {}
  for _, e in ipairs(events) do
    out[#out + 1] = string.char((assert(numbers[e[1]], e[1]))) .. varints { e.dt or 1, table.unpack(e, 2) }
  end
  self:batch(m, time, table.concat(out))
end

return function(version, fill)
  local out = { ("go 1.%d trace\0\0\0"):format(version) }
  local w = {}
  function w.generation(_, number, fn)
    local gen = setmetatable({ number = number, out = out, strings = {}, stacks = {}, ids = {}, next_stack = 1 }, Generation)
    local frequency = "\8" .. varint(15625000)
    gen:batch(-1, 100, version >= 25 and "\50" .. frequency .. "\51" .. varints { 0, 5000, 1700000000, 7 } or frequency)
    fn(gen)
    if #gen.stacks > 0 then gen:batch(-1, 100, "\2" .. table.concat(gen.stacks)) end
    local strings = {}
    for id, s in ipairs(gen.strings) do strings[id] = "\5" .. varints { id, #s } .. s end
    if #strings > 0 then gen:batch(-1, 100, "\4" .. table.concat(strings)) end
    if version >= 26 then out[#out + 1] = "\52" end
  end
  function w.raw(_, bytes) out[#out + 1] = bytes end
  fill(w)
  return table.concat(out)
end
