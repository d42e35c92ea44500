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
  if v.problem then out[#out + 1] = "  " .. text.clean(v.problem) end
  return table.concat(out, "\n") .. "\n"
end

return {
  name = "check", summary = "is a Go execution trace whole, and in an order that can be?",
  usage = "check FILE... [OPTIONS]",
  examples = { "tidemark check trace.out", "tidemark check trace.out --json" },
  doc = "Puts all events of a trace into one order by the runtime's sequence numbers, as strictly as Go's own reader. Exit code 1\n"
    .. "when that is impossible or the file is damaged or cut; the first problem is named with its byte.",
  options = {},
  run = function(options, words)
    if #words == 0 then args.usage("a Go execution trace is needed") end
    local rows, good = {}, true
    for i, word in ipairs(words) do
      local v, err = core.check_trace(word)
      if not v then error(err, 0) end
      v.file = word
      good = good and v.valid
      rows[i] = v
      if not options.json then io.write(describe(word, v)) end
    end
    if options.json then io.write(text.document("check", { files = text.array(words) }, rows)) end
    return good and 0 or 1
  end,
}
