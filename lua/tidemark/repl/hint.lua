-- "Did you mean" for names that are nil where a line calls or indexes them: near names of the same table, of a type of ours, or of
-- the session. Nothing of the user's is run.
local args = require "tidemark.cli.args"

local M = {}

-- The words that could stand behind "owner." or "owner:" (or alone), as Tab would offer them.
local function names(repl, owner, sign)
  local _, list = require("tidemark.repl.complete").expression(repl, owner and owner .. sign or "")
  local out, seen = {}, {}
  for _, candidate in ipairs(list) do
    if not seen[candidate[1]] then out[#out + 1] = candidate[1] end
    seen[candidate[1]] = true
  end
  return out
end

--- What to add to a problem of a line: advice, or nil.
---@param repl table
---@param problem any
---@param source string|nil  the line
---@return string|nil
function M.of(repl, problem, source)
  if type(problem) ~= "string" or not source then return nil end
  local kind, name = problem:match("attempt to %a+ a nil value %((%a+) '([%a_][%w_]*)'%)")
  local near = ""
  if kind == "global" then near = args.nearest(name, names(repl))
  elseif kind == "field" or kind == "method" then
    local owner, sign = source:match("([%a_][%w_%.:%[%]]*)%s*([%.:])%s*" .. name .. "%f[^%w_]")
    if owner then near = args.nearest(name, names(repl, owner, sign)) end
  end
  return near ~= "" and (near:gsub("^; ", "")) or nil
end

return M
