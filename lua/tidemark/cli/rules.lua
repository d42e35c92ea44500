-- rules: the rule library: list, new, check, test, explain, trust.
local args = require "tidemark.cli.args"
local core = require "tidemark.core"
local endpoint = require "tidemark.endpoint"
local fetch = require "tidemark.fetch"
local offers = require "tidemark.cli.offers"
local paths = require "tidemark.cli.paths"
local session = require "tidemark.cli.session"
local target = require "tidemark.cli.target"
local text = require "tidemark.show.text"
local trust = require "tidemark.cli.trust"

local M = {
  name = "rules", summary = "list, make, check, test, explain and trust rules", usage = "rules list|new|check|test|explain|trust [ARGS]",
  examples = { "tidemark rules list", "tidemark rules new my.rule -o rules/my_rule.lua", "tidemark rules test rules/",
    "tidemark rules test rules/my_rule.lua --replay leak.tmr --expect 1", "tidemark rules explain pressure",
    "tidemark rules explain go.heap_growth 4711", "tidemark rules trust rules/" },
  options = { { "output", "FILE", "where `new` writes" }, { "rules", "PATH", "more rules (repeatable)", kind = "list" },
    { "replay", "FILE", "run the rules over a recording too" }, { "expect", "N", "so many findings are expected of the replay", kind = "integer" },
    { "endpoint", "URL", "explain: the app's pprof endpoint" } },
}
table.move(fetch.options, 1, #fetch.options, #M.options + 1, M.options)

-- {name, origin, source} of the files meant: words are files or folders; none = the built-in ones.
local function sources(words)
  local out = {}
  local function add(path)
    local source, problem = paths.read(path)
    if not source then session.fail({ message = "cannot read rules: " .. problem, code = "io" }, 3) end
    out[#out + 1] = { name = path:match("([^/]+)$"), origin = path, source = source }
  end
  for _, word in ipairs(words) do
    local st, err = core.stat(word)
    if not st then session.fail(err, 3) end
    if st.kind == "directory" then
      for _, path in ipairs(paths.rule_files(word)) do add(path) end
    else
      add(word)
    end
  end
  if #words == 0 then
    for _, path in ipairs(core.embedded()) do
      local name = path:match("^rules/([^/]+%.lua)$")
      if name then out[#out + 1] = { name = name, origin = "builtin:" .. path, source = core.embedded(path) } end
    end
  end
  return out
end

local function check(words, options)
  local rows, bad = {}, 0
  for _, s in ipairs(sources(words)) do
    local list, err = core.rules_check(s.origin, s.source)
    if not list then
      bad = bad + 1
      local code, rest = err.message:match("^(LOAD_%u+): (.*)$")
      rows[#rows + 1] = { file = s.origin, ok = false, code = code or "LOAD_RUNTIME", problem = rest or err.message }
    else
      for _, r in ipairs(list) do rows[#rows + 1] = { file = s.origin, ok = true, rule = r.id, code = "", problem = "" } end
      if #list == 0 then rows[#rows + 1] = { file = s.origin, ok = true, rule = "", code = "", problem = "" } end
    end
  end
  if options.json then io.write(text.document("rules-check", { bad = bad }, rows))
  else
    for _, row in ipairs(rows) do
      if row.ok then io.write(text.style("green", "ok"), "   ", row.file, row.rule ~= "" and "  " .. row.rule or "", "\n")
      else io.write(text.style("red", "FAIL"), " ", row.code, ": ", text.clean(row.problem), "\n") end
    end
  end
  return bad > 0 and 1 or 0
end

local function run_replay(words, options, rows)
  local replay = require "tidemark.cli.replay"
  local result = replay.over(options.replay, sources(words), math.huge)
  local found = 0
  for _, a in ipairs(result.alerts) do
    if a.state == "firing" and a.from_state ~= "firing" then found = found + 1 end
  end
  local ok = options.expect == nil or options.expect == found
  rows[#rows + 1] = { rule = "*", test = "replay of " .. options.replay, ok = ok,
    why = ok and "" or ("%d findings, expected %d"):format(found, options.expect) }
  return ok
end

local function test(words, options)
  local rows, failed = {}, 0
  for _, s in ipairs(sources(words)) do
    local ok, list = core.rules_test(s.origin, s.source)
    if ok == nil then
      rows[#rows + 1] = { rule = s.origin, test = "loads", ok = false, why = list.message }
      failed = failed + 1
    else
      for _, t in ipairs(list) do
        rows[#rows + 1] = { rule = t.rule, test = t.test, ok = t.ok, why = t.why }
        if not t.ok then failed = failed + 1 end
      end
    end
  end
  if options.replay and not run_replay(words, options, rows) then failed = failed + 1 end
  if options.json then io.write(text.document("rules-test", { passed = #rows - failed, failed = failed }, rows))
  else
    for _, t in ipairs(rows) do
      if not t.ok then io.write(text.style("red", "FAIL"), " ", t.rule, ": ", t.test, "\n     ", text.clean(t.why), "\n")
      elseif not options.quiet then io.write(text.style("green", "ok"), "   ", t.rule, ": ", t.test, "\n") end
    end
    io.write(("%d passed, %d failed\n"):format(#rows - failed, failed))
  end
  return failed > 0 and 1 or 0
end

-- Rules as a virtual engine has them: overrides are merged, origins known.
local function loaded(options)
  local engine = assert(core.engine { virtual = true, skip_self_tests = true })
  local problems = {}
  local files = sources {}
  for _, s in ipairs(options.rules and sources(options.rules) or {}) do files[#files + 1] = s end
  for _, s in ipairs(files) do
    engine:load_rules(s.name, s.origin, s.source, function(r)
      if not r.ok then problems[#problems + 1] = r.problem end
    end)
  end
  local rules = engine:rules()
  engine:close()
  return rules, problems
end

local function list(options)
  local rules, problems = loaded(options)
  local rows = {}
  for _, r in ipairs(rules) do
    rows[#rows + 1] = { rule = r.id, state = r.state, every_ns = r.every_ns, tests = r.tests, origin = r.origin, doc = r.doc,
      caps = text.array(r.caps) }
  end
  if options.json then
    io.write(text.document("rules", { problems = text.array(problems) }, rows))
  else
    io.write(text.table({ { key = "rule", title = "RULE" }, { key = "state", title = "STATE" },
      { key = "every_ns", title = "EVERY", unit = "ns", right = true }, { key = "tests", title = "TESTS", right = true },
      { key = "doc", title = "WHAT IT FINDS" } }, rows))
    for _, p in ipairs(problems) do io.write(text.style("red", "not loaded: "), text.clean(p), "\n") end
  end
  return #problems > 0 and 1 or 0
end

-- Measured microseconds of one reading, warm, for one small process (docs/performance.md).
local cost_us = { statm = 1, stat = 3, fds = 0.6, oom = 0.4, io = 1, status = 5, limits = 3, cgroup = 20, system = 25, psi = 4, tree = 500,
  handles = 20, maps = 30, rollup = 20 }

-- Of the malloc agent inside of the program.
local function try_agent(word)
  if target.is_address(word) then return false, "it is an address, and the agent is inside of a process" end
  local about, err = core.malloc_agent(target.resolve(word), "hello", { timeout_ns = 2000000000 })
  if not about then return false, err.message end
  return true, about.handles_on == 1 and "its malloc agent records" or "its malloc agent records when it is armed"
end

-- Whether a rule's snapshots can be fetched of a program, as fields of their rows; where it was asked.
local function try_snapshots(rows, word, options)
  local how, err = fetch.from_options(options), nil
  local address = options.endpoint or target.is_address(word) and word
  local of_app = false
  for _, row in ipairs(rows) do of_app = of_app or row.kind == "snapshots" and not row.metric:find("^agent%.") end
  if of_app and not address then address, err = endpoint.find(target.resolve(word), how) end
  for _, row in ipairs(rows) do
    if row.kind == "snapshots" and row.metric:find("^agent%.") then
      row.fetched, row.fetch = try_agent(word)
    elseif row.kind == "snapshots" then
      local detail = err and err.message
      row.fetched = false
      if address and row.traced_ns then
        local taken
        taken, detail = offers.trace(address, row.traced_ns / 1e9, how)
        row.fetched = taken ~= nil
        if taken then
          row.trace_bytes, row.read_cpu_ns = taken.bytes, taken.read_cpu_ns
          row.core_ratio = taken.read_cpu_ns / row.every_ns
          detail = ("%s, read with %s of CPU"):format(core.format(taken.bytes, "bytes"), core.format(taken.read_cpu_ns, "ns"))
        end
      elseif address then row.fetched, detail = offers.snapshot(address, row.metric, how) end
      row.fetch = detail
    end
  end
  return address
end

local function print_snapshots(rows, word, address)
  for _, row in ipairs(rows) do
    if row.fetch then
      local from = address and " from " .. address or ""
      if row.fetched then io.write(("  %s: comes%s (%s)\n"):format(row.metric, from, row.fetch))
      else
        io.write(text.style("yellow", ("  %s: cannot be fetched%s: %s\n"):format(row.metric, from, text.clean(row.fetch))),
          ("  the rule stays without snapshots of %s; `tidemark attach` says what it offers\n"):format(text.clean(word)))
      end
    end
  end
end

-- What inputs that trace cost the app, as fields of their rows.
local function add_tracing(row)
  if not row.metric:find("^trace%.go") then return end -- a browser's come from files
  row.traced_ns = math.floor(tonumber(row.metric:match("seconds=([%d.e+-]+)") or 1) * 1e9)
  row.traced_ratio = row.traced_ns / row.every_ns
end

local function print_tracing(rows)
  for _, row in ipairs(rows) do
    if row.traced_ratio then
      io.write(("  %s: traces for %s every %s, %s of the time; all rules together never for more than 1 %%\n"):format(row.metric,
        core.format(row.traced_ns, "ns"), core.format(row.every_ns, "ns"), core.format(row.traced_ratio, "ratio")))
    end
  end
end

local function explain(words, options)
  if not words[1] then args.usage("which rule? `tidemark rules list` shows them") end
  local rules = loaded(options)
  local names = {}
  for _, r in ipairs(rules) do
    names[#names + 1] = r.id
    if r.id == words[1] then
      local groups = {}
      for _, s in ipairs(core.signals()) do groups[s.name] = s.group end
      groups["proc.handles"], groups["proc.handle_bytes"] = "handles", "handles"
      groups["proc.mappings"], groups["proc.mapping_bytes"] = "maps", "maps"
      local rows, total = {}, 0
      for _, i in ipairs(r.inputs) do
        local group = groups[i.metric] or "app"
        local share = (cost_us[group] or 0) * 1e3 / i.every_ns
        total = total + (i.arm and 0 or share)
        rows[#rows + 1] = { input = i.name, metric = i.metric, kind = i.kind, every_ns = i.every_ns, keep = i.keep,
          read_with = group, armed_only = i.arm, memory_bytes = i.keep * 16, core_ratio = share }
        add_tracing(rows[#rows])
      end
      local address = words[2] and try_snapshots(rows, words[2], options)
      if options.json then
        io.write(text.document("rules-explain", { target = words[2], endpoint = address or nil,
           rule = r.id, origin = r.origin, doc = r.doc, every_ns = r.every_ns, hold_ns = r.hold_ns,
          linger_ns = r.linger_ns, budget_ratio = r.budget_ratio, caps = text.array(r.caps), core_ratio = total }, rows))
        return 0
      end
      io.write(text.style("bold", r.id), "  ", r.doc, "\n  from ", r.origin, "\n")
      io.write(("  checked every %s; fires after %s, ends %s after it is clear; warm-up %s\n"):format(core.format(r.every_ns, "ns"),
        core.format(r.hold_ns, "ns"), core.format(r.linger_ns, "ns"), core.format(r.warmup_ns, "ns")))
      io.write("  may: ", #r.caps > 0 and table.concat(r.caps, ", ") or "nothing but look", "\n\n")
      io.write(text.table({ { key = "input", title = "INPUT" }, { key = "metric", title = "METRIC" }, { key = "kind", title = "KIND" },
        { key = "every_ns", title = "EVERY", unit = "ns", right = true }, { key = "keep", title = "KEPT", right = true },
        { key = "read_with", title = "READ WITH" }, { key = "memory_bytes", title = "MEMORY", unit = "bytes", right = true },
        { key = "core_ratio", title = "CORE", unit = "ratio", right = true } }, rows))
      io.write(("\n  sampling costs about %s of a core per target; checks may take %s\n"):format(core.format(total, "ratio"),
        core.format(r.budget_ratio, "ratio")))
      print_tracing(rows)
      print_snapshots(rows, words[2], address)
      return 0
    end
  end
  args.usage("there is no rule '" .. words[1] .. "'" .. args.nearest(words[1], names))
end

local skeleton = [[
-- %s: what it finds, in one sentence.
tm.rule {
  id = "%s",
  doc = "descriptors above a threshold",
  every = "5s", hold = "10s", linger = "30s", level = "warn",
  inputs = { fds = tm.series("proc.fds", { every = "5s", window = "10m" }) },
  params = { most = 500 },
  check = function(c)
    if c.fds.last and c.fds.last > c.p.most then return c:finding { value = c.fds.last, unit = "count" } end
  end,
  say = "{target} has {value:count} open descriptors, more than {most:count}",
  tests = {
    { name = "fires above the threshold", feed = { ["proc.fds"] = "5s 400x6 600x12" },
      expect = { { at = "20s", is = "inactive" }, { at = "60s", is = "firing", level = "warn" } } },
    { name = "is quiet below it", feed = { ["proc.fds"] = "5s 400x60" }, never = true },
  },
}
]]

local function new(words, options)
  local id = words[1]
  if not id or not id:match("^[%w_][%w_%-%.]*$") then args.usage("rules new needs an id such as my.rule") end
  local source = skeleton:format(id, id)
  if not options.output then
    io.write(source)
    return 0
  end
  if core.stat(options.output) then session.fail({ message = options.output .. " exists already", code = "io" }, 3) end
  local f, problem = io.open(options.output, "w")
  if not f then session.fail({ message = "cannot write " .. problem, code = "io" }, 3) end
  f:write(source)
  f:close()
  if not options.quiet then io.write(options.output, ": a rule with two tests; try `tidemark rules test ", options.output, "`\n") end
  return 0
end

local function trust_dir(words, options)
  local dir = words[1] or "."
  local st, err = core.stat(dir)
  if not st then session.fail(err, 3) end
  if st.kind ~= "directory" then args.usage("rules trust takes a folder") end
  for _, path in ipairs(paths.rule_files(dir)) do
    local declared, problem = core.rules_check(path, paths.read(path))
    local asks = {}
    for _, r in ipairs(declared or {}) do
      for _, cap in ipairs(r.caps) do asks[#asks + 1] = cap end
    end
    if not options.quiet and not options.json then
      local wishes = #asks > 0 and table.concat(asks, ", ") or "nothing"
      io.write("  ", path, declared and "  asks for: " .. wishes or "  does not load: " .. problem.message, "\n")
    end
  end
  local count, problem = trust.trust(dir)
  if not count then session.fail(problem) end
  if options.json then io.write(text.document("rules-trust", { folder = dir }, { { files = count } }))
  elseif not options.quiet then io.write(("%s: %d file%s trusted as they are now\n"):format(dir, count, count == 1 and "" or "s")) end
  return 0
end

local verbs = { list = function(_, o) return list(o) end, check = check, test = test, explain = explain, new = new, trust = trust_dir }

function M.run(options, words)
  local verb = table.remove(words, 1) or "list"
  if not verbs[verb] then
    args.usage("unknown word '" .. verb .. "'" .. args.nearest(verb, { "list", "new", "check", "test", "explain", "trust" }))
  end
  return verbs[verb](words, options)
end

return M
