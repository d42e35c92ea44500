---@meta
-- Made by scripts/gen_lua_api.lua: what editors know of `tm`, the library of tidemark.

---@class tidemark
tm = {}

---Reads a profile: a file, a folder (merged), a URL, unix:/path, or {bytes=...}.
---A damaged file gives what could be read, with p.partial and p.problem. Of a heap dump, index = true saves an
---index that opens it at once the next time; an index that is there is used unless index = false.
---@param path string
---@param options? table  {format=, index=}
---@return tidemark.Profile|nil
---@return { code: string, message: string, advice: string? }? error
function tm.read(path, options) end

---Functions by flat or cumulative value.
---Options are those of `go tool pprof`; ?tm.options lists them.
---@param profile tidemark.Profile|string
---@param options? table  {focus=, nodecount=, sample_index=, ...}
---@return tidemark.Table|nil
---@return { code: string, message: string, advice: string? }? error
function tm.top(profile, options) end

---Each function with its callers and callees.
---Options are those of `go tool pprof`; ?tm.options lists them.
---@param profile tidemark.Profile|string
---@param options? table  {focus=, nodecount=, sample_index=, ...}
---@return tidemark.Table|nil
---@return { code: string, message: string, advice: string? }? error
function tm.tree(profile, options) end

---Callers and callees of the functions that match.
---Options are those of `go tool pprof`; ?tm.options lists them.
---@param profile tidemark.Profile|string
---@param regexp string
---@param options? table  {focus=, nodecount=, sample_index=, ...}
---@return tidemark.Table|nil
---@return { code: string, message: string, advice: string? }? error
function tm.peek(profile, regexp, options) end

---Every stack with its labels and value.
---Options are those of `go tool pprof`; ?tm.options lists them.
---@param profile tidemark.Profile|string
---@param options? table  {focus=, nodecount=, sample_index=, ...}
---@return tidemark.Table|nil
---@return { code: string, message: string, advice: string? }? error
function tm.traces(profile, options) end

---Values by label.
---Options are those of `go tool pprof`; ?tm.options lists them.
---@param profile tidemark.Profile|string
---@param options? table  {focus=, nodecount=, sample_index=, ...}
---@return tidemark.Table|nil
---@return { code: string, message: string, advice: string? }? error
function tm.tags(profile, options) end

---The options that reports take, with their defaults.
---@return table[]|nil
---@return { code: string, message: string, advice: string? }? error
function tm.options() end

---What is in the second profile and not in the first, percentages of the first.
---@param before tidemark.Profile|string
---@param after tidemark.Profile|string
---@param options? table  {normalize=}
---@return tidemark.Profile|nil
---@return { code: string, message: string, advice: string? }? error
function tm.diff(before, after, options) end

---Several profiles as one, values added.
---@param profiles (tidemark.Profile|string)[]
---@return tidemark.Profile|nil
---@return { code: string, message: string, advice: string? }? error
function tm.merge(profiles) end

---Call paths (or by="function") that rise over many profiles, ranked.
---@param profiles (tidemark.Profile|string)[]
---@param options? table  {by="path", rows=20}
---@return tidemark.Table|nil
---@return { code: string, message: string, advice: string? }? error
function tm.growth(profiles, options) end

---A profile without the samples that are known: LeakSanitizer's patterns, functions of a site (frames, bytes, count,
---leaf, has(pattern)), or the path of a file of either. rows: what each took.
---@param profile tidemark.Profile|string
---@param options? table  {"leak:libX11", function(site) ... end}
---@return tidemark.Profile|nil
---@return table[]
function tm.suppress(profile, options) end

---Takes a profile of a running app: "heap", "allocs", "goroutine", "cpu", "mutex", "block" or one
---of its own. gc=true lets it collect first. target: an address, or what tm.attach gave.
---Of "jvm:PID", "node:PORT", "chrome:PORT" and Go apps with an agent also "dump", "histogram", "gc" and
---what else `tidemark snap` takes of them: a Graph and its file, or rows. {output=, force=, redact=}
---tm.snap(pid, "malloc"): the native heap of a process with the malloc agent. {since_epoch=}
---@param target tidemark.Target|string|integer
---@param kind string
---@param options? table  {gc=, seconds=}
---@return tidemark.Profile|nil
---@return { code: string, message: string, advice: string? }? error
function tm.snap(target, kind, options) end

