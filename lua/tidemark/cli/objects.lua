-- Heap dumps: what they hold by type, who holds most, and the way from a root to one object.
local args = require "tidemark.cli.args"
local core = require "tidemark.core"
local dumps = require "tidemark.cli.dumps"
local profiles = require "tidemark.cli.profiles"

local M = {}
local size, number = dumps.size, dumps.number

M.objects = {
  name = "objects", summary = "a heap dump by type: count, shallow and retained bytes", usage = "objects DUMP [OPTIONS]",
  examples = { "tidemark objects app.hprof", "tidemark objects page.heapsnapshot --order shallow --nodecount 30",
    "tidemark objects app.hprof --json" },
  doc = "Retained bytes of a type are those that would go with all its objects, counted once. By default soft references count as\n"
    .. "holding, weaker ones do not (--follow).",
  options = dumps.options_with({ "order", "BY", "retained, shallow or count", choices = { "retained", "shallow", "count" }, default = "retained" }),
  run = function(options, words)
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
    local t, err = g:dominated(parent and dumps.node(g, parent), { follow = options.follow,
      nodecount = dumps.count(options) })
    if not t then error(err, 0) end
    dumps.show(options, "holders", g, words, problems, t, { size("retained_bytes", "RETAINED"), size("shallow_bytes", "SHALLOW"),
      number("children", "HOLDS"), number("node", "NODE"), { key = "type", title = "TYPE" } }, "")
  end,
}

M.path = {
  name = "path", summary = "the way from a root of a heap dump to one object", usage = "path DUMP OBJECT [OPTIONS]",
  examples = { "tidemark path app.hprof 0x7f004512", "tidemark path page.heapsnapshot 4711", "tidemark path app.hprof '#12'" },
  options = dumps.options_with(),
  run = function(options, words)
    if #words ~= 2 then args.usage("a heap dump and an object are needed: an address or id, or #NODE") end
    local word = table.remove(words, 2)
    local g, problems = dumps.open(words, options)
    local t, err = g:path(dumps.node(g, word), { follow = options.follow })
    if not t then error(err, 0) end
    if #t == 0 and not options.json and not options.csv then
      profiles.output(options, "No root leads there: the object is garbage.\n")
      return
    end
    dumps.show(options, "path", g, words, problems, t, { { key = "edge", title = "BY" }, { key = "type", title = "TYPE" },
      size("retained_bytes", "RETAINED"), number("node", "NODE") }, "")
  end,
}

return M
