-- Which profiles of an app are taken, how often, and what share of time that may cost.
--
--   { app = "myapp", profiles = { heap = { every = "10m", gc = true }, goroutine = "1m" }, budget = "1%",
--     when = "proc.rss > 512MB", marks = true, dir = "/var/tmp/profiles", keep = { count = 100, bytes = "1GB" } }
--
-- A take costs its wall time. After one that took T, the next by timer or threshold waits T / budget; marks and messages do not
-- wait, but their cost is counted. One take at a time per app; the kinds' timers are spread over their period.
local args = require "tidemark.cli.args"
local core = require "tidemark.core"

local M = {}

local SECOND <const> = 1000000000

local function bad(text) error({ message = "policy: " .. text, code = "argument", exit = 2 }, 0) end

local function duration(what, text)
  local ns, err = core.duration(tostring(text))
  if not ns or ns < SECOND then bad(what .. ": " .. (err and err.message or "at least 1s")) end
  return ns
end

local function bytes(what, text)
  local n, err = core.bytes(tostring(text))
  if not n then bad(what .. ": " .. err.message) end
  return n
end

local function ratio(text)
  local percent = tostring(text):match("^%s*([%d.]+)%s*%%%s*$")
  local value = percent and tonumber(percent) and tonumber(percent) / 100 or tonumber(text)
  if not value or value <= 0 or value > 1 then bad("budget: '" .. tostring(text) .. "' is no share such as 1%") end
  return value
end

local known = { app = true, profiles = true, budget = true, when = true, marks = true, dir = true, keep = true }
local known_profile = { every = true, gc = true, seconds = true }