---Writes a profile: "pprof", "proto", "collapsed" or "speedscope".
---@param profile tidemark.Profile|string
---@param path string
---@param word string
---@return boolean
function tm.write(profile, path, word) end

---A heap dump by type: count, shallow and retained bytes.
---@param dump tidemark.Graph|string
---@param options? table  {order="retained", nodecount=20, follow=}
---@return tidemark.Table|nil
---@return { code: string, message: string, advice: string? }? error
function tm.objects(dump, options) end

---The objects that hold most, or most of what a node holds: down the dominator tree.
---@param dump tidemark.Graph|string
---@param node integer
---@param options? table  {nodecount=20, follow=}
---@return tidemark.Table|nil
---@return { code: string, message: string, advice: string? }? error
function tm.holders(dump, node, options) end

---The way from a root to a node (g:find(id)); no rows: it is garbage.
---@param dump tidemark.Graph|string
---@param node integer
---@param options? table  {follow=}
---@return tidemark.Table|nil
---@return { code: string, message: string, advice: string? }? error
function tm.path(dump, node, options) end

---What piles up in a heap dump, where it hangs, who holds it: in words.
---@param dump tidemark.Graph|string
---@param options? table  {share=0.1, follow=}
---@return table[]|nil
---@return { code: string, message: string, advice: string? }? error
function tm.suspects(dump, options) end

---Who holds how much of a heap dump: by type, package, loader, module, context, global, root or thread.
---@param dump tidemark.Graph|string
---@param word string
---@param options? table  {nodecount=20, follow=}
---@return tidemark.Table|nil
---@return { code: string, message: string, advice: string? }? error
function tm.consumers(dump, word, options) end

---What no root of a heap dump reaches, and what it held.
---@param dump tidemark.Graph|string
---@param options? table  {nodecount=20}
---@return tidemark.Table|nil
---@return { code: string, message: string, advice: string? }? error
function tm.garbage(dump, options) end

---What a heap dump wastes: copies, zeros, empty collections, boxes.
---@param dump tidemark.Graph|string
---@param options? table  {nodecount=5}
---@return table[]|nil
---@return { code: string, message: string, advice: string? }? error
function tm.lint(dump, options) end

---The biggest holders of a heap dump as a Mermaid flowchart.
---@param dump tidemark.Graph|string
---@param options? table  {nodecount=24, follow=}
---@return string|nil
---@return { code: string, message: string, advice: string? }? error
function tm.topology(dump, options) end

---Detached DOM trees of a V8 heap snapshot, and who holds them.
---@param dump tidemark.Graph|string
---@param options? table  {nodecount=20, follow=}
---@return tidemark.Table|nil
---@return { code: string, message: string, advice: string? }? error
function tm.detached(dump, options) end

---A heap dump by type path from the roots: a profile of objects and bytes.
---tm.top, tm.diff and the like work on it; tm.chains compares several.
---@param dump tidemark.Graph|string
---@param options? table  {follow=}
---@return tidemark.Profile|nil
---@return { code: string, message: string, advice: string? }? error
function tm.paths(dump, options) end

---Type paths (or by="type") with more objects in every dump, oldest first.
---dumps: heap dumps or what tm.paths gave of them.
---@param dumps (tidemark.Graph|string)[]
---@param options? table  {min_delta=500, by="path"}
---@return table[]|nil
---@return { code: string, message: string, advice: string? }? error
function tm.chains(dumps, options) end

---What held up the main thread of a page, and the work in it.
---@param trace table|string
---@param options? table  {over="16ms", thread=}
---@return tidemark.Table|nil
---@return { code: string, message: string, advice: string? }? error
function tm.tasks(trace, options) end

---Operations of a page that did not end: timers, sockets, requests; and who began them.
---@param trace table|string
---@return tidemark.Table|nil
---@return { code: string, message: string, advice: string? }? error
function tm.asyncs(trace) end

---JS heap, nodes, listeners, documents over a browser's trace.
---from and to: times such as "2s", or names of performance.mark.
---@param trace table|string
---@param options? table  {from=, to=, constant=}
---@return tidemark.Table|nil
---@return { code: string, message: string, advice: string? }? error
function tm.counters(trace, options) end

---Memory dumps in a browser's trace, by process and allocator.
---@param trace table|string
---@param options? table  {from=, to=}
---@return tidemark.Table|nil
---@return { code: string, message: string, advice: string? }? error
function tm.memory(trace, options) end

