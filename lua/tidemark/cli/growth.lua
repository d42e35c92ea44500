-- growth: what rises over many snapshots, ranked. Each is read, added and freed: memory depends on the number of distinct keys.
local args = require "tidemark.cli.args"
local core = require "tidemark.core"
local profile = require "tidemark.profile"
local profiles = require "tidemark.cli.profiles"
local suppressions = require "tidemark.suppressions"
local text = require "tidemark.show.text"

local M = {
  name = "growth", summary = "what rises over many profiles or heap dumps, ranked: call paths, functions, type paths, types", pprof_flags = true,
  usage = "growth PROFILE PROFILE... | DUMP DUMP... [OPTIONS]",
  examples = { "tidemark growth heap.*.pb.gz", "tidemark growth snapshots/ --by function --nodecount 10",
    "tidemark growth a.pb.gz b.pb.gz c.pb.gz --rising --json", "tidemark growth t1.hprof t2.hprof t3.hprof",
    "tidemark growth 1.heapsnapshot 2.heapsnapshot 3.heapsnapshot --by id" },
  doc = "A path counts with the samples of exactly that stack, a function with its flat value. STEPS is rises of all steps; a step\n"
    .. "back is a reversal. CONFIDENCE joins monotony, fit of a line and the number of steps.\n\n"
    .. "Of heap dumps (JVM, V8, Go, or their paths as `convert --to pprof` keeps them) objects are counted by type path from the roots; told\n"
    .. "are the topmost paths with more than --min-delta objects more in every dump. --by id: what was allocated between the first two V8\n"
    .. "snapshots and is alive in the third.",
  options = profiles.options_with({ "by", "KEY", "path or function; of heap dumps path, type or id", choices = { "path", "function", "type", "id" },
    default = "path" },
    { "min-delta", "N", "of heap dumps: so many objects more in every step, 500 by default", kind = "integer" },
    { "follow", "WHICH", "of heap dumps, edges that count: strong, soft, weak, final or phantom and all before it", default = "soft",
      choices = { "strong", "soft", "weak", "final", "phantom" } },
    { "exe", "FILE", "of Go heap dumps: the program that wrote them names types, globals and fields" },
    { "retained", "of heap dumps: also what would be freed with all objects of each path" },
    { "rising", "only what rises in every step" }),
}

local function expand(words)
  local out = {}
  for _, word in ipairs(words) do
    local stat = not profile.is_remote(word) and core.stat(word)
    if stat and stat.kind == "directory" then
      local files = profile.files_in(word)
      table.move(files, 1, #files, #out + 1, out)
    else out[#out + 1] = word end
  end
  return out
end

-- The leaf in front, and as many callers as there is room for.
local function show_key(key, by, width)
  if by == "function" then return text.clean(key) end
  local frames = {}
  for frame in key:gmatch("[^;]+") do table.insert(frames, 1, frame) end
  return text.cut(text.clean(table.concat(frames, " < ")), width)
end

local function number(value, unit) return unit == "bytes" and core.format(value, "bytes") or unit == "nanoseconds" and core.format(value, "ns")
  or tostring(value) end
local function signed(value, unit)
  return (value < 0 and "-" or "+") .. number(math.abs(value), unit)
end

local function show(rows, notes, by)
  local timed = notes.hours and notes.hours > 0 -- else the profiles count as an hour apart: per_hour is per step
  local shown, width = {}, math.max(40, (core.terminal(1).columns or 100) - 62)
  if not core.terminal(1).tty then width = 4096 end
  for _, r in ipairs(rows) do
    shown[#shown + 1] = { first = number(r.first, notes.unit), last = number(r.last, notes.unit), delta = signed(r.delta, notes.unit),
      per_hour = r.per_hour == 0 and "" or signed(math.floor(r.per_hour + 0.5), notes.unit) .. (timed and "/h" or ""),
      steps = ("%d of %d"):format(r.steps, notes.snapshots - 1),
      falls = r.falls == 0 and "" or tostring(r.falls), confidence = ("%d %%"):format(math.floor(r.confidence_ratio * 100 + 0.5)),
      key = show_key(r.key, by, width) }
  end
  io.write(("%s over %d profiles, %s: %s to %s (%s)\n"):format(notes.type, notes.snapshots,
    timed and core.format(notes.hours * 3600e9, "ns") or "no times", number(notes.first_total, notes.unit),
    number(notes.last_total, notes.unit), signed(notes.last_total - notes.first_total, notes.unit)))
  if #shown == 0 then
    io.write("Nothing rises.\n")
    return
  end
  io.write(text.table({ { key = "delta", title = "DELTA", right = true }, { key = "per_hour", title = timed and "PER HOUR" or "PER STEP", right = true },
    { key = "first", title = "FIRST", right = true }, { key = "last", title = "LAST", right = true }, { key = "steps", title = "STEPS", right = true },
    { key = "falls", title = "REVERSALS", right = true }, { key = "confidence", title = "CONFIDENCE", right = true },
    { key = "key", title = by == "path" and "PATH (leaf < caller)" or "FUNCTION" } }, shown))
end

function M.run(options, words)
  local files = expand(words)
  if #files < 2 then args.usage("two profiles or more are needed, oldest first") end
  local report, problems = profile.report_options(options), {}
  local count = report.nodecount or options.json and 0 or 20
  report.by, report.nodecount = options.by, nil
  local first = profile.read(files[1], options, problems)
  local dumps = require "tidemark.cli.growth_dumps"
  if dumps.takes(first) then return dumps.growth(options, files, first, problems) end
  if options.by ~= "path" and options.by ~= "function" then args.usage("profiles grow --by path or function") end
  local g, err = core.growth(report)
  if not g then error(err, 0) end
  local known = suppressions.from_options(options)
  for i, file in ipairs(files) do
    if core.terminal(2).tty and not options.quiet then io.stderr:write(("\r%d of %d\27[K"):format(i, #files)) end
    local p = i == 1 and first or profile.read(file, options, problems)
    if known and p.kind == "profile" then p = known:apply(p) end
    local ok, problem = g:add(p, p:info().time_ns)
    if not ok then
      problem.message = file .. ": " .. problem.message
      error(problem, 0)
    end
    p:close()
  end
  if core.terminal(2).tty and not options.quiet then io.stderr:write("\r\27[K") end
  local t = assert(g:table(options.rising and 0 or count))
  local notes, rows = t.notes, {}
  for _, row in t:rows() do
    if not options.rising or row.falls == 0 and row.steps == notes.snapshots - 1 then rows[#rows + 1] = row end
    if count > 0 and #rows >= count then break end
  end
  if options.csv then
    profiles.output(options, t:csv())
  elseif options.json then
    local meta = { files = text.array(files), by = options.by, partial = #problems > 0, problems = text.array(problems),
      suppressed = known and text.array(known:rows()) }
    for key, value in pairs(notes) do meta[key] = value end
    profiles.output(options, text.document("growth", meta, rows))
  else
    profiles.warn(problems)
    if known and not options.quiet then profiles.warn { known:summary() } end
    local keep = {}
    for _, row in ipairs(rows) do
      if row.delta > 0 then keep[#keep + 1] = row end
    end
    show(keep, notes, options.by)
  end
end

return M
