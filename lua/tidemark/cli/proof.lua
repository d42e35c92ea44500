-- proof: goroutines that can never run again, from a Go heap dump alone.
local args = require "tidemark.cli.args"
local core = require "tidemark.core"
local dumps = require "tidemark.cli.dumps"
local profiles = require "tidemark.cli.profiles"
local text = require "tidemark.show.text"

-- The offsets of the runtime that wrote the dump: from the executable when it is given and tells, else from the table of versions.
local function layout_of(g, exe, problems)
  local version, pointer_bytes = g:go_version()
  if not version then error({ message = "goroutines are proven leaked in Go heap dumps only", code = "argument" }, 0) end
  if exe then
    local layout, err = core.go_layout(exe)
    if layout and layout.version ~= version and layout.version ~= "" and version ~= "" then
      error({ message = ("%s was built by %s, the dump is of %s"):format(exe, layout.version, version), code = "argument",
        advice = "name the executable that wrote the dump" }, 0)
    end
    if layout then return layout end
    problems[#problems + 1] = err.message
  end
  local row = ("%s/%d"):format(version:match("^go1%.(%d+)") or "?", pointer_bytes)
  local layout = require("tidemark.data.go_layouts")[row]
  if layout then return layout end
  error({ message = ("the dump is of %s (%d-bit), whose runtime this build does not know"):format(version == "" and "an unnamed Go" or version,
    pointer_bytes * 8), code = "unsupported", advice = "name the unstripped executable that wrote it: --exe PROGRAM" }, 0)
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
    local layout = layout_of(g, options.exe, problems)
    local t, err = g:proof { layout = layout, exe = options.exe, stacks = options.stacks, nodecount = dumps.count(options) }
    if not t then error(err, 0) end
    local exit = t.notes.leaked > 0 and 1 or 0
    if options.json or options.csv then
      dumps.show(options, "proof", g, words, problems, t, {}, "")
      return exit
    end
    for _, problem in ipairs(problems) do io.stderr:write("tidemark: ", text.clean(problem), "\n") end
    local rows = {}
    for i, row in t:rows() do rows[i] = row end
    local cols, out = columns(rows), { sentence(t.notes) }
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
