-- leaks: what of a process's native heap leaks, who refers to it, and the verdict; or what saved snapshots say of it.
local args = require "tidemark.cli.args"
local core = require "tidemark.core"
local dumps = require "tidemark.cli.dumps"
local leaks = require "tidemark.leaks"
local profiles = require "tidemark.cli.profiles"
local suppressions = require "tidemark.suppressions"
local target = require "tidemark.cli.target"
local text = require "tidemark.show.text"
local verdicts = require "tidemark.report.leaks"

local ROWS <const> = 20
local colors = { leak = "red", grows = "yellow", cache = "green", kept = "dim", steady = "dim", retention = "yellow" }

-- One mark for each step of age: below 1 s, 1 s, 10 s, 1 min, 10 min, 1 h, 6 h, 1 day and more.
local function bars(row)
  local values, most = {}, 0
  for i, age in ipairs(row.ages) do
    values[i] = age.count > 0 and age.count or 0 / 0
    most = math.max(most, age.count)
  end
  return text.spark(values, 0, most)
end

local columns = {
  { key = "verdict", title = "VERDICT" }, { key = "sure", title = "SURE", right = true },
  { key = "live_bytes", title = "LIVE", unit = "bytes", right = true }, { key = "live_count", title = "BLOCKS", right = true },
  { key = "lost", title = "LOST", right = true }, { key = "growth", title = "GROWTH", right = true },
  { key = "ages", title = "0..1d   " }, { key = "name", title = "SITE" },
}

local function cells(row)
  return { verdict = row.verdict, sure = ("%.0f %%"):format(row.confidence * 100), live_bytes = row.live_bytes, live_count = row.live_count,
    lost = row.lost_count > 0 and ("%d"):format(row.lost_count) or "", ages = bars(row), name = row.name,
    growth = row.slope_bytes_per_s ~= 0 and core.format(math.floor(row.slope_bytes_per_s + 0.5), "bytes") .. "/s" or "" }
end

