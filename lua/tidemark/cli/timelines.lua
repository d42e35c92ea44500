-- Commands over what Chrome's tracing wrote: work that held up a thread, operations without an end, counters, frames, memory dumps.
local args = require "tidemark.cli.args"
local core = require "tidemark.core"
local profiles = require "tidemark.cli.profiles"
local text = require "tidemark.show.text"
local traces = require "tidemark.cli.traces"

local M = {}

local options_with, checked, rows_of, ns, bytes, number = traces.options_with, traces.checked, traces.rows, traces.ns, traces.bytes, traces.number

local function open(words, options, problems)
  return traces.open(words, options, "trace of Chrome", { timeline = true }, problems)
end

local base_option = { "base", "FILE", "what is more and less than in that trace" }

local function open_base(options, problems)
  return (open({ options.base }, options, problems))
end

-- As many of the rows as people want to see.
local function first(rows, options)
  local limit = options.nodecount or 20
  return limit > 0 and #rows > limit and table.move(rows, 1, limit, 1, {}) or rows
end

-- rows: what people and JSON see of the table t; cells of columns that people see.
local function show(options, verb, words, problems, trace, t, columns, head, rows)
  if options.csv then return profiles.output(options, t:csv()) end
  if options.json then return profiles.output(options, text.document(verb, traces.meta(words, trace, problems, t.notes), rows)) end
  traces.print(options, problems, columns, head, first(rows, options))
end