local function check_keys(what, given, allowed)
  local names = {}
  for name in pairs(allowed) do names[#names + 1] = name end
  for name in pairs(given) do
    if not allowed[name] then bad(what .. ": unknown key '" .. tostring(name) .. "'" .. args.nearest(tostring(name), names)) end
  end
end

-- "proc.rss > 512MB" -> { metric, above, value }
local function condition(text)
  local metric, sign, number = tostring(text):match("^%s*([%a][%w_.]*)%s*([<>])=?%s*(%S+)%s*$")
  if not metric then bad("when: '" .. tostring(text) .. "' is no condition such as proc.rss > 512MB") end
  local value = tonumber(number) or (number:match("%%$") and tonumber(number:sub(1, -2)) and tonumber(number:sub(1, -2)) / 100)
    or core.duration(number) or bytes("when", number)
  return { metric = metric, above = sign == ">", value = value, text = text }
end

local function profiles(given)
  local list = {}
  for kind, how in pairs(given) do
    if type(how) ~= "table" then how = { every = how } end
    check_keys("profiles." .. kind, how, known_profile)
    local seconds = how.seconds and math.tointeger(how.seconds) or (kind == "cpu" and 5 or kind == "trace" and 1) or nil
    if how.seconds and (not seconds or seconds < 1 or seconds > 3600) then bad("profiles." .. kind .. ": seconds is 1 to 3600") end
    list[#list + 1] = { kind = kind, every_ns = how.every and duration("profiles." .. kind, how.every), gc = how.gc and kind == "heap",
      seconds = seconds }
  end
  table.sort(list, function(a, b) return a.kind < b.kind end)
  return list
end

--- A policy as people write it, checked and in numbers. Raises a usage error.
---@param spec table
---@return table policy
function M.read(spec)
  check_keys("it", spec, known)
  if type(spec.profiles) ~= "table" or not next(spec.profiles) then bad("profiles are missing: { heap = \"10m\" }") end
  local keep = type(spec.keep) == "table" and spec.keep or { count = spec.keep }
  check_keys("keep", keep, { count = true, bytes = true })
  return { app = spec.app or "*", profiles = profiles(spec.profiles), budget = ratio(spec.budget or "1%"),
    when = spec.when and condition(spec.when), marks = spec.marks ~= false, dir = spec.dir,
    keep_count = math.tointeger(tonumber(keep.count or 100)) or bad("keep: count must be whole"),
    keep_bytes = bytes("keep", keep.bytes or "1GB") }
end

--- "heap=10m" and the other --snap options as a policy, or nil.
function M.from_options(options)
  if not options.snap then
    if options["snap-when"] then args.usage("--snap-when needs --snap KIND[=EVERY]") end
    return nil
  end
  local given = {}
  for _, text in ipairs(options.snap) do
    local kind, every = text:match("^([^=]+)=?(.*)$")
    if not kind then args.usage("--snap is KIND=EVERY, such as heap=10m") end
    given[kind] = every ~= "" and every or {}
  end
  return M.read { profiles = given, budget = options["snap-budget"], when = options["snap-when"], dir = options["snap-dir"],
    keep = options["snap-keep"] }
end

-- ---- what is due: plain data, so that a virtual clock can drive it ----

--- Begins a policy on one app.
function M.begin(policy, now_ns)
  local w = { policy = policy, queue = {}, waiting = {}, free_ns = now_ns, due = {}, met = false, taken = 0, spent_ns = 0 }
  for i, p in ipairs(policy.profiles) do
    if p.every_ns then w.due[p.kind] = now_ns + (i - 1) * p.every_ns // #policy.profiles end
  end
  return w
end

--- What an earlier policy of the same app left: its debt of time, a take that runs, the timers of kinds that stay, and requests
--- that somebody waits for.
function M.succeed(w, old, now_ns)
  w.free_ns, w.busy, w.taken, w.spent_ns = old.free_ns, old.busy, old.taken, old.spent_ns
  for _, p in ipairs(w.policy.profiles) do
    local due = p.every_ns and old.due[p.kind]
    if due then w.due[p.kind] = math.min(due, now_ns + p.every_ns) end
  end
  for _, request in ipairs(old.queue) do
    if request.done then M.ask(w, request) end
  end
end

--- Asks for a profile out of turn; a kind that waits already is not asked for twice.
---@param request table  kind, reason, gc, seconds, urgent (does not wait for the budget), done (called with the outcome)
function M.ask(w, request)
  if not request.done and w.waiting[request.kind] then return end
  w.waiting[request.kind] = true
  w.queue[#w.queue + 1] = request
end

--- All of the policy's profiles, for a mark or a threshold.
function M.ask_all(w, reason, urgent)
  for _, p in ipairs(w.policy.profiles) do M.ask(w, { kind = p.kind, gc = p.gc, seconds = p.seconds, reason = reason, urgent = urgent }) end
end

-- The threshold counts once when it is reached, and again after the value was a tenth back.
local function look(w, value)
  local when = w.policy.when
  if not when or not value then return end
  local met, left = value > when.value, value < when.value * 0.9
  if not when.above then met, left = value < when.value, value > when.value * 1.1 end
  if met and not w.met then M.ask_all(w, "when " .. when.text) end
  if met then w.met = true elseif left then w.met = false end
end

--- The request that may be taken now, or nil. value: of the condition's metric.
function M.next(w, now_ns, value)
  look(w, value)
  for _, p in ipairs(w.policy.profiles) do
    local due = w.due[p.kind]
    if due and now_ns >= due then
      w.due[p.kind] = now_ns + p.every_ns - (now_ns - due) % p.every_ns
      M.ask(w, { kind = p.kind, gc = p.gc, seconds = p.seconds, reason = "timer" })
    end
  end
  if w.busy then return nil end
  for i, request in ipairs(w.queue) do
    if request.urgent or now_ns >= w.free_ns then
      table.remove(w.queue, i)
      w.waiting[request.kind] = nil
      w.busy = true
      return request
    end
  end
end

--- A take ended: its wall time is charged.
function M.done(w, now_ns, took_ns)
  w.busy = false
  w.taken, w.spent_ns = w.taken + 1, w.spent_ns + took_ns
  w.free_ns = math.max(w.free_ns, now_ns) + math.ceil(took_ns / w.policy.budget)
end

-- ---- files ----

--- Which of the files { name, bytes, time_ns } go, oldest first, so that the rest is within count and bytes.
function M.surplus(files, keep_count, keep_bytes)
  local list, total, gone = table.move(files, 1, #files, 1, {}), 0, {}
  table.sort(list, function(a, b) return a.time_ns < b.time_ns or a.time_ns == b.time_ns and a.name < b.name end)
  for _, f in ipairs(list) do total = total + f.bytes end
  for i = 1, #list - 1 do -- the newest stays
    if #list - #gone <= keep_count and total <= keep_bytes then break end
    gone[#gone + 1] = list[i].name
    total = total - list[i].bytes
  end
  return gone
end

return M
