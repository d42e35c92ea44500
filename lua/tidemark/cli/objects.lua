-- Heap dumps: what they hold by type, who holds most, and the way from a root to one object.
local args = require "tidemark.cli.args"
local core = require "tidemark.core"
local dumps = require "tidemark.cli.dumps"
local profile = require "tidemark.profile"
local profiles = require "tidemark.cli.profiles"
local text = require "tidemark.show.text"

local M = {}
local size, number = dumps.size, dumps.number

-- Counts and shallow bytes by class, without a graph.
local function quick(options, words)
  if #words ~= 1 then args.usage("one heap dump is needed") end
  local t, partial = core.histogram(words[1], { nodecount = dumps.count(options) })
  if not t then error(partial, 0) end
  local problems = partial and { words[1] .. ": the dump is damaged or cut; what came before was counted" } or {}
  dumps.show(options, "objects-quick", { format = "hprof", partial = partial }, words, problems, t, { number("count", "COUNT"),
    size("shallow_bytes", "SHALLOW"), { key = "type", title = "TYPE" } },
    ("%d objects, %s\n"):format(t.notes.objects, core.format(t.notes.shallow_bytes, "bytes")))
end

local function show_problems(options, words)
  local g, problems = dumps.open(words, options)
  dumps.show(options, "objects-problems", g, words, options.json and problems or {}, g:problems(), { number("count", "COUNT"),
    { key = "offset", title = "FIRST AT", right = true }, { key = "problem", title = "PROBLEM" } }, g.partial and g.problem .. "\n" or "")
end

M.objects = {
  name = "objects", summary = "a heap dump by type: count, shallow and retained bytes", usage = "objects DUMP [OPTIONS]",
  examples = { "tidemark objects app.hprof", "tidemark objects page.heapsnapshot --order shallow --nodecount 30",
    "tidemark objects app.hprof --json" },
  doc = "Retained bytes of a type are what its objects retain, counted once. What only several of them hold together is in\n"
    .. "`query DUMP \"g:where{type='T'}:retained()\"`, too. By default soft references count as holding, weaker ones do not (--follow).",
  options = dumps.options_with({ "order", "BY", "retained, shallow or count", choices = { "retained", "shallow", "count" }, default = "retained" },
    { "quick", "of a JVM dump, counts and shallow bytes only: one pass at the speed of the disk, and hardly any memory" },
    { "problems", "what could not be read or resolved: records, classes, references, counted" }),
  run = function(options, words)
    if options.problems then return show_problems(options, words) end
    if options.quick then return quick(options, words) end
    local g, problems = dumps.open(words, options)
    local t, err = g:objects { order = options.order, follow = options.follow, nodecount = dumps.count(options) }
    if not t then error(err, 0) end
    local n = t.notes
    dumps.show(options, "objects", g, words, problems, t, { number("count", "COUNT"), size("shallow_bytes", "SHALLOW"),
      size("retained_bytes", "RETAINED"), { key = "type", title = "TYPE" } },
      ("%d objects, %s; reachable %s, unreachable %s in %d objects\n"):format(n.objects, core.format(n.shallow_bytes, "bytes"),
        core.format(n.reachable_bytes, "bytes"), core.format(n.unreachable_bytes, "bytes"), n.unreachable_count))
  end,
}

M.holders = {
  name = "holders", summary = "the objects of a heap dump that hold most, down the dominator tree", usage = "holders DUMP [OBJECT] [OPTIONS]",
  examples = { "tidemark holders app.hprof", "tidemark holders app.hprof 0x7f004512", "tidemark holders page.heapsnapshot '#12'" },
  options = dumps.options_with(),
  run = function(options, words)
    local parent = table.remove(words, 2)
    local g, problems = dumps.open(words, options)
    local t, err = g:dominated(parent and dumps.node(g, parent), { follow = options.follow, nodecount = dumps.count(options) })
    if not t then error(err, 0) end
    dumps.show(options, "holders", g, words, problems, t, { size("retained_bytes", "RETAINED"), size("shallow_bytes", "SHALLOW"),
      number("children", "HOLDS"), number("node", "NODE"), { key = "type", title = "TYPE" }, { key = "preview", title = "" } }, "")
  end,
}

