-- Session-bound resources of watched apps (R19): asked of their agents, or told over the control socket; what outlives its session
-- becomes series for rules, and is released where a rule asks and the user allows.
local core = require "tidemark.core"
local fetch = require "tidemark.fetch"
local go = require "tidemark.capture.go"
local sessions = require "tidemark.sessions"
local text = require "tidemark.show.text"

local M = {}

local SECOND <const> = 1000000000
local TELL_EVERY_NS <const> = 1 * SECOND -- what is pushed
local ASK_EVERY_NS <const> = 5 * SECOND
local GROUPS_MOST <const> = 200 -- of one app, the largest: each is a key of three series

M.options = {
  { "sessions", "URL", "where the app lists what its sessions hold, as tidemark's Go agent does (that one is found by itself)" },
}

-- ---- series ----

local function feed(s, a, metric, key, value, unit) s.engine:feed(a.t.id, metric, key, s.engine:now(), value, unit) end

-- What is gone is told once more, as nothing, so that an alert about it ends.
local function feed_app(s, a)
  local now_ns, seen = s.engine:now(), {}
  for i, g in ipairs(a.book:left(now_ns)) do
    if i > GROUPS_MOST then break end
    local key = g.session .. "/" .. g.kind
    seen[key] = true
    feed(s, a, "session.left_bytes", key, g.bytes, "bytes")
    feed(s, a, "session.left_count", key, g.count, "count")
    feed(s, a, "session.over", key, g.over_ns, "ns")
  end
  for key in pairs(a.left) do
    if not seen[key] then
      feed(s, a, "session.left_bytes", key, 0, "bytes")
      feed(s, a, "session.left_count", key, 0, "count")
    end
  end
  a.left = seen
  for kind in pairs(a.kinds) do a.kinds[kind] = { count = 0, bytes = 0 } end
  for kind, k in pairs(a.book:kinds()) do a.kinds[kind] = k end
  for kind, k in pairs(a.kinds) do
    feed(s, a, "session.bytes", kind, k.bytes, "bytes")
    feed(s, a, "session.count", kind, k.count, "count")
  end
end

-- ---- asking ----

local function warn_once(s, a, message)
  if a.failing ~= message then s.engine:note("warn", a.t.id, "no list of sessions: " .. message, "{}") end
  a.failing = message
end

local function took(s, a, answer, err)
  a.call = nil
  if a.guessed and not (answer and answer.status == 200) then -- a pprof endpoint, and no agent
    a.url = nil
    return
  end
  a.guessed = false
  if not answer then return warn_once(s, a, err.message) end
  if answer.status ~= 200 then return warn_once(s, a, ("%s is answered with HTTP %d"):format(a.url, answer.status)) end
  local list = core.json_decode(answer.body)
  if type(list) ~= "table" then return warn_once(s, a, a.url .. " answers no JSON list") end
  a.failing = nil
  a.book:replace(list, s.engine:now())
  feed_app(s, a)
end

local function ask(s, a)
  local now_ns = s.engine:now()
  if a.call or a.asked_ns and now_ns - a.asked_ns < ASK_EVERY_NS then return end
  a.asked_ns = now_ns
  local call, err = core.http_start({ url = a.url, timeout_ns = ASK_EVERY_NS, max_body_bytes = 16 << 20, headers = a.headers }, s.engine,
    function(answer, problem) took(s, a, answer, problem) end)
  a.call = call
  if not call then warn_once(s, a, err.message) end
end

local function app_of(s, id)
  for _, a in ipairs(s.session_apps) do
    if a.t.id == id and not a.gone then return a end
  end
end

-- The list of the app's agent, if it serves one where agents do.
local function list_of(t)
  local path = go.socket_of(t.pid, t.uid)
  return path and "unix:" .. path .. ":/sessions" or nil
end

local function tick(s, n)
  local live = {}
  for _, t in ipairs(s.engine:targets()) do live[t.id] = true end
  for _, a in ipairs(s.session_apps) do
    a.gone = a.gone or not live[a.t.id]
    if not a.gone and not a.url and n % 5 == 0 then a.url = list_of(a.t) end -- an agent that began to serve
    if not a.gone and a.url then ask(s, a) elseif not a.gone and (a.book.count > 0 or next(a.left)) then feed_app(s, a) end
  end
end

-- ---- releasing ----

-- POSTs to where the list stands, with /release behind its path.
local function release_by_http(s, a, session, id, done)
  local query = "?session=" .. fetch.escape(session) .. (id and "&id=" .. fetch.escape(id) or "")
  local path, rest = a.url:match("^([^?]*)(.*)$")
  if rest ~= "" then query = rest .. "&" .. query:sub(2) end
  local call, err
  call, err = core.http_start({ url = path:gsub("/*$", "") .. "/release" .. query, method = "POST", timeout_ns = 30 * SECOND,
    headers = a.headers }, s.engine, function(answer, problem)
    a.calls[call] = nil
    if not answer then return done(false, problem.message) end
    if answer.status ~= 200 then return done(false, ("answered with HTTP %d: %s"):format(answer.status, answer.body:match("^[^\r\n]*"):sub(1, 100))) end
    local said = core.json_decode(answer.body)
    done(true, ("released %s, %s"):format(said and said.released or "it", core.format(said and said.bytes or 0, "bytes")))
    a.asked_ns = nil -- at once
    ask(s, a)
  end)
  if not call then return done(false, err.message) end
  a.calls[call] = true