---Frame times of a browser's trace; of a Go trace by a region or a logged key.
---@param trace table|string
---@param options? table  {region=, log=}
---@return tidemark.Table|nil
---@return { code: string, message: string, advice: string? }? error
function tm.frames(trace, options) end

---Goroutines by state, entry, site and creation: of a trace, a debug=2 text, a goroutine profile,
---a Go heap dump or an attached app.
---@param source any
---@param options? table  {stacks=, nodecount=20}
---@return tidemark.Table|nil
---@return { code: string, message: string, advice: string? }? error
function tm.goroutines(source, options) end

---Goroutines of a Go heap dump that can never run again, and what they hold.
---@param dump tidemark.Graph|string
---@param options? table  {exe=, stacks=, nodecount=20}
---@return tidemark.Table|nil
---@return { code: string, message: string, advice: string? }? error
function tm.proof(dump, options) end

---Goroutines of a live Go process, neither stopped nor asked.
---@param pid integer
---@param options? table  {exe=, system=, stacks=, nodecount=20}
---@return tidemark.Table|nil
---@return { code: string, message: string, advice: string? }? error
function tm.census(pid, options) end

---Watches a running program from now on: a pid, a name, the address where it listens, or the
---inspector of its JavaScript (node:PORT, chrome:PORT/WORDS), which tells v8.*, node.* and dom.*.
---Findings of the rules appear above the prompt. headers={Authorization=...}, host_header and ca_file
---go with every request to the app; metrics names its /metrics or /debug/vars elsewhere.
---@param target tidemark.Target|string|integer
---@param options? table  {endpoint=, metrics=, headers=, hook=, every=}
---@return tidemark.Target|nil
---@return { code: string, message: string, advice: string? }? error
function tm.attach(target, options) end

---The same as tm.attach.
---@param target tidemark.Target|string|integer
---@param ... any
---@return tidemark.Target|nil
---@return { code: string, message: string, advice: string? }? error
function tm.watch(target, ...) end

---Ends a watch.
---@param target tidemark.Target|string|integer
function tm.detach(target) end

---The programs that are watched.
---@return table[]|nil
---@return { code: string, message: string, advice: string? }? error
function tm.targets() end

---Running programs, or those whose name or command holds the word.
---@param word string
---@return table[]|nil
---@return { code: string, message: string, advice: string? }? error
function tm.processes(word) end

---All that can be read of a process now, and what is withheld.
---@param pid integer
---@return table|nil
---@return { code: string, message: string, advice: string? }? error
function tm.describe(pid) end

---Who owns the RSS of a process: a pid, a name, an address, jvm:PID, node:PORT.
---rows: owner, bytes, share, detail, ...; they add up to RSS. outside=true: the program is not asked.
---@param target tidemark.Target|string|integer
---@param options? table  {endpoint=, outside=}
---@return table[]|nil
---@return { code: string, message: string, advice: string? }? error
function tm.account(target, options) end

---Brings the malloc agent into a running program; one of its threads is away for some milliseconds.
---mode: sampled, full, idle. Then tm.snap(pid, "malloc"), tm.malloc(pid, "detach").
---@param pid integer
---@param options? table  {mode="sampled", rate=}
---@return table|nil
---@return { code: string, message: string, advice: string? }? error
function tm.inject(pid, options) end

---Speaks to the malloc agent in a program: hello, start, stop, stats, mark, reset, trim, detach.
---@param pid integer
---@param verb any
---@param options? table  {mode=, rate=, min_size=}
---@return table|nil
---@return { code: string, message: string, advice: string? }? error
function tm.malloc(pid, verb, options) end

---What leaks of a native heap: a pid or name with the malloc agent.
---rows: verdict, live_bytes, lost_bytes, name, why, ages, holders, ...; rows.total: verdict, confidence and evidence of the whole.
---@param pid integer
---@param options? table  {seconds=, trim=, scan=, registers=, whole=}
---@return table[]|nil
---@return { code: string, message: string, advice: string? }? error
function tm.leaks(pid, options) end

---What the rules found: firing and pending.
---@return table[]|nil
---@return { code: string, message: string, advice: string? }? error
function tm.alerts() end

---Keeps an alert quiet for a while.
---@param options? table  {rule=, target=, key=, span="2h", why=}
---@return integer|nil
---@return { code: string, message: string, advice: string? }? error
function tm.silence(options) end

---Puts a mark into history and recording.
---@param word string
function tm.mark(word) end

