-- Go execution traces in the text form of the Go project's conformance files (a txtar of `expect` and `trace`), as bytes:
-- an event is its number, then its values in the order in which they stand.
local M = {}

local names = [[EventBatch Stacks Stack Strings String CPUSamples CPUSample Frequency ProcsChange ProcStart ProcStop ProcSteal ProcStatus
  GoCreate GoCreateSyscall GoStart GoDestroy GoDestroySyscall GoStop GoBlock GoUnblock GoSyscallBegin GoSyscallEnd GoSyscallEndBlocked GoStatus
  STWBegin STWEnd GCActive GCBegin GCEnd GCSweepActive GCSweepBegin GCSweepEnd GCMarkAssistActive GCMarkAssistBegin GCMarkAssistEnd HeapAlloc
  HeapGoal GoLabel UserTaskBegin UserTaskEnd UserRegionBegin UserRegionEnd UserLog GoSwitch GoSwitchDestroy GoCreateBlocked GoStatusStack
  ExperimentalBatch Sync ClockSnapshot EndOfGeneration]]
local numbers, count = {}, 0
for name in names:gmatch("%S+") do
  count = count + 1
  numbers[name] = count
end

local function unsigned(digits) -- up to 2^64 - 1, in Lua's integers
  local n = 0
  for d in digits:gmatch("%d") do n = n * 10 + math.tointeger(d) end
  return n
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

local escapes = { n = "\n", t = "\t", r = "\r", ["\\"] = "\\", ['"'] = '"', a = "\a", b = "\b", f = "\f", v = "\v" }
local function unquote(s)
  s = s:gsub("\\x(%x%x)", function(hex) return "\\{" .. hex .. "}" end)
  s = s:gsub("\\u(%x%x%x%x)", function(hex) return (utf8.char(tonumber(hex, 16)):gsub(".", function(c) return ("\\{%02x}"):format(c:byte()) end)) end)
  s = s:gsub('\\([ntrabfv"\\])', escapes)
  return (s:gsub("\\{(%x%x)}", function(hex) return string.char(tonumber(hex, 16)) end))
end

local function values(line)
  local out = {}
  for digits in line:gmatch("=(%d+)") do out[#out + 1] = varint(unsigned(digits)) end
  return out
end

--- The bytes of a trace in text, and how many events of threads stand in it.
function M.encode(trace)
  local out, events = {}, 0
  for line in trace:gmatch("[^\n]+") do
    line = line:gsub("^%s+", "")
    local name = line:match("^(%w+)")
    if line:match "^Trace Go1%." then
      out[#out + 1] = ("go 1.%s trace\0\0\0"):format(line:match "Go1%.(%d+)")
    elseif line:match "^data=" then
      local data = unquote(line:match '^data="(.*)"%s*$')
      out[#out + 1] = varint(#data) .. data
    elseif line:match "^pc=" then
      out[#out + 1] = table.concat(values(line))
    elseif name then
      local number = assert(numbers[name], name)
      local of_thread = number >= 9 and number <= 48
      if of_thread then events = events + 1 end
      local list = values(line)
      if name == "ExperimentalBatch" then list[1] = string.char(line:match "exp=(%d+)") end
      out[#out + 1] = string.char(number) .. table.concat(list)
    end
  end
  return table.concat(out), events
end

--- What a conformance file expects (its first word), and its trace as bytes.
function M.read(path)
  local f = assert(io.open(path, "rb"))
  local text = f:read "a"
  f:close()
  local expect = assert(text:match "%-%- expect %-%-\n(%u+)")
  return expect, M.encode(assert(text:match "%-%- trace %-%-\n(.*)"))
end

return M
