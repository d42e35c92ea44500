-- What a heap dump wastes: copies, zeros, empty collections, boxes; and what often leaks.
local dumps = require "tidemark.cli.dumps"
local lint = require "tidemark.report.lint"

return {
  name = "lint", summary = "what a heap dump wastes: copies, empty collections, zeros, boxes, thread locals", usage = "lint DUMP [OPTIONS]",
  examples = { "tidemark lint app.hprof", "tidemark lint page.heapsnapshot --nodecount 3", "tidemark lint app.goheap --json" },
  doc = "duplicate strings and arrays (equal contents), arrays of zeros; of JVM dumps also: how full collections are, boxed numbers of\n"
    .. "equal value, thread locals, classes that several loaders have, soft and weak references. --nodecount rows a check (5).\n"
    .. "V8 cuts long strings in snapshots: those count as copies when length, size and beginning are equal. How full V8's and Go's\n"
    .. "collections are, their dumps do not tell.",
  options = dumps.options_with(),
  run = function(options, words)
    local g, problems = dumps.open(words, options)
    local rows = lint.rows(g, options.nodecount or (options.json or options.csv) and 0 or 5)
    local columns = { "check", "type", "count", "bytes", "waste_bytes", "node", "text" }
    dumps.show_rows(options, "lint", g, words, problems, columns, rows, { { key = "check", title = "CHECK" }, dumps.size("waste_bytes", "WASTE"),
      dumps.size("bytes", "BYTES"), dumps.number("count", "COUNT"), { key = "type", title = "TYPE" }, { key = "text", title = "" } })
  end,
}