---Writes samples and events to a recording from now on.
---@param path string
function tm.record(path) end

---The rules: those of the session, or the built-in ones when nothing is attached.
---@return table[]|nil
---@return { code: string, message: string, advice: string? }? error
function tm.rules() end

---Loads a rule file without running it: its rules, or what is wrong with it.
---@param path string
---@return table[]|nil
---@return { code: string, message: string, advice: string? }? error
function tm.check_rules(path) end

---Runs the tests that stand in a rule file.
---@param path string
---@return boolean
---@return table[]
function tm.test_rules(path) end

---Runs rules over a recording on its own clock: alerts, problems, targets.
---@param recording string
---@param rule_files any
---@return table|nil
---@return { code: string, message: string, advice: string? }? error
function tm.replay(recording, rule_files) end

---A size with its unit as bytes.
---@param word string
---@return integer|nil
---@return { code: string, message: string, advice: string? }? error
function tm.bytes(word) end

---A span with its unit as nanoseconds.
---@param word string
---@return integer|nil
---@return { code: string, message: string, advice: string? }? error
function tm.duration(word) end

---A number for people: "bytes", "ns", "ratio", "count".
---@param value any
---@param word string
---@return string|nil
---@return { code: string, message: string, advice: string? }? error
function tm.format(value, word) end

---Every signal that can be sampled, with unit and meaning.
---@return table[]|nil
---@return { code: string, message: string, advice: string? }? error
function tm.signals() end

---What works on this machine, and what would make the rest work.
---@return table[]|nil
---@return { code: string, message: string, advice: string? }? error
function tm.doctor() end

---The median.
---@param numbers number[]
---@return number|nil
---@return { code: string, message: string, advice: string? }? error
function tm.median(numbers) end

---Two lists of numbers: is the second larger? Mann-Whitney.
---@param a any
---@param b any
---@return number|nil
---@return { code: string, message: string, advice: string? }? error
function tm.compare(a, b) end

---A line of bars.
---@param numbers number[]
---@return string|nil
---@return { code: string, message: string, advice: string? }? error
function tm.spark(numbers) end

---A plot of a signal of a watched program, or of times and values.
---@param target tidemark.Target|string|integer
---@param word string
---@param word2 string
---@return string|nil
---@return { code: string, message: string, advice: string? }? error
function tm.plot(target, word, word2) end

---the engine of the session
---@class tidemark.Engine
local Engine = {}

---what is watched; of one process
---@param pid integer
---@return table[]|nil
---@return { code: string, message: string, advice: string? }? error
function Engine:targets(pid) end

---the signals of a target
---@param id any
---@return table[]|nil
---@return { code: string, message: string, advice: string? }? error
function Engine:tracks(id) end

---alerts with their evidence
---@return table[]|nil
---@return { code: string, message: string, advice: string? }? error
function Engine:alerts() end

---rules with their costs
---@return table[]|nil
---@return { code: string, message: string, advice: string? }? error
function Engine:rules() end

---what tidemark itself costs
---@return table|nil
---@return { code: string, message: string, advice: string? }? error
function Engine:stats() end

---a mark in the history
---@param text string
function Engine:mark(text) end

---a heap dump
---@class tidemark.Graph
---@field kind any graph
---@field format any hprof or v8heap
---@field partial any true when the dump was damaged
local Graph = {}

---by type
---@param options? table  {order="retained"}
---@return tidemark.Table|nil
---@return { code: string, message: string, advice: string? }? error
function Graph:objects(options) end

---what a node holds alone
---@param node integer
---@return tidemark.Table|nil
---@return { code: string, message: string, advice: string? }? error
function Graph:dominated(node) end

---the way from a root
---@param node integer
---@return tidemark.Table|nil
---@return { code: string, message: string, advice: string? }? error
function Graph:path(node) end

---what a node points to
---@param node integer
---@return tidemark.Table|nil
---@return { code: string, message: string, advice: string? }? error
function Graph:fields(node) end

---type, sizes, dominator
---@param n any
---@return table|nil
---@return { code: string, message: string, advice: string? }? error
function Graph:node(n) end

---the node of an address or id
---@param id any
---@return integer|nil
---@return { code: string, message: string, advice: string? }? error
function Graph:find(id) end

---the objects that are so
---@param options? table  {type=, match=, extends=, min_size=, ...}
---@return tidemark.Set|nil
---@return { code: string, message: string, advice: string? }? error
function Graph:where(options) end

