-- Where things are kept: the XDG folders, and the files in them.
local core = require "tidemark.core"

local M = {}

local function home() return os.getenv("HOME") or "/" end

function M.state() return (os.getenv("XDG_STATE_HOME") or home() .. "/.local/state") .. "/tidemark" end
function M.config() return (os.getenv("XDG_CONFIG_HOME") or home() .. "/.config") .. "/tidemark" end

--- The whole file, or nil and an error.
function M.read(path)
  local f, problem = io.open(path, "rb")
  if not f then return nil, problem end
  local s
  s, problem = f:read("a") -- of a folder: nil
  f:close()
  return s, problem and path .. ": " .. problem
end

function M.write(path, s)
  core.mkdir(path:match("^(.*)/[^/]*$") or ".")
  return core.write_private(path, s)
end

--- The *.lua files of a folder, sorted, as full paths.
function M.rule_files(dir)
  local out = {}
  for _, name in ipairs(core.list(dir) or {}) do
    if name:match("^[^%.].*%.lua$") then out[#out + 1] = dir .. "/" .. name end
  end
  return out
end

return M
