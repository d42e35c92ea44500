-- hotspots: the CPU profile beside the heap: who is hot in the allocator, whether what they make is kept, and what to do.
local args = require "tidemark.cli.args"
local core = require "tidemark.core"
local fetch = require "tidemark.fetch"
local hotspots = require "tidemark.report.hotspots"
local paths = require "tidemark.cli.paths"
local profile = require "tidemark.profile"
local text = require "tidemark.show.text"
local verdicts = require "tidemark.report.verdicts"

local M = {
  name = "hotspots", summary = "CPU beside heap: who is hot in the allocator, whether it is kept, what to do",
  usage = "hotspots --cpu FILE [--heap FILE [--heap LATER]] | hotspots --endpoint URL",
  examples = { "tidemark hotspots --cpu cpu.pb.gz --heap before.pb.gz --heap after.pb.gz",
    "tidemark hotspots --endpoint localhost:6060 --seconds 10", "tidemark hotspots --test --rules my.lua" },
  doc = "Several --heap are given oldest first. Verdicts come from a table that rule files extend: tm.hotspot in docs/rule-guide.md.",
  options = {
    { "cpu", "FILE", "the CPU profile" },
    { "heap", "FILE", "a heap profile (repeatable, oldest first)", kind = "list" },
    { "allocs", "FILE", "an allocs profile; one with a duration (?seconds=N) gives rates" },
    { "endpoint", "URL", "take all of them from a live program: heap, CPU, heap" },
    { "rules", "FILE", "rows of a decision table that go before the built-in ones (repeatable)", kind = "list" },
    { "top", "N", "so many rows", default = "10", kind = "integer" },
    { "least", "RATIO", "smallest share of the CPU that is worth a row", default = "0.5%" },
    { "seconds", "N", "how long a live endpoint collects CPU", default = "10", kind = "integer" },
    { "test", "run the tests that stand in the tables" },
  },
}

