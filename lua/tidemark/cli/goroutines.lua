-- Goroutines by what they do and where they come from: of Go execution traces, goroutine dumps and goroutine profiles.
local args = require "tidemark.cli.args"
local core = require "tidemark.core"
local profile = require "tidemark.profile"
local profiles = require "tidemark.cli.profiles"
local text = require "tidemark.show.text"

local function read(word, options, problems)
  local source = profile.read(word, options, problems)
  if source.kind == "trace" then return source end
  if source.kind == "graph" and source:go_version() then
    local p, err = source:goroutine_profile { exe = options.exe }
    if not p then error(err, 0) end
    return p
  end
  local types = source.kind == "goroutines" or source.kind == "profile" and source:info().types
  if types == true or types and #types == 1 and types[1].type == "goroutine" then return source end
  error({ message = ("%s is a %s (%s): no Go trace, goroutine dump or goroutine profile"):format(word, source.kind, source.format),
    code = "argument" }, 0)
end

local function head(source, notes)
  local count = ("%d goroutines"):format(notes.alive)
  if source.kind ~= "trace" then return count .. "\n" end
  local out = ("%s alive after %s; %d created, %d ended"):format(count, core.format(notes.duration_ns, "ns"), notes.created, notes.ended)
  if notes.foreign > 0 then out = out .. (", %d of them calls from C"):format(notes.foreign) end
  return out .. "\n"
end

local function columns(source)
  local out = { { key = "count", title = "COUNT", right = true }, { key = "age_ns", title = "OLDEST", unit = "ns", right = true } }
  if source.kind == "trace" then
    out[#out + 1] = { key = "created_count", title = "CREATED", right = true }
    out[#out + 1] = { key = "ended_count", title = "ENDED", right = true }
  end
  for _, key in ipairs { "state", "entry", "site", "creation" } do out[#out + 1] = { key = key, title = key:upper() } end
  return out
end

local function with_stacks(t, cols)
  local out = {}
  for _, row in t:rows() do
    out[#out + 1] = text.table(cols, { row })
    for line in row.stack:gmatch("[^\n]+") do out[#out + 1] = "    " .. text.clean(line) .. "\n" end
    out[#out + 1] = "\n"
  end
  return table.concat(out)
end

return {
  name = "goroutines", summary = "goroutines by state, entry, site and creation: of a trace, a dump or a profile",
  usage = "goroutines FILE [OPTIONS]",
  examples = { "tidemark goroutines trace.out", "tidemark goroutines trace.out --stacks --nodecount 3",
    "curl -s 'localhost:6060/debug/pprof/goroutine?debug=2' | tidemark goroutines - --json" },
  doc = "FILE is what runtime/trace or /debug/pprof/trace wrote (Go 1.22 to 1.26), goroutine?debug=2, or a goroutine profile. The age is\n"
    .. "that of the oldest in this state. CREATED and ENDED count all with the same entry and creation within the trace.",
  options = {
    { "exe", "FILE", "the program that wrote a heap dump: for lines and creations" },
    { "stacks", "tell different stacks apart, and print them" },
    { "gone", "also those of which all have ended" },
    { "nodecount", "N", "so many rows at most; 0 = all", kind = "integer" },
    { "csv", "print the table as CSV" },
    { "output", "FILE", "write there instead of to the terminal" },
    { "format", "F", "how the file is written, when it cannot be seen" },
  },
  run = function(options, words)
    if #words ~= 1 then args.usage("one trace, goroutine dump or goroutine profile is needed") end
    local problems = {}
    local source = read(words[1], options, problems)
    local wanted = { stacks = options.stacks, gone = options.gone, nodecount = options.nodecount or (options.json or options.csv) and 0 or 20 }
    local t, err
    if source.kind == "trace" then t, err = source:goroutines(wanted) else t, err = core.goroutines(source, wanted) end
    if not t then error(err, 0) end
    if options.csv then return profiles.output(options, t:csv()) end
    if options.json then
      local meta = { files = text.array(words), kind = source.kind, format = source.format, partial = source.partial, problems = text.array(problems) }
      for key, value in pairs(t.notes) do meta[key] = value end
      return profiles.output(options, text.document_of("goroutines", meta, t))
    end
    for _, problem in ipairs(problems) do io.stderr:write("tidemark: ", text.clean(problem), "\n") end
    local rows, cols = {}, columns(source)
    for i, row in t:rows() do rows[i] = row end
    profiles.output(options, head(source, t.notes) .. (options.stacks and with_stacks(t, cols) or text.table(cols, rows)))
  end,
}