---who refers to it
---@param node integer
---@return tidemark.Table|nil
---@return { code: string, message: string, advice: string? }? error
function Graph:incoming(node) end

---what it refers to
---@param node integer
---@return tidemark.Table|nil
---@return { code: string, message: string, advice: string? }? error
function Graph:outgoing(node) end

---where it piles up
---@param options? table  {share=}
---@return tidemark.Table|nil
---@return { code: string, message: string, advice: string? }? error
function Graph:suspects(options) end

---what piles up below a node
---@param node integer
---@return tidemark.Table|nil
---@return { code: string, message: string, advice: string? }? error
function Graph:piles(node) end

---who holds how much
---@param word string
---@return tidemark.Table|nil
---@return { code: string, message: string, advice: string? }? error
function Graph:consumers(word) end

---what no root reaches
---@param options? table  {}
---@return tidemark.Table|nil
---@return { code: string, message: string, advice: string? }? error
function Graph:garbage(options) end

---equal contents
---@param set tidemark.Set
---@return tidemark.Table|nil
---@return { code: string, message: string, advice: string? }? error
function Graph:duplicates(set) end

---contents of zeros
---@param set tidemark.Set
---@return tidemark.Set|nil
---@return { code: string, message: string, advice: string? }? error
function Graph:zeros(set) end

---how full collections are
---@param set tidemark.Set
---@param word string
---@param word2 string
---@return table|nil
---@return { code: string, message: string, advice: string? }? error
function Graph:fill(set, word, word2) end

---how many values a field has
---@param set tidemark.Set
---@param word string
---@return integer|nil
---@return integer
function Graph:values(set, word) end

---classes that several loaders have
---@return tidemark.Table|nil
---@return { code: string, message: string, advice: string? }? error
function Graph:duplicate_classes() end

---soft, weak and phantom references
---@return tidemark.Table|nil
---@return { code: string, message: string, advice: string? }? error
function Graph:weak_references() end

---of a string or an array without references
---@param node integer
---@return string|nil
---@return { code: string, message: string, advice: string? }? error
function Graph:contents(node) end

---DOM trees that only the program holds
---@param options? table  {}
---@return tidemark.Table|nil
---@return { code: string, message: string, advice: string? }? error
function Graph:detached(options) end

---edges from the roots
---@param node integer
---@return integer|nil
---@return { code: string, message: string, advice: string? }? error
function Graph:distance(node) end

---where its code is: app.js:10:4
---@param node integer
---@return string|nil
---@return { code: string, message: string, advice: string? }? error
function Graph:source(node) end

---who allocated it, when recorded
---@param node integer
---@return tidemark.Table|nil
---@return { code: string, message: string, advice: string? }? error
function Graph:stack(node) end

---its objects and bytes by type path
---@param options? table  {follow=}
---@return tidemark.Profile|nil
---@return { code: string, message: string, advice: string? }? error
function Graph:paths(options) end

---objects at those paths
---@param profile tidemark.Profile|string
---@return table|nil
---@return { code: string, message: string, advice: string? }? error
function Graph:at_paths(profile) end

---by stack, when recorded
---@return tidemark.Profile|nil
---@return { code: string, message: string, advice: string? }? error
function Graph:allocations() end

---what was damaged, and how often
---@return tidemark.Table|nil
---@return { code: string, message: string, advice: string? }? error
function Graph:problems() end

---of a Go heap dump
---@return string|nil
---@return { code: string, message: string, advice: string? }? error
function Graph:go_version() end

---of a Go heap dump
---@param options? table  {exe=}
---@return tidemark.Profile|nil
---@return { code: string, message: string, advice: string? }? error
function Graph:goroutine_profile(options) end

---goroutines that can never run again
---@param options? table  {exe=}
---@return tidemark.Table|nil
---@return { code: string, message: string, advice: string? }? error
function Graph:proof(options) end

---types of a Go dump, by its program
---@param path string
function Graph:use_exe(path) end

---V8's ids, for growth by object
---@return table|nil
---@return { code: string, message: string, advice: string? }? error
function Graph:ids() end

---objects that an earlier dump does not have
---@param ids any
---@return tidemark.Set|nil
---@return { code: string, message: string, advice: string? }? error
function Graph:born(ids) end

---whether it came from a saved index
---@return boolean
---@return { code: string, message: string, advice: string? }? error
function Graph:indexed() end

