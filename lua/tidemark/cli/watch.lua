-- watch: sample a running process, run the rules, show what they find.
local access = require "tidemark.cli.access"
local args = require "tidemark.cli.args"
local core = require "tidemark.core"
local live = require "tidemark.show.live"
local policies = require "tidemark.cli.policies"
local sessions = require "tidemark.cli.session_watch"
local session = require "tidemark.cli.session"
local target = require "tidemark.cli.target"
local text = require "tidemark.show.text"
local v8_watch = require "tidemark.cli.v8_watch"

local M = {
  name = "watch", configurable = true, summary = "sample a running program, run rules, show what they find", usage = "watch TARGET [OPTIONS]",
  examples = { "tidemark watch firefox", "tidemark watch 4711 --for 2h --every 5s --record soak.tmr",
    "tidemark watch unix:/run/app.sock --allow act:runtime.gc", "tidemark watch 4711 --jsonl --fail-on high",
    "tidemark watch 127.0.0.1:6060 --show expvar.memstats.HeapInuse --show metrics.go_goroutines" },
  doc = "On a terminal: a live view. Piped: a line per event. TARGET: see `tidemark help targets`.",
  options = session.options,
}

-- Signals that the view shows though no rule may ask for them.
local shown = { { "proc.cpu", 5 }, { "proc.threads", 5 }, { "proc.fds", 5 }, { "proc.maps", 10 }, { "proc.anon", 5 },
  { "mem.limit", 60 }, { "account.unexplained", 30 } }

function M.demand(s, id, every_ns)
  for _, d in ipairs(shown) do
    s.engine:demand(id, d[1], math.max(every_ns, d[2] * 1000000000), 360)
  end
  s.engine:demand(id, "proc.rss", every_ns, 720)
  for _, metric in ipairs(s.show) do s.engine:demand(id, metric, every_ns, 720) end
end

local MEMBERS <const> = 4 -- of a family that are shown in a line

