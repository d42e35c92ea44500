-- The reference graph of a heap's biggest holders: boxes for objects and for what piles up below them, arrows for real references,
-- dotted ones where an object is held over others that are not shown. With earlier dumps: what was there already, and no stack reaches.
local core = require "tidemark.core"
local suspects = require "tidemark.report.suspects"
local text = require "tidemark.show.text"

local M = {}

local function bytes(n) return core.format(n, "bytes") end

local CHAIN_SHOWN = 3 -- links of a list that are drawn

-- The `count` objects that retain most, from the roots down: none without the one that holds it, and none that is less than a
-- twentieth of that one, being a part of its pile. Of a chain, of which each link holds nearly all of the one before, the first
-- links are enough.
local function biggest(g, count, follow)
  local open, chosen = {}, {}
  local function add(above, least)
    for _, row in g:dominated(above and above.node, { nodecount = count, follow = follow }):rows() do
      row.parent = above and above.node
      local link = above and above.type == row.type and row.retained_bytes >= 0.9 * above.retained_bytes
      row.links = link and above.links + 1 or 1
      if row.retained_bytes >= least then open[#open + 1] = row end
    end
  end
  add(nil, 0)
  while #chosen < count and #open > 0 do
    local best = 1
    for i = 2, #open do
      local a, b = open[i], open[best]
      if a.retained_bytes > b.retained_bytes or a.retained_bytes == b.retained_bytes and a.node < b.node then best = i end
    end
    local row = table.remove(open, best)
    chosen[#chosen + 1] = row
    if row.children > 0 and row.links < CHAIN_SHOWN then add(row, row.retained_bytes / 20) end
  end
  return chosen
end

-- What piles up below a box that is not shown itself, when that is at least a third of it.
local function pile_of(g, box, shown, follow)
  if box.links == CHAIN_SHOWN then
    local rest = g:where { node = box.node }:retained_set { follow = follow } & g:where { type = box.type }
    if #rest > 1 then return { type = box.type, count = #rest, retained_bytes = box.retained_bytes } end
  end
  local left_out = box.retained_bytes
  for _, child in ipairs(shown) do
    if child.parent == box.node and child.retained_bytes < left_out then left_out = child.retained_bytes end
  end
  local first
  for _, row in g:piles(box.node, { levels = 4, most_bytes = left_out > 1 and left_out - 1 or 0, follow = follow }):rows() do
    first = first or row
    if not suspects.is_plumbing(row.type) then
      first = row
      break
    end
  end
  if first and first.count > 1 and first.retained_bytes * 3 >= box.retained_bytes then
    return { type = first.type, count = first.count, retained_bytes = first.retained_bytes }
  end
end

-- Everything that locals lead to: what a running function may use. Not through classes and their loaders: these lead to every
-- static field.
local function active(g, follow)
  local locals, around
  if g.format == "hprof" then around = g:where { type = "java.lang.Class" } | g:where { extends = "java.lang.ClassLoader" } end
  if g.format == "v8heap" then
    locals = g:where { type = "(synthetic)" }:filter(function(o) return o.preview == "(Stack roots)" end)
  else
    locals = g:where { root = "stack" } | g:where { root = "jni local" } | g:where { root = "native stack" } | g:where { root = "monitor" }
  end
  return locals:reach { follow = follow, around = around }
end

-- What names an object in another dump of the same program: its id where ids last (V8, Go), else its type and place.
local function key_of(g, box, follow)
  if g.format == "v8heap" or g.format == "goheap" then return ("%d %s"):format(g:node(box.node).id, box.type) end
  return box.type .. " " .. suspects.place(g, box.node, follow):gsub("%[%d+%]", "[]")
end

local function references(g, boxes, at)
  local edges = {}
  for _, box in ipairs(boxes) do
    local seen, direct = {}, false
    local near = g:where { node = box.node }:incoming()
    for _, node in ipairs(near:nodes(100000)) do
      local from = at[node]
      if from and node ~= box.node and not seen[node] then
        seen[node] = true
        edges[#edges + 1] = { from = from.name, to = box.name, kind = "reference" }
        direct = direct or node == box.parent
      end
    end
    local parent = at[box.parent]
    if parent and not direct then edges[#edges + 1] = { from = parent.name, to = box.name, kind = "holds" } end
  end
  return edges
end

local function name_edges(g, edges, at_name)
  for _, e in ipairs(edges) do
    e.label = ""
    if e.kind == "reference" then
      local from, to = at_name[e.from].node, at_name[e.to].node
      for _, row in g:incoming(to, { nodecount = 1000 }):rows() do
        if row.node == from then
          e.label, e.strength = row.edge, row.strength
          break
        end
      end
    end
  end
end

--- The topology of a graph: { boxes = {...}, edges = {...} }.
---@param options table  nodecount (24), follow, earlier = { { graph, age_ns }, ... }
function M.of(g, options)
  local boxes = biggest(g, options.nodecount or 24, options.follow)
  local at, at_name, running = {}, {}, active(g, options.follow)
  local live = {}
  for _, node in ipairs((running & g:where { node = (function()
    local list = {}
    for i, box in ipairs(boxes) do list[i] = box.node end
    return list
  end)() }):nodes()) do live[node] = true end
  for i, box in ipairs(boxes) do
    local o = g:node(box.node)
    box.name, box.preview, box.active = "n" .. i, o.preview, live[box.node] == true
    box.seen, box.age_ns, box.stale = 0, 0, false
    box.pile = pile_of(g, box, boxes, options.follow)
    at[box.node], at_name[box.name] = box, box
  end
  local edges = references(g, boxes, at)
  name_edges(g, edges, at_name)
  for _, earlier in ipairs(options.earlier or {}) do
    local known = {}
    for _, box in ipairs(biggest(earlier.graph, 4 * #boxes, options.follow)) do known[key_of(earlier.graph, box, options.follow)] = true end
    for _, box in ipairs(boxes) do
      if known[key_of(g, box, options.follow)] then
        box.seen = box.seen + 1
        box.age_ns = math.max(box.age_ns, earlier.age_ns)
      end
    end
  end
  for _, box in ipairs(boxes) do box.stale = box.seen > 0 and not box.active end
  return { boxes = boxes, edges = edges }
end

-- ---- drawing ----

local function lines_of(box)
  local head = box.type
  if box.preview ~= "" and box.preview ~= box.type then head = head .. " " .. box.preview:sub(1, 40) end
  local out = { head, bytes(box.retained_bytes) }
  if box.pile then out[#out + 1] = ("%d %s (%s)"):format(box.pile.count, box.pile.type, bytes(box.pile.retained_bytes)) end
  if box.stale then out[#out + 1] = ("there for %s, no active path"):format(core.format(box.age_ns, "ns")) end
  return out
end

function M.mermaid(t)
  local out = { "flowchart TD" }
  local function quote(s) return (text.clean(s):gsub("#", "#35;"):gsub('"', "#quot;"):gsub("<", "#lt;"):gsub(">", "#gt;")) end
  for _, box in ipairs(t.boxes) do
    local lines = lines_of(box)
    for i, line in ipairs(lines) do lines[i] = quote(line) end
    out[#out + 1] = ('  %s["%s"]%s'):format(box.name, table.concat(lines, "<br/>"), box.stale and ":::stale" or "")
  end
  for _, e in ipairs(t.edges) do
    local label = e.label ~= "" and ('|"%s"|'):format(quote(e.label)) or ""
    out[#out + 1] = ("  %s %s%s %s"):format(e.from, e.kind == "holds" and "-.->" or "-->", label, e.to)
  end
  out[#out + 1] = "  classDef stale stroke:#c00,stroke-width:3px"
  return table.concat(out, "\n") .. "\n"
end

function M.dot(t)
  local function quote(s) return '"' .. text.clean(s):gsub("\\", "\\\\"):gsub('"', '\\"') .. '"' end
  local out = { "digraph heap {", "  node [shape=box];" }
  for _, box in ipairs(t.boxes) do
    local lines = lines_of(box)
    for i, line in ipairs(lines) do lines[i] = quote(line):sub(2, -2) end
    out[#out + 1] = ('  %s [label="%s"%s];'):format(box.name, table.concat(lines, "\\n"), box.stale and ', color="#cc0000", penwidth=3' or "")
  end
  for _, e in ipairs(t.edges) do
    out[#out + 1] = ("  %s -> %s [label=%s%s];"):format(e.from, e.to, quote(e.label), e.kind == "holds" and ", style=dotted" or "")
  end
  out[#out + 1] = "}"
  return table.concat(out, "\n") .. "\n"
end

--- Rows of the JSON document: kind node, then kind edge.
function M.rows(t)
  local rows = {}
  for _, b in ipairs(t.boxes) do
    rows[#rows + 1] = { kind = "node", name = b.name, node = b.node, type = b.type, preview = b.preview, shallow_bytes = b.shallow_bytes,
      retained_bytes = b.retained_bytes, active = b.active, seen = b.seen, age_ns = b.age_ns, stale = b.stale,
      piled_type = b.pile and b.pile.type, piled_count = b.pile and b.pile.count, piled_bytes = b.pile and b.pile.retained_bytes }
  end
  for _, e in ipairs(t.edges) do
    rows[#rows + 1] = { kind = "edge", from = e.from, to = e.to, edge = e.kind, label = e.label, strength = e.strength }
  end
  return rows
end

-- ---- the archive ----

--- What is kept of one object: its bytes when it is a string or an array without references, else its facts, fields and the texts of
--- the strings that it retains, as JSON. Answers the content and how its file's name ends.
function M.archive(g, node, most_texts)
  local contents = g:contents(node)
  if contents then return contents, "bin" end
  local texts, fields = {}, {}
  for i, row in g:fields(node):rows() do fields[i] = row end
  local strings = g.format == "hprof" and "java.lang.String" or g.format == "v8heap" and "(string)" or "*"
  local retained = g:where { node = node }:retained_set() & g:where { type = strings }
  for _, row in retained:rows { order = "node", nodecount = most_texts or 100000 }:rows() do
    if row.preview ~= "" then texts[#texts + 1] = row.preview end
  end
  return core.json { object = g:node(node), fields = text.array(fields), texts = text.array(texts) } .. "\n", "json"
end

return M
