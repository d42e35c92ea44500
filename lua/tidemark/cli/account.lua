-- account: where a process's RSS went, owner by owner; once, again and again, or out of a recording.
local access = require "tidemark.cli.access"
local account = require "tidemark.account"
local args = require "tidemark.cli.args"
local core = require "tidemark.core"
local dumps = require "tidemark.cli.dumps"
local history = require "tidemark.report.account"
local profiles = require "tidemark.cli.profiles"
local text = require "tidemark.show.text"

local BAR <const> = 24
local eighths = { "▏", "▎", "▍", "▌", "▋", "▊", "▉" }

local function bar(share)
  if not text.utf8 then return ("#"):rep(math.floor(share * BAR + 0.5)) end
  local n = math.floor(share * BAR * 8 + 0.5)
  return ("█"):rep(n // 8) .. (eighths[n % 8] or "")
end

local sources = { expvar = "expvar", metrics = "its metrics", pprof = "the heap profile", jcmd = "its attach socket", inspector = "its inspector" }

local function head(r)
  if r.runtime == "recorded" then
    return text.style("bold", ("%s (%s), %d readings in %s: RSS %s at the end\n"):format(r.name or "?", tostring(r.pid or "?"), r.readings,
      core.format(r.duration_ns, "ns"), core.format(r.rss_bytes, "bytes")))
  end
  local about = r.version and r.version ~= "" and r.version or r.runtime
  local numbers = r.source ~= "" and "numbers from " .. (sources[r.source] or r.source) or "from outside only"
  if r.agent then numbers = numbers .. ", C's from the malloc agent" end
  local out = ("%s (%d), %s, %s: RSS %s in %d mappings\n"):format(r.name, r.pid, about, numbers, core.format(r.rss_bytes, "bytes"), r.mappings)
  if r.problem ~= "" then out = out .. "  the program tells no numbers: " .. text.clean(r.problem) .. "\n" end
  return text.style("bold", out)
end

local function with_trend(rows, past)
  for _, row in ipairs(rows) do
    local trend = past and past:trend(row.owner)
    if trend then
      row.trend_bytes_per_hour = trend.per_hour
      row.trend = ("%s %s"):format(text.spark(trend.values), trend.per_hour and core.format(trend.per_hour, "bytes") .. "/h" or "")
    end
  end
end

local function render(r, past)
  local rows, columns = {}, { { key = "title", title = "OWNER" }, { key = "bytes", title = "RSS", unit = "bytes", right = true },
    { key = "percent", title = "SHARE", right = true }, { key = "bar", title = (" "):rep(BAR) } }
  if past then columns[#columns + 1] = { key = "trend", title = "TREND" } end
  columns[#columns + 1] = { key = "detail", title = "DETAIL" }
  for i, row in ipairs(r.rows) do
    rows[i] = { title = row.title, bytes = row.bytes, percent = ("%.1f %%"):format(row.share * 100), bar = bar(row.share), trend = row.trend,
      detail = row.detail }
  end
  return head(r) .. text.table(columns, rows)
end

local names = { "owner", "bytes", "share", "title", "group", "swap_bytes", "told_bytes", "mappings", "largest_bytes", "largest_start", "largest_name",
  "trend_bytes_per_hour", "detail" }

local function show(options, r, past)
  with_trend(r.rows, past)
  for _, row in ipairs(r.rows) do
    if options.json or options.csv then row.trend = nil end
  end
  local meta = {}
  for _, key in ipairs { "pid", "name", "runtime", "version", "source", "problem", "rss_bytes", "statm_bytes", "mappings", "chunks", "agent", "smaps_ns",
    "cpu_ns", "ask_ns", "time_ns", "readings", "duration_ns" } do
    meta[key] = r[key]
  end
  if options.json then return profiles.output(options, text.document("account", meta, r.rows)) end
  if options.csv then return dumps.show_rows(options, "account", {}, {}, {}, names, r.rows) end
  profiles.output(options, render(r, past))
end

local function write_page(path, past)
  local f, problem = io.open(path .. ".part", "w")
  if not f then error({ message = "cannot write " .. problem, code = "io" }, 0) end
  f:write(history.page(past))
  f:close()
  os.rename(path .. ".part", path)
end

-- Reads at every period until the time is over, the process ends or somebody interrupts.
local function follow(options, a)
  local past = history.new { name = a.name, pid = a.pid }
  local _, began = core.now()
  local quiet = options.json or options.csv
  local tty = core.terminal(1).tty and not quiet
  while true do
    local r, err = a:read()
    if not r and (past:count() == 0 or err.code ~= "gone") then error(err, 0) end
    local _, now = core.now()
    local last = not r or options["for"] and now + options.watch > began + options["for"]
    if r then past:add(r) end
    if options.html then write_page(options.html, past) end
    if r and not quiet then
      if tty then io.write("\27[H\27[2J") end
      show(options, r, past)
      if not tty and not last then io.write("\n") end
    end
    if not last and not core.pause(options.watch) then last = true end
    if last then return past end
  end
end

local function finish(options, past)
  if (options.json or options.csv) then show(options, past:last(), past) end
  if options.html and not options.quiet then io.stderr:write("wrote ", options.html, "\n") end
  return 0
end

local function of_recording(options, path)
  local past, err = history.read(path)
  if not past then error(err, 0) end
  if options.html then write_page(options.html, past) end
  show(options, past:last(), past)
  if options.html and not options.quiet then io.stderr:write("wrote ", options.html, "\n") end
  return 0
end

local options = {
  { "watch", "DUR", "read again and again, with trends", kind = "duration" },
  { "for", "DUR", "with --watch: end after this time", kind = "duration" },
  { "html", "FILE", "write a stacked timeline, one page without anything from elsewhere" },
  { "outside", "never ask the program: only what the system tells" },
  { "malloc-info", "FILE|URL", "what malloc_info(3) wrote in the program: divides the C heap" },
  { "csv", "print the table as CSV" },
  { "output", "FILE", "write there instead of to the terminal" },
  { "timeout", "DUR", "how long to wait for each of the program's answers", kind = "duration" },
}
table.move(access.options, 1, #access.options, #options + 1, options)

return {
  name = "account", summary = "where RSS went: heaps of Go, JVM, V8 and C, files, stacks, and what nobody explains", usage = "account TARGET [OPTIONS]",
  examples = { "tidemark account myapp", "tidemark account 127.0.0.1:6060 --watch 10s --html where.html", "tidemark account jvm:4711 --json",
    "tidemark account node:9229", "tidemark account soak.tmr --html where.html" },
  doc = "Every mapping has one owner, and rows add up to RSS. Runtimes divide theirs: Go by its endpoint, JVMs by their attach socket, V8 by an\n"
    .. "inspector (node:PID opens one for a moment, a bare PID does not). The malloc agent divides the C heap\n"
    .. "into used and free; without it that is told as a whole. A recording (.tmr) shows what `watch` and `record` saw. Costs\n"
    .. "one read of smaps: about 1 us a mapping and 40 ns a page.",
  options = options,
  run = function(opts, words)
    if #words ~= 1 then args.usage("one TARGET is needed") end
    if opts["for"] and not opts.watch then args.usage("--for needs --watch") end
    if words[1]:match("%.tmr$") then return of_recording(opts, words[1]) end
    if opts.html and not opts.watch then args.usage("--html needs --watch, or a recording") end
    local a <close> = account.open(words[1], opts)
    if opts.watch then return finish(opts, follow(opts, a)) end
    local r, err = a:read()
    if not r then error(err, 0) end
    show(opts, r)
    return 0
  end,
}
