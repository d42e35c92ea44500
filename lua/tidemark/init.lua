-- tm: the verbs. The command line, the REPL and scripts call the same. A verb answers data; what the world does wrong is nil and
-- an error { code, message, advice }; what the caller does wrong is raised.
local core = require "tidemark.core"
local docs = require "tidemark.docs"
local dump_index = require "tidemark.dump_index"
local targets = require "tidemark.targets"

local M = { version = core.version }

local function define(...) docs.define(M, ...) end
local check = docs.check

local function profile() return require "tidemark.profile" end

-- ---- profiles ----

-- A file, by its saved index when it is a heap dump that has one; options.index = true saves one, false looks for none.
local function read_file(path, options)
  local wish = options and options.index
  local places = wish ~= false and dump_index.places(path) or nil
  local p, err = core.read(path, { format = options and options.format, index = places })
  if wish and p and p.kind == "graph" and places and not p:indexed() then
    local place, problem = dump_index.save(p, places)
    if not place then return nil, problem end
  end
  return p, err
end

define("read", "tm.read(path, {format=, index=}) -> Profile", "Reads a profile: a file, a folder (merged), a URL, unix:/path, or {bytes=...}.\n"
  .. "A damaged file gives what could be read, with p.partial and p.problem. Of a heap dump, index = true saves an\n"
  .. "index that opens it at once the next time; an index that is there is used unless index = false.", function(path, options)
  check("tm.read", options, { "format", "seconds", "timeout", "host_header", "headers", "index" })
  if type(path) == "table" then return core.read(path, options) end
  if not profile().is_remote(path) and (core.stat(path) or {}).kind ~= "directory" then return read_file(path, options) end
  return targets.guarded(profile().open, { path }, { format = options and options.format, seconds = options and options.seconds, quiet = true })
end)

-- A profile, or what tm.read makes of a word.
local function as_profile(verb, what)
  if type(what) == "string" then return M.read(what) end
  if type(what) ~= "userdata" then error(("%s: a profile is needed, not a %s"):format(verb, type(what)), 3) end
  return what
end

