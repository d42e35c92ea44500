-- Which goroutines of a Go heap dump can never run again: finds the offsets of the runtime that wrote it and asks the graph.
local core = require "tidemark.core"

local M = {}

-- From the executable when it is given and tells, else from the table of versions.
local function layout_of(g, exe)
  local version, pointer_bytes = g:go_version()
  if not version then return nil, { message = "goroutines are proven leaked in Go heap dumps only", code = "argument" } end
  local problem
  if exe then
    local layout, err = core.go_layout(exe)
    if layout and layout.version ~= version and layout.version ~= "" and version ~= "" then
      return nil, { message = ("%s was built by %s, the dump is of %s"):format(exe, layout.version, version), code = "argument",
        advice = "name the executable that wrote the dump" }
    end
    if layout then return layout end
    problem = err.message
  end
  local row = ("%s/%d"):format(version:match("^go1%.(%d+)") or "?", pointer_bytes)
  local layout = require("tidemark.data.go_layouts")[row]
  if layout then return layout, problem end
  return nil, { message = ("the dump is of %s (%d-bit), whose runtime this build does not know"):format(version == "" and "an unnamed Go" or version,
    pointer_bytes * 8), code = "unsupported", advice = "name the unstripped executable that wrote it: --exe PROGRAM" }
end

--- The table of leaked goroutines.
---@param g userdata  Graph of a Go heap dump
---@param options table  exe, stacks, nodecount
---@return userdata|nil table, table|string|nil  an error, or with the table what the executable did not tell
function M.prove(g, options)
  if g.partial and g:go_version() then -- globals come last
    return nil, { message = "the dump is not whole, so what its globals lead to is not known and nothing can be proven", code = "format",
      advice = "take another dump; `tidemark goroutines` lists those that were read" }
  end
  local layout, problem = layout_of(g, options.exe)
  if not layout then return nil, problem end
  local t, err = g:proof { layout = layout, exe = options.exe, stacks = options.stacks, nodecount = options.nodecount }
  if not t then return nil, err end
  return t, problem
end

return M
