-- V8's inspector (Chrome DevTools Protocol) over a WebSocket: finding what can be inspected, and calls with their events.
local core = require "tidemark.core"
local fetch = require "tidemark.fetch"

local M = {}

local SECOND <const> = 1000000000

--- What listens there as an inspector: { browser }, or nil and an error.
function M.version(base)
  local answer, err = fetch.small(base .. "/json/version", {})
  local about = answer and answer.status == 200 and core.json_decode(answer.body)
  if type(about) ~= "table" or not about.Browser then
    return nil, err or { code = "format", message = base .. " is no inspector", advice = "start the program with --inspect, or Chromium with "
      .. "--remote-debugging-port=PORT" }
  end
  return { browser = tostring(about.Browser) }
end

--- What can be inspected there: { type, title, url, path }.
function M.list(base)
  local answer, err = fetch.small(base .. "/json/list", {})
  local list = answer and answer.status == 200 and core.json_decode(answer.body)
  if type(list) ~= "table" then return nil, err or { code = "format", message = base .. " is no inspector" } end
  local out = {}
  for _, t in ipairs(list) do
    local path = tostring(t.webSocketDebuggerUrl or ""):match("^wss?://[^/]+(/.*)$")
    if path then out[#out + 1] = { type = tostring(t.type), title = tostring(t.title or ""), url = tostring(t.url or ""), path = path } end
  end
  return out
end

--- The one that the words name, or the only page: its WebSocket's address.
function M.choose(base, match)
  local list, err = M.list(base)
  if not list then return nil, err end
  local found = {}
  for _, t in ipairs(list) do
    local fits = match and (t.title:find(match, 1, true) or t.url:find(match, 1, true))
    if fits or not match and (t.type == "page" or t.type == "node") then found[#found + 1] = t end
  end
  if #found == 1 then return "ws" .. base:sub(#"http" + 1) .. found[1].path, found[1] end
  local names = {}
  for i, t in ipairs(#found > 0 and found or list) do names[i] = ("%s (%s)"):format(t.title ~= "" and t.title or t.url, t.type) end
  return nil, { code = "argument", message = #found == 0 and "nothing there fits" or #found .. " things there fit",
    advice = #names > 0 and "name one by a part of its title or address: " .. table.concat(names, "; ", 1, math.min(#names, 8)) or nil }
end

--- The inspector of a Node process: http://127.0.0.1:PORT, and whether a signal had to open it.
function M.of_process(pid)
  local function look()
    for _, port in ipairs(core.ports(pid) or {}) do
      local base = "http://127.0.0.1:" .. port
      if M.version(base) then return base end
    end
  end
  local ports, err = core.ports(pid)
  if not ports then return nil, err end
  local base = look()
  if base then return base, false end
  local asked, problem = core.ask_inspector(pid)
  if not asked then return nil, problem end
  local _, began = core.now()
  repeat
    base = look()
    if base then return base, true end
    local waited, cancelled = core.pause(SECOND // 20)
    if not waited then return nil, cancelled end
    local _, now = core.now()
  until now - began > 5 * SECOND
  return nil, { code = "timeout", message = ("process %d opened no inspector within 5 s of SIGUSR1"):format(pid),
    advice = "start it with --inspect; a port that is taken shows in its own output" }
end

-- ---- a session ----

local Session = {}
Session.__index = Session

--- Opens a session; close it.
function M.open(url)
  local socket, err = core.websocket(url, { timeout_ns = 10 * SECOND })
  if not socket then return nil, err end
  return setmetatable({ socket = socket, last_id = 0 }, Session)
end

function Session:close() self.socket:close() end

-- What a message is: the id that it answers, or the event that it tells; and its error. V8 and Chromium write "id" or "method"
-- first; anything else is decoded to see, which large answers are spared.
local function look_at(message)
  local id, error_next = message:match('^{"id":(%d+),"(e?r?r?o?r?)')
  local method = not id and message:match('^{"method":"([%w.]+)"')
  if id and error_next ~= "error" then return math.tointeger(tonumber(id)) end
  if method then return nil, method end
  local whole = core.json_decode(message)
  if type(whole) ~= "table" then return end
  local problem = type(whole.error) == "table" and tostring(whole.error.message) or whole.error and "it failed" or nil
  return whole.id, whole.method, problem
end

--- Sends a request and does not wait; answers the id that its answer will have.
---@return integer|nil id
---@return table|nil err
function Session:start(method, params, options)
  self.last_id = self.last_id + 1
  local sent, err = self.socket:send(core.json { id = self.last_id, method = method, params = params or {} }, options)
  if not sent then return nil, err end
  return self.last_id
end

--- The next message: the id that it answers or nil, the event that it tells or nil, its text, what is wrong with an answer. Neither an
--- id nor an event: an error in place of the text; of code "timeout" when nothing came in time, and the session goes on.
function Session:next(options)
  while true do
    local message, err = self.socket:receive(options)
    if not message then return nil, nil, err end
    local id, event, refusal = look_at(message)
    if id or event then return id, event, message, refusal end
  end
end

--- Calls a method. on_event(method, message) sees the events that come until then; false ends the call with its second value.
--- Answers the whole message as text: it may be large, and is only decoded when somebody needs it.
---@return string|nil message
---@return table|nil err
function Session:call(method, params, options)
  options = options or {}
  local id, err = self:start(method, params, options)
  if not id then return nil, err end
  local how = { timeout_ns = options.timeout_ns, progress = options.progress }
  while true do
    local of, event, message, refusal = self:next(how)
    if of == id then
      if refusal then return nil, { code = "unsupported", message = method .. ": " .. refusal } end
      return message
    elseif event and options.on_event then
      local go_on, stop = options.on_event(event, message)
      if go_on == false then return nil, stop end
    elseif not of and not event then
      return nil, message
    end
  end
end

--- The same, decoded: the "result" of the answer.
function Session:ask(method, params, options)
  local message, err = self:call(method, params, options)
  if not message then return nil, err end
  local whole, problem = core.json_decode(message)
  if type(whole) ~= "table" or type(whole.result) ~= "table" then
    return nil, problem or { code = "format", message = method .. " is answered with what is no result" }
  end
  return whole.result
end

return M
