-- Which folders of rules may run. A folder is trusted with the hash of each of its files; what changed since, while no session
-- watched it, needs a new `tidemark rules trust`. Rules built in, and files of the user's own configuration, need none.
local core = require "tidemark.core"
local paths = require "tidemark.cli.paths"

local M = {}

local function file() return paths.state() .. "/trust" end

-- Lines "HASH PATH"; PATH of a folder carries the hash "dir".
local function load()
  local known = {}
  for line in (paths.read(file()) or ""):gmatch("[^\n]+") do
    local hash, path = line:match("^(%S+) (.+)$")
    if hash then known[path] = hash end
  end
  return known
end

local function save(known)
  local lines = {}
  for path, hash in pairs(known) do lines[#lines + 1] = hash .. " " .. path end
  table.sort(lines)
  return paths.write(file(), table.concat(lines, "\n") .. "\n")
end

local function own_and_private(path)
  local st = core.stat(path)
  return st and (st.uid == core.uid() or st.uid == 0) and st.mode & 18 == 0 -- not writable by group or others
end

local function below(path, dir) return path:sub(1, #dir + 1) == dir .. "/" end

--- Records a folder's files as they are now. Returns how many, or nil and an error.
function M.trust(dir)
  local real, err = core.realpath(dir)
  if not real then return nil, err end
  local known, count = load(), 0
  for path in pairs(known) do
    if path == real or below(path, real) then known[path] = nil end
  end
  known[real] = "dir"
  for _, path in ipairs(paths.rule_files(real)) do
    known[path] = core.hash(paths.read(path) or "")
    count = count + 1
  end
  local ok, problem = save(known)
  if not ok then return nil, problem end
  return count
end

--- A file that a running session saw change: its new text is what is trusted from now on.
function M.accept(path)
  local known = load()
  local dir = path:match("^(.*)/[^/]*$")
  if not known[dir] then return end
  known[path] = core.hash(paths.read(path) or "")
  save(known)
end

--- Whether a folder may run; else false and the file that is not trusted.
function M.check_dir(dir)
  local real = core.realpath(dir)
  if not real then return true end -- loading it will say what is wrong
  local config = core.realpath(paths.config()) or paths.config()
  if below(real .. "/", config) or below(real, "/etc/tidemark") or below(real, "/usr/share/tidemark") then
    if own_and_private(real) then return true end
  end
  local known = load()
  if known[real] ~= "dir" then return false, real end
  for _, path in ipairs(paths.rule_files(real)) do
    if known[path] ~= core.hash(paths.read(path) or "") then return false, path end
  end
  return true
end

--- Whether a file named on the command line may run: the user's own, and writable by nobody else.
function M.check_file(path) return own_and_private(path) end

return M
