-- What `run --malloc` adds: the agent in the program's environment, and its last snapshot kept.
local core = require "tidemark.core"
local malloc = require "tidemark.malloc"

local M = {}

local SECOND <const> = 1000000000

M.options = {
  { "malloc", "record the native heap: sampled, full (every allocation) or idle (until `tidemark malloc PID start`)",
    choices = malloc.modes, bare = "sampled" },
  { "malloc-rate", "BYTES", "one sample in so many bytes (512KiB)", kind = "bytes" },
  { "handles", "record from the beginning who opens descriptors and makes pixmaps: `tidemark malloc PID handles`" },
  { "malloc-out", "FILE", "keep the last snapshot here" },
  { "malloc-every", "DUR", "how often a snapshot is kept while the program runs: some end without a word", kind = "duration", default = "2s" },
}

local methods = {}
methods.__index = methods

function methods:watch(pid)
  self.pid = pid
  if self.keeper then self.keeper:watch(pid, self.every_ns) end
end

--- Before the program is ended from outside: one more.
function methods:snapshot(pid)
  if not self.out then return end
  local _, profile = core.malloc_agent(pid, "snapshot", { timeout_ns = 10 * SECOND })
  if type(profile) == "string" then self.last = profile end
end

--- After the program ended: writes what was kept.
function methods:finish()
  if not self.keeper then return end
  local profile, reason = self.keeper:finish()
  core.remove_folder(self.folder)
  self.keeper = nil
  if self.pid and not core.describe(self.pid) then malloc.forget(self.pid) end
  profile = profile or self.last
  if reason ~= "" then
    io.stderr:write("tidemark: no native heap was recorded: ", reason, "\n")
  elseif self.out and profile then
    local bytes, err = malloc.save(profile, self.out)
    if not bytes then io.stderr:write("tidemark: ", self.out, ": ", err.message, "\n") end
    if bytes and not self.quiet then io.stderr:write("tidemark: ", self.out, ": the native heap (", core.format(bytes, "bytes"), ")\n") end
  elseif self.out then
    io.stderr:write("tidemark: ", self.out, " was not written: the program ended without a word and before the first snapshot\n")
  end
end

--- nil unless --malloc was given. Raises where the agent cannot work.
function M.begin(opts, program)
  local mode = opts.malloc or (opts["malloc-out"] or opts["malloc-rate"] or opts.handles) and "sampled"
  if not mode then return nil end
  malloc.check(program)
  local folder, err = core.private_folder("/tmp")
  if not folder then error({ message = err.message, code = err.code }, 0) end
  local keeper
  keeper, err = core.malloc_keeper(folder)
  if not keeper then
    core.remove_folder(folder)
    error({ message = err.message, code = err.code }, 0)
  end
  local made, env = pcall(malloc.environment, { mode = mode, rate = opts["malloc-rate"], handles = opts.handles }, keeper:path())
  if not made then
    keeper:finish()
    core.remove_folder(folder)
    error(env, 0)
  end
  return setmetatable({ env = env, keeper = keeper, folder = folder, out = opts["malloc-out"], quiet = opts.quiet,
    every_ns = opts["malloc-out"] and opts["malloc-every"] or 0 }, methods)
end

return M