-- What is more and less than in the trace of --base: verb_diff. columns: what people see before and after CHANGE.
local function show_diff(options, verb, words, problems, now, base, columns, what, polish)
  local report = require "tidemark.report.timelines"
  local rows = report.diff(verb, now, base)
  if options.json then
    return profiles.output(options, text.document(verb .. "_diff", { files = text.array(words), base = options.base, problems = text.array(problems) }, rows))
  end
  local changed = {}
  for _, row in ipairs(rows) do if row.change ~= 0 then changed[#changed + 1] = row end end
  local shown = first(changed, options)
  for _, row in ipairs(shown) do
    row.change = ("%+.0f"):format(row.change)
    if polish then polish(row) end
  end
  traces.print(options, problems, columns, ("%d of %d %s changed\n"):format(#changed, #rows, what), shown)
end

local nodecount = { "nodecount", "N", "so many rows at most; 0 = all; JSON has all", kind = "integer" }

local function duration(option, word)
  return core.duration(word) or args.usage(("--%s needs a time such as 16ms, not %s"):format(option, word))
end

local moments = {
  { "from", "MOMENT", "only what was from then: a time from the trace's start, or the name of a performance.mark" },
  { "to", "MOMENT", "only what was until then" },
}

local function moment(trace, option, word)
  if not word then return nil end
  return trace:mark(word) or core.duration(word) or args.usage(("--%s: %s is neither a performance.mark of the trace nor a time such as 2s"):format(option,
    word))
end

local function span(trace, options, more)
  local out = more or {}
  out.from_ns, out.to_ns = moment(trace, "from", options.from), moment(trace, "to", options.to)
  return out
end

M.tasks = {
  name = "tasks", summary = "work that held up a thread of a browser, and what it did",
  usage = "tasks FILE [--over 16ms] [OPTIONS]",
  examples = { "tidemark tasks trace.json", "tidemark tasks trace.json.gz --over 50ms --json", "tidemark tasks trace.json --thread CrBrowserMain",
    "tidemark tasks new.json --base old.json", "tidemark tasks trace.json --over 50ms --chrome --output long.json" },
  doc = "A task is what a thread runs in one piece; an asterisk marks those over 50 ms. FORCED is layout and style that script asked for\n"
    .. "and had to wait for. JSON is time in JSON.parse and JSON.stringify by CPU samples (category disabled-by-default-v8.cpu_profiler).",
  options = options_with({ "over", "TIME", "longer tasks only", default = "16ms" }, base_option,
    { "chrome", "Chrome's trace events of those tasks, with all in them, and of operations without an end" },
    { "thread", "NAME", "of threads of this name; CrRendererMain when there is one" }, nodecount),
  run = function(options, words)
    local trace, problems = open(words, options)
    local over = duration("over", options.over)
    if options.chrome then
      profiles.warn(problems)
      return profiles.output(options, checked(require("tidemark.report.timelines").chrome(trace, over, options.thread)))
    end
    local t = checked(trace:tasks { over_ns = over, thread = options.thread })
    local rows = rows_of(t)
    if options.base then
      local base = open_base(options, problems)
      return show_diff(options, "tasks", words, problems, rows, rows_of(checked(base:tasks { over_ns = over, thread = options.thread })),
        { number("change", "CHANGE"), number("base_count", "BEFORE"), number("count", "NOW"),
          ns("base_duration_ns", "TIME BEFORE"), ns("duration_ns", "TIME NOW"),
          { key = "work", title = "WORK" } }, "works of tasks over " .. core.format(over, "ns"))
    end
    local head = ("%d tasks in %s: %d over %s, %d over 50 ms\n"):format(t.notes.tasks, core.format(t.notes.duration_ns, "ns"), #rows,
      core.format(over, "ns"), t.notes.long_tasks)
    if not options.json then
      for _, row in ipairs(rows) do
        row.flag = row.long == 1 and "*" or ""
        if row.work == "" then row.work = row.hot end
      end
    end
    show(options, "tasks", words, problems, trace, t, { ns("duration_ns", "TOOK"), { key = "flag", title = "" }, ns("begin_ns", "AT"),
      ns("script_ns", "SCRIPT"), ns("layout_ns", "LAYOUT"), ns("style_ns", "STYLE"), ns("forced_ns", "FORCED"), ns("gc_ns", "GC"), ns("json_ns", "JSON"),
      ns("html_ns", "HTML"), number("pid", "PID"), { key = "work", title = "WORK" } }, head, rows)
  end,
}

M.asyncs = {
  name = "asyncs", summary = "operations of a browser that began and did not end: timers, sockets, requests",
  usage = "asyncs FILE [OPTIONS]",
  examples = { "tidemark asyncs trace.json", "tidemark asyncs trace.json --all --json" },
  doc = "Timers that were not cleared, WebSockets not closed, requests without an end (an EventSource is one), console.time without timeEnd.\n"
    .. "OWNER is the script that ran when it began. COUNT are equal ones, ENDED those like them that did. A one-shot timer counts while it waits.",
  options = options_with(base_option, { "all", "also the browser's own, and those that never end in any trace" }, nodecount),
  run = function(options, words)
    local trace, problems = open(words, options)
    local t = checked(trace:asyncs())
    local keep = not options.all and function(row) return row.eternal == 0 end or nil
    local rows = rows_of(t, keep)
    if options.base then
      return show_diff(options, "asyncs", words, problems, rows, rows_of(checked(open_base(options, problems):asyncs()), keep),
        { number("change", "CHANGE"), number("base_count", "BEFORE"), number("count", "NOW"), { key = "kind", title = "KIND" },
          { key = "name", title = "NAME" }, { key = "detail", title = "DETAIL" }, { key = "owner", title = "OWNER" } }, "piles")
    end
    local head = ("%d operations without an end, %d ended; %d piles shown\n"):format(t.notes.open, t.notes.ended, #rows)
    show(options, "asyncs", words, problems, trace, t, { ns("age_ns", "AGE"), number("count", "COUNT"), number("ended", "ENDED"), number("fired", "FIRED"),
      { key = "kind", title = "KIND" }, { key = "name", title = "NAME" }, number("pid", "PID"), { key = "detail", title = "DETAIL" },
      { key = "owner", title = "OWNER" } }, head, rows)
  end,
}

M.counters = {
  name = "counters", summary = "what a browser's trace counted: JS heap, nodes, documents, listeners; and pauses of collections",
  usage = "counters FILE [OPTIONS]",
  examples = { "tidemark counters trace.json", "tidemark counters trace.json --from opened --to closed --json" },
  doc = "PER SECOND is the slope of a line through all points (least squares). Needs the category disabled-by-default-devtools.timeline.",
  options = options_with(base_option, { "constant", "also those that never change" }, moments[1], moments[2], nodecount),
  run = function(options, words)
    local trace, problems = open(words, options)
    local t = checked(trace:counters(span(trace, options, { constant = options.constant })))
    local n, rows = t.notes, rows_of(t)
    if options.base then
      local base = open_base(options, problems)
      local whole = function(row) row.base_last, row.last = ("%.0f"):format(row.base_last), ("%.0f"):format(row.last) return row end
      return show_diff(options, "counters", words, problems, rows, rows_of(checked(base:counters(span(base, options, { constant = options.constant })))),
        { number("change", "CHANGE"), number("base_last", "BEFORE"), number("last", "NOW"), { key = "name", title = "NAME" },
          { key = "process", title = "PROCESS" } }, "counters", whole)
    end
    local head = ("%d collections paused for %s, at most %s\n"):format(n.collections, core.format(n.pause_ns, "ns"), core.format(n.longest_pause_ns, "ns"))
    if not options.json then
      for _, row in ipairs(rows) do
        for _, key in ipairs { "first", "last", "delta", "least", "greatest", "slope_per_s" } do row[key] = ("%.0f"):format(row[key]) end
      end
    end
    show(options, "counters", words, problems, trace, t, { { key = "name", title = "NAME" }, number("pid", "PID"), number("first", "FIRST"),
      number("last", "LAST"), number("delta", "CHANGE"), number("least", "LEAST"), number("greatest", "GREATEST"),
      number("slope_per_s", "PER SECOND"), number("count", "POINTS") }, head, rows)
  end,
}

M["memory-infra"] = {
  name = "memory-infra", summary = "memory dumps in a browser's trace, by process and allocator, and their growth",
  usage = "memory-infra FILE [OPTIONS]",
  examples = { "tidemark memory-infra trace.json", "tidemark memory-infra trace.json --deep --json" },
  doc = "What allocators say they hold (effective_size, or size where there is none) in the first and the last dump of each process.\n"
    .. "Needs the category disabled-by-default-memory-infra.",
  options = options_with({ "deep", "also the parts of allocators: v8/main/heap" }, moments[1], moments[2], nodecount),
  run = function(options, words)
    local trace, problems = open(words, options)
    local t = checked(trace:memory(span(trace, options)))
    local rows = rows_of(t, function(row) return options.deep or not row.name:find("/", 1, true) end)
    show(options, "memory-infra", words, problems, trace, t, { bytes("growth_bytes", "GROWTH"), bytes("first_bytes", "FIRST"),
      bytes("last_bytes", "LAST"), bytes("most_bytes", "MOST"), number("objects", "OBJECTS"), number("dumps", "DUMPS"), number("pid", "PID"),
      { key = "process", title = "PROCESS" }, { key = "name", title = "ALLOCATOR" } }, ("%d allocators of processes\n"):format(#rows), rows)
  end,
}

--- `frames` of a timeline.
function M.frames(options, words, trace, problems)
  local t = checked(trace:frames())
  local n = t.notes
  local head = ("%d frames: %d presented, %d in part, %d dropped, %d without need\n"):format(n.frames, n.presented, n.partial, n.dropped, n.not_desired)
  show(options, "frames", words, problems, trace, t, { { key = "what", title = "WHAT" }, number("pid", "PID"), { key = "process", title = "PROCESS" },
    number("count", "COUNT"), ns("p50_ns", "P50"), ns("p95_ns", "P95"), ns("p99_ns", "P99"), ns("max_ns", "MAX") }, head, rows_of(t))
end

return M
