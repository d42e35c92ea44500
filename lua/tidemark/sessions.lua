-- What apps bind to sessions (R19): a document, a visit, a request registers images, callbacks and buffers; what is still registered
-- when its session is over was leaked. A book holds what one app told, from its agent's list or piece by piece.
--
--   local book = sessions.book()
--   book:register({ session = "doc-7", kind = "image", id = "cover", bytes = 1 << 20 }, now_ns)
--   book:finish("doc-7", now_ns)
--   book:left(now_ns)   -> { { session = "doc-7", kind = "image", count = 1, bytes = 1048576, over_ns = 0 } }
local M = {}

local MOST <const> = 100000 -- resources of one app: more are refused, and said
local NAME_BYTES <const> = 200

local book = {}
book.__index = book

--- An empty book.
function M.book() return setmetatable({ sessions = {}, count = 0 }, book) end

local function name_of(value) return (type(value) == "string" or math.type(value) == "integer") and tostring(value):sub(1, NAME_BYTES) or nil end

-- One of a session, or nil and what is wrong with the message.
local function resource_of(message)
  local session, kind, id = name_of(message.session), name_of(message.kind), name_of(message.id)
  if not session then return nil, "session is missing" end
  if not kind then return nil, "kind is missing" end
  if not id then return nil, "id is missing" end
  local bytes = message.bytes or 0
  if type(bytes) ~= "number" or not (bytes >= 0 and bytes < 2 ^ 63) then return nil, "bytes is no size" end
  return { session = session, kind = kind, id = id, bytes = math.floor(bytes), releasable = message.releasable == true }
end

--- A resource of a session. The same id again replaces what was registered.
---@param message table  { session, kind, id, bytes?, releasable? }
---@param now_ns integer
---@param client any     who can release it
---@return boolean|nil ok
---@return string|nil problem
function book:register(message, now_ns, client)
  local r, problem = resource_of(message)
  if not r then return nil, problem end
  local s = self.sessions[r.session]
  local known = s and s.resources[r.id]
  if not known and self.count >= MOST then return nil, ("more than %d resources are registered"):format(MOST) end
  if not s then
    s = { resources = {}, count = 0 }
    self.sessions[r.session] = s
  end
  if not known then self.count, s.count = self.count + 1, s.count + 1 end
  r.made_ns, r.client = now_ns, client
  s.resources[r.id] = r
  return true
end

--- A resource that the app gave back. Answers what it was, or nil.
function book:done(session, id)
  session, id = name_of(session), name_of(id)
  local s = self.sessions[session or ""]
  local r = s and s.resources[id or ""]
  if not r then return nil end
  s.resources[id] = nil
  s.count, self.count = s.count - 1, self.count - 1
  if s.count == 0 then self.sessions[session] = nil end
  return r
end

--- The session is over: what it still holds has outlived it.
function book:finish(session, now_ns)
  local s = self.sessions[name_of(session) or ""]
  if s then s.over_ns = s.over_ns or now_ns end
end

-- Those members of what should be a list of tables that are.
local function tables(list)
  local out = {}
  for _, one in ipairs(type(list) == "table" and list or {}) do
    if type(one) == "table" then out[#out + 1] = one end
  end
  return out
end

local function span(value) return type(value) == "number" and value >= 0 and value < 2 ^ 62 and math.floor(value) or 0 end

--- Takes the list of an agent (GET /sessions) in the place of everything.
---@param list table[]  { session, over_ns?, resources = { { kind, id, bytes, age_ns, releasable } } }
function book:replace(list, now_ns)
  self.sessions, self.count = {}, 0
  for _, given in ipairs(tables(list)) do
    for _, r in ipairs(tables(given.resources)) do
      self:register({ session = given.session, kind = r.kind, id = r.id, bytes = r.bytes, releasable = r.releasable }, now_ns - span(r.age_ns))
    end
    if span(given.over_ns) > 0 then self:finish(given.session, now_ns - span(given.over_ns)) end
  end
end

--- Everything registered, the largest first: { session, kind, id, bytes, age_ns, over_ns (of sessions that are), releasable }.
function book:rows(now_ns)
  local out = {}
  for session, s in pairs(self.sessions) do
    for id, r in pairs(s.resources) do
      out[#out + 1] = { session = session, kind = r.kind, id = id, bytes = r.bytes, age_ns = now_ns - r.made_ns,
        over_ns = s.over_ns and now_ns - s.over_ns or nil, releasable = r.releasable, client = r.client }
    end
  end
  table.sort(out, function(a, b)
    if a.bytes ~= b.bytes then return a.bytes > b.bytes end
    if a.session ~= b.session then return a.session < b.session end
    return a.id < b.id
  end)
  return out
end

--- What outlived its session, by session and kind, the largest first: { session, kind, count, bytes, over_ns, age_ns (of the oldest) }.
function book:left(now_ns)
  local out, by = {}, {}
  for _, r in ipairs(self:rows(now_ns)) do
    if r.over_ns then
      local key = r.session .. "\0" .. r.kind
      local g = by[key]
      if not g then
        g = { session = r.session, kind = r.kind, count = 0, bytes = 0, over_ns = r.over_ns, age_ns = 0 }
        by[key] = g
        out[#out + 1] = g
      end
      g.count, g.bytes, g.age_ns = g.count + 1, g.bytes + r.bytes, math.max(g.age_ns, r.age_ns)
    end
  end
  table.sort(out, function(a, b) return a.bytes > b.bytes or a.bytes == b.bytes and a.count > b.count end)
  return out
end

--- What open and finished sessions hold, by kind: { [kind] = { count, bytes } }.
function book:kinds()
  local out = {}
  for _, s in pairs(self.sessions) do
    for _, r in pairs(s.resources) do
      local k = out[r.kind] or { count = 0, bytes = 0 }
      out[r.kind] = k
      k.count, k.bytes = k.count + 1, k.bytes + r.bytes
    end
  end
  return out
end

return M