-- The ways to all objects of a type, merged.
local function merged(options, words)
  if #words ~= 1 then args.usage("--type takes a heap dump alone: its objects are those of the type") end
  local g, problems = dumps.open(words, options)
  local set, err = g:where { type = options.type, reachable = true, follow = options.follow }
  if not set then error(err, 0) end
  local t, problem = set:paths { by = "type", nodecount = options.nodecount or options.json and 1000 or 40, follow = options.follow }
  if not t then error(problem, 0) end
  local n = t.notes
  if options.json or options.csv then return dumps.show(options, "path", g, words, problems, t) end
  profiles.warn(problems)
  local all = g:where { type = options.type }
  if #all == 0 then return profiles.output(options, ("No object is of a type like '%s'.\n"):format(options.type)) end
  local rest = #all > n.members and ("; nothing that holds (--follow) leads to %d more"):format(#all - n.members) or ""
  local out = { ("%d objects, reached over %d places%s\n"):format(n.members, n.places, rest) }
  for _, row in t:rows() do
    local name = row.preview:find("^class ") and row.preview or row.type
    out[#out + 1] = ("%8d %10s  %s%s  %s\n"):format(row.count, core.format(row.bytes, "bytes"), ("  "):rep(row.depth), text.line(row.edge), text.line(name))
  end
  profiles.output(options, table.concat(out))
end

local STEPS_SHOWN = 60

-- The rows of a long way: its two ends, and how many steps lie between.
local function both_ends(t, most)
  local rows, first = {}, most > 0 and most // 2 or 0
  local skipped = most > 0 and math.max(0, #t - most) or 0
  for i, row in t:rows() do
    if skipped > 0 and i == first + 1 then rows[#rows + 1] = { edge = ("... %d steps"):format(skipped) } end
    if i <= first or i > first + skipped then rows[#rows + 1] = row end
  end
  return rows
end

M.path = {
  name = "path", summary = "the way from a root of a heap dump to one object, or to all of a type", usage = "path DUMP OBJECT | --type GLOB [OPTIONS]",
  examples = { "tidemark path app.hprof 0x7f004512", "tidemark path page.heapsnapshot 4711", "tidemark path app.hprof '#12'",
    "tidemark path app.hprof --type com.acme.Session" },
  doc = "With --type, the shortest ways to all objects of the type, merged: how many of them lie behind each place, and their bytes.",
  options = dumps.options_with({ "type", "GLOB", "the ways to all objects of these types, merged" }),
  run = function(options, words)
    if options.type then return merged(options, words) end
    if #words ~= 2 then args.usage("a heap dump and an object are needed: an address or id, or #NODE") end
    local word = table.remove(words, 2)
    local g, problems = dumps.open(words, options)
    local t, err = g:path(dumps.node(g, word), { follow = options.follow })
    if not t then error(err, 0) end
    if #t == 0 and not options.json and not options.csv then
      profiles.output(options, "No root leads there: the object is garbage.\n")
      return
    end
    local columns = { { key = "edge", title = "BY" }, { key = "type", title = "TYPE" }, size("retained_bytes", "RETAINED"),
      number("node", "NODE"), { key = "preview", title = "" } }
    if options.json or options.csv then return dumps.show(options, "path", g, words, problems, t) end
    profiles.warn(problems)
    profiles.output(options, text.table(columns, both_ends(t, options.nodecount or STEPS_SHOWN)))
  end,
}

M.sites = {
  name = "sites", summary = "allocation sites that a heap dump recorded: how many objects and bytes, gone and in use", usage = "sites DUMP [OPTIONS]",
  pprof_flags = true, examples = { "tidemark sites app.heapdump", "tidemark sites app.heapsnapshot --sample_index alloc_objects --cum" },
  doc = "A Go dump holds the heap profile of its moment: one allocation in runtime.MemProfileRate bytes, and numbers are those of the samples. "
    .. "A V8 snapshot holds every allocation since recording began, when it was taken while they were recorded (\"Allocations on timeline\"). "
    .. "A JVM dump of -agentlib:hprof (JDK 8 and before) holds its allocation sites, the class as the leaf.",
  options = profiles.options_with(),
  run = function(options, words)
    local problems = {}
    local g = dumps.open(words, options)
    local p, err = g:allocations()
    if not p then
      error(err or { message = ("%s tells nothing of allocations"):format(words[1]), code = "unsupported",
        advice = "Go heap dumps do, V8 snapshots that were taken while allocations were recorded, and JVM dumps of -agentlib:hprof" }, 0)
    end
    profiles.print("top", p, { files = words, problems = problems, format = g.format, partial = g.partial }, options, profile.report_options(options), "sites")
  end,
}

return M
