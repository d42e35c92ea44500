-- Leak suspects of a heap dump in words: what piles up, where, how much of the heap that is, and who holds it.
local core = require "tidemark.core"

local M = {}

-- Types that stand between a holder and what it holds: their neighbours are what people know.
local plumbing = {
  "%[%]$", "%$Node$", "%$Entry$", "%$TreeNode$", "%$Segment$", "^%(", "^system / ", "^Entry$", "ThreadLocalMap$",
  "^%d+ B ", "^type 0x", -- Go objects without a name
}

function M.is_plumbing(type_name)
  for _, pattern in ipairs(plumbing) do
    if type_name:find(pattern) then return true end
  end
  return false
end

--- The object that people would name as the holder: up the dominators past arrays and entries.
function M.owner(g, node)
  local o = g:node(node)
  for _ = 1, 6 do
    if not M.is_plumbing(o.type) or not o.dominator then return o end
    local above = g:node(o.dominator)
    if above.type == "java.lang.Class" or above.type == "(synthetic)" then return o end
    o = above
  end
  return o
end

-- A level has what hangs below one step; entries of a table that share a place hang below each other, so all of that type are counted.
local function count_all(g, node, level, follow)
  if level.type:find("[%[%]*?]") then return level end -- a glob would say something else
  local all = g:where { node = node }:retained_set { follow = follow } & g:where { type = level.type }
  if #all > level.count then
    level.count, level.retained_bytes = #all, all:retained { exact = false, follow = follow }
  end
  return level
end

-- What the pile below a node is made of: the first level that is no plumbing, else the one of most objects among those that
-- still hold half of it.
local function contents(g, row, options)
  local first, best
  for _, level in g:piles(row.node, { levels = 5, most_bytes = options.most_bytes, follow = options.follow }):rows() do
    first = first or level
    if not M.is_plumbing(level.type) then return count_all(g, row.node, level, options.follow) end
    if level.retained_bytes < 0.2 * first.retained_bytes then break end
    if not best or level.count > best.count and level.retained_bytes > first.retained_bytes / 2 then best = level end
  end
  return best
end

local function class_name(g, node) return (g:node(node).preview:gsub("^class ", "")) end

-- A thread's own name, or that of its type.
local function thread_name(g, node)
  for _, field in g:fields(node):rows() do
    if field.name == "name" and field.node >= 0 then return g:node(field.node).preview end
  end
  return g:node(node).type
end

-- A step of a path: ".next", "[3]". Some names of V8's native edges are whole signatures.
local function step(name)
  if #name > 48 then name = name:sub(1, 45) .. "..." end
  return name:find("^%[") and name or "." .. name
end

