-- Saved indexes of heap dumps: where they lie, and when one is written. An index stands beside its dump (FILE.tmx), or in the cache
-- folder when nothing can be written there; the core takes only one that is of this very file.
local core = require "tidemark.core"

local M = {}

--- Dumps of this size and more are indexed without being asked: reading them again would take seconds.
M.automatic_bytes = 256 * 1024 * 1024

local function cache_folder()
  return (os.getenv("XDG_CACHE_HOME") or (os.getenv("HOME") or "/") .. "/.cache") .. "/tidemark"
end

-- A name of its own for every path: FNV-1a over it.
local function cached(path)
  local hash = 0xcbf29ce484222325
  for i = 1, #path do hash = (hash ~ path:byte(i)) * 0x100000001b3 end
  return ("%s/%s-%016x.tmx"):format(cache_folder(), path:match("[^/]*$"):sub(1, 100), hash)
end

--- The places of a file's index, the best first; nil for what is no file.
function M.places(path)
  local stat = core.stat(path)
  if not stat or stat.kind ~= "file" then return nil end
  return { path .. ".tmx", cached(core.realpath(path) or path) }
end

--- Writes the index of a graph that was read from `path` with { index = places }.
---@return string|nil place, integer|table bytes_or_err
function M.save(g, places)
  local bytes, err = g:save_index(places[1])
  if bytes then return places[1], bytes end
  core.mkdir(cache_folder())
  local more, problem = g:save_index(places[2])
  if more then return places[2], more end
  return nil, problem or err
end

--- Whether a dump that was read without an index should get one: options.index, options["no-index"], or its size.
function M.wanted(path, options)
  if options["no-index"] then return false end
  return options.index or (core.stat(path) or { size_bytes = 0 }).size_bytes >= M.automatic_bytes
end

return M