local report_options
local function option_names(...)
  if not report_options then
    report_options = {}
    for i, o in ipairs(core.report_options()) do report_options[i] = o.name end
  end
  local names = table.move(report_options, 1, #report_options, 1, {})
  for _, name in ipairs { ... } do names[#names + 1] = name end
  return names
end

local function report(verb, doc, takes)
  local signature = ("tm.%s(profile, %s{focus=, nodecount=, sample_index=, ...}) -> Table"):format(verb, takes and takes .. ", " or "")
  define(verb, signature, doc .. "\nOptions are those of `go tool pprof`; ?tm.options lists them.", function(p, ...)
    local symbol, options = nil, ...
    if takes then symbol, options = ... end
    check("tm." .. verb, options, option_names())
    local opened, err = as_profile("tm." .. verb, p)
    if not opened then return nil, err end
    local all = {}
    for name, value in pairs(options or {}) do all[name] = value end
    all.symbol = symbol
    local t, problem = opened:report(verb, all, "table")
    if not t then return nil, problem end
    return t
  end)
end

report("top", "Functions by flat or cumulative value.")
report("tree", "Each function with its callers and callees.")
report("peek", "Callers and callees of the functions that match.", "regexp")
report("traces", "Every stack with its labels and value.")
report("tags", "Values by label.")

define("options", "tm.options() -> rows", "The options that reports take, with their defaults.", function()
  return docs.rows({ "name", "default", "kind", "doc" }, core.report_options())
end)

define("diff", "tm.diff(before, after, {normalize=}) -> Profile", "What is in the second profile and not in the first, percentages of the first.",
  function(before, after, options)
    check("tm.diff", options, { "normalize" })
    local a, problem = as_profile("tm.diff", before)
    if not a then return nil, problem end
    local b, err = as_profile("tm.diff", after)
    if not b then return nil, err end
    return core.combine({ b }, { a }, { diff_base = true, normalize = options and options.normalize })
  end)

define("merge", "tm.merge(profiles) -> Profile", "Several profiles as one, values added.", function(list)
  local opened = {}
  for i, p in ipairs(list) do
    local one, err = as_profile("tm.merge", p)
    if not one then return nil, err end
    opened[i] = one
  end
  return core.combine(opened, {}, {})
end)

define("growth", 'tm.growth(profiles, {by="path", rows=20}) -> Table', 'Call paths (or by="function") that rise over many profiles, ranked.',
  function(list, options)
    options = check("tm.growth", options, option_names("by", "rows"))
    local how = {}
    for name, value in pairs(options) do
      if name ~= "rows" then how[name] = value end
    end
    local g, err = core.growth(how)
    if not g then return nil, err end
    for _, what in ipairs(list) do
      local p, problem = as_profile("tm.growth", what)
      if not p then return nil, problem end
      local ok, bad = g:add(p, p:info().time_ns)
      if not ok then return nil, bad end
    end
    return g:table(options.rows or 20)
  end)

-- A dump is read from the file that stays; a table of numbers is what it is.
local function take_capture(target, kind, options)
  local capture = require "tidemark.capture"
  local result, err = capture.run(target, kind, { output = options.output, force = options.force, gz = options.gz, redact = options.redact,
    seconds = options.seconds, timeout_ns = options.timeout and core.duration(tostring(options.timeout)) })
  if not result then return nil, err end
  if not result.file then
    local keys = result.rows[1] and result.rows[1].type and { "count", "shallow_bytes", "type" } or result.rows[1] and result.rows[1].session
      and { "session", "kind", "id", "bytes", "age_ns" } or { "name", "before", "value", "unit" }
    return docs.rows(keys, result.rows)
  end
  local dump, problem = core.read(result.file)
  if not dump then return nil, problem end
  return dump, result.file
end

define("suppress", "tm.suppress(profile, {\"leak:libX11\", function(site) ... end}) -> Profile, rows",
  "A profile without the samples that are known: LeakSanitizer's patterns, functions of a site (frames, bytes, count,\n"
  .. "leaf, has(pattern)), or the path of a file of either. rows: what each took.", function(source, list)
    local p, err = as_profile("tm.suppress", source)
    if not p then return nil, err end
    local how = { files = {}, functions = {} }
    for _, one in ipairs(type(list) == "table" and list or { list }) do
      local into = type(one) == "string" and core.stat(one) and how.files or how.functions
      into[#into + 1] = one
    end
    local s = require("tidemark.suppressions").load(how)
    local without, count = p:without(function(site) return s:match(site) ~= nil end)
    if not without then return nil, count end
    return without, docs.rows({ "rule", "sites", "bytes", "count", "origin" }, s:rows())
  end)
define("snap", 'tm.snap(target, kind, {gc=, seconds=}) -> Profile',
  'Takes a profile of a running app: "heap", "allocs", "goroutine", "cpu", "mutex", "block" or one\n'
  .. "of its own. gc=true lets it collect first. target: an address, or what tm.attach gave.\n"
  .. 'Of "jvm:PID", "node:PORT", "chrome:PORT" and Go apps with an agent also "dump", "histogram", "gc" and\n'
  .. "what else `tidemark snap` takes of them: a Graph and its file, or rows. {output=, force=, redact=}\n"
  .. 'tm.snap(pid, "malloc"): the native heap of a process with the malloc agent. {since_epoch=}', function(target, kind, options)
  options = check("tm.snap", options, { "gc", "seconds", "timeout", "debug", "host_header", "headers", "max_bytes", "ca_file", "output", "force",
    "gz", "redact", "since_epoch", "kinds" })
  local captured = kind and require("tidemark.capture").target(type(target) == "table" and tostring(target.pid) or tostring(target), kind,
    type(target) == "table" and target.endpoint or nil)
  if captured and require("tidemark.capture").has(captured, kind) then return take_capture(captured, kind, options) end
  if kind == "malloc" then
    local pid = math.tointeger(tonumber(type(target) == "table" and target.pid or target))
    if not pid then return nil, { code = "argument", message = "tm.snap: the native heap is a process's", advice = 'tm.snap(4711, "malloc")' } end
    return require("tidemark.malloc").take(pid, { since_epoch = options.since_epoch, kinds = options.kinds })
  end
  local ok, fetch = pcall(require, "tidemark.fetch")
  if not ok then return nil, { code = "unsupported", message = "this build takes no profiles of apps" } end
  local address = target
  if type(target) == "table" then address = target.endpoint end
  if type(address) == "number" or (type(address) == "string" and address:match("^%d+$")) then
    local found, err = targets.find(address), nil
    address = found and found.endpoint
    if not address then address, err = require("tidemark.endpoint").find(math.tointeger(tonumber(target))) end
    if not address then return nil, err end
  end
  if type(address) ~= "string" then
    return nil, { code = "argument", message = "the app's pprof address is not known",
      advice = 'give it: tm.snap("http://127.0.0.1:6060"), or tm.attach(pid, {endpoint=...})' }
  end
  local how = { kind = kind or "heap", gc = options.gc, seconds = options.seconds, debug = options.debug, host_header = options.host_header,
    headers = options.headers, max_bytes = options.max_bytes, ca_file = options.ca_file }
  if options.timeout then how.timeout_ns = core.duration(tostring(options.timeout)) end
  if not kind and fetch.is_one(address) then how.kind = nil end
  local bytes, err = fetch.bytes(address, how)
  if not bytes then return nil, err end
  return core.read { bytes = bytes, name = how.kind }
end)

define("write", 'tm.write(profile, path, "pprof") -> true', 'Writes a profile: "pprof", "proto", "collapsed" or "speedscope".', function(p, path, format)
  local bytes, err = p:write(format or "pprof")
  if not bytes then return nil, err end
  local f, problem = io.open(path, "wb")
  if not f then return nil, { code = "io", message = "cannot write " .. problem } end
  f:write(bytes)
  f:close()
  return true
end)

-- ---- heap dumps ----

local function as_graph(verb, what)
  local g, err = as_profile(verb, what)
  if g and g.kind ~= "graph" then error(("%s: a heap dump is needed, not a %s"):format(verb, g.kind), 3) end
  return g, err
end

define("objects", 'tm.objects(dump, {order="retained", nodecount=20, follow=}) -> Table', "A heap dump by type: count, shallow and retained bytes.",
  function(dump, options)
    options = check("tm.objects", options, { "order", "nodecount", "follow" })
    local g, err = as_graph("tm.objects", dump)
    if not g then return nil, err end
    return g:objects { order = options.order or "retained", nodecount = options.nodecount or 20, follow = options.follow }
  end)
define("holders", "tm.holders(dump, node, {nodecount=20, follow=}) -> Table",
  "The objects that hold most, or most of what a node holds: down the dominator tree.",
  function(dump, node, options)
    options = check("tm.holders", options, { "nodecount", "follow" })
    local g, err = as_graph("tm.holders", dump)
    if not g then return nil, err end
    return g:dominated(node, { nodecount = options.nodecount or 20, follow = options.follow })
  end)
define("path", "tm.path(dump, node, {follow=}) -> Table", "The way from a root to a node (g:find(id)); no rows: it is garbage.", function(dump, node, options)
  options = check("tm.path", options, { "follow" })
  local g, err = as_graph("tm.path", dump)
  if not g then return nil, err end
  if not math.tointeger(node) then error("tm.path: a node is needed, such as g:find(id) or set:nodes(1)[1] answer", 2) end
  return g:path(node, { follow = options.follow })
end)
define("suspects", "tm.suspects(dump, {share=0.1, follow=}) -> rows", "What piles up in a heap dump, where it hangs, who holds it: in words.",
  function(dump, options)
    options = check("tm.suspects", options, { "share", "follow" })
    local g, err = as_graph("tm.suspects", dump)
    if not g then return nil, err end
    local rows, problem = require("tidemark.report.suspects").rows(g, options)
    if not rows then return nil, problem end
    return docs.rows({ "kind", "retained_bytes", "share_ratio", "text" }, rows)
  end)
define("consumers", 'tm.consumers(dump, "package", {nodecount=20, follow=}) -> Table',
  "Who holds how much of a heap dump: by type, package, loader, module, context, global, root or thread.",
  function(dump, by, options)
    options = check("tm.consumers", options, { "nodecount", "follow" })
    local g, err = as_graph("tm.consumers", dump)
    if not g then return nil, err end
    return g:consumers(by, { nodecount = options.nodecount or 20, follow = options.follow })
  end)
define("garbage", "tm.garbage(dump, {nodecount=20}) -> Table", "What no root of a heap dump reaches, and what it held.", function(dump, options)
  options = check("tm.garbage", options, { "nodecount", "follow" })
  local g, err = as_graph("tm.garbage", dump)
  if not g then return nil, err end
  return g:garbage { nodecount = options.nodecount or 20, follow = options.follow }
end)
define("lint", "tm.lint(dump, {nodecount=5}) -> rows", "What a heap dump wastes: copies, zeros, empty collections, boxes.", function(dump, options)
  options = check("tm.lint", options, { "nodecount" })
  local g, err = as_graph("tm.lint", dump)
  if not g then return nil, err end
  return docs.rows({ "check", "type", "count", "bytes", "waste_bytes", "text" }, require("tidemark.report.lint").rows(g, options.nodecount or 5))
end)
define("topology", "tm.topology(dump, {nodecount=24, follow=}) -> text", "The biggest holders of a heap dump as a Mermaid flowchart.", function(dump, options)
  options = check("tm.topology", options, { "nodecount", "follow" })
  local g, err = as_graph("tm.topology", dump)
  if not g then return nil, err end
  local topology = require "tidemark.report.topology"
  return topology.mermaid(topology.of(g, options))
end)

define("detached", "tm.detached(dump, {nodecount=20, follow=}) -> Table", "Detached DOM trees of a V8 heap snapshot, and who holds them.",
  function(dump, options)
    options = check("tm.detached", options, { "nodecount", "follow" })
    local g, err = as_graph("tm.detached", dump)
    if not g then return nil, err end
    return g:detached { nodecount = options.nodecount or 20, follow = options.follow }
  end)
define("paths", "tm.paths(dump, {follow=}) -> Profile", "A heap dump by type path from the roots: a profile of objects and bytes.\n"
  .. "tm.top, tm.diff and the like work on it; tm.chains compares several.", function(dump, options)
  options = check("tm.paths", options, { "follow" })
  local g, err = as_graph("tm.paths", dump)
  if not g then return nil, err end
  return g:paths { follow = options.follow }
end)
define("chains", "tm.chains(dumps, {min_delta=500, by=\"path\"}) -> rows", "Type paths (or by=\"type\") with more objects in every dump, oldest first.\n"
  .. "dumps: heap dumps or what tm.paths gave of them.", function(list, options)
  options = check("tm.chains", options, { "min_delta", "by", "follow" })
  local chains, summaries = require "tidemark.report.chains", {}
  for i, what in ipairs(list) do
    local model, err = as_profile("tm.chains", what)
    if not model then return nil, err end
    local p = model
    if model.kind == "graph" then
      p, err = model:paths { follow = options.follow }
      if not p then return nil, err end
    end
    if not chains.is_paths(p) then error("tm.chains: heap dumps are needed, or their paths", 2) end
    summaries[i] = chains.summary(p)
  end
  if #summaries < 2 then error("tm.chains: two dumps or more are needed", 2) end
  if options.by == "type" then return docs.rows({ "delta", "first", "last", "type" }, chains.growth_by_type(summaries, options)) end
  return docs.rows({ "delta", "first", "last", "depth", "type", "holder", "root" }, chains.growth(summaries, options))
end)

-- ---- traces of browsers ----

local function as_timeline(verb, what)
  local t, err = as_profile(verb, what)
  if t and t.kind ~= "timeline" then error(("%s: a browser's trace is needed, not a %s"):format(verb, t.kind), 3) end
  return t, err
end

-- "2s" from the start, or the name of a performance.mark, as nanoseconds.
local function moment(verb, t, word)
  if word == nil then return nil end
  local ns = t:mark(tostring(word)) or core.duration(tostring(word))
  if not ns then error(("%s: %s is neither a performance.mark of the trace nor a time such as 2s"):format(verb, tostring(word)), 3) end
  return ns
end

define("tasks", 'tm.tasks(trace, {over="16ms", thread=}) -> Table', "What held up the main thread of a page, and the work in it.", function(trace, options)
  options = check("tm.tasks", options, { "over", "thread" })
  local t, err = as_timeline("tm.tasks", trace)
  if not t then return nil, err end
  return t:tasks { over_ns = moment("tm.tasks", t, options.over or "16ms"), thread = options.thread }
end)
define("asyncs", "tm.asyncs(trace) -> Table", "Operations of a page that did not end: timers, sockets, requests; and who began them.", function(trace)
  local t, err = as_timeline("tm.asyncs", trace)
  if not t then return nil, err end
  return t:asyncs()
end)
define("counters", "tm.counters(trace, {from=, to=, constant=}) -> Table", "JS heap, nodes, listeners, documents over a browser's trace.\n"
  .. "from and to: times such as \"2s\", or names of performance.mark.", function(trace, options)
  options = check("tm.counters", options, { "from", "to", "constant" })
  local t, err = as_timeline("tm.counters", trace)
  if not t then return nil, err end
  return t:counters { from_ns = moment("tm.counters", t, options.from), to_ns = moment("tm.counters", t, options.to), constant = options.constant }
end)
define("memory", "tm.memory(trace, {from=, to=}) -> Table", "Memory dumps in a browser's trace, by process and allocator.", function(trace, options)
  options = check("tm.memory", options, { "from", "to" })
  local t, err = as_timeline("tm.memory", trace)
  if not t then return nil, err end
  return t:memory { from_ns = moment("tm.memory", t, options.from), to_ns = moment("tm.memory", t, options.to) }
end)
define("frames", "tm.frames(trace, {region=, log=}) -> Table", "Frame times of a browser's trace; of a Go trace by a region or a logged key.",
  function(trace, options)
    options = check("tm.frames", options, { "region", "log" })
    local t, err = as_profile("tm.frames", trace)
    if not t then return nil, err end
    if t.kind ~= "timeline" and t.kind ~= "trace" then error(("tm.frames: a trace is needed, not a %s"):format(t.kind), 2) end
    return t:frames(options)
  end)

-- ---- goroutines ----

define("goroutines", "tm.goroutines(source, {stacks=, nodecount=20}) -> Table",
  "Goroutines by state, entry, site and creation: of a trace, a debug=2 text, a goroutine profile,\n"
  .. "a Go heap dump or an attached app.", function(source, options)
    options = check("tm.goroutines", options, { "stacks", "nodecount", "exe" })
    if type(source) == "table" and targets.find(source) then
      local taken, why = M.snap(source, "goroutine", { debug = 2 })
      if not taken then return nil, why end
      source = taken
    end
    local s, err = as_profile("tm.goroutines", source)
    if not s then return nil, err end
    local wanted = { stacks = options.stacks, nodecount = options.nodecount or 20 }
    if s.kind == "trace" then return s:goroutines(wanted) end
    if s.kind == "graph" then
      local p, problem = s:goroutine_profile { exe = options.exe }
      if not p then return nil, problem end
      s = p
    end
    return core.goroutines(s, wanted)
  end)
define("proof", "tm.proof(dump, {exe=, stacks=, nodecount=20}) -> Table", "Goroutines of a Go heap dump that can never run again, and what they hold.",
  function(dump, options)
    options = check("tm.proof", options, { "exe", "stacks", "nodecount" })
    local g, err = as_graph("tm.proof", dump)
    if not g then return nil, err end
    local t, problem = require("tidemark.report.proof").prove(g, { exe = options.exe, stacks = options.stacks, nodecount = options.nodecount or 20 })
    if not t then return nil, problem end
    return t
  end)
define("census", "tm.census(pid, {exe=, system=, stacks=, nodecount=20}) -> Table", "Goroutines of a live Go process, neither stopped nor asked.",
  function(pid, options)
    options = check("tm.census", options, { "exe", "system", "stacks", "nodecount" })
    local census, err = core.go_census(pid, { exe = options.exe })
    if not census then return nil, err end
    local p, problem = census:look { system = options.system }
    census:close()
    if not p then return nil, problem end
    return core.goroutines(p, { stacks = options.stacks, nodecount = options.nodecount or 20 })
  end)

-- ---- live ----

define("attach", "tm.attach(target, {endpoint=, metrics=, headers=, hook=, every=}) -> Target",
  "Watches a running program from now on: a pid, a name, the address where it listens, or the\n"
  .. "inspector of its JavaScript (node:PORT, chrome:PORT/WORDS), which tells v8.*, node.* and dom.*.\n"
  .. "Findings of the rules appear above the prompt. headers={Authorization=...}, host_header and ca_file\n"
  .. "go with every request to the app; metrics names its /metrics or /debug/vars elsewhere.", function(word, options)
  options = check("tm.attach", options, { "endpoint", "hook", "every", "metrics", "headers", "host_header", "ca_file" })
  local every = options.every and core.duration(tostring(options.every))
  return targets.attach(word, setmetatable({ every = every }, { __index = options }))
end)
define("watch", "tm.watch(target, ...) -> Target", "The same as tm.attach.", function(...) return M.attach(...) end)
define("detach", "tm.detach(target)", "Ends a watch.", function(what)
  local t, err = targets.find(what)
  if not t then return nil, err end
  return t:detach()
end)
define("targets", "tm.targets() -> list", "The programs that are watched.", function() return targets.list() end)
define("processes", 'tm.processes("name") -> rows', "Running programs, or those whose name or command holds the word.", function(word)
  local rows = {}
  for _, p in ipairs(core.processes() or {}) do
    if not word or p.name:find(word, 1, true) or p.command:find(word, 1, true) then
      rows[#rows + 1] = { pid = p.pid, name = p.name, command = p.command }
    end
  end
  return docs.rows({ "pid", "name", "command" }, rows)
end)
define("describe", "tm.describe(pid) -> table", "All that can be read of a process now, and what is withheld.", function(pid) return core.describe(pid) end)
define("account", "tm.account(target, {endpoint=, outside=}) -> rows", "Who owns the RSS of a process: a pid, a name, an address, jvm:PID, node:PORT.\n"
  .. "rows: owner, bytes, share, detail, ...; they add up to RSS. outside=true: the program is not asked.", function(word, options)
  options = check("tm.account", options, { "endpoint", "metrics", "headers", "host_header", "ca_file", "outside" })
  local account, target = require "tidemark.account", targets.find(word)
  local how = setmetatable({ call = true, endpoint = options.endpoint or target and target.endpoint }, { __index = options })
  local r, err = targets.guarded(account.once, tostring(target and target.pid or word), how)
  if not r then return nil, err end
  return docs.rows({ "owner", "bytes", "share", "detail" }, r.rows)
end)
define("inject", 'tm.inject(pid, {mode="sampled", rate=}) -> table',
  "Brings the malloc agent into a running program; one of its threads is away for some milliseconds.\n"
  .. "mode: sampled, full, idle. Then tm.snap(pid, \"malloc\"), tm.malloc(pid, \"detach\").", function(pid, options)
  options = check("tm.inject", options, { "mode", "rate", "timeout" })
  return targets.guarded(function()
    local row, err = require("tidemark.malloc").inject(pid, { mode = options.mode, rate = options.rate, timeout_ns = options.timeout })
    if not row then error(err, 0) end
    return row
  end)
end)
define("malloc", 'tm.malloc(pid, verb, {mode=, rate=, min_size=}) -> table',
  "Speaks to the malloc agent in a program: hello, start, stop, stats, mark, reset, trim, detach.", function(pid, verb, options)
  return core.malloc_agent(pid, verb, check("tm.malloc", options, { "mode", "rate", "min_size" }))
end)
define("leaks", "tm.leaks(pid, {seconds=, trim=, scan=, registers=, whole=}) -> rows", "What leaks of a native heap: a pid or name with the malloc agent.\n"
  .. "rows: verdict, live_bytes, lost_bytes, name, why, ages, holders, ...; rows.total: verdict, confidence and evidence of the whole.", function(word, options)
  options = check("tm.leaks", options, { "seconds", "trim", "scan", "registers", "whole" })
  local leaks, target = require "tidemark.leaks", targets.find(word)
  local pid = target and target.pid or math.tointeger(tonumber(word)) or require("tidemark.cli.target").resolve(tostring(word))
  local r, err = targets.guarded(leaks.watch, pid, setmetatable({ seconds = options.seconds or 2 }, { __index = options }))
  if not r then return nil, err end
  r.sites.total, r.sites.about = r.total, r.about
  return docs.rows({ "verdict", "live_bytes", "lost_bytes", "name", "why" }, r.sites)
end)
define("alerts", "tm.alerts() -> rows", "What the rules found: firing and pending.", function()
  local s, rows = targets.session(false), {}
  for _, a in ipairs(s and s.engine:alerts() or {}) do
    rows[#rows + 1] = { level = a.level, state = a.state, rule = a.rule, text = a.text }
  end
  return docs.rows({ "level", "state", "rule", "text" }, rows)
end)
define("silence", 'tm.silence{rule=, target=, key=, span="2h", why=} -> id', "Keeps an alert quiet for a while.", function(options)
  options = check("tm.silence", options, { "rule", "target", "key", "span", "why" })
  local ns, err = core.duration(tostring(options.span or "1h"))
  if not ns then return nil, err end
  local target = options.target
  if type(target) == "table" then target = target.id end
  return targets.session().engine:silence { rule = options.rule, target = target, key = options.key, why = options.why, for_ns = ns }
end)
define("mark", 'tm.mark("text")', "Puts a mark into history and recording.", function(text) targets.session().engine:mark(text) end)
define("record", "tm.record(path)", "Writes samples and events to a recording from now on.", function(path)
  local meta = core.json { version = core.version, started_ns = (core.now()), command = "repl" }
  return targets.session().engine:record(path, meta, false)
end)

-- ---- rules ----

define("rules", "tm.rules() -> rows", "The rules: those of the session, or the built-in ones when nothing is attached.", function()
  local list = targets.rules()
  local rows = {}
  for i, r in ipairs(list) do
    rows[i] = { rule = r.id, state = r.state or "", doc = r.doc, every_ns = r.every_ns, findings = r.findings, origin = r.origin }
  end
  table.sort(rows, function(a, b) return a.rule < b.rule end)
  return docs.rows({ "rule", "state", "every_ns", "findings", "doc", "origin" }, rows)
end)

local function source_of(path)
  local source, problem = require("tidemark.cli.paths").read(path)
  if not source then return nil, { code = "io", message = "cannot read rules: " .. problem } end
  return source
end

define("check_rules", "tm.check_rules(path) -> rows", "Loads a rule file without running it: its rules, or what is wrong with it.", function(path)
  local source, err = source_of(path)
  if not source then return nil, err end
  return core.rules_check(path, source)
end)
define("test_rules", "tm.test_rules(path) -> ok, rows", "Runs the tests that stand in a rule file.", function(path)
  local source, err = source_of(path)
  if not source then return nil, err end
  return core.rules_test(path, source)
end)
define("replay", "tm.replay(recording, rule_files) -> table", "Runs rules over a recording on its own clock: alerts, problems, targets.", function(path, files)
  local list = {}
  for i, file in ipairs(files or {}) do
    local source, err = source_of(file)
    if not source then return nil, err end
    list[i] = { name = file:match("([^/]+)$"), origin = file, source = source }
  end
  local replay = require "tidemark.cli.replay"
  if not files then list = replay.rule_files {} end
  return targets.guarded(replay.over, path, list, math.huge)
end)

-- ---- units and statistics ----

define("bytes", 'tm.bytes("512MB") -> integer', "A size with its unit as bytes.", function(s) return core.bytes(s) end)
define("duration", 'tm.duration("10s") -> ns', "A span with its unit as nanoseconds.", function(s) return core.duration(s) end)
define("format", 'tm.format(value, "bytes") -> text',
  'A number for people: "bytes", "ns", "ratio", "count".', function(v, unit) return core.format(v, unit) end)
define("signals", "tm.signals() -> rows", "Every signal that can be sampled, with unit and meaning.", function()
  return docs.rows({ "name", "unit", "kind", "group", "doc" }, core.signals())
end)
define("doctor", "tm.doctor() -> rows", "What works on this machine, and what would make the rest work.", function()
  return docs.rows({ "works", "what", "detail", "remedy" }, core.doctor())
end)
define("median", "tm.median(numbers) -> number", "The median.", function(list) return core.median(list) end)
define("compare", "tm.compare(a, b) -> p", "Two lists of numbers: is the second larger? Mann-Whitney.", function(a, b) return core.mann_whitney(a, b) end)
define("spark", "tm.spark(numbers) -> text", "A line of bars.", function(list) return require("tidemark.show.text").spark(list) end)
define("plot", 'tm.plot(target, "rss", "10m") -> text', "A plot of a signal of a watched program, or of times and values.", function(what, metric, span)
  if type(what) == "table" and type(metric) == "table" then
    return require("tidemark.show.plot").render(what, metric, { unit = span, width = core.terminal(1).columns or 80 })
  end
  local t, err = targets.find(what)
  if not t then return nil, err end
  return t:plot(metric, span)
end)

docs.type("tidemark.Profile", "a profile that was read", {
  { "info", "p:info() -> table", "types, counts, time and period" },
  { "report", 'p:report("top", {focus=}) -> Table, text', "a verb's rows, and the text that pprof prints" },
  { "write", 'p:write("pprof", {focus=}) -> bytes', "pprof, proto, topproto, collapsed or speedscope; what the filters leave" },
  { "sample_index", 'p:sample_index("inuse_space") -> index, type, unit', "which value a name means" },
  { "flame", 'p:flame{title=} -> text', "a flame graph as SVG or a page" },
  { "close", "p:close()", "frees it now" },
  { "kind", "p.kind", "profile or goroutines" }, { "format", "p.format", "how it was written" },
  { "partial", "p.partial", "true when the file was damaged" }, { "problem", "p.problem", "what was wrong with it" },
  { "without", "p:without(fn) -> Profile, count", "the samples for which fn{frames=, values=} is not true" },
})
docs.type("tidemark.Table", "rows under named columns with units", {
  { "rows", "for i, row in t:rows() do", "every row" }, { "column", 't:column("flat") -> list', "one column" },
  { "json", "t:json() -> text", "the rows as JSON" }, { "csv", "t:csv() -> text", "the rows as CSV" },
  { "notes", "t.notes -> table", "total, unit, warnings" }, { "columns", "t.columns -> list", "names and units" },
})
docs.type("tidemark.Graph", "a heap dump", {
  { "objects", 'g:objects{order="retained"} -> Table', "by type" }, { "dominated", "g:dominated(node) -> Table", "what a node holds alone" },
  { "path", "g:path(node) -> Table", "the way from a root" }, { "fields", "g:fields(node) -> Table", "what a node points to" },
  { "node", "g:node(n) -> table", "type, sizes, dominator" }, { "find", "g:find(id) -> node", "the node of an address or id" },
  { "where", "g:where{type=, match=, extends=, min_size=, ...} -> Set", "the objects that are so" },
  { "incoming", "g:incoming(node) -> Table", "who refers to it" }, { "outgoing", "g:outgoing(node) -> Table", "what it refers to" },
  { "suspects", "g:suspects{share=} -> Table", "where it piles up" }, { "piles", "g:piles(node) -> Table", "what piles up below a node" },
  { "consumers", 'g:consumers("package") -> Table', "who holds how much" }, { "garbage", "g:garbage{} -> Table", "what no root reaches" },
  { "duplicates", "g:duplicates(set) -> Table", "equal contents" }, { "zeros", "g:zeros(set) -> Set", "contents of zeros" },
  { "fill", 'g:fill(set, "size", "table") -> table', "how full collections are" },
  { "values", 'g:values(set, "value") -> count, different', "how many values a field has" },
  { "duplicate_classes", "g:duplicate_classes() -> Table", "classes that several loaders have" },
  { "weak_references", "g:weak_references() -> Table", "soft, weak and phantom references" },
  { "contents", "g:contents(node) -> bytes", "of a string or an array without references" },
  { "detached", "g:detached{} -> Table", "DOM trees that only the program holds" },
  { "distance", "g:distance(node) -> count", "edges from the roots" }, { "source", "g:source(node) -> text", "where its code is: app.js:10:4" },
  { "stack", "g:stack(node) -> Table", "who allocated it, when recorded" },
  { "paths", "g:paths{follow=} -> Profile", "its objects and bytes by type path" }, { "at_paths", "g:at_paths(profile) -> table", "objects at those paths" },
  { "allocations", "g:allocations() -> Profile", "by stack, when recorded" }, { "problems", "g:problems() -> Table", "what was damaged, and how often" },
  { "go_version", "g:go_version() -> text", "of a Go heap dump" }, { "goroutine_profile", "g:goroutine_profile{exe=} -> Profile", "of a Go heap dump" },
  { "proof", "g:proof{exe=} -> Table", "goroutines that can never run again" }, { "use_exe", "g:use_exe(path)", "types of a Go dump, by its program" },
  { "ids", "g:ids() -> table", "V8's ids, for growth by object" }, { "born", "g:born(ids) -> Set", "objects that an earlier dump does not have" },
  { "indexed", "g:indexed() -> ok", "whether it came from a saved index" }, { "index_problem", "g:index_problem() -> text", "why not" },
  { "save_index", "g:save_index() -> ok", "saves one: the dump opens in a moment next time" },
  { "info", "g:info() -> table", "counts and roots" }, { "close", "g:close()", "frees it now" },
  { "kind", "g.kind", "graph" }, { "format", "g.format", "hprof or v8heap" }, { "partial", "g.partial", "true when the dump was damaged" },
})
docs.type("tidemark.Set", "objects of a heap dump; #s, s | t, s & t, s - t", {
  { "retained", "s:retained{exact=true} -> bytes", "what dies with all of them" }, { "shallow", "s:shallow() -> bytes", "their own bytes" },
  { "retained_set", "s:retained_set() -> Set", "the objects that die with them" }, { "dominators", "s:dominators() -> Set", "who alone holds them" },
  { "incoming", "s:incoming() -> Set", "who refers to them" }, { "outgoing", "s:outgoing() -> Set", "what they refer to" },
  { "reach", "s:reach{around=set} -> Set", "all that they lead to" },
  { "group", 's:group("type") -> Table', "by type, package, loader or dominator" }, { "rows", "s:rows{nodecount=} -> Table", "one by one" },
  { "paths", 's:paths{by="type"} -> Table', "the ways from the roots, merged" }, { "nodes", "s:nodes(limit) -> list", "their nodes" },
  { "filter", "s:filter(function(o) ... end) -> Set", "those for which it is true" },
})
docs.type("tidemark.Trace", "an execution trace of Go", {
  { "goroutines", "t:goroutines{stacks=, gone=} -> Table", "by state, entry, site and creation" }, { "goroutine", "t:goroutine(n) -> table", "one of them" },
  { "counter", 't:counter("heap_live") -> times, values', "what the runtime counted" }, { "regions", "t:regions{} -> Table", "durations by type" },
  { "spans", 't:spans("frame") -> times, values', "each of a type" }, { "unfinished", "t:unfinished() -> Table", "tasks and regions without an end" },
  { "frames", 't:frames{region=, log=} -> Table', "frame intervals" }, { "floors", "t:floors() -> Table", "the live heap behind collections" },
  { "profile", "t:profile() -> Profile", "where goroutines were blocked" }, { "snapshot", "t:snapshot() -> Profile", "what rules compare" },
  { "info", "t:info() -> table", "version, counts, duration" }, { "close", "t:close()", "frees it now" }, { "kind", "t.kind", "trace" },
})
docs.type("tidemark.Timeline", "a trace of a browser", {
  { "tasks", "t:tasks{over_ns=, thread=} -> Table", "what held up a thread" }, { "slices", "t:slices{} -> Table", "the work in long tasks" },
  { "asyncs", "t:asyncs() -> Table", "operations without an end" }, { "counters", "t:counters{from=, to=} -> Table", "numbers over time" },
  { "frames", "t:frames() -> Table", "frame times" }, { "memory", "t:memory{} -> Table", "memory dumps by allocator" },
  { "mark", 't:mark("name") -> ns', "when a performance mark was set" }, { "snapshot", "t:snapshot() -> Profile", "what rules compare" },
  { "info", "t:info() -> table", "counts and duration" }, { "close", "t:close()", "frees it now" }, { "kind", "t.kind", "timeline" },
})
docs.type("tidemark.Growth", "what rises over profiles", {
  { "add", "g:add(profile, time_ns)", "the next profile" }, { "table", "g:table(rows) -> Table", "the ranking" },
  { "close", "g:close()", "frees it now" },
})
docs.type("tidemark.Engine", "the engine of the session", {
  { "targets", "e:targets(pid) -> list", "what is watched; of one process" }, { "tracks", "e:tracks(id) -> rows", "the signals of a target" },
  { "alerts", "e:alerts() -> list", "alerts with their evidence" }, { "rules", "e:rules() -> list", "rules with their costs" },
  { "stats", "e:stats() -> table", "what tidemark itself costs" }, { "mark", "e:mark(text)", "a mark in the history" },
})

return M
