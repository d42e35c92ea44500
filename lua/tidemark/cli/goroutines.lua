-- Goroutines by what they do and where they come from: of Go execution traces, goroutine dumps and goroutine profiles.
local args = require "tidemark.cli.args"
local core = require "tidemark.core"
local fetch = require "tidemark.fetch"
local following = require "tidemark.cli.following"
local profile = require "tidemark.profile"
local profiles = require "tidemark.cli.profiles"
local text = require "tidemark.show.text"

local function read(word, options, problems)
  local whole_app = profile.is_remote(word) and not fetch.is_one(word)
  local source = profile.read(word, options, problems, whole_app and "goroutine" or nil)
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

local function head(source, notes, options)
  local count = ("%d goroutines"):format(notes.alive)
  if source.kind ~= "trace" then return count .. "\n" end
  local out = ("%s alive after %s; %d created, %d ended"):format(count, core.format(notes.duration_ns, "ns"), notes.created, notes.ended)
  if notes.foreign > 0 then out = out .. (", %d of them calls from C"):format(notes.foreign) end
  if notes.system > 0 and not options.system then out = out .. ("; %d of the runtime not shown"):format(notes.system) end
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

local keys = { "state", "entry", "site", "creation" }

-- What is more or less than in another trace, dump or profile, by the same keys; the most growth first.
local function compare(now, base)
  local rows, by_key = {}, {}
  local function take(t, field)
    for _, row in t:rows() do
      local key = table.concat({ row.state, row.entry, row.site, row.creation }, "\0")
      local to = by_key[key]
      if not to then
        to = { count = 0, base_count = 0, change = 0 }
        for _, name in ipairs(keys) do to[name] = row[name] end
        by_key[key] = to
        rows[#rows + 1] = to
      end
      to[field] = to[field] + row.count
    end
  end
  take(now, "count")
  take(base, "base_count")
  for i, row in ipairs(rows) do
    row.change = row.count - row.base_count
    row.place = i
  end
  table.sort(rows, function(a, b)
    if a.change ~= b.change then return a.change > b.change end
    return a.place < b.place
  end)
  for _, row in ipairs(rows) do row.place = nil end
  return rows
end

local diff_columns = { { key = "change", title = "CHANGE", right = true }, { key = "base_count", title = "BEFORE", right = true },
  { key = "count", title = "NOW", right = true } }
for _, key in ipairs(keys) do diff_columns[#diff_columns + 1] = { key = key, title = key:upper() } end

local function csv(shown, rows)
  local out = {}
  local function line(cells)
    for i, cell in ipairs(cells) do
      cell = tostring(cell)
      cells[i] = cell:find '[",\n]' and '"' .. cell:gsub('"', '""') .. '"' or cell
    end
    out[#out + 1] = table.concat(cells, ",") .. "\n"
  end
  local names = {}
  for i, column in ipairs(shown) do names[i] = column.key end
  line(names)
  for _, row in ipairs(rows) do
    local cells = {}
    for i, column in ipairs(shown) do cells[i] = row[column.key] end
    line(cells)
  end
  return table.concat(out)
end

-- The growth since --base.
local function show_diff(options, words, now, base, problems)
  local rows = compare(now, base)
  if options.csv then return profiles.output(options, csv(diff_columns, rows)) end
  if options.json then
    local meta = { files = text.array { words[1] }, base = options.base, problems = text.array(problems), alive = now.notes.alive,
      base_alive = base.notes.alive }
    return profiles.output(options, text.document("goroutines_diff", meta, rows))
  end
  local changed = {}
  for _, row in ipairs(rows) do if row.change ~= 0 then changed[#changed + 1] = row end end
  local limit = options.nodecount or 20
  local shown = limit > 0 and #changed > limit and table.move(changed, 1, limit, 1, {}) or changed
  profiles.warn(problems)
  profiles.output(options, ("%d goroutines, %d before; %d of %d piles changed\n"):format(now.notes.alive, base.notes.alive, #changed, #rows)
    .. (#shown > 0 and text.table(diff_columns, shown) or ""))
end

-- Chrome's trace events of the goroutines that were started in the trace, wait at its end and never ended, and of the heap.
local function chrome(source)
  local events, info = {}, source:info()
  local function add(e) events[#events + 1] = e end
  for i = 1, info.goroutines do
    local g = source:goroutine(i)
    if g.state == "waiting" and not g.system and not g.foreign then
      local us, last = g.created_ns / 1000, info.duration_ns / 1000
      local why = g.reason ~= "" and g.reason or "waiting"
      add { name = "thread_name", ph = "M", pid = 1, tid = g.id, args = { name = ("G%d %s"):format(g.id, g.entry) } }
      add { name = g.entry ~= "" and g.entry or "goroutine", cat = "goroutine", ph = "X", pid = 1, tid = g.id, ts = us, dur = last - us,
        args = { created_by = g.creation, born = g.born } }
      add { name = why, cat = "blocked", ph = "X", pid = 1, tid = g.id, ts = g.since_ns / 1000, dur = last - g.since_ns / 1000,
        args = { stack = text.array(g.stack) } }
    end
  end
  for _, name in ipairs { "heap_live", "goroutines" } do
    local times, values = source:counter(name)
    for i, time in ipairs(times) do add { name = name, ph = "C", pid = 1, tid = 0, ts = time / 1000, args = { value = values[i] } } end
  end
  return core.json { displayTimeUnit = "ms", traceEvents = text.array(events) } .. "\n"
end

local function table_of(source, wanted)
  local t, err
  if source.kind == "trace" then t, err = source:goroutines(wanted) else t, err = core.goroutines(source, wanted) end
  if not t then error(err, 0) end
  return t
end

-- JSON is one document per line and generation.
local function follow(options, word)
  local wanted = { stacks = options.stacks, gone = options.gone, system = options.system, nodecount = options.nodecount or 20 }
  local how = setmetatable({ seconds = options.seconds or 30 }, { __index = fetch.from_options(options) })
  local problem = following.run(word, options.idle, how, function(trace)
    local t = table_of(trace, wanted)
    if options.json then
      local meta = { files = text.array { word }, kind = "trace", format = "gotrace", generation = trace:info().generations }
      for key, value in pairs(t.notes) do meta[key] = value end
      io.write(text.document_of("goroutines", meta, t))
    else
      local rows = {}
      for i, row in t:rows() do rows[i] = row end
      io.write(("generation %d: "):format(trace:info().generations), head(trace, t.notes, options),
        options.stacks and with_stacks(t, columns(trace)) or text.table(columns(trace), rows), "\n")
    end
    io.stdout:flush()
  end)
  if problem then error(problem, 0) end
end

local function with_fetch(options) return table.move(fetch.options, 1, #fetch.options, #options + 1, options) end

return {
  name = "goroutines", summary = "goroutines by state, entry, site and creation: of a trace, a dump or a profile",
  usage = "goroutines FILE [OPTIONS]",
  examples = { "tidemark goroutines trace.out", "tidemark goroutines trace.out --stacks --nodecount 3",
    "tidemark goroutines localhost:6060 --follow --seconds 60",
    "ssh host curl -sN 'localhost:6060/debug/pprof/trace?seconds=60' | tidemark goroutines --follow -",
    "tidemark goroutines late.trace --base early.trace", "tidemark goroutines trace.out --chrome --output leaks.json",
    "tidemark goroutines 'localhost:6060/debug/pprof/goroutine?debug=2' --json" },
  doc = "FILE is what runtime/trace or /debug/pprof/trace wrote (Go 1.11 to 1.26), goroutine?debug=2, or a goroutine profile; of an app's\n"
    .. "address the goroutine profile is taken, with --follow a trace. The age is that of the oldest in this state. CREATED and ENDED count\n"
    .. "all with the same entry and creation within the trace.",
  options = with_fetch {
    { "exe", "FILE", "the program that wrote a heap dump: for lines and creations" },
    { "stacks", "tell different stacks apart, and print them" },
    { "gone", "also those of which all have ended" },
    { "system", "also the runtime's own goroutines" },
    { "follow", "read a trace that is still written (Go 1.22 or newer), and print the table for every generation: about each second" },
    { "seconds", "N", "with --follow: how long an app is traced (30)", kind = "number" },
    { "idle", "SECONDS", "with --follow: a file that has not grown for so long is at its end", default = 10, kind = "number" },
    { "base", "OLD", "what is more or less than in OLD, by state, entry, site and creation" },
    { "chrome", "Chrome's trace events of those that wait and never ended (a trace)" },
    { "nodecount", "N", "so many rows at most; 0 = all", kind = "integer" },
    { "csv", "print the table as CSV" },
    { "output", "FILE", "write there instead of to the terminal" },
    { "format", "F", "how the file is written, when it cannot be seen" },
  },
  run = function(options, words)
    if #words ~= 1 then args.usage("one trace, goroutine dump or goroutine profile is needed") end
    if options.follow then return follow(options, words[1]) end
    if options.seconds then args.usage("--seconds goes with --follow") end
    local problems = {}
    local source = read(words[1], options, problems)
    local wanted = { stacks = options.stacks, gone = options.gone, system = options.system,
      nodecount = options.nodecount or (options.json or options.csv) and 0 or 20 }
    if options.chrome then
      if source.kind ~= "trace" then args.usage("--chrome is for traces") end
      return profiles.output(options, chrome(source))
    end
    if options.base then
      wanted.nodecount, wanted.stacks = 0, nil
      return show_diff(options, words, table_of(source, wanted), table_of(read(options.base, options, problems), wanted), problems)
    end
    local t = table_of(source, wanted)
    if options.csv then return profiles.output(options, t:csv()) end
    if options.json then
      local meta = { files = text.array(words), kind = source.kind, format = source.format, partial = source.partial, problems = text.array(problems) }
      for key, value in pairs(t.notes) do meta[key] = value end
      return profiles.output(options, text.document_of("goroutines", meta, t))
    end
    profiles.warn(problems)
    local rows, cols = {}, columns(source)
    for i, row in t:rows() do rows[i] = row end
    profiles.output(options, head(source, t.notes, options) .. (options.stacks and with_stacks(t, cols) or text.table(cols, rows)))
  end,
}
