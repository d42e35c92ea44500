-- inject: bring the malloc agent into a program that runs already.
local args = require "tidemark.cli.args"
local core = require "tidemark.core"
local malloc = require "tidemark.malloc"
local target = require "tidemark.cli.target"
local text = require "tidemark.show.text"

return {
  name = "inject", summary = "bring the malloc agent into a program that runs already", usage = "inject PID [OPTIONS]",
  examples = { "tidemark inject 4711", "tidemark inject 4711 --mode full", "tidemark snap 4711 malloc -o heap.pb.gz", "tidemark malloc 4711 detach" },
  doc = "One thread of the program is stopped for some milliseconds, loads the agent and is put back where it was; the others run on.\n"
    .. "From then on all is as with `run --malloc`, but that what was allocated before is not known. `tidemark malloc PID detach` takes\n"
    .. "the agent out of every call; its code stays loaded. Takes the program's user and kernel.yama.ptrace_scope 0, or root.",
  options = {
    { "mode", "MODE", "sampled, full (every allocation) or idle", choices = malloc.modes, default = "sampled" },
    { "rate", "BYTES", "one sample in so many bytes (512KiB)", kind = "bytes" },
    { "malloc-rate", "BYTES", "the same, as `run` has it", kind = "bytes" },
    { "malloc-mode", "MODE", "the same as --mode", choices = malloc.modes },
  },
  run = function(opts, words)
    if #words ~= 1 then args.usage("one process is needed: tidemark inject 4711") end
    local pid = target.resolve(words[1])
    local row, err = malloc.inject(pid, { mode = opts["malloc-mode"] or opts.mode, rate = opts["malloc-rate"] or opts.rate })
    -- What is refused lies in the program, not here.
    if not row then error({ message = err.message, code = err.code, advice = err.code ~= "unsupported" and err.advice or nil }, 0) end
    if opts.json then
      io.write(text.document("inject", {}, text.array { row }))
    elseif not opts.quiet and row.was_there then
      io.write(("process %d has the agent already; it records (%s)\n"):format(pid, row.mode))
    elseif not opts.quiet then
      io.write(("the agent is in process %d (%s); thread %d was away for %s\ntidemark snap %d malloc -o heap.pb.gz\n"):format(pid, row.mode, row.thread,
        core.format(row.stopped_ns, "ns"), pid))
    end
    return 0
  end,
}