---why not
---@return string|nil
---@return { code: string, message: string, advice: string? }? error
function Graph:index_problem() end

---saves one: the dump opens in a moment next time
---@return boolean
---@return { code: string, message: string, advice: string? }? error
function Graph:save_index() end

---counts and roots
---@return table|nil
---@return { code: string, message: string, advice: string? }? error
function Graph:info() end

---frees it now
function Graph:close() end

---what rises over profiles
---@class tidemark.Growth
local Growth = {}

---the next profile
---@param profile tidemark.Profile|string
---@param time_ns any
function Growth:add(profile, time_ns) end

---the ranking
---@param rows any
---@return tidemark.Table|nil
---@return { code: string, message: string, advice: string? }? error
function Growth:table(rows) end

---frees it now
function Growth:close() end

---a profile that was read
---@class tidemark.Profile
---@field kind any profile or goroutines
---@field format any how it was written
---@field partial any true when the file was damaged
---@field problem any what was wrong with it
local Profile = {}

---types, counts, time and period
---@return table|nil
---@return { code: string, message: string, advice: string? }? error
function Profile:info() end

---a verb's rows, and the text that pprof prints
---@param word string
---@param options? table  {focus=}
---@return tidemark.Table|nil
---@return string
function Profile:report(word, options) end

---pprof, proto, topproto, collapsed or speedscope; what the filters leave
---@param word string
---@param options? table  {focus=}
---@return string|nil
---@return { code: string, message: string, advice: string? }? error
function Profile:write(word, options) end

---which value a name means
---@param word string
---@return integer|nil
---@return string
---@return string
function Profile:sample_index(word) end

---a flame graph as SVG or a page
---@param options? table  {title=}
---@return string|nil
---@return { code: string, message: string, advice: string? }? error
function Profile:flame(options) end

---frees it now
function Profile:close() end

---the samples for which fn{frames=, values=} is not true
---@param fn function
---@return tidemark.Profile|nil
---@return integer
function Profile:without(fn) end

---objects of a heap dump; #s, s | t, s & t, s - t
---@class tidemark.Set
local Set = {}

---what dies with all of them
---@param options? table  {exact=true}
---@return string|nil
---@return { code: string, message: string, advice: string? }? error
function Set:retained(options) end

---their own bytes
---@return string|nil
---@return { code: string, message: string, advice: string? }? error
function Set:shallow() end

---the objects that die with them
---@return tidemark.Set|nil
---@return { code: string, message: string, advice: string? }? error
function Set:retained_set() end

---who alone holds them
---@return tidemark.Set|nil
---@return { code: string, message: string, advice: string? }? error
function Set:dominators() end

---who refers to them
---@return tidemark.Set|nil
---@return { code: string, message: string, advice: string? }? error
function Set:incoming() end

---what they refer to
---@return tidemark.Set|nil
---@return { code: string, message: string, advice: string? }? error
function Set:outgoing() end

---all that they lead to
---@param options? table  {around=set}
---@return tidemark.Set|nil
---@return { code: string, message: string, advice: string? }? error
function Set:reach(options) end

---by type, package, loader or dominator
---@param word string
---@return tidemark.Table|nil
---@return { code: string, message: string, advice: string? }? error
function Set:group(word) end

---one by one
---@param options? table  {nodecount=}
---@return tidemark.Table|nil
---@return { code: string, message: string, advice: string? }? error
function Set:rows(options) end

---the ways from the roots, merged
---@param options? table  {by="type"}
---@return tidemark.Table|nil
---@return { code: string, message: string, advice: string? }? error
function Set:paths(options) end

---their nodes
---@param limit any
---@return table[]|nil
---@return { code: string, message: string, advice: string? }? error
function Set:nodes(limit) end

---those for which it is true
---@param fn function
---@return tidemark.Set|nil
---@return { code: string, message: string, advice: string? }? error
function Set:filter(fn) end

---rows under named columns with units
---@class tidemark.Table
---@field notes any total, unit, warnings
---@field columns any names and units
local Table = {}

---every row
function Table:rows() end

---one column
---@param word string
---@return table[]|nil
---@return { code: string, message: string, advice: string? }? error
function Table:column(word) end

---the rows as JSON
---@return string|nil
---@return { code: string, message: string, advice: string? }? error
function Table:json() end

---the rows as CSV
---@return string|nil
---@return { code: string, message: string, advice: string? }? error
function Table:csv() end

