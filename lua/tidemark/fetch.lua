-- Profiles of running apps over HTTP and unix sockets, as net/http/pprof serves them.
--
--   fetch.bytes("http://127.0.0.1:6060/debug/pprof/heap?gc=1")       -> bytes, about | nil, err
--   fetch.save("unix:/run/app.sock", "cpu", "cpu.pb.gz", { seconds = 5 }) -> about | nil, err
--
-- Addresses: host:port, http(s)://host:port[/any/prefix][/debug/pprof[/]], unix:/path.sock[:/any/prefix/debug/pprof].
-- Options: gc, seconds, debug, timeout_ns, max_bytes, host_header, headers, ca_file, progress. about: bytes, total_ns, url.
local core = require "tidemark.core"

local M = {}

local SECOND <const> = 1000000000
local MIB <const> = 1 << 20

--- What every Go app offers, by the name people use. seconds: what is collected when nobody says how long.
M.kinds = {
  heap = { path = "heap", what = "memory in use, as of the last finished collection" },
  allocs = { path = "allocs", what = "memory allocated since the start" },
  goroutine = { path = "goroutine", what = "stacks of all goroutines" },
  goroutineleak = { path = "goroutineleak", what = "goroutines that nothing can wake; each read forces a collection" },
  cpu = { path = "profile", seconds = 30, what = "where CPU time goes" },
  mutex = { path = "mutex", what = "waits for mutexes; empty unless the app sets SetMutexProfileFraction" },
  block = { path = "block", what = "waits of any kind; empty unless the app sets SetBlockProfileRate" },
  threadcreate = { path = "threadcreate", what = "stacks that made threads" },
  trace = { path = "trace", seconds = 1, max_bytes = 1024 * MIB, what = "execution trace" },
}
M.kinds.profile = M.kinds.cpu
M.order = { "heap", "allocs", "goroutine", "cpu", "mutex", "block", "threadcreate", "trace", "goroutineleak" }

--- Rows for a command's table; M.from_options reads them back.
M.options = {
  { "host-header", "NAME", "the Host header; '' sends it empty" },
  { "header", "NAME:VALUE", "a header, such as Authorization (repeatable)", kind = "list" },
  { "ca-file", "FILE", "https: the roots to trust (PEM)" },
  { "timeout", "DUR", "how long to wait", kind = "duration" },
  { "max-size", "SIZE", "how large an answer may be", kind = "bytes" },
}

--- The options of save and bytes in those of a command.
function M.from_options(options)
  local headers = nil
  for _, text in ipairs(options.header or {}) do
    local name, value = text:match("^([^:%s]+):%s*(.*)$")
    if not name then error({ usage = "--header is NAME:VALUE, not '" .. text .. "'" }, 0) end
    headers = headers or {}
    headers[name] = value
  end
  return { gc = options.gc, seconds = options.seconds, debug = options.debug, timeout_ns = options.timeout,
    max_bytes = options["max-size"], host_header = options["host-header"], headers = headers, ca_file = options["ca-file"] }
end

local function problem(code, message, advice) return nil, { code = code, message = message, advice = advice } end

-- ---- addresses ----

-- "http://h:1", "/app/debug/pprof", "?token=x" of an address; unix sockets: "unix:/run/x.sock", ...
local function split(word)
  if not word:match("^%a[%w+.-]*://") and not word:match("^unix:") then word = "http://" .. word end
  word = word:gsub("#.*$", "")
  local origin, rest
  if word:match("^unix:") then origin, rest = word:match("^(unix:[^:]*):?(.*)$")
  else origin, rest = word:match("^(%a[%w+.-]*://[^/?]*)(.*)$") end
  local path, query = (rest or ""):match("^([^?]*)(.*)$")
  return origin or word, path or "", query or ""
end

--- The path of an address; "" when it has none.
function M.path(word) return (select(2, split(word))) end

local function is_base(path) return path:match("pprof/?$") ~= nil end

--- The address under which an app's profiles stand: ends in "/", a query (a token) is given apart.
---@param word string
---@return string base, string query
function M.base(word)
  local origin, path, query = split(word)
  if path:match("/pprof/[^/]") then path = path:match("^(.*/pprof/)") end -- of one profile
  if not is_base(path) then path = path:gsub("/*$", "") .. "/debug/pprof/" end
  path = path:gsub("/*$", "") .. "/"
  return origin .. (origin:match("^unix:") and ":" or "") .. path, query
end

--- True when the word names one profile, or a file on a server, rather than a whole app.
function M.is_one(word)
  local _, path = split(word)
  return path:gsub("/+$", "") ~= "" and not is_base(path)
end