--- Where a node hangs, as a programmer would write it: "static com.acme.App.cache", "global.keep[0]", "stack main.run"; and the
--- thread that holds it, if one does.
---@return string place, string? thread  its name
function M.place(g, node, follow)
  local way, from, text, thread = {}, 1, nil, nil
  for i, row in g:path(node, { follow = follow }):rows() do
    way[i] = row
    if row.type == "java.lang.Class" then from, text = i, "static " .. class_name(g, row.node)
    elseif row.type == "global" or row.type:find("^Window") then from, text = i, (row.type:match("^%a+")) end
    if i == 1 and row.edge:find("^thread") then thread = row.edge:match("^thread (.+)") or thread_name(g, row.node) end
  end
  if #way == 0 then return "nothing: it is garbage" end
  if not text then text = thread and "thread " .. thread or way[1].edge end
  local last = math.min(#way, from + 6)
  for i = from + 1, last do text = text .. step(way[i].edge) end
  if last < #way then text = text .. " ..." end
  return text, thread
end

local function count_text(n)
  local s = ("%d"):format(n):reverse():gsub("(%d%d%d)", "%1 "):reverse()
  return (s:gsub("^ ", ""))
end

local function percent(ratio) return ("%.0f %%"):format(100 * ratio) end
local function bytes(n) return core.format(n, "bytes") end

local function loader_of(g, node)
  local row = g:where { node = node }:group("loader")[1]
  return row and row.name ~= "(none)" and row.name or ""
end

local words = {}

-- An object that is great by its own size: a text, an array of numbers.
local function alone(g, row, o, options)
  local place, thread = M.place(g, row.node, options.follow)
  row.owner_node, row.owner_type, row.place, row.thread = row.node, o.type, place, thread or ""
  row.loader = loader_of(g, row.node)
  local preview = o.preview ~= "" and o.preview ~= o.type and (' "%s"'):format(#o.preview > 40 and o.preview:sub(1, 37) .. "..." or o.preview) or ""
  row.text = ("one %s%s in %s is %s by itself (%s)"):format(o.type, preview, place, bytes(o.shallow_bytes), percent(row.share_ratio))
end

function words.object(g, row, options)
  local o = g:node(row.node)
  if o.shallow_bytes > row.retained_bytes / 2 then return alone(g, row, o, options) end
  local owner, pile = M.owner(g, row.node), contents(g, row, options)
  row.owner_node, row.owner_type = owner.node, owner.type
  local place, thread = M.place(g, owner.node, options.follow)
  row.place = place
  row.thread = thread or ""
  row.loader = loader_of(g, owner.node)
  local what = ("one %s in %s holds %s (%s)"):format(owner.type, place, bytes(row.retained_bytes), percent(row.share_ratio))
  row.text = what
  if not pile then return end
  row.piled_type, row.piled_count, row.piled_bytes = pile.type, pile.count, pile.retained_bytes
  if row.loader == "" then row.loader = loader_of(g, pile.node) end
  row.text = what .. (" in %s %s (%s)"):format(count_text(pile.count), pile.type, bytes(pile.retained_bytes))
end

function words.chain(g, row, options)
  local place, thread = M.place(g, row.node, options.follow)
  row.owner_node, row.owner_type, row.place = row.node, row.type, place
  row.thread = thread or ""
  row.loader = loader_of(g, row.node)
  row.text = ("a chain of %s %s begins in %s and holds %s (%s)"):format(count_text(row.count), row.type, place, bytes(row.retained_bytes),
    percent(row.share_ratio))
end

-- The place where the ways to most members of a group still run together.
local function common_place(set, options)
  local paths, common = set:paths { nodecount = 200, follow = options.follow }, nil
  for _, row in paths:rows() do
    if row.count < 0.8 * paths.notes.reached then break end
    common = row
  end
  return common
end

function words.group(g, row, options)
  local set = g:where { match = "^\\Q" .. row.type .. "\\E$", reachable = true, follow = options.follow }
  local common = common_place(set, options)
  row.owner_type, row.place, row.loader = "", "", loader_of(g, set:nodes(1)[1])
  row.text = ("%s %s hold %s (%s), none much by itself"):format(count_text(row.count), row.type, bytes(row.retained_bytes), percent(row.share_ratio))
  if common then
    row.owner_node, row.owner_type = common.node, common.type
    row.place = M.place(g, common.node, options.follow)
    row.text = row.text .. (", most of them reached by %s"):format(row.place)
  end
end

function words.fan(g, row, options)
  local owner = M.owner(g, row.node)
  local place, thread = M.place(g, owner.node, options.follow)
  row.owner_node, row.owner_type, row.place = owner.node, owner.type, place
  row.thread = thread or ""
  row.loader = loader_of(g, owner.node)
  row.text = ("%s in %s refers to %s %s"):format(owner.type, place, count_text(row.piled_count), row.piled_type)
end

--- The suspects of a graph as rows, each with `text`. Fans that are told of by another row, or that one owner has twice, are left out.
---@param options table  share (0.1), follow
function M.rows(g, options)
  local t, err = g:suspects { share = options.share, follow = options.follow, fans = 50 }
  if not t then return nil, err end
  local rows, told, fans = {}, {}, 0
  local how = { follow = options.follow, most_bytes = math.tointeger(t.notes.reachable_bytes * (options.share or 0.1) // 1) }
  for _, row in t:rows() do
    row.loader, row.thread = "", ""
    words[row.kind](g, row, how)
    local key = ("%s %s"):format(row.owner_node, row.kind == "fan" and row.piled_type or "")
    local skip = row.kind == "fan" and (told[key] or told[row.owner_node .. " "] or fans >= 10 or row.owner_type:find("^%("))
    if row.kind == "fan" and not skip then fans = fans + 1 end
    if row.owner_node then told[key] = true end
    if not skip then rows[#rows + 1] = row end
  end
  return rows, t.notes
end

return M
