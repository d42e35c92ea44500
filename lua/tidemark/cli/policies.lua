-- Policies and the control socket of a session: profiles of watched apps by timer, threshold, mark and message, into files.
local capture = require "tidemark.capture"
local core = require "tidemark.core"
local fetch = require "tidemark.fetch"
local paths = require "tidemark.cli.paths"
local policy = require "tidemark.policy"
local sessions = require "tidemark.cli.session_watch"
local text = require "tidemark.show.text"

local M = {}

local SECOND <const> = 1000000000

M.options = {
  { "snap", "KIND=EVERY", "take this profile or heap dump so often: heap=10m, dump=30m (repeatable)", kind = "list" },
  { "snap-when", "COND", "take them when this is reached, such as 'proc.rss > 512MB'" },
  { "snap-budget", "SHARE", "share of time that taking them may cost (1%)" },
  { "snap-dir", "DIR", "where they go (state folder)" },
  { "snap-keep", "N", "so many files are kept (100)" },
  { "snap-redact", "blank what strings and arrays of heap dumps hold" },
  { "control", "unix:PATH", "take commands: {\"cmd\":\"snap\",\"kind\":\"heap\"}, mark, status, register, done, end, sessions" },
}

-- Names of takes in the engine; anything else is a profile that the app made.
local takes = { heap = "heap_profile", allocs = "allocs", goroutine = "goroutine_profile", cpu = "cpu_profile", mutex = "mutex",
  block = "block", threadcreate = "threadcreate", trace = "trace", goroutineleak = "goroutineleak" }

local function clean_name(name) return (name:gsub("[^%w._-]+", "-"):gsub("^[.-]+", "")) end

-- ---- files ----

local function path_of(dir, t, kind)
  local ending = kind == "trace" and ".trace" or ".pb.gz"
  local stem = ("%s/%s-%d-%s-%s"):format(dir, clean_name(t.name), t.pid, clean_name(kind), os.date("!%Y%m%dT%H%M%SZ"))
  local path, n = stem .. ending, 1
  while core.stat(path) do
    n = n + 1
    path = ("%s-%d%s"):format(stem, n, ending)
  end
  return path
end

local endings = { [".pb.gz"] = true, [".trace"] = true, [".hprof"] = true, [".heapsnapshot"] = true, [".goheap"] = true }

-- Only files that a policy wrote for this app count, and go.
local PATHS_KEPT <const> = 1000 -- of a dump that may have gone: some tens of kB each