local function escape(text) return (text:gsub("[^%w%-%._~/]", function(c) return ("%%%02X"):format(c:byte()) end)) end
M.escape = escape

local function add_query(query, name, value)
  if value == nil then return query end
  return query .. (query == "" and "?" or "&") .. name .. "=" .. tostring(value)
end

-- The address of a kind at an app, and how long it collects.
local function address_of(word, kind, options)
  local known = M.kinds[kind]
  local base, query = M.base(word)
  local seconds = options.seconds or known and known.seconds
  if options.gc and kind ~= "heap" then
    return problem("argument", "--gc belongs to the heap profile, not to " .. kind, "take heap, or leave --gc out")
  end
  if options.debug and seconds then
    return problem("argument", "--debug gives text, --seconds a difference: they exclude each other", "leave one of them out")
  end
  query = add_query(query, "gc", options.gc and 1 or nil)
  query = add_query(query, "seconds", seconds)
  query = add_query(query, "debug", options.debug)
  return base .. escape(known and known.path or kind) .. query, seconds
end

-- ---- answers ----

local function first_line(text)
  local line = text:gsub("^%s+", ""):match("^[^\r\n]*") or ""
  return (line:gsub("[^\32-\126\128-\255]", " "):sub(1, 200):gsub("%s+$", ""))
end

-- What the texts of net/http/pprof mean and what to do about them.
local sayings = {
  { "already in use", "busy", "a CPU profile is running already", "one at a time: wait until it ends, or find who else takes them" },
  { "already enabled", "busy", "a trace is running already", "one at a time: wait until it ends, or find who else takes them" },
  { "WriteTimeout", "argument", "the app answers for a shorter time than that", "take fewer --seconds: its http.Server has a WriteTimeout" },
  { "incompatible", "argument", "the app cannot combine --seconds and --debug", "leave one of them out" },
  { "seconds.*not supported", "argument", "the app cannot take this kind over a span", "leave --seconds out" },
}

