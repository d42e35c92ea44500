-- Watched programs as objects, and the one session that watches them: an engine with rules, history and sinks, opened when the
-- first program is attached.
local access = require "tidemark.cli.access"
local core = require "tidemark.core"
local docs = require "tidemark.docs"
local text = require "tidemark.show.text"

local M = {}

local Target = { __name = "tidemark.Target" }
Target.__index = Target

local current
local waiting = {}

--- The options with which the session is opened, as `tidemark watch` takes them.
M.options = { every = 5000000000, status = 30000000000, allow = {} }

--- Calls fn(session) when the session is open: now, or later.
function M.on_open(fn)
  if current then fn(current) else waiting[#waiting + 1] = fn end
end

--- The session; open = false: nil when there is none yet.
function M.session(open)
  if current or open == false then return current end
  current = require("tidemark.cli.session").open(M.options)
  for _, fn in ipairs(waiting) do fn(current) end
  return current
end

function M.close()
  if current then current.close() end
  current = nil
end

-- What resolve and open raise, as nil and an error.
local function guarded(fn, ...)
  local results = table.pack(pcall(fn, ...))
  if results[1] then return table.unpack(results, 2, results.n) end
  local err = results[2]
  if type(err) == "table" and err.usage then err = { code = "argument", message = err.usage } end
  if type(err) ~= "table" or not err.message then error(err, 0) end
  err.code = err.code or (err.exit == 4 and "gone") or "argument"
  return nil, err
end
M.guarded = guarded

local function object_of(t)
  return setmetatable({ id = t.id, pid = t.pid, name = t.name, command = t.command, exe = t.exe, endpoint = t.endpoint ~= "" and t.endpoint or nil,
    hook = t.hook ~= "" and t.hook or nil }, Target)
end

--- The watched program that a word means: a target, its id, pid or name. nil, err when it is not watched.
function M.find(what)
  if getmetatable(what) == Target then return what end
  local s = current
  for _, t in ipairs(s and s.engine:targets() or {}) do
    if t.id == what or t.pid == math.tointeger(tonumber(what)) or t.name == what then return object_of(t) end
  end
  return nil, { code = "gone", message = ("'%s' is not watched"):format(tostring(what)), advice = "attach it first: tm.attach(...)" }
end

--- Everything that is watched.
function M.list()
  local out = {}
  for i, t in ipairs(current and current.engine:targets() or {}) do out[i] = object_of(t) end
  return out
end

local function attach(word, options)
  local pid, endpoint, v8 = require("tidemark.cli.target").resolve(tostring(word))
  local s = M.session()
  local watched = s.engine:targets(pid)[1]
  if watched then return object_of(watched) end
  local t, err = s.engine:watch(pid, access.of_call(options, endpoint))
  if not t then return nil, err end
  require("tidemark.cli.watch").demand(s, t.id, options.every or M.options.every)
  if v8 then
    local ok, problem = require("tidemark.cli.v8_watch").watch(s, t, v8, options.every)
    if not ok then return nil, problem end
  end
  return object_of(t)
end

--- Starts to watch a program.
function M.attach(word, options) return guarded(attach, word, options or {}) end

--- Every rule: those of the session, and built-in ones that are not (yet) loaded, which have no state.
function M.rules()
  local list = current and current.engine:rules() or nil
  if list and current.loading == 0 then return list end
  local known = {}
  list = list or {}
  for _, r in ipairs(list) do known[r.id] = true end
  for _, path in ipairs(core.embedded()) do
    if path:match("^rules/[^/]+%.lua$") then
      for _, r in ipairs(core.rules_check(path, core.embedded(path)) or {}) do
        r.origin, r.state = "builtin:" .. path, ""
        if not known[r.id] then list[#list + 1] = r end
      end
    end
  end
  return list
end

-- ---- methods ----

function Target:__tostring() return ("%s (pid %d)"):format(self.name, self.pid) end

local of_processes
-- Whether a process has a signal of that name: "rss", not "limit".
local function is_of_processes(name)
  if not of_processes then
    of_processes = {}
    for _, s in ipairs(core.signals()) do of_processes[s.name:match("^proc%.(.+)$") or ""] = true end
  end
  return of_processes[name]
end

-- "rss" means proc.rss (and never account.rss, whichever came first), "limit" mem.limit.
local function metric_of(self, name)
  if is_of_processes(name) then return "proc." .. name end
  local exact, ending
  for _, track in ipairs(current and M.find(self.id) and current.engine:tracks(self.id) or {}) do
    if track.metric == name then exact = name end
    if track.metric:match("%.([%w_]+)$") == name then ending = ending or track.metric end
  end
  return exact or ending or (name:find(".", 1, true) and name or "proc." .. name)
end
M.metric_of = metric_of

--- The newest value of a signal: value, unit, time_ns; nil before the first sample.
function Target:last(metric, key)
  if not M.find(self.id) then return nil end
  local value, time_ns, unit = current.engine:last(self.id, metric_of(self, metric), key or "")
  return value, unit, time_ns
end

--- Times (ns) and values of a signal, of the last span ("10m") or all.
function Target:series(metric, span, key)
  local found, err = M.find(self.id)
  if not found then return nil, err end
  local since = 0
  if span then
    local ns, problem = core.duration(tostring(span))
    if not ns then return nil, problem end
    since = current.engine:now() - ns
  end
  return current.engine:series(self.id, metric_of(self, metric), key or "", since)
end

--- Slope, confidence and verdict of a signal.
function Target:trend(metric, key)
  local found, err = M.find(self.id)
  if not found then return nil, err end
  local trend = current.engine:trend(self.id, metric_of(self, metric), key or "", {})
  if trend then return trend end
  return nil, { code = "gone", message = ("no samples of %s yet"):format(metric) }
end

--- The signals that are kept of it, with their newest values.
function Target:signals()
  local found, err = M.find(self.id)
  if not found then return nil, err end
  local rows = {}
  for _, t in ipairs(current.engine:tracks(self.id)) do
    rows[#rows + 1] = { signal = t.metric, key = t.key, unit = t.unit, value = core.format(t.last, t.unit) }
  end
  table.sort(rows, function(a, b) return a.signal .. a.key < b.signal .. b.key end)
  return docs.rows({ "signal", "key", "value", "unit" }, rows)
end

--- A plot of a signal as text.
function Target:plot(metric, span, options)
  local times, values = self:series(metric, span)
  if not times then return nil, values end
  local _, unit = self:last(metric)
  options = options or {}
  return require("tidemark.show.plot").render(times, values, { unit = unit, width = options.width or core.terminal(1).columns or 80,
    height = options.height, title = text.clean(self.name) .. "  " .. metric_of(self, metric) })
end

--- A profile of the app.
function Target:snap(kind, options) return require("tidemark").snap(self, kind, options) end

function Target:detach()
  local found, err = M.find(self.id)
  if not found then return nil, err end
  current.engine:remove_target(self.id, "detached")
  return true
end

docs.type("tidemark.Target", "a program that is watched", {
  { "last", 't:last(signal) -> value, unit, time_ns', 'the newest value of a signal, such as "rss"' },
  { "series", 't:series(signal, "10m") -> times, values', "what was sampled" },
  { "trend", "t:trend(signal) -> table", "slope, confidence, and whether it is a leak" },
  { "signals", "t:signals() -> rows", "what is kept of it" },
  { "plot", 't:plot(signal, "10m") -> text', "a plot of a signal" },
  { "snap", 't:snap("heap", {gc=true}) -> Profile', "a profile of the app" },
  { "detach", "t:detach()", "ends the watch" },
  { "pid", "t.pid", "its process id" }, { "name", "t.name", "its name" }, { "id", "t.id", "pid and start time: its identity" },
  { "command", "t.command", "its command line" }, { "endpoint", "t.endpoint", "its pprof address, when it has one" },
})

return M
