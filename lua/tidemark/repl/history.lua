-- What was typed, kept between sessions: one entry a line, breaks escaped, readable by its owner alone. Entries that begin with a
-- blank are not kept.
local core = require "tidemark.core"
local paths = require "tidemark.cli.paths"

local M = { max = 1000 }

local function path_of(name) return paths.state() .. "/" .. name .. "_history" end

local function escape(entry) return (entry:gsub("\\", "\\\\"):gsub("\n", "\\n"):gsub("[%z\1-\8\11-\31\127]", "")) end
local function unescape(line) return (line:gsub("\\(.)", function(c) return c == "n" and "\n" or c end)) end

--- The entries of a history, oldest first.
---@param name string  "repl", "pprof"
---@return string[]
function M.load(name)
  local lines, entries = {}, {}
  for line in (paths.read(path_of(name)) or ""):gmatch("[^\n]+") do lines[#lines + 1] = line end
  for i = math.max(1, #lines - M.max + 1), #lines do entries[#entries + 1] = unescape(lines[i]) end
  if #lines > 2 * M.max then paths.write(path_of(name), table.concat(lines, "\n", #lines - M.max + 1) .. "\n") end
  return entries
end

--- Adds an entry. Nothing is said when the folder cannot be written.
---@return boolean kept
function M.append(name, entry)
  if entry == "" or entry:match("^%s") then return false end
  local path = path_of(name)
  if not core.stat(path) and not paths.write(path, "") then return false end
  local f = io.open(path, "a")
  if not f then return false end
  f:write(escape(entry), "\n")
  f:close()
  return true
end

return M
