-- What the commands over heap dumps share: opening one, their options, and printing a table of it.
local args = require "tidemark.cli.args"
local core = require "tidemark.core"
local dump_index = require "tidemark.dump_index"
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
  { "exe", "FILE", "the program that wrote a Go dump: its debug information names types, globals and fields" },
  { "index", "save an index of the dump (FILE.tmx), so that it opens at once the next time; dumps of 256 MiB and more get one anyway" },
  { "no-index", "neither use nor save an index" },
}

--- Names the objects of a Go dump by the types of its program.
function M.use_exe(g, exe, problems)
  if not g.use_exe or not g:go_version() then args.usage("--exe is for Go heap dumps") end
  local typed, err = g:use_exe(exe)
  if not typed then error(err, 0) end
  if typed.version ~= g:go_version() then
    problems[#problems + 1] = ("%s was built by %s, the dump is of %s: names may be wrong"):format(exe, typed.version, (g:go_version()))
  end
end

--- The options of every command over a heap dump, and those of its own.
function M.options_with(...)
  local out = { ... }
  return table.move(shared, 1, #shared, #out + 1, out)
end

-- Says to people what was written; a disk that is full or read-only is no reason to fail.
local function save_index(g, places, word, options)
  local quiet = options.json or options.csv or options.quiet
  local place, bytes = dump_index.save(g, places)
  if quiet then return end
  if place then
    io.stderr:write(("tidemark: saved %s (%s): the next question starts at once; --no-index saves none\n"):format(place, core.format(bytes, "bytes")))
  elseif options.index then
    io.stderr:write(("tidemark: no index of %s: %s\n"):format(word, text.clean(bytes.message)))
  end
end

-- Reads a dump by its index, or reads it and saves one.
local function read(word, options, problems)
  local places = not options["no-index"] and not profile.is_remote(word) and dump_index.places(word) or nil
  options.index_places = places
  local g = profile.read(word, options, problems)
  if not places or g.kind ~= "graph" or g:indexed() then return g end
  local problem = g:index_problem()
  if problem and not options.json and not options.csv then io.stderr:write("tidemark: ", text.clean(problem), "; read again\n") end
  if problem or dump_index.wanted(word, options) then save_index(g, places, word, options) end
  return g
end

-- What the dump lost beside what the reader said of it; `objects --problems` shows all.
local function note_losses(g, word, problems)
  for _, row in g:problems():rows() do
    if row.loses == 1 and not (g.partial and row.offset >= 0) then
      problems[#problems + 1] = ("%s: %s %s"):format(word, core.format(row.count, "count"), row.problem)
    end
  end
end

--- Reads the one heap dump that `words` names. Raises when it is none.
---@return userdata graph, table problems
function M.open(words, options)
  if #words ~= 1 then args.usage("one heap dump is needed") end
  local problems = {}
  local g = read(words[1], options, problems)
  if g.kind ~= "graph" then
    error({ message = ("%s is a %s (%s), no heap dump"):format(words[1], g.kind, g.format), code = "argument" }, 0)
  end
  if options.exe then M.use_exe(g, options.exe, problems) end
  note_losses(g, words[1], problems)
  return g, problems
end

-- A table for people: no node is nothing, not -1, and nothing is said twice.
local function node_table(columns, rows)
  for _, row in ipairs(rows) do
    if row.node == -1 then row.node = nil end
    if row.preview and (row.preview == row.type or row.preview == row.value) then row.preview = nil end
  end
  return text.table(columns, rows)
end

--- Prints a table: aligned text under `head`, or what --csv and --json ask for.
---@param verb string  of the JSON schema
---@param columns table  of the text: see show.text.table
function M.show(options, verb, g, words, problems, t, columns, head)
  if options.csv then return profiles.output(options, t:csv()) end
  if options.json then
    local info = type(g) == "userdata" and g:info() or {}
    local meta = { files = text.array(words), format = g.format, partial = g.partial, problems = text.array(problems), roots = info.roots,
      edges = info.edges }
    for key, value in pairs(t.notes) do meta[key] = value end
    meta.warnings = nil
    return profiles.output(options, text.document_of(verb, meta, t))
  end
  profiles.warn(problems)
  local rows = {}
  for i, row in t:rows() do rows[i] = row end
  profiles.output(options, head .. node_table(columns, rows))
end

local function csv_cell(cell)
  cell = tostring(cell == nil and "" or cell)
  return cell:find('[,"\r\n]') and '"' .. cell:gsub('"', '""') .. '"' or cell
end

--- Prints rows that were made in Lua, as M.show prints a table. names: all columns in order; meta: more of --json's.
function M.show_rows(options, verb, g, words, problems, names, rows, columns, head, meta)
  if options.csv then
    local lines = { table.concat(names, ",") }
    for i, row in ipairs(rows) do
      local cells = {}
      for c, name in ipairs(names) do cells[c] = csv_cell(row[name]) end
      lines[i + 1] = table.concat(cells, ",")
    end
    return profiles.output(options, table.concat(lines, "\n") .. "\n")
  end
  if options.json then
    local all = { files = text.array(words), format = g.format, partial = g.partial, problems = text.array(problems) }
    for key, value in pairs(meta or {}) do all[key] = value end
    return profiles.output(options, text.document(verb, all, text.array(rows)))
  end
  profiles.warn(problems)
  profiles.output(options, columns and (head or "") .. node_table(columns, rows) or head)
end

--- A column of bytes, and one of counts.
function M.size(key, title) return { key = key, title = title, unit = "bytes", right = true } end
function M.number(key, title) return { key = key, title = title, right = true } end

--- How many rows are wanted: all for programs, twenty for people.
function M.count(options)
  return options.nodecount or (options.json or options.csv) and 0 or 20
end

--- The node that a word names: an address or id (0x7f…, 4711), or #NODE. Raises a usage error.
function M.node(g, word)
  local node = word:match("^#(%d+)$")
  if node then
    local n, count = math.tointeger(tonumber(node)), g:info().nodes
    if not n or n >= count then error({ message = ("no object is %s: the dump has %d"):format(word, count), code = "argument" }, 0) end
    return n
  end
  local id = math.tointeger(tonumber(word))
  if not id then args.usage("'" .. word .. "' is neither an id (0x7f…, 4711) nor a node (#12)") end
  node = g:find(id)
  if not node then error({ message = ("no object has the %s %s"):format(g:info().id_word, word), code = "argument" }, 0) end
  return node
end

return M