local function unknown_profile(kind, options)
  local has, own = {}, M.kinds[kind] and M.kinds[kind].path or kind
  for _, name in ipairs(options.names and options.names() or {}) do
    if name == own then
      return problem("unsupported", "the app lists " .. kind .. ", but does not serve it", "its router leaves the path out: " .. own)
    end
    has[#has + 1] = name
  end
  local advice = #has > 0 and "it has " .. table.concat(has, ", ") or "`tidemark attach` lists what it has"
  if kind == "goroutineleak" then advice = "it comes with Go 1.27, or with 1.26 built with GOEXPERIMENT=goroutineleakprofile" end
  return problem("unsupported", "the app has no profile called " .. kind, advice)
end

-- An answer that is no 200, as one sentence.
local function refusal(answer, url, kind, options)
  local said, status = first_line(answer.body), answer.status
  local ours = answer.headers["x-go-pprof"]
  if ours and status == 404 then return unknown_profile(kind, options) end
  for _, s in ipairs(sayings) do
    if said:find(s[1]) then return problem(s[2], s[3], s[4]) end
  end
  local quote = said ~= "" and not said:find("^<") and ' ("' .. said .. '")' or ""
  if status == 404 then
    return problem("io", url .. " is not there" .. quote,
      "does the app import net/http/pprof and serve it here? give the whole address: http://host:port/prefix/debug/pprof/")
  elseif said:find("host", 1, true) and (status == 403 or status == 400) then
    return problem("permission", "the app refuses the Host header" .. quote, "try --host-header '' or the name it expects")
  elseif status == 401 or status == 403 then
    return problem("permission", "the app wants to know who asks: HTTP " .. status .. quote, "give --header 'Authorization: ...'")
  elseif status == 429 or status == 503 then
    return problem("busy", "the app is busy: HTTP " .. status .. quote, "try again later")
  end
  return problem("io", url .. " is answered with HTTP " .. status .. quote, "look at the app's log, or at the address with a browser")
end

local function explain(err, options)
  if err.code == "limit" then
    local advice = "give --max-size if the app is to be trusted, e.g. --max-size 4GiB"
    if err.message:find("redirected", 1, true) or err.message:find("the headers", 1, true) then advice = "is this the app's pprof address?" end
    return nil, { code = err.code, message = err.message, advice = advice }
  elseif err.code == "format" then
    return nil, { code = err.code, message = err.message, advice = "is this the app's HTTP port?" }
  elseif err.code == "timeout" and not options.timeout_ns then
    return nil, { code = err.code, message = err.message, advice = "give --timeout to wait longer; a stopped or swapped-out app does not answer" }
  end
  return nil, err
end

-- ---- requests ----

-- As pprof: half as long again as is collected; a little more for short spans.
local function timeout_of(seconds, options)
  if options.timeout_ns then return options.timeout_ns end
  if not seconds then return 60 * SECOND end
  return math.ceil(math.max(seconds * 1.5, seconds + 10) * SECOND)
end

local function request(url, seconds, max_bytes, options, file)
  return core.http { url = url, timeout_ns = timeout_of(seconds, options), max_body_bytes = options.max_bytes or max_bytes,
    host_header = options.host_header, headers = options.headers, ca_file = options.ca_file, file = file, sink = options.sink,
    progress = options.progress }
end

-- One profile, into memory or a file.
local function get(url, kind, seconds, options, file)
  local known = M.kinds[kind]
  local answer, err = request(url, seconds, known and known.max_bytes or 256 * MIB, options, file)
  if not answer then return explain(err, options) end
  if answer.status ~= 200 then return refusal(answer, url, kind, options) end
  local about = { url = url, bytes = answer.bytes, total_ns = answer.total_ns, seconds = seconds, type = answer.headers["content-type"] or "" }
  if about.type:find("^text/html") then
    return problem("format", url .. " answers a web page instead of a profile",
      "the app answers everything with its page: give the address of its /debug/pprof/")
  end
  return about, answer.body
end

--- Takes a profile of an app into a file (0600, whole or not at all).
---@param word string   the app
---@param kind string   a name of M.kinds, or of a custom profile
---@param path string
---@param options table|nil
---@return table|nil about
---@return table|nil err
function M.save(word, kind, path, options)
  options = options or {}
  local url, seconds = address_of(word, kind, options)
  if not url then return nil, seconds end
  local about, err = get(url, kind, seconds, setmetatable({ names = function() return M.names(word, options) end }, { __index = options }), path)
  if not about then return nil, err end
  about.kind = kind
  return about
end

--- The bytes of what an address names: one profile as it stands, or the heap of a whole app.
---@param word string
---@param options table|nil  as for save, and kind; sink(bytes) takes the pieces as they come, and no bytes are answered
---@return string|nil bytes
---@return table|nil about_or_err
function M.bytes(word, options)
  options = options or {}
  local kind, seconds = options.kind, options.seconds
  local url
  if not kind and M.is_one(word) then
    local origin, path, query = split(word)
    kind = path:match("([^/]+)/*$")
    seconds = tonumber(query:match("[?&]seconds=([%d.]+)")) or seconds or M.kinds[kind] and M.kinds[kind].seconds
    if options.seconds and not query:find("[?&]seconds=") then query = add_query(query, "seconds", options.seconds) end
    url = origin .. (origin:match("^unix:") and ":" or "") .. path .. query
  else
    kind = kind or "heap"
    url, seconds = address_of(word, kind, options)
    if not url then return nil, seconds end
  end
  local about, body = get(url, kind, seconds, options)
  if not about then return nil, body end
  return body, about
end

-- ---- what an app offers ----

local function unescape(text) return (text:gsub("&lt;", "<"):gsub("&gt;", ">"):gsub("&#34;", '"'):gsub("&#39;", "'"):gsub("&amp;", "&")) end

--- The index page of net/http/pprof as a list of { name, count }; empty when it is another page.
---@param html string
---@return table[]
function M.read_index(html)
  local list = {}
  for count, name in html:gmatch("<td[^>]*>%s*(%d+)[</td>%s]*<a href=['\"][^'\"]*['\"]>([^<]*)</a>") do
    list[#list + 1] = { name = unescape(name), count = math.tointeger(tonumber(count)) }
  end
  return list
end

local function small(url, options)
  local answer, err = request(url, nil, 4 * MIB, { timeout_ns = options.timeout_ns or 2 * SECOND, host_header = options.host_header,
    headers = options.headers, ca_file = options.ca_file })
  return answer, err
end
M.small = small

--- The profiles that an app's index lists: { name, count }, or nil and why.
function M.index(word, options)
  local base, query = M.base(word)
  local answer, err = small(base .. query, options or {})
  if not answer then return nil, err end
  if answer.status ~= 200 then return refusal(answer, base, "index", {}) end
  return M.read_index(answer.body)
end

function M.names(word, options)
  local names = {}
  for _, row in ipairs(M.index(word, options) or {}) do names[#names + 1] = row.name end
  return names
end

--- An address beside the profiles: sibling("http://h:1/app/debug/pprof/", "/vars") is .../app/debug/vars; "/metrics" stands at
--- the prefix.
function M.sibling(word, name)
  local base, query = M.base(word)
  if name == "vars" then return (base:gsub("pprof/$", "vars")) .. query end
  return (base:gsub("/debug/pprof/$", "/"):gsub("pprof/$", "")) .. name .. query
end

return M