-- "expvar.memstats.HeapInuse 4 MiB" for what --show asked for; a family has a value per key.
local function shown_text(s, id)
  local out, wanted = {}, {}
  for _, metric in ipairs(s.show) do wanted[metric] = 0 end
  for _, track in ipairs(s.engine:tracks(id)) do
    local n = wanted[track.metric]
    if n and n < MEMBERS then
      wanted[track.metric] = n + 1
      local key = track.key ~= "" and "{" .. track.key .. "}" or ""
      out[#out + 1] = (", %s%s %s"):format(track.metric, key, core.format(track.last, track.unit))
    end
  end
  return table.concat(out)
end

local function status_text(s)
  local parts = {}
  for _, t in ipairs(s.engine:targets()) do
    local rss = s.engine:last(t.id, "proc.rss") or 0
    local fds, threads = s.engine:last(t.id, "proc.fds"), s.engine:last(t.id, "proc.threads")
    parts[#parts + 1] = ("%s RSS %s%s%s%s"):format(t.name, core.format(rss, "bytes"), fds and (", %d descriptors"):format(fds) or "",
      threads and (", %d threads"):format(threads) or "", shown_text(s, t.id))
  end
  return table.concat(parts, "; ")
end

local function status_object(s)
  local rows = {}
  for _, t in ipairs(s.engine:targets()) do
    local row = { target = t.id, name = t.name, pid = t.pid }
    for _, track in ipairs(s.engine:tracks(t.id)) do
      if track.key == "" then row[(track.metric:gsub("%.", "_")) .. (track.unit == "bytes" and "_bytes" or "")] = track.last end
    end
    rows[#rows + 1] = row
  end
  return { type = "status", time_ns = s.engine:now(), text = status_text(s), targets = text.array(rows) }
end

local function join_v8(s, t, v8, every_ns)
  local ok, err = v8_watch.watch(s, t, v8, every_ns)
  if ok then return end
  s.close()
  session.fail(err)
end

--- Everything that is to be said at the end, as rows of findings.
function M.findings(s)
  local rows = {}
  for _, a in ipairs(s.engine:alerts()) do
    if a.fired_ns > 0 then
      rows[#rows + 1] = { rule = a.rule, level = a.level, state = a.state, target = a.target, key = a.key, value = a.value,
        unit = a.unit, text = a.text, evidence = a.evidence, since_ns = a.since_ns }
    end
  end
  return rows
end

local function summary(s, options, reason, meta)
  local rows = M.findings(s)
  if options.json then
    meta.ended = reason
    meta.self = s.engine:stats()
    meta.rules = text.array {}
    for _, r in ipairs(s.engine:rules() or {}) do
      table.insert(meta.rules, { rule = r.id, state = r.state, evaluations = r.evaluations, findings = r.findings, errors = r.errors,
        kills = r.kills, throttled = r.throttled, missed = r.missed, cpu_ns = r.cpu_ns, budget_ratio = r.budget_ratio })
    end
    io.write(text.document("watch", meta, rows))
    return
  end
  if options.quiet or options.jsonl then return end
  io.write("\n", text.style("bold", "Summary"), " (", reason, "): ", status_text(s), "\n")
  if #rows == 0 then io.write("  nothing found\n") end
  for _, r in ipairs(rows) do
    io.write("  ", text.level(r.level, text.pad(r.level, 8)), " ", text.pad(r.state, 8), " ", text.clean(r.text), "\n")
  end
  if #s.evidence > 0 then io.write(("  %d pieces of evidence taken\n"):format(#s.evidence)) end
  local own, pages = s.engine:stats(), v8_watch.traces(s)
  if pages then
    io.write(("  %d trace%s of pages, %s each: traced for %s of the time, %s\n"):format(pages.count, pages.count == 1 and "" or "s",
      core.format(pages.traced_ns // pages.count, "ns"), core.format(pages.traced_ns / math.max(own.uptime_ns, 1), "ratio"),
      core.format(pages.bytes, "bytes")))
  end
  if own.traces > 0 then
    io.write(("  %d trace%s of %s each: traced for %s of the time, %s read with %s of CPU\n"):format(own.traces, own.traces == 1 and "" or "s",
      core.format(own.traced_ns // own.traces, "ns"), core.format(own.traced_ns / math.max(own.uptime_ns, 1), "ratio"),
      core.format(own.trace_bytes, "bytes"), core.format(own.fetch_cpu_ns, "ns")))
  end
end

--- Runs an opened session to its end; returns the exit code.
function M.drive(s, options, run_options)
  local piped = options.plain or not core.terminal(1).tty or options.json or options.jsonl or options.quiet
  if options.json or options.quiet then
    piped = true
  elseif piped and not options.jsonl then
    s.sinks[#s.sinks + 1] = session.line_sink(io.stdout)
  elseif not piped then
    live.attach(s)
  end
  if piped and not options.quiet and not options.json then
    s.engine:every(options.status, function() s.emit(s, status_object(s)) end)
  end
  s.running = true
  local reason = s.engine:run(run_options)
  s.running = false
  return reason
end

function M.run(options, words)
  if #words == 0 and options.endpoint then words = { options.endpoint } end
  if #words == 0 then args.usage("TARGET is missing") end
  local s = session.open(options)
  local meta = { targets = {} }
  for _, word in ipairs(words) do
    local pid, endpoint, v8 = target.resolve(word)
    local t, err = s.engine:watch(pid, access.of(options, endpoint))
    if not t then
      s.close()
      session.fail(err, err.code == "gone" and 4 or nil)
    end
    M.demand(s, t.id, options.every)
    policies.watch(s, t)
    sessions.watch(s, t, options.endpoint or endpoint)
    if v8 then join_v8(s, t, v8, options.every) end
    meta.targets[#meta.targets + 1] = { id = t.id, pid = t.pid, name = t.name, command = t.command }
  end
  local reason = M.drive(s, options, { for_ns = options["for"], until_idle = true })
  summary(s, options, reason, meta)
  local code = session.exit_code(s, options)
  s.close()
  if reason == "interrupted" then return 130 end
  return code
end

M.summary_of = summary
return M
