-- Go execution traces of version 1 by hand: a list of records in the order of the file.
--
--   local bytes = gotrace1(19, { { "Batch", 0, 100 }, { "GoCreate", 1, 10, 20, 0 }, …, { "Frequency", 1000000000 } })
-- An event is { name, args…, dt = 1 }. Strings are { "String", id, text }, stacks { "Stack", id, pc, function, file, line, … }, and a log
-- has its value as the last argument.
local names = [[Batch Frequency Stack Gomaxprocs ProcStart ProcStop GCStart GCDone STWStart STWDone SweepStart SweepDone GoCreate GoStart GoEnd
  GoStop GoSched GoPreempt GoSleep GoBlock GoUnblock GoBlockSend GoBlockRecv GoBlockSelect GoBlockSync GoBlockCond GoBlockNet GoSysCall
  GoSysExit GoSysBlock GoWaiting GoInSyscall HeapAlloc HeapGoal TimerGoroutine FutileWakeup String GoStartLocal GoUnblockLocal
  GoSysExitLocal GoStartLabel GoBlockGC MarkAssistStart MarkAssistDone TaskCreate TaskEnd Region Log CPUSample]]
local numbers, count = {}, 0
for name in names:gmatch "%S+" do
  count = count + 1
  numbers[name] = count
end

local function varint(n)
  local out = {}
  repeat
    local low = n & 0x7f
    n = n >> 7
    out[#out + 1] = string.char(n ~= 0 and low | 0x80 or low)
  until n == 0
  return table.concat(out)
end

local function record(number, list)
  local body = {}
  for i, n in ipairs(list) do body[i] = varint(n) end
  body = table.concat(body)
  if #list <= 3 then return string.char(number | #list - 1 << 6) .. body end
  return string.char(number | 3 << 6) .. varint(#body) .. body
end

local function encode(e)
  local name, number = e[1], assert(numbers[e[1]], e[1])
  local args = table.move(e, 2, #e, 1, {})
  if name == "String" then return string.char(number) .. varint(args[1]) .. varint(#args[2]) .. args[2] end
  if name == "Stack" then
    table.insert(args, 2, (#args - 1) // 4)
    while #args < 4 do args[#args + 1] = 0 end
    return record(number, args)
  end
  if name == "Batch" or name == "Frequency" or name == "TimerGoroutine" then return record(number, args) end
  local value = name == "Log" and table.remove(args)
  table.insert(args, 1, e.dt or 1)
  local out = record(number, args)
  return value and out .. varint(#value) .. value or out
end

return function(version, records)
  local out = { ("go 1.%d trace\0\0\0"):format(version) }
  for i, e in ipairs(records) do out[i + 1] = encode(e) end
  return table.concat(out)
end
