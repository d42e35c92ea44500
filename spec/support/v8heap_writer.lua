-- Writes V8 heap snapshots: nodes by name, edges between them, all of meta's forms.
--   local w = writer { fields = { "type", "name", "id", "self_size", "edge_count", "detachedness" } }
--   local a = w:node("object", "Session", 100); w:edge(a, "property", "next", b); w:place(a, 7, 10, 4); w:text()
local core = require "tidemark.core"

local Writer = {}
Writer.__index = Writer

local node_types = { "hidden", "array", "string", "object", "code", "closure", "regexp", "number", "native", "synthetic", "concatenated string",
  "sliced string", "symbol", "bigint", "object shape" }
local edge_types = { "context", "element", "property", "internal", "hidden", "shortcut", "weak" }

local function index(list)
  local out = {}
  for i, word in ipairs(list) do out[word] = i - 1 end
  return out
end
local node_type, edge_type = index(node_types), index(edge_types)

function Writer:string(text)
  if not self.known[text] then
    self.strings[#self.strings + 1] = core.json(text)
    self.known[text] = #self.strings - 1
  end
  return self.known[text]
end

--- A node; its number is its place, its id 2 * place + 1. `more`: id, detachedness, trace_node_id.
function Writer:node(kind, name, bytes, more)
  local n = { type = node_type[kind], name = self:string(name), id = 2 * #self.nodes + 1, self_size = bytes or 0, edge_count = 0, edges = {},
    detachedness = 0, trace_node_id = 0 }
  for key, value in pairs(more or {}) do n[key] = value end
  self.nodes[#self.nodes + 1] = n
  return #self.nodes
end

function Writer:edge(from, kind, name, to)
  local number = kind == "element" or kind == "hidden"
  local n = self.nodes[from]
  n.edge_count = n.edge_count + 1
  n.edges[n.edge_count] = { edge_type[kind], number and name or self:string(name), to }
end

--- A node that the user's roots hold.
function Writer:root(kind, name, bytes, more)
  local n = self:node(kind, name, bytes, more)
  self:edge(1, "shortcut", name, n)
  return n
end

--- Where a node's code is; line and column from 0.
function Writer:place(node, script, line, column, script_node)
  local width = #self.fields
  local at = { object_index = (node - 1) * width, script_id = script, line = line, column = column,
    script_object_index = script_node and (script_node - 1) * width or 0 }
  for _, field in ipairs(self.location_fields) do self.locations[#self.locations + 1] = at[field] end
end

function Writer:text()
  local width, nodes, edges = #self.fields, {}, {}
  for i, n in ipairs(self.nodes) do
    local record = {}
    for k, field in ipairs(self.fields) do record[k] = n[field] end
    nodes[i] = table.concat(record, ",")
    for _, e in ipairs(n.edges) do edges[#edges + 1] = ("%d,%d,%d"):format(e[1], e[2], (e[3] - 1) * width) end
  end
  local function names(list) return '["' .. table.concat(list, '","') .. '"]' end
  return ('{"snapshot":{"meta":{"node_fields":%s,"node_types":[%s,"string","number","number","number","number","number"],'
    .. '"edge_fields":["type","name_or_index","to_node"],"edge_types":[%s,"string_or_number","node"],'
    .. '"trace_function_info_fields":["function_id","name","script_name","script_id","line","column"],'
    .. '"trace_node_fields":["id","function_info_index","count","size","children"],"location_fields":%s},'
    .. '"node_count":%d,"edge_count":%d},\n"nodes":[%s\n],\n"edges":[%s\n],\n"trace_function_infos":[%s],\n"trace_tree":%s,\n"samples":[],\n'
    .. '"locations":[%s],\n"strings":[%s]}'):format(names(self.fields), names(node_types), names(edge_types), names(self.location_fields),
      #nodes, #edges, table.concat(nodes, "\n,"), table.concat(edges, "\n,"), self.functions or "", self.trace_tree or "[]",
      table.concat(self.locations, ","), table.concat(self.strings, ",\n"))
end

--- A snapshot with its root, which node 1 is, and the engine's group of roots, node 2.
return function(options)
  local w = setmetatable({ strings = {}, known = {}, nodes = {}, locations = {} }, Writer)
  w.fields = options and options.fields or { "type", "name", "id", "self_size", "edge_count" }
  w.location_fields = options and options.location_fields or { "object_index", "script_id", "line", "column" }
  w:node("synthetic", "")
  w:edge(1, "element", 1, w:node("synthetic", "(GC roots)"))
  return w
end