---a program that is watched
---@class tidemark.Target
---@field pid any its process id
---@field name any its name
---@field id any pid and start time: its identity
---@field command any its command line
---@field endpoint any its pprof address, when it has one
local Target = {}

---the newest value of a signal, such as "rss"
---@param signal string
---@return number|nil
---@return string
---@return integer
function Target:last(signal) end

---what was sampled
---@param signal string
---@param word string
---@return integer[]|nil
---@return number[]
function Target:series(signal, word) end

---slope, confidence, and whether it is a leak
---@param signal string
---@return table|nil
---@return { code: string, message: string, advice: string? }? error
function Target:trend(signal) end

---what is kept of it
---@return table[]|nil
---@return { code: string, message: string, advice: string? }? error
function Target:signals() end

---a plot of a signal
---@param signal string
---@param word string
---@return string|nil
---@return { code: string, message: string, advice: string? }? error
function Target:plot(signal, word) end

---a profile of the app
---@param word string
---@param options? table  {gc=true}
---@return tidemark.Profile|nil
---@return { code: string, message: string, advice: string? }? error
function Target:snap(word, options) end

---ends the watch
function Target:detach() end

---a trace of a browser
---@class tidemark.Timeline
---@field kind any timeline
local Timeline = {}

---what held up a thread
---@param options? table  {over_ns=, thread=}
---@return tidemark.Table|nil
---@return { code: string, message: string, advice: string? }? error
function Timeline:tasks(options) end

---the work in long tasks
---@param options? table  {}
---@return tidemark.Table|nil
---@return { code: string, message: string, advice: string? }? error
function Timeline:slices(options) end

---operations without an end
---@return tidemark.Table|nil
---@return { code: string, message: string, advice: string? }? error
function Timeline:asyncs() end

---numbers over time
---@param options? table  {from=, to=}
---@return tidemark.Table|nil
---@return { code: string, message: string, advice: string? }? error
function Timeline:counters(options) end

---frame times
---@return tidemark.Table|nil
---@return { code: string, message: string, advice: string? }? error
function Timeline:frames() end

---memory dumps by allocator
---@param options? table  {}
---@return tidemark.Table|nil
---@return { code: string, message: string, advice: string? }? error
function Timeline:memory(options) end

---when a performance mark was set
---@param word string
---@return integer|nil
---@return { code: string, message: string, advice: string? }? error
function Timeline:mark(word) end

---what rules compare
---@return tidemark.Profile|nil
---@return { code: string, message: string, advice: string? }? error
function Timeline:snapshot() end

---counts and duration
---@return table|nil
---@return { code: string, message: string, advice: string? }? error
function Timeline:info() end

---frees it now
function Timeline:close() end

---an execution trace of Go
---@class tidemark.Trace
---@field kind any trace
local Trace = {}

---by state, entry, site and creation
---@param options? table  {stacks=, gone=}
---@return tidemark.Table|nil
---@return { code: string, message: string, advice: string? }? error
function Trace:goroutines(options) end

---one of them
---@param n any
---@return table|nil
---@return { code: string, message: string, advice: string? }? error
function Trace:goroutine(n) end

---what the runtime counted
---@param word string
---@return integer[]|nil
---@return number[]
function Trace:counter(word) end

---durations by type
---@param options? table  {}
---@return tidemark.Table|nil
---@return { code: string, message: string, advice: string? }? error
function Trace:regions(options) end

---each of a type
---@param word string
---@return integer[]|nil
---@return number[]
function Trace:spans(word) end

---tasks and regions without an end
---@return tidemark.Table|nil
---@return { code: string, message: string, advice: string? }? error
function Trace:unfinished() end

---frame intervals
---@param options? table  {region=, log=}
---@return tidemark.Table|nil
---@return { code: string, message: string, advice: string? }? error
function Trace:frames(options) end

---the live heap behind collections
---@return tidemark.Table|nil
---@return { code: string, message: string, advice: string? }? error
function Trace:floors() end

---where goroutines were blocked
---@return tidemark.Profile|nil
---@return { code: string, message: string, advice: string? }? error
function Trace:profile() end

---what rules compare
---@return tidemark.Profile|nil
---@return { code: string, message: string, advice: string? }? error
function Trace:snapshot() end

---version, counts, duration
---@return table|nil
---@return { code: string, message: string, advice: string? }? error
function Trace:info() end

---frees it now
function Trace:close() end

return tm
