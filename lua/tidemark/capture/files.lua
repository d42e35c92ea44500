-- Where a capture's file goes: named by program and time, 0600, whole or not there, never over the room on the disk.
local core = require "tidemark.core"

local M = {}

function M.folder_of(path) return path:match("^(.*)/[^/]*$") or "." end

--- DIR/STEM-KIND-TIME.ENDING, as does not exist yet. dir: made if need be; nil = here.
function M.name(dir, stem, kind, ending)
  if dir then core.mkdir(dir) end
  stem = ("%s-%s-%s"):format((stem:gsub("[^%w._-]+", "-"):gsub("^%-+", ""):gsub("%-+$", "")), (kind:gsub("[^%w._-]+", "-")),
    os.date("!%Y%m%dT%H%M%SZ"))
  if dir then stem = dir .. "/" .. stem end
  local path, n = stem .. ending, 1
  while core.stat(path) do
    n = n + 1
    path = ("%s-%d%s"):format(stem, n, ending)
  end
  return path
end

--- Refuses what will not fit, unless it is forced.
---@return boolean|nil ok
---@return table|nil err
function M.check_room(folder, need_bytes, force)
  local free, err = core.disk_free(folder == "" and "/" or folder)
  if not free then return nil, err end
  if not need_bytes or force or need_bytes <= free then return true end
  return nil, { code = "limit", message = ("about %s will be written, %s has %s left"):format(core.format(need_bytes, "bytes"), folder,
    core.format(free, "bytes")), advice = "write elsewhere with -o, or give --force" }
end

--- Calls write(path_in_a_private_folder) and puts what it wrote to its place. write answers true, or nil and an error.
---@param path string
---@param folder table|nil  { at = where the folder is made, uid, gid = whose it is }
---@return integer|nil bytes
---@return table|nil err
function M.through(path, write, folder)
  folder = folder or {}
  local dir, err = core.private_folder(folder.at or M.folder_of(path), folder.uid, folder.gid)
  if not dir then return nil, err end
  local part = dir .. "/capture"
  local called, ok, problem = pcall(write, part)
  local bytes
  if called and ok then bytes, problem = core.move_private(part, path) end
  core.remove_folder(dir)
  if not called then error(ok, 0) end
  return bytes, problem
end

return M
