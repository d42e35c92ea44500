-- Programs under the malloc agent, and what it says about them, for specs of the agent.
local core = require "tidemark.core"
local helper = require "spec.support.helper"
local malloc = require "tidemark.malloc"

local M = {}

M.library = core.realpath(helper.build .. "/" .. malloc.library)

--- Builds a C program or library; returns its path.
function M.build(source, flags, folder, name)
  local path = folder .. "/" .. (name or "program")
  local built = helper.shell(("cc -w -O1 -g %s -o %s %s -pthread -ldl"):format(flags or "", helper.quote(path), helper.quote(source)))
  assert(built.code == 0, built.err)
  return path
end

local function environment(mode, last, extra)
  local options = { "mode=" .. (mode or "full") }
  if extra and extra.rate then options[#options + 1] = "rate=" .. extra.rate end
  if extra and extra.handles then options[#options + 1] = "handles=on" end
  if extra and extra.children then options[#options + 1] = "children=" .. extra.children end
  if last then options[#options + 1] = "exit=" .. last end
  local preload = M.library .. (extra and extra.behind and ":" .. extra.behind or "")
  return ("timeout -k 5 50 env LD_PRELOAD=%s TIDEMARK_AGENT_OPTIONS=%s XDG_RUNTIME_DIR= "):format(helper.quote(preload),
    helper.quote(table.concat(options, ",")))
end

--- Runs a command line to its end. Answers its code, the profile it left (or nil) and why there is none.
function M.run(command, mode, extra)
  local folder = helper.folder()
  local keeper = assert(core.malloc_keeper(folder))
  local result = helper.shell(environment(mode, keeper:path(), extra) .. command)
  local bytes, reason = keeper:finish()
  local profile
  if bytes then
    profile = assert(core.read { bytes = bytes, name = "agent" })
    assert(core.symbolize(profile, {}))
  end
  return result, profile, reason
end

--- Starts a command whose first line of output is its pid, and which ends with its input: { pid, say(line), read(), stop() }.
--- mode false: without the agent.
function M.start(command, mode, extra)
  local folder = helper.folder()
  local fifo = folder .. "/pid"
  assert(os.execute("mkfifo " .. fifo))
  local before = mode == false and "timeout -k 5 50 env -u LD_PRELOAD XDG_RUNTIME_DIR= " or environment(mode, nil, extra)
  local input = assert(io.popen(before .. command .. " >" .. fifo, "w"))
  local output = assert(io.open(fifo))
  local pid = math.tointeger(tonumber(output:read("l")))
  return { pid = pid, say = function(line)
    input:write(line, "\n")
    input:flush()
  end, read = function() return output:read("l") end, stop = function()
    local _, _, code = input:close()
    output:close()
    return code
  end }
end

--- The agent of a process, which begins to listen a moment after its program.
function M.ask(pid, verb, options)
  local about, rest
  for _ = 1, 100 do
    about, rest = core.malloc_agent(pid, verb, options)
    if about or rest.code ~= "gone" then break end
    core.pause(20000000)
  end
  return about, rest
end

--- A snapshot of a process as a profile.
function M.snapshot(pid, options)
  local about, bytes = M.ask(pid, "snapshot", options)
  assert(about, bytes and bytes.message)
  local profile = assert(core.read { bytes = bytes, name = "agent" })
  assert(core.symbolize(profile, {}))
  return profile
end

--- What lives, or ever lived, below a function: the sum of a sample type.
function M.sum(profile, name, sample_index)
  local t = assert(profile:report("top", { sample_index = sample_index or "inuse_space", nodecount = 0, cum = true, nodefraction = 0, edgefraction = 0 }))
  for i = 1, #t do
    if t[i].name == name then return t[i].cum end
  end
  return 0
end

--- All of a sample type.
function M.total(profile, sample_index)
  local info = profile:info()
  for _, type in ipairs(info.types) do
    if type.type == (sample_index or "inuse_space") then return type.total end
  end
end

return M