-- The holders behind the first, which the sentence names.
local function details(row, options)
  local out = { "    " .. row.why }
  for i = 2, math.min(#(row.holders or {}), 4) do
    local h = row.holders[i]
    out[#out + 1] = ("    %s are held by %s"):format(core.format(h.bytes, "bytes"), h.text)
  end
  for _, frame in ipairs(options.full and row.stack or {}) do
    out[#out + 1] = "      " .. frame.name .. (frame.file and (" %s:%d"):format(frame.file, frame.line or 0) or "")
  end
  for i, line in ipairs(out) do out[i] = text.style("dim", text.clean(line)) .. "\n" end
  return table.concat(out)
end

local function is_shown(row, options) return options.all or verdicts.order[row.verdict] <= verdicts.order.cache end

local function render(r, options)
  local shown, rows, limit = {}, {}, options.nodecount or ROWS
  for _, row in ipairs(r.sites) do
    if is_shown(row, options) and (limit == 0 or #shown < limit) then
      shown[#shown + 1], rows[#rows + 1] = row, cells(row)
    end
  end
  local out = { text.style("bold", ("%s (%.0f %% sure)"):format(r.total.verdict, r.total.confidence * 100)) .. "\n" }
  for _, line in ipairs(r.total.evidence) do out[#out + 1] = "  " .. line .. "\n" end
  if #rows == 0 then return table.concat(out) end
  local lines = text.table(columns, rows)
  local i = -1
  for line in lines:gmatch("[^\n]+") do
    i = i + 1
    local row = shown[i]
    if row then line = line:gsub("^%a+", function(word) return text.style(colors[word] or "dim", word) end) end
    out[#out + 1] = line .. "\n" .. (row and details(row, options) or "")
  end
  if #rows < #r.sites then out[#out + 1] = ("%d other sites%s\n"):format(#r.sites - #rows, options.all and "" or " (--all)") end
  return table.concat(out)
end

-- ---- for programs ----

local names = { "name", "verdict", "confidence", "live_bytes", "live_count", "lost_bytes", "lost_count", "interior_bytes", "held_bytes", "slope_bytes_per_s",
  "new_count", "freed_count", "made_bytes", "made_count", "never_freed", "samples", "owner", "caller", "why", "key" }

local function document_row(row)
  local out = { ages = text.array(row.ages), frames = text.array(row.frames) }
  for _, name in ipairs(names) do out[name] = row[name] end
  if row.holders then
    local holders = {}
    for i, h in ipairs(row.holders) do
      holders[i] = { kind = h.kind, name = h.name, module = h.module, tid = h.tid, site = h.site, interior = h.interior,
        count = h.count, bytes = h.bytes, text = h.text }
    end
    out.holders = text.array(holders)
  end
  return out
end

local function meta_of(r)
  local meta = {}
  for key, value in pairs(r.about) do meta[key] = value end
  if meta.files then meta.files = text.array(meta.files) end
  for key, value in pairs(r.total) do meta[key] = value end
  meta.evidence = text.array(r.total.evidence)
  meta.scan = r.scan
  meta.suppressed = r.suppressed and text.array(r.suppressed)
  for _, name in ipairs { "arena_bytes", "used_bytes", "free_bytes", "top_bytes", "rss_bytes", "trimmed_bytes", "trim_ns" } do
    if r.books.allocator_is_libc or name:match "^trim" then meta[name] = r.books[name] end
  end
  return meta
end

local function show(r, options)
  local rows = {}
  if options.json or options.csv then
    for i, row in ipairs(r.sites) do rows[i] = document_row(row) end
  end
  if options.json then return profiles.output(options, text.document("leaks", meta_of(r), text.array(rows))) end
  if options.csv then return dumps.show_rows(options, "leaks", {}, {}, {}, names, rows) end
  profiles.output(options, render(r, options))
end

local function progress(options)
  if options.quiet or options.json or options.csv or not core.terminal(2).tty then return nil end
  return function(i, n) io.stderr:write(i < n and ("\r\27[Ksnapshot %d of %d"):format(i, n) or "\r\27[K") end
end

local function seconds_of(options)
  local n = tonumber(options.seconds or 10)
  if not n or n < 0 or n > 86400 then args.usage("--seconds: '" .. options.seconds .. "' is no span from 0 to 86400") end
  return n
end

local function failed(r, options)
  local limit = options["fail-on"]
  return limit and verdicts.order[r.total.verdict] and verdicts.order[r.total.verdict] <= verdicts.order[limit] and 1 or 0
end

return {
  name = "leaks", summary = "what of a native heap leaks: lost or still referenced, by whom; leak, cache or retention", usage = "leaks PID|FILE... [OPTIONS]",
  examples = { "tidemark leaks 4711", "tidemark leaks 4711 --seconds 60 --trim", "tidemark leaks 4711 --full --json", "tidemark leaks before.pb.gz after.pb.gz",
    "tidemark leaks myapp --fail-on leak" },
  doc = "The process has tidemark's malloc agent (`tidemark run --malloc`, `tidemark inject`). Snapshots over --seconds say what comes and\n"
    .. "what is freed at each site; then its memory is looked through for pointers into the live blocks: who has none left is lost.\n"
    .. "Verdicts: leak (lost, or it grows and nothing is freed), grows, cache (blocks are replaced), kept (made once), steady; of the\n"
    .. "whole also retention (the allocator holds free memory). Each thread is stopped for some 30 us to see its registers.\n"
    .. "Of saved snapshots (`tidemark snap PID malloc`) it says what grows and what is never freed.",
  options = {
    { "seconds", "N", "watch for so long (10)" },
    { "trim", "try malloc_trim: how much goes back to the system?" },
    { "no-scan", "do not look for pointers" },
    { "no-stop", "stop no thread: what only a register holds counts as lost" },
    { "whole", "each whole stack is a site of its own" },
    { "full", "show the stacks" },
    { "all", "show sites that do not move, too" },
    { "nodecount", "N", "so many rows at most; 0 = all (20)", kind = "integer" },
    { "fail-on", "VERDICT", "exit 1 when the whole is judged so, or worse", choices = { "leak", "grows" } },
    suppressions.options[1], suppressions.options[2],
    { "csv", "print the table as CSV" },
    { "output", "FILE", "write there instead of to the terminal" },
    { "timeout", "DUR", "how long to wait for each answer of the agent", kind = "duration" },
  },
  run = function(opts, words)
    if #words == 0 then args.usage("a PID or snapshots are needed: tidemark leaks 4711") end
    local known = suppressions.from_options(opts)
    local r, err
    if #words > 1 or core.stat(words[1]) and not words[1]:match("^%d+$") then
      r, err = leaks.compare(words, { whole = opts.whole, suppressions = known })
    else
      r, err = leaks.watch(target.resolve(words[1]), { seconds = seconds_of(opts), trim = opts.trim, scan = not opts["no-scan"],
        registers = not opts["no-stop"], whole = opts.whole, suppressions = known, timeout_ns = opts.timeout, progress = progress(opts) })
    end
    if not r then error({ message = err.message, code = err.code, advice = err.advice }, 0) end
    if known then r.suppressed = known:rows() end
    if known and not opts.json and not opts.quiet then io.stderr:write("tidemark: ", known:summary() or "no suppressions", "\n") end
    show(r, opts)
    return failed(r, opts)
  end,
}
