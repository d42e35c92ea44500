-- What an app's endpoint offers, asked for cheaply: profiles, counters (expvar), metrics. Nothing here starts a CPU profile, a
-- trace or a collection.
local capture = require "tidemark.capture"
local core = require "tidemark.core"
local fetch = require "tidemark.fetch"

local M = {}

local DEAR_GOROUTINES <const> = 10000 -- reading their stacks stops the app for long
local untried = { cpu = "takes seconds: not tried", trace = "takes seconds: not tried", goroutineleak = "each read collects: not tried" }
local listed_as = { cpu = "profile" }

local function add(rows, capability, detail, value) rows[#rows + 1] = { capability = capability, detail = detail, value = value } end

local function said(err) return err.message .. (err.advice and err.advice ~= "" and "; " .. err.advice or "") end

-- Whether a profile is answered; large ones are.
local function try(word, kind, how)
  local probe = setmetatable({ kind = kind, max_bytes = 1 << 20, timeout_ns = how.timeout_ns or 2000000000 }, { __index = how })
  local bytes, err = fetch.bytes(word, probe)
  if bytes then
    local p, problem = core.read { bytes = bytes }
    if not p then return false, "it answers what is no profile: " .. problem.message end
    p:close()
    return true, core.format(#bytes, "bytes")
  end
  if err.code == "limit" then return true, "over 1 MiB" end
  return false, err.code == "unsupported" and err.message or (err.message:gsub("^%S+/%S+ ", "it "))
end

--- Whether the snapshots of a rule's input can be fetched from an app: true and how large one is, or false and why not. Asked
--- without a collection, whatever the rule wants.
function M.snapshot(word, metric, how)
  local kind = metric:match("^go%.goroutines") and "goroutine" or metric:match("^pprof%.([^?]+)")
  if not kind then return false, "policies and files feed it" end
  return try(word, kind, how)
end

--- Takes one trace as a rule's input does and reads it: { bytes, read_cpu_ns }; or nil and why not.
function M.trace(word, seconds, how)
  local bytes, err = fetch.bytes(word, setmetatable({ kind = "trace", seconds = seconds, max_bytes = 64 << 20 }, { __index = how }))
  if not bytes then return nil, (err.message:gsub("^%S+/%S+ ", "it ")) end
  local before = os.clock()
  local t, problem = core.read { bytes = bytes }
  if not t or t.kind ~= "trace" then return nil, "it answers what is no trace" .. (problem and ": " .. problem.message or "") end
  t:snapshot():close()
  t:close()
  return { bytes = #bytes, read_cpu_ns = math.floor((os.clock() - before) * 1e9) }
end

local function records(count) return count == 1 and "1 record" or count .. " records" end

-- failed: reason -> kinds
local function add_kind(rows, word, kind, count, has_index, how, failed)
  local what = fetch.kinds[kind].what
  if has_index and not count then
    if kind ~= "goroutineleak" then add(rows, "no pprof." .. kind, "the app does not list it") end
  elseif untried[kind] then
    if has_index then add(rows, "pprof." .. kind, what .. " (" .. untried[kind] .. ")") end
  elseif kind == "goroutine" and (count or 0) > DEAR_GOROUTINES then
    add(rows, "pprof.goroutine", ("%s: %s; not tried, since it stops the app"):format(what, records(count)), count)
  else
    local ok, detail = try(word, kind, how)
    if ok then add(rows, "pprof." .. kind, ("%s: %s%s"):format(what, count and records(count) .. ", " or "", detail), count)
    else
      if not failed[detail] then table.insert(failed, detail) end
      failed[detail] = failed[detail] or {}
      table.insert(failed[detail], kind)
    end
  end
end

local function add_profiles(rows, word, how)
  local list, err = fetch.index(word, how)
  local counts, own, failed = {}, {}, {}
  if list and #list == 0 then err = { message = "the address answers, but not with the index of net/http/pprof", code = "io" } end
  if err then add(rows, "no pprof index", said(err)) end
  for _, row in ipairs(list or {}) do
    counts[row.name] = row.count
    own[row.name] = row.name ~= "cmdline" and row.name ~= "symbol"
  end
  if err and err.code ~= "io" then return err.code == "permission" end -- no use to ask on
  local has_index = next(counts) ~= nil
  for _, kind in ipairs(fetch.order) do
    local name = listed_as[kind] or kind
    own[name] = nil
    add_kind(rows, word, kind, counts[name], has_index, how, failed)
  end
  for _, reason in ipairs(failed) do add(rows, "no profiles", table.concat(failed[reason], ", ") .. ": " .. reason) end
  for _, row in ipairs(list or {}) do
    if own[row.name] then add(rows, "pprof." .. row.name, "the app's own profile: " .. records(row.count), row.count) end
  end
  return true
end

local function count_numbers(value)
  local n, left = 0, { value }
  while #left > 0 do
    local one = table.remove(left)
    if type(one) == "number" then n = n + 1 end
    if type(one) == "table" then
      for _, inner in pairs(one) do left[#left + 1] = inner end
    end
  end
  return n
end

local function add_expvar(rows, word, how)
  local url = fetch.sibling(word, "vars")
  local answer = fetch.small(url, how)
  local vars = answer and answer.status == 200 and core.json_decode(answer.body)
  if type(vars) ~= "table" then return add(rows, "no expvar", url .. ": the app does not import expvar, or serves it elsewhere") end
  local names = {}
  for name in pairs(vars) do
    if name ~= "cmdline" and name ~= "memstats" then names[#names + 1] = name end
  end
  table.sort(names)
  local n = count_numbers(vars)
  add(rows, "expvar", ("%s: %d numbers, as series expvar.NAME%s%s"):format(url, n, vars.memstats and "; memstats" or "",
    #names > 0 and ("; own: " .. table.concat(names, ", ", 1, math.min(#names, 12))) or ""), n)
end

local function add_metrics(rows, word, how)
  local url = fetch.sibling(word, "metrics")
  local answer = fetch.small(url, how)
  local body = answer and answer.status == 200 and not answer.body:find("^%s*<") and answer.body
  local n, go = 0, 0
  for name in (body or ""):gmatch("%f[^\n\0]([%a_:][%w_:]*)[{ ][^\n]*") do
    n = n + 1
    if name:find("^go_") or name:find("^process_") then go = go + 1 end
  end
  if n == 0 then return add(rows, "no metrics", url .. ": the app serves no OpenMetrics text there") end
  add(rows, "metrics", ("%s: %d values, as series metrics.NAME; %d of the runtime and process"):format(url, n, go), n)
end

--- Appends what `tidemark snap` can take of a program beside profiles. Nothing is asked of it.
function M.add_captures(rows, t)
  for _, kind in ipairs(capture.kinds(t)) do add(rows, "snap " .. kind.name, kind.what) end
end

--- Appends what an inspector lists, and what can be taken of it. Raises when none is there.
function M.add_inspector(rows, t)
  local list, err = require("tidemark.capture.inspector").list(t.base or "")
  if not list then error(err, 0) end
  for _, one in ipairs(list) do add(rows, one.type, one.title .. (one.url ~= "" and " " .. one.url or "")) end
  M.add_captures(rows, t)
end

--- Appends rows { capability, detail, value } for the app at an address.
function M.add(rows, word, how)
  if not add_profiles(rows, word, how) then return end
  add_expvar(rows, word, how)
  add_metrics(rows, word, how)
end

return M