end

-- Asks the client that registered each resource; its "released" lines end them, see M.commands.released.
local function release_by_line(s, a, session, id, done)
  local asked, bytes, why = 0, 0, "nothing releasable is registered"
  for _, r in ipairs(a.book:rows(s.engine:now())) do
    if r.session == session and (id == nil or r.id == id) and r.releasable then
      local ok, err = s.engine:answer(r.client, core.json { cmd = "release", session = r.session, kind = r.kind, id = r.id })
      if ok then asked, bytes = asked + 1, bytes + r.bytes else why = err.message end
    end
  end
  done(asked > 0, asked > 0 and ("asked the app to release %d, %s"):format(asked, core.format(bytes, "bytes")) or why)
end

local function release(s, said)
  local function done(ok, message) s.engine:acted(said.call, ok, message) end
  local a, args = app_of(s, said.target), core.json_decode(said.args) or {}
  if not a then return done(false, "the app binds nothing to sessions") end
  if type(args.session) ~= "string" then return done(false, "session.release wants session = NAME") end
  local way = a.url and release_by_http or release_by_line
  way(s, a, args.session, args.id and tostring(args.id) or nil, done)
end

-- ---- the control socket ----

-- Who speaks: the app that the message names by pid, or the only one.
local function speaker(s, message)
  local found
  for _, a in ipairs(s.session_apps) do
    if not a.gone and (message.pid == nil and message.target == nil or a.t.pid == message.pid or a.t.id == message.target or a.t.name == message.target) then
      if found then return nil, "several apps are watched: give pid" end
      found = a
    end
  end
  return found, not found and "no such app is watched" or nil
end

M.commands = {}

--- {"cmd":"register","session":S,"kind":K,"id":I,"bytes":N,"releasable":true}
function M.commands.register(s, message, answer, client)
  local a, problem = speaker(s, message)
  local ok = a and true
  if a then ok, problem = a.book:register(message, s.engine:now(), client) end
  answer { ok = ok or false, error = problem }
end

--- {"cmd":"done","session":S,"id":I}: the app gave it back; "released" says the same of one that it was asked to.
function M.commands.done(s, message, answer)
  local a, problem = speaker(s, message)
  local r = a and a.book:done(message.session, message.id)
  answer { ok = r ~= nil, error = problem or not r and "nothing of that name is registered" or nil }
end
M.commands.released = M.commands.done

--- {"cmd":"end","session":S}: what it still holds has outlived it.
M.commands["end"] = function(s, message, answer)
  local a, problem = speaker(s, message)
  if a then a.book:finish(message.session, s.engine:now()) end
  answer { ok = a ~= nil, error = problem }
end

--- {"cmd":"sessions"}: what is registered.
function M.commands.sessions(s, message, answer)
  local a, problem = speaker(s, message)
  if not a then return answer { ok = false, error = problem } end
  local rows = a.book:rows(s.engine:now())
  for _, r in ipairs(rows) do r.client = nil end
  answer { ok = true, resources = text.array(rows) }
end

-- ---- life ----

--- Prepares a session; before targets are watched.
function M.open(s, options)
  s.session_apps, s.sessions_url = {}, options.sessions
  s.session_headers = fetch.from_options(options).headers
  s.engine:action("session.release", "act:session.release", function(said) release(s, said) end)
end

--- A target is watched now. endpoint: its pprof address, where its agent may be.
function M.watch(s, t, endpoint)
  local a = { t = t, book = sessions.book(), left = {}, kinds = {}, calls = {}, headers = s.session_headers }
  a.url = s.sessions_url or list_of(t)
  if not a.url and endpoint then
    local socket = endpoint:match("^unix:[^:]+")
    a.url, a.guessed = (socket and socket .. ":" or endpoint:match("^https?://[^/]+") or "http://" .. endpoint:match("^[^/]+")) .. "/sessions", true
  end
  s.session_apps[#s.session_apps + 1] = a
  if a.url then ask(s, a) end
  if #s.session_apps > 1 then return end
  local n = 0
  s.engine:every(TELL_EVERY_NS, function()
    n = n + 1
    tick(s, n)
  end)
end

--- Ends what is asked; before the engine closes.
function M.close(s)
  for _, a in ipairs(s.session_apps or {}) do
    if a.call then a.call:cancel() end
    for call in pairs(a.calls) do call:cancel() end
  end
end

return M
