-- Call paths of a profile, and whose code they are in: what hotspots and gates charge memory and time to.
--
-- A path is a list of frames, leaf first. Going up from the leaf, the runtime's own frames come first; the frame behind them
-- is the site (who asked the runtime), and the first one outside the standard library is the owner (who can change it).
local core = require "tidemark.core"

local M = {}

--- Whether a function is the runtime's own: Go's, or an allocator of C, C++ or Rust. Go's assembly has names without a package
--- (gcWriteBarrier), known by their file.
function M.is_runtime(name, file) return core.frame_kind(name, file) == "runtime" end

--- Whether a function stands in a standard library (the runtime is part of it).
function M.is_standard(name, file) return core.frame_kind(name, file) ~= "own" end

--- A label of lines granularity in its parts: "main.f /src/f.go:12" -> "main.f", "/src/f.go", 12.
---@return string name, string|nil file, integer|nil line
function M.split(label)
  local name, file, line = label:match("^(.-) (/.*):(%d+)$")
  if not name then name, file, line = label:match("^(.-) (%a:[\\/].*):(%d+)$") end
  if not name then name, file, line = label:match("^(.+) (%S+):(%d+)$") end
  if name then return name, file, math.tointeger(tonumber(line)) end
  name, file = label:match("^(.-) (/.*)$")
  return name or label, file
end

-- Labels repeat: each is taken apart once.
local function frame_maker()
  local known = {}
  return function(label)
    local frame = known[label]
    if not frame then
      local name, file, line = M.split(label)
      frame = { name = name, file = file, line = line, runtime = M.is_runtime(name, file), standard = M.is_standard(name, file) }
      known[label] = frame
    end
    return frame
  end
end

--- Where the runtime's frames end and where foreign code ends: indexes of the site and the owner in a path. Both are 0 when
--- all of it is the runtime's (its background work); the owner is the site when all above is the standard library's.
function M.place(frames)
  local site = 0
  for i = 1, #frames do
    if not frames[i].runtime then
      site = i
      break
    end
  end
  if site == 0 then return 0, 0 end
  for i = site, #frames do
    if not frames[i].standard then return site, i end
  end
  return site, site
end

--- Calls f(frames, value) for each sample of a profile that is not 0. frames: leaf first, { name, file, line, runtime,
--- standard }; the list is new for each sample, its frames are shared.
---@param p userdata
---@param options table  of the report: sample_index, focus, ...
function M.each(p, options, f)
  local wanted = { granularity = "lines" }
  for name, value in pairs(options or {}) do wanted[name] = value end
  wanted.granularity = "lines"
  local t, err = p:report("traces", wanted, "table")
  if not t then return nil, err end
  local trace, name, value = t:column "trace", t:column "name", t:column "value"
  local frame_of, frames = frame_maker(), {}
  for i = 1, #trace do
    frames[#frames + 1] = frame_of(name[i])
    if trace[i + 1] ~= trace[i] then
      if value[i] ~= 0 then f(frames, value[i]) end
      frames = {}
    end
  end
  return true
end

--- The names of a path from one frame to another, joined: what paths of two profiles are compared by.
function M.chain(frames, from, to)
  local out = {}
  for i = from, to do out[#out + 1] = frames[i].name end
  return table.concat(out, "\0")
end

--- The same with line numbers: finer, for profiles of one binary.
function M.line_chain(frames, from, to)
  local out = {}
  for i = from, to do out[#out + 1] = frames[i].name .. "\1" .. (frames[i].line or 0) end
  return table.concat(out, "\0")
end

--- "main.go:12" of a frame, or "".
function M.where(frame)
  if not frame.file then return "" end
  local short = frame.file:match("([^/\\]+)$") or frame.file
  return frame.line and short .. ":" .. frame.line or short
end

return M