table.move(fetch.options, 1, #fetch.options, #M.options + 1, M.options)

local function table_of(options)
  local files = {}
  for _, path in ipairs(options.rules or {}) do
    local source, problem = paths.read(path)
    if not source then error({ message = "cannot read rules: " .. problem, code = "io" }, 0) end
    files[#files + 1] = { origin = path, source = source }
  end
  return verdicts.load(files)
end

-- A table whose own tests fail would give wrong advice: it is refused.
local function checked_table(options)
  local rows = table_of(options)
  if not options.rules then return rows end
  for _, t in ipairs(verdicts.test(rows)) do
    if not t.ok and not t.origin:match("^builtin:") then
      error({ message = ("%s: tm.hotspot '%s', %s: %s"):format(t.origin, t.id, t.name == "" and "tests" or t.name, t.why), code = "rule",
        advice = "`tidemark hotspots --test --rules FILE` runs all tests" }, 0)
    end
  end
  return rows
end

local function run_tests(options)
  local results, failed, rows = verdicts.test(table_of(options)), 0, {}
  for i, t in ipairs(results) do
    if not t.ok then failed = failed + 1 end
    rows[i] = { id = t.id, test = t.name, ok = t.ok, why = t.why, origin = t.origin }
  end
  if options.json then io.write(text.document("hotspots-test", { passed = #results - failed, failed = failed }, rows))
  else
    for _, r in ipairs(rows) do
      local why = ("  %s  %s: %s (%s)\n"):format(text.clean(r.id), text.clean(r.test), text.clean(r.why), text.clean(r.origin))
      if not r.ok then io.write(text.style("red", "FAIL"), why) end
    end
    io.write(("%d tests, %d failed\n"):format(#results, failed))
  end
  return failed > 0 and 1 or 0
end

local function share_of(value)
  local number = value:match("^[%d%.]+%%$") and tonumber(value:sub(1, -2)) / 100 or tonumber(value)
  if not number or number < 0 or number > 1 then args.usage("--least: '" .. value .. "' is no share; write 0.5% or 0.005") end
  return number
end

local columns = { { key = "n", title = "#" }, { key = "name", title = "CODE" }, { key = "where", title = "WHERE" },
  { key = "cpu", title = "CPU", right = true }, { key = "rate", title = "MAKES", right = true }, { key = "inuse", title = "IN USE", right = true },
  { key = "growth", title = "GROWTH", right = true }, { key = "heap", title = "HEAP" }, { key = "verdict", title = "VERDICT" } }

local function flat(s) return (text.clean(s):gsub("[\r\n\t]", " ")) end
local function bytes(value) return value and core.format(value, "bytes") or "-" end

local function wrap(s, width, indent)
  local out, line = {}, indent
  for word in s:gmatch("%S+") do
    if #line > #indent and text.width(line) + text.width(word) >= width then
      out[#out + 1] = line
      line = indent
    end
    line = line .. (#line > #indent and " " or "") .. word
  end
  out[#out + 1] = line
  return table.concat(out, "\n") .. "\n"
end

-- The frames between whom it was charged to and who asked the runtime; the middle of a long one is left out.
local function chain_line(chain)
  if #chain <= 6 then return table.concat(chain, " < ") end
  local head, tail = table.move(chain, 1, 3, 1, {}), table.move(chain, #chain - 1, #chain, 1, {})
  return table.concat(head, " < ") .. (" < (%d more) < "):format(#chain - 5) .. table.concat(tail, " < ")
end

local function makes(row)
  if row.alloc_rate then return core.format(row.alloc_rate, "bytes/s") end
  return bytes(row.alloc)
end

local function head_line(meta)
  local unit = meta.cpu_unit == "nanoseconds" and "ns" or "count"
  local function part(value) return meta.cpu_total > 0 and core.format(value / meta.cpu_total, "ratio") or "0 %" end
  return ("%s of CPU: %s asks for memory, copies it or helps the collector; %s is the collector in the background\n"):format(
    core.format(meta.cpu_total, unit), part(meta.cpu_charged), part(meta.cpu_background))
end

local function print_text(rows, meta, most)
  io.write(head_line(meta))
  if #rows == 0 then
    io.write("no call path is hot in the allocator\n")
    return
  end
  io.write "\n"
  local cells = {}
  for i = 1, math.min(most, #rows) do
    local r = rows[i]
    local more = r.places and r.places > 1 and (" and %d more"):format(r.places - 1) or ""
    cells[i] = { n = tostring(i), name = flat(r.name) .. more, where = flat(r.where), cpu = core.format(r.cpu_share, "ratio"),
      rate = makes(r), inuse = bytes(r.inuse),
      growth = r.growth and (r.growth > 0 and "+" or "") .. core.format(r.growth, "bytes") or "-", heap = r.heap or "-", verdict = r.verdict }
  end
  io.write(text.table(columns, cells))
  for i = 1, #cells do
    local r = rows[i]
    io.write(("\n%s %s  %s\n"):format(text.style("bold", tostring(i)), text.style("bold", flat(r.id)), flat(hotspots.evidence(r))))
    io.write("  ", text.style("dim", flat(chain_line(r.chain))), "\n", wrap(flat(r.advice), 110, "  "))
  end
  if #rows > most then io.write(("\n%d more rows; --top %d shows them\n"):format(#rows - most, #rows)) end
  if meta.cpu_hidden > 0 then
    io.write(("\n%s of CPU is in paths too small to tell; --least shows smaller ones\n"):format(core.format(meta.cpu_hidden / meta.cpu_total, "ratio")))
  end
  if meta.heaps < 2 then io.write("\ntwo heap profiles (--heap before --heap after) would tell what grows from what is dropped\n") end
end

local function json_rows(rows)
  local out = {}
  for i, r in ipairs(rows) do
    out[i] = { name = r.name, places = r.places or 1, file = r.file, line = r.line, site = r.site, path = text.array(r.path), cpu = r.cpu,
      cpu_share_ratio = r.cpu_share,
      classes = r.classes, inuse_bytes = r.inuse, growth_bytes = r.growth, growth_ratio = r.growth_ratio, alloc_bytes = r.alloc,
      alloc_share_ratio = r.alloc_share, alloc_bytes_per_second = r.alloc_rate,
      churn_ratio = r.churn ~= math.huge and r.churn or nil, heap = r.heap, id = r.id, verdict = r.verdict, advice = r.advice, origin = r.origin }
  end
  return out
end

-- One heap profile before the CPU profile and the others behind it: live ones then tell what grew meanwhile.
local function read(options, problems)
  local heaps, input = options.heap or {}, { heaps = {} }
  if heaps[1] then input.heaps[1] = profile.read(heaps[1], options, problems) end
  input.cpu = profile.read(options.cpu, options, problems)
  for i = 2, #heaps do input.heaps[i] = profile.read(heaps[i], options, problems) end
  if options.allocs then input.allocs = profile.read(options.allocs, options, problems) end
  return input
end

local function take(options)
  local function one(kind, gc, seconds)
    local wanted = fetch.from_options(options)
    wanted.kind, wanted.gc, wanted.seconds = kind, gc, seconds
    local answer, err = fetch.bytes(options.endpoint, wanted)
    if not answer then error({ message = err.message, code = err.code, advice = err.advice, exit = 4 }, 0) end
    local p, problem = core.read { bytes = answer }
    if problem then error({ message = ("%s: %s: %s"):format(options.endpoint, kind, problem.message), code = problem.code, exit = 3 }, 0) end
    return p
  end
  local before = one("heap", true)
  local cpu = one("cpu", nil, options.seconds)
  return { cpu = cpu, heaps = { before, one("heap", true) } }
end

function M.run(options, words)
  if options.test then return run_tests(options) end
  if #words > 0 then args.usage("hotspots takes its profiles by --cpu, --heap and --allocs") end
  if options.endpoint and (options.cpu or options.heap or options.allocs) then args.usage("--endpoint takes all profiles itself") end
  if not options.endpoint and not options.cpu then args.usage("--cpu FILE or --endpoint URL is needed") end
  local least, rows_of_table = share_of(options.least), checked_table(options)
  local problems = {}
  local input = options.endpoint and take(options) or read(options, problems)
  input.table, input.least = rows_of_table, least
  local rows, meta = hotspots.data(input)
  if options.json then
    meta.problems = text.array(problems)
    io.write(text.document("hotspots", meta, json_rows(rows)))
    return 0
  end
  for _, problem in ipairs(problems) do io.stderr:write("tidemark: ", text.clean(problem), "\n") end
  print_text(rows, meta, options.top)
  return 0
end

return M
