-- Questions about the objects of a heap dump: one object, its references, who holds how much, what is garbage, and any in Lua.
local args = require "tidemark.cli.args"
local core = require "tidemark.core"
local dumps = require "tidemark.cli.dumps"
local profiles = require "tidemark.cli.profiles"
local text = require "tidemark.show.text"

local M = {}
local size, number = dumps.size, dumps.number

local FIELDS_SHOWN = 100 -- of a great array, to people

-- The dump and the object that the words name.
local function dump_and_object(words, options)
  if #words ~= 2 then args.usage("a heap dump and an object are needed: an address or id, or #NODE") end
  local word = table.remove(words, 2)
  local g, problems = dumps.open(words, options)
  return g, dumps.node(g, word), problems
end

local function headline(g, node)
  local o = g:node(node)
  local told = o.preview ~= "" and o.preview ~= o.type
  return ("#%d %s%s: %s, retains %s%s\n"):format(node, text.line(o.type), told and " " .. text.cut(text.line(o.preview), 80) or "",
    core.format(o.shallow_bytes, "bytes"), core.format(o.retained_bytes, "bytes"), o.reachable and "" or ", unreachable")
end

M.references = {
  name = "references", summary = "who refers to an object of a heap dump, or what it refers to", usage = "references DUMP OBJECT [OPTIONS]",
  examples = { "tidemark references app.hprof 0x7f004512", "tidemark references page.heapsnapshot '#12' --outgoing" },
  doc = "Edges of every strength are shown, 10 000 at most.",
  options = dumps.options_with({ "outgoing", "what the object refers to, not who refers to it" }),
  run = function(options, words)
    local g, node, problems = dump_and_object(words, options)
    local t, err = g[options.outgoing and "outgoing" or "incoming"](g, node, { nodecount = dumps.count(options), follow = options.follow })
    if not t then error(err, 0) end
    local shown = #t < t.notes.count and (", %d shown (--nodecount)"):format(#t) or ""
    dumps.show(options, "references", g, words, problems, t, { { key = "edge", title = "BY" }, { key = "strength", title = "STRENGTH" },
      size("retained_bytes", "RETAINED"), number("node", "NODE"), { key = "type", title = "TYPE" }, { key = "preview", title = "" } },
      headline(g, node) .. ("%d %s%s\n"):format(t.notes.count, options.outgoing and "references" or "referrers", shown))
  end,
}