local function prune(dir, t, p)
  local files, kept_paths = {}, {}
  local start = clean_name(t.name) .. "-"
  for _, name in ipairs(core.list(dir) or {}) do
    local rest = name:sub(1, #start) == start and name:sub(#start + 1)
    local ending = rest and rest:match("^%d+%-.+%-%d+T%d+Z[%-%d]*%.") and rest:match("Z[%-%d]*(%..+)$")
    local list = ending and (endings[ending] and files or ending:find("%.paths%.pb%.gz$") and kept_paths)
    if list then
      local st = core.stat(dir .. "/" .. name)
      if st and st.kind == "file" then list[#list + 1] = { name = name, bytes = st.size_bytes, time_ns = st.mtime_ns } end
    end
  end
  for _, name in ipairs(policy.surplus(files, p.keep_count, p.keep_bytes)) do os.remove(dir .. "/" .. name) end
  for _, name in ipairs(policy.surplus(kept_paths, PATHS_KEPT, p.keep_bytes)) do os.remove(dir .. "/" .. name) end
end

-- ---- taking ----

local function note(s, level, t, words, fields)
  fields.type = "snapshot"
  s.engine:note(level, t.id, words, core.json(fields))
end

local function what(kind) return capture.is_dump(kind) and "heap " .. kind or kind .. " profile" end

-- A failure is said once per kind until it works again.
local function failed(s, a, request, outcome)
  if a.failing[request.kind] ~= outcome.code then
    note(s, "warn", a.t, ("no %s: %s"):format(what(request.kind), outcome.message), { kind = request.kind, error = outcome.code,
      reason = request.reason })
  end
  a.failing[request.kind] = outcome.code
  if request.done then request.done { ok = false, error = outcome.message, code = outcome.code } end
end

-- A file that another process wrote: its document says which.
local function written(outcome)
  local document = core.json_decode(outcome.bytes)
  local row = type(document) == "table" and type(document.rows) == "table" and document.rows[1]
  if type(row) ~= "table" or not row.file then return { code = "format", message = "the capture wrote no file", took_ns = outcome.took_ns } end
  return { file = row.file, size = row.bytes, took_ns = outcome.took_ns, paths = row.paths, format = row.format }
end

-- What rules over heap dumps see of one: its type paths, which the process that took it has made.
local dump_metrics <const> = { hprof = "dump.jvm.hprof", v8heap = "dump.v8.heapsnapshot", goheap = "dump.go.heapdump" }

local function feed_dump(s, a, outcome)
  local metric = dump_metrics[outcome.format]
  if not metric or not outcome.paths then return end
  local f = io.open(outcome.paths, "rb")
  if not f then return end
  local bytes = f:read("a")
  f:close()
  local ok, err = s.engine:feed_snapshot(a.t.id, metric, s.engine:now(), bytes)
  if not ok then note(s, "warn", a.t, "no paths of " .. outcome.file .. ": " .. err.message, {}) end
end

local function taken(s, a, request, outcome)
  local heir = a
  while heir.next do heir = heir.next end
  policy.done(heir.w, s.engine:now(), outcome.took_ns)
  if capture.is_dump(request.kind) and outcome.bytes then outcome = written(outcome) end
  local path, size = outcome.file, outcome.size
  if outcome.bytes then
    core.mkdir(a.dir)
    path = path_of(a.dir, a.t, request.kind)
    local ok, err = core.write_private(path, outcome.bytes)
    size = #outcome.bytes
    if not ok then outcome = { code = err.code, message = err.message } end
  end
  if outcome.code then return failed(s, a, request, outcome) end
  a.failing[request.kind] = nil
  if outcome.paths then feed_dump(s, a, outcome) end
  prune(a.dir, a.t, a.w.policy)
  note(s, "info", a.t, ("%s: %s (%s, %s, %s)"):format(what(request.kind), path, core.format(size, "bytes"),
    core.format(outcome.took_ns, "ns"), request.reason), { kind = request.kind, file = path, bytes = size, took_ns = outcome.took_ns,
    reason = request.reason })
  if request.done then request.done { ok = true, kind = request.kind, file = path, bytes = size, took_ns = outcome.took_ns } end
end

local function take(s, a, request)
  if capture.is_dump(request.kind) then
    return s.engine:capture(a.t.id, { kind = request.kind, folder = a.dir, redact = s.snap_redact }, function(outcome) taken(s, a, request, outcome) end)
  end
  local known = fetch.kinds[request.kind]
  local seconds = request.seconds or known and known.seconds
  local timeout_ns = seconds and math.ceil(math.max(seconds * 1.5, seconds + 10) * SECOND) or 60 * SECOND
  s.engine:take(a.t.id, takes[request.kind] or "pprof:" .. request.kind, { gc = request.gc, seconds = seconds, timeout_ns = timeout_ns },
    function(outcome) taken(s, a, request, outcome) end)
end

local function is_live(s, id)
  for _, t in ipairs(s.engine:targets()) do
    if t.id == id then return true end
  end
end

-- Nobody takes profiles of it any more: who waits for one is told.
local function dismiss(a)
  a.gone = true
  for _, request in ipairs(a.w.queue) do
    if request.done then request.done { ok = false, error = "no policy and no command takes profiles of it any more" } end
  end
end

local function tick(s)
  for _, a in ipairs(s.apps) do
    if not a.gone and not is_live(s, a.t.id) then dismiss(a) end
    local when = a.w.policy.when
    local request = not a.gone and policy.next(a.w, s.engine:now(), when and s.engine:last(a.t.id, when.metric) or nil)
    if request then take(s, a, request) end
  end
end

-- ---- who is under which policy ----

local function start(s)
  if s.policies_run then return end
  s.policies_run = true
  s.sinks[#s.sinks + 1] = function(object)
    if object.type ~= "mark" then return end
    for _, a in ipairs(s.apps) do
      if a.w.policy.marks and not a.gone then policy.ask_all(a.w, "mark " .. object.text, true) end
    end
  end
  s.engine:every(SECOND / 4, function() tick(s) end)
end

-- The policy that holds for a target from now on, in the place of another.
local function add(s, t, p, old)
  local a = { t = t, w = policy.begin(p, s.engine:now()), dir = p.dir or s.snap_dir or paths.state() .. "/profiles", failing = {} }
  local place = #s.apps + 1
  if old then
    policy.succeed(a.w, old.w, s.engine:now())
    old.next = a
    for i, one in ipairs(s.apps) do place = one == old and i or place end
  end
  s.apps[place] = a
  start(s)
  if p.when then s.engine:demand(t.id, p.when.metric, SECOND, 60) end
end

local function glob(pattern, name)
  local lua = pattern:gsub("[%^%$%(%)%%%.%[%]%+%-]", "%%%0"):gsub("%*", ".*"):gsub("%?", ".")
  return name:match("^" .. lua .. "$") ~= nil
end

-- The first policy whose app a target is. Without one it can still be asked for by message.
local function policy_for(s, t)
  for _, p in ipairs(s.policies) do
    if glob(p.app, t.name) then return p end
  end
  return s.has_control and s.no_policy or nil
end

--- A target is watched now: its policy begins.
function M.watch(s, t)
  s.watched[#s.watched + 1] = t
  local p = policy_for(s, t)
  if p then add(s, t, p) end
end

local function allows(options)
  for _, granted in ipairs(options.allow or {}) do
    if glob(granted, "act:snap") then return true end
  end
  return false
end

local function declare(s, name, specs)
  for _, spec in ipairs(specs) do
    local ok, p = pcall(policy.read, spec)
    if not ok then return s.engine:note("warn", "", name .. ": " .. tostring(type(p) == "table" and p.message or p), "{}") end
    p.file = name
    s.policies[#s.policies + 1] = p
  end
end

local function app_under_watch(s, t)
  for _, a in ipairs(s.apps) do
    if a.t.id == t.id and not a.gone then return a end
  end
end

--- A rule file was loaded, or is gone (no specs): its policies take the place of those it had before; they come after the user's
--- own. A take acts on the app, so it needs act:snap like any act of a rule.
---@param name string      the file
---@param specs table[]    what its tm.policy calls declared
function M.loaded(s, name, specs)
  local kept, had = {}, #s.policies
  for _, p in ipairs(s.policies) do kept[#kept + 1] = p.file ~= name and p or nil end
  s.policies = kept
  if #specs > 0 and s.may_snap then
    declare(s, name, specs)
  elseif #specs > 0 then
    s.engine:note("warn", "", name .. " declares a policy that takes profiles: give --allow act:snap to let it", "{}")
  end
  if #specs == 0 and #kept == had then return end
  for _, t in ipairs(s.watched) do
    local a, p = app_under_watch(s, t), is_live(s, t.id) and policy_for(s, t) or nil
    if p and not (a and a.w.policy == p) then add(s, t, p, a)
    elseif a and not p then dismiss(a) end
  end
end

-- ---- the control socket ----

local commands = {}

local function app_of(s, id)
  local found
  for _, a in ipairs(s.apps) do
    if not a.gone and (id == nil or a.t.id == id or a.t.name == id or a.t.pid == id) then
      if found then return nil, "several apps are watched: give target" end
      found = a
    end
  end
  return found, not found and "no such app is watched" or nil
end

function commands.snap(s, message, answer)
  local a, problem = app_of(s, message.target)
  if not a then return answer { ok = false, error = problem } end
  local kind, seconds = message.kind or "heap", message.seconds
  if type(kind) ~= "string" or not kind:match("^[%w._/-]+$") then return answer { ok = false, error = "kind is no name of a profile" } end
  if seconds ~= nil and (math.type(seconds) ~= "integer" or seconds < 1 or seconds > 3600) then
    return answer { ok = false, error = "seconds is 1 to 3600" }
  end
  policy.ask(a.w, { kind = kind, gc = message.gc == true, seconds = seconds, reason = "message", urgent = true, done = answer })
  tick(s)
end

function commands.mark(s, message, answer)
  if type(message.name) ~= "string" or message.name == "" then return answer { ok = false, error = "name is missing" } end
  s.engine:mark(message.name:sub(1, 200))
  answer { ok = true }
end

function commands.status(s, _, answer)
  local rows = {}
  for _, a in ipairs(s.apps) do
    rows[#rows + 1] = { target = a.t.id, name = a.t.name, pid = a.t.pid, live = not a.gone, taken = a.w.taken, spent_ns = a.w.spent_ns,
      waiting = #a.w.queue, busy = a.w.busy or false, dir = a.dir }
  end
  answer { ok = true, version = core.version, time_ns = s.engine:now(), apps = text.array(rows) }
end

for name, command in pairs(sessions.commands) do commands[name] = command end

local function on_line(s, said)
  local function answer(object) s.engine:answer(said.client, core.json(object)) end
  local message, err = core.json_decode(said.line)
  if type(message) ~= "table" then return answer { ok = false, error = err and err.message or "an object is expected" } end
  local command = commands[message.cmd]
  if not command then return answer { ok = false, error = "cmd is none of snap, mark, status, register, done, end, sessions" } end
  command(s, message, answer, said.client)
end

-- ---- life ----

--- Prepares a session: reads policies from options and config. Before targets are watched. Raises a usage error.
function M.open(s, options)
  s.policies, s.apps, s.watched, s.snap_dir = {}, {}, {}, options["snap-dir"]
  s.may_snap, s.snap_redact = allows(options), options["snap-redact"]
  s.no_policy = policy.read { profiles = { heap = {} }, marks = false, dir = options["snap-dir"], keep = options["snap-keep"] }
  local own = policy.from_options(options)
  if own then s.policies[1] = own end
  for _, spec in ipairs(options.policies or {}) do s.policies[#s.policies + 1] = policy.read(spec) end
  local path = options.control and options.control:match("^unix:(/.+)$")
  if options.control and not path then error({ usage = "--control is unix:/path" }, 0) end
  if path then
    local ok, err = s.engine:control(path, function(said) on_line(s, said) end)
    if not ok then error({ message = err.message, code = err.code, advice = err.advice }, 0) end
    s.has_control = true
  end
end

return M
