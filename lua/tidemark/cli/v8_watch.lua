-- What V8 says of itself while a program is watched: heap, external memory and array buffers, nodes and listeners of a page, over one
-- lasting inspector session. Asked in one turn of the loop and taken in a later one: a program that is busy holds up nobody. Short
-- traces of pages, for the rules that want some, are taken by a process of their own.
local core = require "tidemark.core"
local v8 = require "tidemark.capture.v8"

local M = {}

local SECOND <const> = 1000000000
local LOOK_EVERY_NS <const> = SECOND // 5
local ASK_EVERY_NS <const> = 5 * SECOND
local JOIN_EVERY_NS <const> = 30 * SECOND -- when a session was lost
local TRACE_SECONDS <const> = 3
local TRACE_EVERY_NS <const> = 100 * TRACE_SECONDS * SECOND -- at most: a hundredth of the time
local TRACE_FIRST_NS <const> = 5 * SECOND
local NOW <const> = { timeout_ns = 0 }

local function warn(s, a, message) s.engine:note("warn", a.t.id, "no numbers of V8: " .. message, "{}") end

-- Node holds up its end while somebody is joined; it is asked to say so.
local function greet(session, about)
  if about and about.type == "node" then return session:start("NodeRuntime.notifyWhenWaitingForDisconnect", { enabled = true }) end
  return true
end

local function lose(s, a, message)
  if a.session then pcall(a.leave) end
  a.session, a.asked, a.tried_ns = nil, nil, s.engine:now()
  s.engine:tell(a.t.id, {})
  if message then warn(s, a, message) end
end

local function join(s, a)
  local session, about, leave = v8.join(a.v8)
  if not session then return nil, about end
  a.session, a.about, a.leave, a.asked = session, about, leave, nil
  a.questions = v8.questions(about)
  local ok, err = greet(session, about)
  if not ok then lose(s, a) end
  return ok, err
end

local function ask(s, a)
  a.asked, a.asked_ns, a.told = {}, s.engine:now(), {}
  for _, question in ipairs(a.questions) do
    local id, err = a.session:start(question[1], question[2])
    if not id then return lose(s, a, err.message) end
    a.asked[id] = question
  end
end

local function take(s, a, id, text)
  local question = a.asked and a.asked[id]
  if not question then return end
  a.asked[id] = nil
  local answer = core.json_decode(text)
  local now_ns = s.engine:now()
  local function add(name, value, unit)
    if type(value) == "number" then s.engine:feed(a.t.id, name, "", now_ns, value, unit or "count") end
  end
  if type(answer) == "table" and type(answer.result) == "table" then question[3](answer.result, add, a.told) end
  if next(a.asked) then return end
  a.asked = nil
  s.engine:tell(a.t.id, a.told)
end

-- All that has come. The session may be lost in it.
local function look(s, a)
  while a.session do
    local id, event, text = a.session:next(NOW)
    if event == "NodeRuntime.waitingForDisconnect" then
      lose(s, a)
      a.ended = true
    elseif id then
      take(s, a, id, text)
    elseif not event then
      if text.code ~= "timeout" then lose(s, a, text.message) end
      return
    end
  end
end

-- ---- traces ----

local function take_trace(s, a, outcome)
  local document = outcome.bytes and core.json_decode(outcome.bytes)
  local row = type(document) == "table" and type(document.rows) == "table" and document.rows[1]
  local f = type(row) == "table" and row.paths and io.open(row.paths, "rb")
  if not f then return nil, outcome.message or type(row) == "table" and row.problem or "the capture wrote none" end
  local folded = f:read "a"
  f:close()
  local ok, err = s.engine:feed_snapshot(a.t.id, "trace.chrome", s.engine:now(), folded, row.stats)
  if not ok then return nil, err.message end
  s.v8_traces = s.v8_traces or { count = 0, traced_ns = 0, bytes = 0 }
  local sum = s.v8_traces
  sum.count, sum.traced_ns, sum.bytes = sum.count + 1, sum.traced_ns + TRACE_SECONDS * SECOND, sum.bytes + (row.bytes or 0)
  return true
end

-- Of pages alone: Node's traces have no tasks. Once in a hundred times as long as it takes, or more rarely.
local function trace(s, a)
  local every_ns = s.engine:wanted(a.t.id, "trace.chrome")
  local now_ns = s.engine:now()
  if not every_ns or a.tracing or now_ns < a.trace_due_ns or not a.v8.word or a.about and a.about.type == "node" then return end
  local folder, err = core.private_folder(os.getenv "TMPDIR" or "/tmp")
  a.trace_due_ns = now_ns + math.max(every_ns, TRACE_EVERY_NS)
  if not folder then return warn(s, a, err.message) end
  a.tracing = folder
  local how = { kind = "trace", word = a.v8.word, seconds = TRACE_SECONDS, folder = folder, timeout_ns = 60 * SECOND }
  s.engine:capture(a.t.id, how, function(outcome)
    local ok, problem = take_trace(s, a, outcome)
    core.remove_folder(folder)
    a.tracing = nil
    if not ok and outcome.code ~= "cancelled" and outcome.code ~= "gone" and a.untraced ~= problem then
      s.engine:note("warn", a.t.id, "no trace of the page: " .. problem, "{}")
    end
    a.untraced = not ok and problem or nil
  end)
end

--- What traces have cost: { count, traced_ns, bytes }; nil when there was none.
function M.traces(s) return s.v8_traces end

-- ---- life ----

local function tick(s)
  local live, now_ns = {}, s.engine:now()
  for _, t in ipairs(s.engine:targets()) do live[t.id] = true end
  for i = #s.v8_apps, 1, -1 do
    local a = s.v8_apps[i]
    if not live[a.t.id] or a.ended then
      if a.session then pcall(a.leave) end
      table.remove(s.v8_apps, i)
    elseif not a.session then
      if now_ns - a.tried_ns >= JOIN_EVERY_NS and not join(s, a) then a.tried_ns = now_ns end
    else
      look(s, a)
      if a.session and not a.asked and now_ns - a.asked_ns >= a.every_ns then ask(s, a) end
      if a.session then trace(s, a) end
    end
  end
end

--- Joins the inspector of a target that is watched now. of: its capture target; every_ns: 0 or nil = 5 s. nil and an error when nobody
--- answers.
---@return boolean|nil ok
---@return table|nil err
function M.watch(s, t, of, every_ns)
  local a = { t = t, v8 = of, every_ns = math.max(every_ns or 0, ASK_EVERY_NS), asked_ns = math.mininteger // 2,
    trace_due_ns = s.engine:now() + TRACE_FIRST_NS }
  local ok, err = join(s, a)
  if not ok then return nil, err end
  s.v8_apps = s.v8_apps or {}
  s.v8_apps[#s.v8_apps + 1] = a
  ask(s, a)
  if s.v8_ticks then return true end
  s.v8_ticks = true
  s.engine:every(LOOK_EVERY_NS, function() tick(s) end)
  return true
end

--- Leaves all; before the engine closes.
function M.close(s)
  for _, a in ipairs(s.v8_apps or {}) do
    if a.session then pcall(a.leave) end
    if a.tracing then core.remove_folder(a.tracing) end
  end
  s.v8_apps = {}
end

return M
