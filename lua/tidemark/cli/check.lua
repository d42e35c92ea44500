-- Is a Go execution trace whole, and can its events stand in the order that it claims?
local args = require "tidemark.cli.args"
local core = require "tidemark.core"
local text = require "tidemark.show.text"

local function describe(word, v)
  local out = { ("%s: Go trace of format 1.%d, %s"):format(text.clean(word), v.format_version, v.valid and "whole and in order" or "NOT in order"),
    ("  %d generations, %d batches, %d events in order"):format(v.generations, v.batches, v.events),
    ("  goroutines: %d created, %d ended, %d alive (%d runnable, %d running, %d in syscalls, %d waiting)"):format(v.created, v.ended, v.alive,
      v.runnable, v.running, v.syscall, v.waiting) }
  if v.duplicates > 0 then
    out[#out + 1] = ("  %d batches were written twice, a bug of Go 1.25 and 1.26; they are left out"):format(v.duplicates)
  end
  if v.waited > 0 then out[#out + 1] = ("  %d events came before their time and had to wait"):format(v.waited) end
  if v.repaired then
    out[#out + 1] = ("  repaired: %d batches kept, %d dropped that were there already, %d moved into their generation, %d bytes at the end given up")
      :format(v.repaired.batches, v.repaired.dropped, v.repaired.moved, v.repaired.cut_bytes)
  end
  if v.problem then out[#out + 1] = "  " .. text.clean(v.problem) end
  return table.concat(out, "\n") .. "\n"
end

local function write(out, bytes)
  local f, problem = io.open(out, "wb")
  if not f then error({ message = "cannot write " .. problem, code = "io" }, 0) end
  f:write(bytes)
  f:close()
end

-- Writes the repaired trace; answers what was done.
local function repair(word, out)
  local bytes, done = core.repair_trace(word)
  if not bytes then error(done, 0) end
  write(out, bytes)
  return done
end

return {
  name = "check", summary = "is a Go execution trace whole, and in an order that can be?",
  usage = "check FILE... [OPTIONS]",
  examples = { "tidemark check trace.out", "tidemark check trace.out --json", "tidemark check broken.trace --repair clean.trace",
    "tidemark check trace.out --blocked block.pb.gz && tidemark top block.pb.gz" },
  doc = "Puts all events of a trace into one order by the runtime's sequence numbers, as strictly as Go's own reader. Exit code 1\n"
    .. "when that is impossible or the file is damaged or cut; the first problem is named with its byte.",
  options = {
    { "blocked", "OUT", "write what all goroutines waited for, by stack, to OUT: a pprof profile like Go's own block profile" },
    { "repair", "OUT", "write FILE to OUT without the batches that stand in it twice, each in its generation; the verdict is of OUT" },
  },
  run = function(options, words)
    if #words == 0 then args.usage("a Go execution trace is needed") end
    if (options.repair or options.blocked) and #words > 1 then args.usage("--repair and --blocked are of one trace") end
    local rows, good = {}, true
    for i, word in ipairs(words) do
      local repaired = options.repair and repair(word, options.repair)
      local v, waits = core.check_trace(repaired and options.repair or word, options.blocked ~= nil)
      if not v then error(waits, 0) end
      if options.blocked then write(options.blocked, assert(waits:write "pprof")) end
      v.file = repaired and options.repair or word
      v.repaired = repaired
      good = good and v.valid
      rows[i] = v
      if not options.json then io.write(describe(v.file, v)) end
    end
    if options.json then io.write(text.document("check", { files = text.array(words) }, rows)) end
    return good and 0 or 1
  end,
}
