-- Heap dumps: what they hold by type, who holds most, and the way from a root to one object.
local args = require "tidemark.cli.args"
local core = require "tidemark.core"
local profile = require "tidemark.profile"
local profiles = require "tidemark.cli.profiles"
local text = require "tidemark.show.text"

local M = {}

local shared = {
  { "nodecount", "N", "so many rows at most; 0 = all", kind = "integer" },
  { "follow", "WHICH", "edges that count: strong, soft, weak, final or phantom and all before it", default = "soft",
    choices = { "strong", "soft", "weak", "final", "phantom" } },
  { "csv", "print the table as CSV" },
  { "output", "FILE", "write there instead of to the terminal" },
  { "format", "F", "how the dump is written, when it cannot be seen" },
}

local function with_shared(...)
  local out = { ... }
  return table.move(shared, 1, #shared, #out + 1, out)
end

local function open(words, options)
  if #words ~= 1 then args.usage("one heap dump is needed") end
  local problems = {}
  local g = profile.read(words[1], options, problems)
  if g.kind ~= "graph" then
    error({ message = ("%s is a %s (%s), no heap dump"):format(words[1], g.kind, g.format), code = "argument" }, 0)
  end
  return g, problems
end

local function print_table(options, verb, g, words, problems, t, columns, head)
  if options.csv then return profiles.output(options, t:csv()) end
  if options.json then
    local info = g:info()
    local meta = { files = text.array(words), format = g.format, partial = g.partial, problems = text.array(problems), roots = info.roots,
      edges = info.edges }
    for key, value in pairs(t.notes) do meta[key] = value end
    meta.warnings = nil
    return profiles.output(options, text.document_of(verb, meta, t))
  end
  for _, problem in ipairs(problems) do io.stderr:write("tidemark: ", text.clean(problem), "\n") end
  local rows = {}
  for i, row in t:rows() do rows[i] = row end
  profiles.output(options, head .. text.table(columns, rows))
end

local function size(key, title) return { key = key, title = title, unit = "bytes", right = true } end
local function number(key, title) return { key = key, title = title, right = true } end

M.objects = {
  name = "objects", summary = "a heap dump by type: count, shallow and retained bytes", usage = "objects DUMP [OPTIONS]",
  examples = { "tidemark objects app.hprof", "tidemark objects page.heapsnapshot --order shallow --nodecount 30",
    "tidemark objects app.hprof --json" },
  doc = "Retained bytes of a type are those that would go with all its objects, counted once. By default soft references count as\n"
    .. "holding, weaker ones do not (--follow).",
  options = with_shared({ "order", "BY", "retained, shallow or count", choices = { "retained", "shallow", "count" }, default = "retained" }),
  run = function(options, words)
    local g, problems = open(words, options)
    local t, err = g:objects { order = options.order, follow = options.follow, nodecount = options.nodecount or options.json and 0 or options.csv and 0 or 20 }
    if not t then error(err, 0) end
    local n = t.notes
    print_table(options, "objects", g, words, problems, t, { number("count", "COUNT"), size("shallow_bytes", "SHALLOW"),
      size("retained_bytes", "RETAINED"), { key = "type", title = "TYPE" } },
      ("%d objects, %s; reachable %s, unreachable %s in %d objects\n"):format(n.objects, core.format(n.shallow_bytes, "bytes"),
        core.format(n.reachable_bytes, "bytes"), core.format(n.unreachable_bytes, "bytes"), n.unreachable_count))
  end,
}

local function node_of(g, word)
  local node = word:match("^#(%d+)$")
  if node then return math.tointeger(tonumber(node)) end
  local id = math.tointeger(tonumber(word))
  if not id then args.usage("'" .. word .. "' is neither an id (0x7f…, 4711) nor a node (#12)") end
  node = g:find(id)
  if not node then error({ message = ("no object has the %s %s"):format(g:info().id_word, word), code = "argument" }, 0) end
  return node
end

M.holders = {
  name = "holders", summary = "the objects of a heap dump that hold most, down the dominator tree", usage = "holders DUMP [OBJECT] [OPTIONS]",
  examples = { "tidemark holders app.hprof", "tidemark holders app.hprof 0x7f004512", "tidemark holders page.heapsnapshot '#12'" },
  options = with_shared(),
  run = function(options, words)
    local parent = table.remove(words, 2)
    local g, problems = open(words, options)
    local t, err = g:dominated(parent and node_of(g, parent), { follow = options.follow,
      nodecount = options.nodecount or options.json and 0 or options.csv and 0 or 20 })
    if not t then error(err, 0) end
    print_table(options, "holders", g, words, problems, t, { size("retained_bytes", "RETAINED"), size("shallow_bytes", "SHALLOW"),
      number("children", "HOLDS"), number("node", "NODE"), { key = "type", title = "TYPE" } }, "")
  end,
}

M.path = {
  name = "path", summary = "the way from a root of a heap dump to one object", usage = "path DUMP OBJECT [OPTIONS]",
  examples = { "tidemark path app.hprof 0x7f004512", "tidemark path page.heapsnapshot 4711", "tidemark path app.hprof '#12'" },
  options = with_shared(),
  run = function(options, words)
    if #words ~= 2 then args.usage("a heap dump and an object are needed: an address or id, or #NODE") end
    local word = table.remove(words, 2)
    local g, problems = open(words, options)
    local t, err = g:path(node_of(g, word), { follow = options.follow })
    if not t then error(err, 0) end
    if #t == 0 and not options.json and not options.csv then
      profiles.output(options, "No root leads there: the object is garbage.\n")
      return
    end
    print_table(options, "path", g, words, problems, t, { { key = "edge", title = "BY" }, { key = "type", title = "TYPE" },
      size("retained_bytes", "RETAINED"), number("node", "NODE") }, "")
  end,
}

return M
