-- Commands over what a Go trace holds beside its goroutines: regions and tasks, frames, and what collections left.
local args = require "tidemark.cli.args"
local core = require "tidemark.core"
local profiles = require "tidemark.cli.profiles"
local text = require "tidemark.show.text"
local traces = require "tidemark.cli.traces"

local M = {}

local options_with, checked, ns, bytes, number = traces.options_with, traces.checked, traces.ns, traces.bytes, traces.number

local function open(words, options)
  return traces.open(words, options, "trace", { trace = true })
end

-- last: how many rows people see, of the end.
local function show(options, verb, words, problems, trace, t, columns, head, last)
  if options.csv then return profiles.output(options, t:csv()) end
  if options.json then return profiles.output(options, text.document_of(verb, traces.meta(words, trace, problems, t.notes), t)) end
  local rows = traces.rows(t)
  if last and #rows > last then rows = table.move(rows, #rows - last + 1, #rows, 1, {}) end
  traces.print(options, problems, columns, head, rows)
end

M.regions = {
  name = "regions", summary = "how long the regions and tasks of a Go trace took, by name",
  usage = "regions FILE [OPTIONS]",
  examples = { "tidemark regions trace.out", "tidemark regions trace.out --unfinished --json" },
  doc = "Regions are what trace.WithRegion and StartRegion mark, tasks what trace.NewTask does. OPEN counts those that did not end\n"
    .. "within the trace; quantiles are of those that did.",
  options = options_with({ "unfinished", "list those that did not end, the oldest first" }),
  run = function(options, words)
    local trace, problems = open(words, options)
    local t = checked(options.unfinished and trace:unfinished() or trace:spans())
    local n = t.notes
    local head = ("%d regions and %d tasks in %s; %d did not end\n"):format(n.regions, n.tasks, core.format(n.duration_ns, "ns"), n.open)
    local columns = { ns("p50_ns", "P50"), ns("p95_ns", "P95"), ns("p99_ns", "P99"), ns("max_ns", "MAX"), ns("total_ns", "TOTAL"),
      number("count", "COUNT"), number("open", "OPEN"), { key = "kind", title = "KIND" }, { key = "name", title = "NAME" } }
    if options.unfinished then
      columns = { ns("age_ns", "AGE"), ns("begin_ns", "BEGAN"), number("goroutine", "GOROUTINE"), number("id", "TASK"),
        { key = "kind", title = "KIND" }, { key = "name", title = "NAME" } }
    end
    show(options, options.unfinished and "unfinished" or "regions", words, problems, trace, t, columns, head)
  end,
}

M.frames = {
  name = "frames", summary = "frame times of a Go or Chrome trace: intervals, jitter, missed frames",
  usage = "frames FILE [--region NAME | --log KEY] [OPTIONS]",
  examples = { "tidemark frames trace.out --region frame", "tidemark frames trace.out --log vsync --pause 100" },
  doc = "A frame begins where a region of that name does, or where the program logs that key. Of regions the work is told, too: for a\n"
    .. "region around the handling of events that is the latency of their dispatch. A trace of Chrome tells its frames by itself.",
  options = options_with({ "region", "NAME", "frames begin where regions of this name do" }, { "log", "KEY", "frames begin where this key is logged" },
    { "pause", "MS", "a longer interval is a pause and no frame; 0 = none is", default = 250, kind = "number" }),
  run = function(options, words)
    if options.region and options.log then args.usage("--region NAME or --log KEY says what a frame is, not both") end
    local trace, problems = traces.open(words, options, "trace", { trace = true, timeline = true })
    if trace.kind == "timeline" then return require("tidemark.cli.timelines").frames(options, words, trace, problems) end
    if not options.region and not options.log then args.usage("--region NAME or --log KEY says what a frame is") end
    local t = checked(trace:frames { region = options.region, log = options.log, pause_ns = math.tointeger(options.pause * 1000000 // 1) })
    local n = t.notes
    local head = ("%d frames, %.1f per second; %d missed at 60 Hz, %d at 120 Hz; %d pauses\n"):format(n.frames, n.per_second, n.missed_60hz,
      n.missed_120hz, n.pauses)
    show(options, "frames", words, problems, trace, t, { { key = "what", title = "WHAT" }, number("count", "COUNT"), ns("p50_ns", "P50"),
      ns("p95_ns", "P95"), ns("p99_ns", "P99"), ns("max_ns", "MAX") }, head)
  end,
}

-- Sixty of many values, evenly taken.
local function thin(values)
  local out = {}
  local count = math.min(60, #values)
  for i = 1, count do out[i] = values[1 + (i - 1) * (#values - 1) // math.max(1, count - 1)] end
  return out
end

M.floors = {
  name = "floors", summary = "what each garbage collection of a Go trace left, and whether it grows",
  usage = "floors FILE [OPTIONS]",
  examples = { "tidemark floors trace.out", "tidemark floors trace.out --csv" },
  doc = "The verdict is that of the leak gate over the live heap after each collection; it needs ten of them. Exit code 1 when it is a leak.",
  options = options_with(),
  run = function(options, words)
    local trace, problems = open(words, options)
    local t = checked(trace:floors())
    local n, live = t.notes, {}
    for i, row in t:rows() do live[i] = row.live_bytes end
    local head = ("%s after %d collections: %s; %s/s, p %.3f\n%s\n"):format(n.verdict, n.collections, n.reason,
      core.format(n.slope_per_s // 1, "bytes"), n.p, #live > 1 and text.spark(thin(live)) or "")
    show(options, "floors", words, problems, trace, t, { ns("time_ns", "AT"), bytes("live_bytes", "LIVE"), bytes("change_bytes", "CHANGE"),
      bytes("goal_bytes", "GOAL") }, head, 20)
    return n.verdict == "leak" and 1 or 0
  end,
}

return M
