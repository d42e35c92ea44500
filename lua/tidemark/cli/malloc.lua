-- malloc: speak to the malloc agent inside of a process.
local args = require "tidemark.cli.args"
local core = require "tidemark.core"
local handles = require "tidemark.cli.malloc_handles"
local text = require "tidemark.show.text"

local modes = { [0] = "idle", "sampled", "full" }
local verbs = { hello = true, start = true, stop = true, stats = true, mark = true, reset = true, trim = true, detach = true, handles = true }

local function row_of(about)
  local row = { mode = modes[about.mode], text = about.text ~= "" and about.text or nil }
  for name, value in pairs(about) do
    if name ~= "mode" and name ~= "text" and name ~= "known_from" then row[name] = value end
  end
  if row.allocator_is_libc == 0 then -- libc's books say nothing of another allocator
    for _, name in ipairs { "arena_bytes", "used_bytes", "free_bytes", "top_bytes" } do row[name] = nil end
  end
  return row
end

local function rss_of(pid)
  local f = io.open(("/proc/%d/status"):format(pid))
  local kib = f and f:read("a"):match("VmRSS:%s+(%d+)")
  if f then f:close() end
  return kib and math.tointeger(tonumber(kib)) << 10
end

-- What trimming changed: resident bytes, before and after.
local function trim(pid, how)
  local before = rss_of(pid)
  local about, err = core.malloc_agent(pid, "trim", how)
  if about then about.rss_before_bytes, about.rss_after_bytes = before, rss_of(pid) end
  return about, err
end

local function show(row)
  local names = {}
  for name in pairs(row) do names[#names + 1] = name end
  table.sort(names)
  for _, name in ipairs(names) do
    local value = row[name]
    local unit = math.type(value) == "integer" and (name:match("_bytes$") and "bytes" or name:match("_ns$") and "ns")
    io.write(text.pad(name, 20), unit and core.format(value, unit) or tostring(value), "\n")
  end
end

return {
  name = "malloc", summary = "speak to the malloc agent inside of a process", usage = "malloc PID VERB [OPTIONS]",
  examples = { "tidemark malloc 4711 stats", "tidemark malloc 4711 start --mode full", "tidemark malloc 4711 mark", "tidemark malloc 4711 trim",
    "tidemark malloc 4711 handles start", "tidemark malloc 4711 handles" },
  doc = "VERB: hello; start and stop recording; stats: the agent's and the allocator's books; mark: begin a new epoch, so that a\n"
    .. "snapshot with --since-epoch shows what came after; reset: forget all; trim: give free memory back to the system (malloc_trim);\n"
    .. "handles start, handles stop: record who opens descriptors and makes pixmaps; handles: what is held now, by stack;\n"
    .. "detach: end the agent. The program was started with `tidemark run --malloc`, or got the agent by `tidemark inject`.\n"
    .. "Profiles are taken by `tidemark snap PID malloc`.",
  options = {
    { "mode", "MODE", "start: sampled, full (every allocation) or idle", choices = { "sampled", "full", "idle" }, default = "sampled" },
    { "rate", "BYTES", "start: one sample in so many bytes (512KiB)", kind = "bytes" },
    { "min-size", "BYTES", "start: only blocks from this size on", kind = "bytes" },
  },
  run = function(opts, words)
    local pid, verb = math.tointeger(tonumber(words[1] or "")), words[2]
    if pid and verb == "handles" and not words[4] then return handles.run(pid, words[3], opts) end
    if not pid or not verb or words[3] then args.usage("PID and VERB are needed: tidemark malloc 4711 stats") end
    if not verbs[verb] then
      local names = {}
      for name in pairs(verbs) do names[#names + 1] = name end
      args.usage("'" .. verb .. "' is no verb of the malloc agent" .. args.nearest(verb, names))
    end
    local how = verb == "start" and { mode = opts.mode, rate = opts.rate, min_size = opts["min-size"] } or {}
    local about, err = (verb == "trim" and trim or function(p, o) return core.malloc_agent(p, verb, o) end)(pid, how)
    if not about then error({ message = err.message, code = err.code, advice = err.advice }, 0) end
    local row = row_of(about)
    if opts.json then
      io.write(text.document("malloc", { pid = pid, verb = verb }, text.array { row }))
    elseif not opts.quiet then
      show(row)
    end
    return 0
  end,
}
