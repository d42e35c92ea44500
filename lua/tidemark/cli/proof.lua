-- proof: goroutines that can never run again, from a Go heap dump alone.
local args = require "tidemark.cli.args"
local core = require "tidemark.core"
local dumps = require "tidemark.cli.dumps"
local profiles = require "tidemark.cli.profiles"
local proof = require "tidemark.report.proof"
local text = require "tidemark.show.text"

-- Goroutines that the proof left out because of what dumps do not show.
local function doubt(n)
  if n.doubtful == 0 then return "" end
  return ("%d more wait for what only objects lead to that nothing refers to: garbage, or held by a cleanup (runtime.AddCleanup), which dumps do not show.\n"
    .. "Call runtime.GC() before debug.WriteHeapDump, then garbage is out of it.\n"):format(n.doubtful)
end

local function sentence(n)
  if n.leaked == 0 then return ("None of %d goroutines is proven to be leaked (%d of them wait for others).\n"):format(n.goroutines, n.examined) end
  return ("%d of %d goroutines can never run again: nothing that still runs leads to what they wait for. They alone hold %s.\n"):format(n.leaked,
    n.goroutines, core.format(n.retained_bytes, "bytes"))
end

local function columns(rows)
  local out = { dumps.number("count", "COUNT"), dumps.size("retained_bytes", "RETAINED") }
  for _, row in ipairs(rows) do
    if row.age_ns > 0 then
      out[#out + 1] = { key = "age_ns", title = "OLDEST", unit = "ns", right = true }
      break
    end
  end
  for _, key in ipairs { "state", "entry", "site", "creation", "waits_on" } do
    out[#out + 1] = { key = key, title = key:upper():gsub("_", " ") }
  end
  return out
end

return {
  name = "proof", summary = "goroutines of a Go heap dump that can never run again, and what they hold", usage = "proof DUMP [OPTIONS]",
  examples = { "tidemark proof app.heapdump", "tidemark proof app.heapdump --exe ./app --stacks", "tidemark proof app.heapdump --json" },
  doc = "A goroutine that waits for a channel, lock or condition which nothing can reach that still may run will wait for ever. No rebuild and no\n"
    .. "experiment is needed, only what debug.WriteHeapDump wrote; run runtime.GC() before it. OLDEST is at least that long ago. With --exe\n"
    .. "places have lines, and any Go version is read whose program has debug information. Exit code 1 when there are any.",
  options = {
    { "exe", "FILE", "the program that wrote the dump: for lines, and for offsets of a Go version that is not known here" },
    { "stacks", "tell different stacks apart, and print them" },
    { "nodecount", "N", "so many rows at most; 0 = all", kind = "integer" },
    { "csv", "print the table as CSV" },
    { "output", "FILE", "write there instead of to the terminal" },
    { "format", "F", "how the dump is written, when it cannot be seen" },
  },
  run = function(options, words)
    if #words ~= 1 then args.usage("one Go heap dump is needed") end
    local g, problems = dumps.open(words, options)
    local t, err = proof.prove(g, { exe = options.exe, stacks = options.stacks, nodecount = dumps.count(options) })
    if not t then error(err, 0) end
    problems[#problems + 1] = err
    local exit = t.notes.leaked > 0 and 1 or 0
    if options.json or options.csv then
      dumps.show(options, "proof", g, words, problems, t, {}, "")
      return exit
    end
    profiles.warn(problems)
    local rows = {}
    for i, row in t:rows() do rows[i] = row end
    local cols, out = columns(rows), { sentence(t.notes), doubt(t.notes) }
    if options.stacks then
      for _, row in ipairs(rows) do
        out[#out + 1] = text.table(cols, { row })
        for line in row.stack:gmatch("[^\n]+") do out[#out + 1] = "    " .. text.clean(line) .. "\n" end
        out[#out + 1] = "\n"
      end
    elseif #rows > 0 then out[#out + 1] = text.table(cols, rows) end
    profiles.output(options, table.concat(out))
    return exit
  end,
}
