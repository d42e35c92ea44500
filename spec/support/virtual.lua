-- A virtual engine with one target, driven second by second: what specs of the rule host share.
local core = require "tidemark.core"

local M = {}
M.SECOND = 1000000000
M.T0 = 1700000000 * M.SECOND

local rig = {}
rig.__index = rig

--- Options go to core.engine; name is the target's.
function M.open(options, name)
  options = options or {}
  options.virtual, options.quiet = true, true
  local r = setmetatable({ events = {}, alerts = {}, actions = {}, now_ns = M.T0 }, rig)
  r.engine = assert(core.engine(options))
  r.engine:on(function(e) r.events[#r.events + 1] = e end)
  r.engine:on_alert(function(a) r.alerts[#r.alerts + 1] = a end)
  r.engine:on_action(function(a) r.actions[#r.actions + 1] = a end)
  r.engine:advance(M.T0)
  r.target = r.engine:add_target { id = "7:1", name = name or "app", command = "app", start_time_ns = M.T0 }
  return r
end

function rig:close() self.engine:close() end
rig.__close, rig.__gc = rig.close, rig.close

--- Loads a file; the report.
function rig:load(name, source)
  local report
  assert(self.engine:load_rules(name, name, source, function(r) report = r end))
  return assert(report, "no report")
end

--- The same, and it must go live.
function rig:live(name, source)
  local report = self:load(name, source)
  assert(report.ok, report.problem)
  return report
end

--- One sample of a metric each second: value for so many seconds.
function rig:feed(value, seconds, metric, key)
  for _ = 1, seconds or 1 do
    self.now_ns = self.now_ns + M.SECOND
    self.engine:advance(self.now_ns - 1)
    assert(self.engine:feed(self.target.id, metric or "proc.fds", key or "", self.now_ns, value))
  end
  self.engine:advance(self.now_ns)
end

--- Lets time pass without samples.
function rig:wait(seconds)
  self.now_ns = self.now_ns + math.floor(seconds * M.SECOND)
  self.engine:advance(self.now_ns)
end

--- The alert of a rule (and key), or nil.
function rig:alert(rule, key)
  for _, a in ipairs(self.engine:alerts()) do
    if a.rule == rule and (key == nil or a.key == key) then return a end
  end
end

function rig:state(rule, key)
  local a = self:alert(rule, key)
  return a and a.state or "none"
end

--- The rule as the engine describes it.
function rig:rule(id)
  for _, r in ipairs(self.engine:rules()) do
    if r.id == id then return r end
  end
end

--- How many events of a kind have a text with these words (plain).
function rig:count(kind, words)
  local n = 0
  for _, e in ipairs(self.events) do
    if e.kind == kind and (not words or e.text:find(words, 1, true)) then n = n + 1 end
  end
  return n
end

--- The newest line that a rule wrote with c:log, without its name.
function rig:logged(rule)
  for i = #self.events, 1, -1 do
    local text = self.events[i].kind == "note" and self.events[i].text or ""
    if text:sub(1, #rule + 2) == rule .. ": " then return text:sub(#rule + 3) end
  end
end

--- How often an alert of a rule went into a state.
function rig:times(rule, state)
  local n = 0
  for _, a in ipairs(self.alerts) do
    if a.rule == rule and a.state == state and a.from_state ~= state then n = n + 1 end
  end
  return n
end

return M
