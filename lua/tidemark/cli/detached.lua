-- DOM trees of a heap snapshot that no document holds, and who holds them.
local core = require "tidemark.core"
local dumps = require "tidemark.cli.dumps"
local profiles = require "tidemark.cli.profiles"

return {
  name = "detached", summary = "DOM trees that only the program still holds, and who holds them", usage = "detached DUMP [OPTIONS]",
  examples = { "tidemark detached page.heapsnapshot", "tidemark detached page.heapsnapshot --json" },
  doc = "A heap snapshot of a browser tells which DOM nodes no document holds. Trees of them are grouped by the class of the node\n"
    .. "that the program holds and by its holder: the first object on the way up that is no part of a DOM.",
  options = dumps.options_with(),
  run = function(options, words)
    local g, problems = dumps.open(words, options)
    local t, err = g:detached { follow = options.follow, nodecount = dumps.count(options) }
    if not t then error(err, 0) end
    local head = t.notes.nodes == 0 and "No detached DOM nodes.\n"
      or ("%d detached DOM nodes in %d trees\n"):format(t.notes.nodes, t.notes.trees)
    if #t > 0 then head = head:gsub("\n", (", %s in the greatest group\n"):format(core.format(t[1].retained_bytes, "bytes"))) end
    if #t == 0 and not options.json and not options.csv then return profiles.output(options, head) end
    dumps.show(options, "detached", g, words, problems, t, { dumps.size("retained_bytes", "RETAINED"), dumps.number("trees", "TREES"),
      dumps.number("nodes", "NODES"), { key = "type", title = "TYPE" }, { key = "holder", title = "HELD BY" },
      dumps.number("node", "NODE"), { key = "path", title = "FOR EXAMPLE" } }, head)
  end,
}