M.object = {
  name = "object", summary = "one object of a heap dump with its fields and values", usage = "object DUMP OBJECT [OPTIONS]",
  examples = { "tidemark object app.hprof 0x7f004512", "tidemark object page.heapsnapshot '#12' --json" },
  options = dumps.options_with(),
  run = function(options, words)
    local g, node, problems = dump_and_object(words, options)
    local t, err = g:fields(node)
    if not t then error(err, 0) end
    local most, rows, names = options.nodecount or (options.json or options.csv) and 0 or FIELDS_SHOWN, {}, {}
    for i, column in ipairs(t.columns) do names[i] = column.name end
    names[#names + 1] = "preview"
    for i, row in t:rows() do
      if most > 0 and i > most then break end
      row.preview = row.node >= 0 and g:node(row.node).preview or ""
      rows[i] = row
    end
    local head = headline(g, node) .. (#rows < #t and ("the first %d are shown (--nodecount)\n"):format(#rows) or "")
    local info = g:info()
    dumps.show_rows(options, "object", g, words, problems, names, rows, { { key = "name", title = "FIELD" }, { key = "value", title = "VALUE" },
      number("node", "NODE"), { key = "type", title = "TYPE" },
      { key = "preview", title = "" } }, head, { roots = info.roots, edges = info.edges })
  end,
}

M.consumers = {
  name = "consumers", summary = "who holds how much of a heap dump: packages, loaders, modules, globals, threads",
  usage = "consumers DUMP --by KEY [OPTIONS]",
  examples = { "tidemark consumers app.hprof --by package", "tidemark consumers app.hprof --by thread",
    "tidemark consumers app.heapsnapshot --by module", "tidemark consumers app.goheap --by global" },
  doc = "package is a tree of prefixes (Java, Go); loader every class loader with its classes and their objects; module the npm package\n"
    .. "of the script whose function holds; context V8's global objects; global static fields, properties of global objects, Go's\n"
    .. "globals; root kinds of roots; thread threads and goroutines. What several roots hold together is the row (several).",
  options = dumps.options_with({ "by", "KEY", "type, package, loader, module, context, global, root or thread", default = "package",
    choices = { "type", "package", "loader", "module", "context", "global", "root", "thread", "heap" } }),
  run = function(options, words)
    local g, problems = dumps.open(words, options)
    local t, err = g:consumers(options.by, { nodecount = dumps.count(options), follow = options.follow })
    if not t then error(err, 0) end
    local columns = { size("retained_bytes", "RETAINED"), size("shallow_bytes", "SHALLOW"), number("count", "COUNT") }
    if options.by == "loader" or options.by == "context" then columns[4] = number("node", "NODE") end
    columns[#columns + 1] = { key = "name", title = options.by:upper() }
    dumps.show(options, "consumers", g, words, problems, t, columns,
      ("%s reachable\n"):format(core.format(t.notes.reachable_bytes, "bytes")))
  end,
}

M.garbage = {
  name = "garbage", summary = "what no root of a heap dump reaches, and what it held", usage = "garbage DUMP [OPTIONS]",
  examples = { "tidemark garbage app.hprof", "tidemark garbage app.goheap --json" },
  doc = "Retained bytes are those within the garbage: of each type what would have gone with its objects alone. TOPS are objects that\n"
    .. "nothing unreachable refers to, or one of a circle. A JVM dump of live objects only has little garbage (jcmd: GC.heap_dump -all).",
  options = dumps.options_with(),
  run = function(options, words)
    local g, problems = dumps.open(words, options)
    local t, err = g:garbage { nodecount = dumps.count(options), follow = options.follow }
    if not t then error(err, 0) end
    dumps.show(options, "garbage", g, words, problems, t, { number("count", "COUNT"), size("shallow_bytes", "SHALLOW"),
      size("retained_bytes", "RETAINED"), number("tops", "TOPS"), { key = "type", title = "TYPE" } },
      ("%d unreachable objects, %s\n"):format(t.notes.count, core.format(t.notes.shallow_bytes, "bytes")))
  end,
}

-- ---- any question ----

-- Everything that an answer can be, as rows.
local function rows_of(answer, options)
  local kind = type(answer) == "userdata" and getmetatable(answer).__name
  if kind == "tidemark.Set" then return answer:rows { nodecount = dumps.count(options), follow = options.follow } end
  if kind == "tidemark.Table" then return answer end
  if kind == "tidemark.Graph" then return answer:objects { nodecount = dumps.count(options), follow = options.follow } end
end

local function write_plain(options, words, g, problems, answer)
  if type(answer) ~= "table" then answer = { value = answer } end
  local list = answer[1] ~= nil and answer or { answer }
  if options.json then
    local rows = {}
    for i, row in ipairs(list) do rows[i] = type(row) == "table" and row or { value = row } end
    return profiles.output(options, text.document("query", { files = text.array(words), format = g.format, partial = g.partial,
      problems = text.array(problems) }, text.array(rows)))
  end
  local lines = {}
  for i, row in ipairs(list) do
    local cells = {}
    for name, value in pairs(type(row) == "table" and row or { value = row }) do
      cells[#cells + 1] = (name ~= "value" and name .. "=" or "") .. tostring(value)
    end
    table.sort(cells)
    lines[i] = text.clean(table.concat(cells, "  "))
  end
  profiles.output(options, table.concat(lines, "\n") .. "\n")
end

-- Byte columns in their unit, numbers to the right, texts last as they come.
local function columns_of(t)
  local out = {}
  for i, c in ipairs(t.columns) do
    out[i] = { key = c.name, title = c.name:upper(), right = c.cell ~= "text", unit = c.unit ~= "" and c.unit ~= "count" and c.unit or nil }
  end
  return out
end

local function compile(source, environment)
  local chunk = load("return " .. source, "=query", "t", environment)
  local problem
  if not chunk then chunk, problem = load(source, "=query", "t", environment) end
  if not chunk then error({ message = "the query is no Lua: " .. problem, code = "argument" }, 0) end
  return chunk
end

M.query = {
  name = "query", summary = "any question about a heap dump, in Lua over its graph g", usage = "query DUMP 'EXPRESSION' [OPTIONS]",
  examples = { [[tidemark query app.hprof "g:where{type='byte[]', min_size='1MB'}:retained()"]],
    [[tidemark query app.hprof "g:where{extends='java.util.AbstractMap'} - g:where{type='java.util.HashMap'}"]],
    [[tidemark query app.heapsnapshot "g:where{type='Session'}:dominators():group 'type'"]] },
  doc = "g:where{type=GLOB, match=REGEXP, extends=GLOB, loader=GLOB, min_size=, max_size=, min_retained=, reachable=, unreachable=, root=KIND,\n"
    .. "id=, node=} answers a set s: #s, s:shallow(), s:retained() (exact), s | t, s & t, s - t, s:incoming(), s:outgoing(),\n"
    .. "s:dominators(), s:retained_set(), s:group \"type\" (package, loader, dominator), s:rows{order=}, s:paths{by=\"type\"},\n"
    .. "s:filter(function(o) return o.preview ~= \"\" end), s:nodes(). tm is there too.",
  options = dumps.options_with(),
  run = function(options, words)
    if #words ~= 2 then args.usage("a heap dump and a Lua expression are needed") end
    local source = table.remove(words, 2)
    local g, problems = dumps.open(words, options)
    local environment = setmetatable({ g = g, tm = require "tidemark" }, { __index = _G })
    local chunk = compile(source, environment)
    local ok, answer, err = pcall(chunk)
    if not ok then error(type(answer) == "table" and answer or { message = tostring(answer), code = "argument" }, 0) end
    if answer == nil and type(err) == "table" then error(err, 0) end
    local t, problem = rows_of(answer, options)
    if problem then error(problem, 0) end
    if not t then return write_plain(options, words, g, problems, answer) end
    dumps.show(options, "query", g, words, problems, t, columns_of(t), "")
  end,
}

return M
