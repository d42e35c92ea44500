-- What is known and shall not be told again: files as LeakSanitizer takes them, and predicates in Lua.
--
--   local s = suppressions.load { files = { "lsan.supp", "known.lua" }, expressions = { 'has "libX11" and bytes < 1e6' } }
--   local p = s:apply(profile)          -- without what is suppressed; s:rows() counts it
--
-- LeakSanitizer's: a line `leak:PATTERN` matches when the name, the source file or the module of any frame of the stack does; * is any
-- text, ^ and $ are its ends, elsewhere it may stand anywhere in it. A file that ends in .lua answers a list of functions of a site, or
-- of { name =, match = function(site) }. A site: frames (from the leaf: name, file, line, module), values (by sample type), bytes, count,
-- leaf (the first frame's name), has(pattern).
local core = require "tidemark.core"

local M = {}

local Suppressions = {}
Suppressions.__index = Suppressions

local function bad(message, advice) error({ message = message, code = "argument", advice = advice, exit = 2 }, 0) end

--- A function of texts for LeakSanitizer's pattern.
---@param pattern string
---@return fun(text:string):boolean
function M.pattern(pattern)
  local from_start, to_end = pattern:sub(1, 1) == "^", pattern:sub(-1) == "$"
  local inner = pattern:sub(from_start and 2 or 1, to_end and -2 or -1)
  local lua = (from_start and "^" or "") .. inner:gsub("[%^%$%(%)%%%.%[%]%+%-%?]", "%%%0"):gsub("%*+", ".*") .. (to_end and "$" or "")
  return function(text) return text:find(lua) ~= nil end
end

-- Whether a frame has it, remembered: frames are shared by many sites.
local function frame_matcher(pattern)
  local match, known = M.pattern(pattern), setmetatable({}, { __mode = "k" })
  return function(frame)
    local answer = known[frame]
    if answer == nil then
      answer = frame.name and match(frame.name) or frame.file and match(frame.file) or frame.module and match(frame.module) or false
      known[frame] = answer
    end
    return answer
  end
end

local function any_frame(pattern)
  local match = frame_matcher(pattern)
  return function(site)
    for _, frame in ipairs(site.frames) do
      if match(frame) then return true end
    end
    return false
  end
end

-- ---- what a predicate sees ----

local seen = {}
local made = {}
local function has(site, pattern)
  made[pattern] = made[pattern] or any_frame(pattern)
  return made[pattern](site)
end

seen.__index = function(site, key)
  if key == "leaf" then return site.frames[1] and (site.frames[1].name or site.frames[1].module) or "" end
  if key == "bytes" then return site.values.inuse_space or site.values.live_bytes or site.values.space or site.values.bytes or 0 end
  if key == "count" then return site.values.inuse_objects or site.values.live_count or site.values.objects or site.values.count or 0 end
  if key == "has" then return function(a, b) return has(site, b or a) end end -- site:has "x" and site.has "x"
end

local safe = { string = string, math = math, table = table, utf8 = utf8, ipairs = ipairs, pairs = pairs, type = type, tostring = tostring,
  tonumber = tonumber, select = select, next = next }

local function expression(text)
  local site
  local env = setmetatable({}, { __index = function(_, key)
    if key == "site" then return site end
    local value = site[key]
    if value == nil then return safe[key] end
    return value
  end })
  local chunk, problem = load("return " .. text, "=--suppress", "t", env)
  if not chunk then bad("--suppress: " .. problem, [[an expression over a site: bytes < 4096 and has "libX11"]]) end
  return function(s)
    site = s
    return chunk()
  end
end

-- ---- loading ----

local function add(self, origin, name, match) self.rules[#self.rules + 1] = { origin = origin, name = name, match = match, sites = 0, bytes = 0, count = 0 } end

local function add_lua(self, path, source)
  local chunk, problem = load(source, "@" .. path, "t", setmetatable({}, { __index = safe }))
  if not chunk then bad(problem) end
  local ok, list = pcall(chunk)
  if not ok then bad(tostring(list)) end
  if type(list) == "function" then list = { list } end
  if type(list) ~= "table" then bad(path .. " answers no list of functions", "return { function(site) return site.has \"libX11\" end }") end
  for i, one in ipairs(list) do
    local match, name = one, ("%s #%d"):format(path:match("[^/]+$"), i)
    if type(one) == "table" then match, name = one.match, one.name or name end
    if type(match) ~= "function" then bad(("%s: entry %d is no function of a site"):format(path, i)) end
    add(self, path, name, match)
  end
end

local function add_lines(self, path, source)
  local number = 0
  for line in (source .. "\n"):gmatch("([^\n]*)\n") do
    number = number + 1
    line = line:gsub("^%s+", ""):gsub("%s+$", "")
    if line ~= "" and line:sub(1, 1) ~= "#" then
      local kind, pattern = line:match("^(%w+):(.+)$")
      if kind ~= "leak" then
        bad(("%s:%d: '%s' is no suppression of leaks"):format(path, number, line), "one a line: leak:PATTERN, as LeakSanitizer reads them")
      end
      add(self, ("%s:%d"):format(path, number), line, any_frame(pattern))
    end
  end
end

--- Raises where a file cannot be read or a line is wrong.
---@param options table  files: paths; expressions: of Lua; functions: of a site
function M.load(options)
  local self = setmetatable({ rules = {} }, Suppressions)
  for _, path in ipairs(options.files or {}) do
    local f, problem = io.open(path)
    if not f then error({ message = "cannot read suppressions: " .. tostring(problem), code = "io" }, 0) end
    local source = f:read("a") or ""
    f:close();
    (path:match("%.lua$") and add_lua or add_lines)(self, path, source)
  end
  for _, text in ipairs(options.expressions or {}) do add(self, "--suppress", text, expression(text)) end
  for i, fn in ipairs(options.functions or {}) do
    if type(fn) == "string" then add(self, "pattern", fn, any_frame((fn:gsub("^leak:", "")))) else add(self, "function", "function " .. i, fn) end
  end
  return self
end

--- From a command's options (M.options): nil when none is given.
function M.from_options(options)
  if not options.suppressions and not options.suppress then return nil end
  return M.load { files = options.suppressions, expressions = options.suppress }
end

--- Rows of a command's table of options.
M.options = {
  { "suppressions", "FILE", "leave out what this file knows: lines leak:PATTERN, or predicates in a .lua file (repeatable)", kind = "list" },
  { "suppress", "EXPR", "leave out sites for which this is true: 'bytes < 4096 and has \"libX11\"' (repeatable)", kind = "list" },
}

-- ---- applying ----

--- The first rule that knows a site, which counts it; nil. site: frames, values.
function Suppressions:match(site)
  site = setmetatable({ frames = site.frames, values = site.values or site }, seen)
  for _, rule in ipairs(self.rules) do
    local ok, answer = pcall(rule.match, site)
    if not ok then bad(("%s: %s"):format(rule.origin, answer)) end
    if answer then
      rule.sites, rule.bytes, rule.count = rule.sites + 1, rule.bytes + site.bytes, rule.count + site.count
      return rule
    end
  end
end

--- A profile without what is suppressed; the same when that is nothing. The given one is closed if it is replaced.
function Suppressions:apply(profile)
  local without, count = profile:without(function(site) return self:match(site) ~= nil end)
  if not without then error(count, 0) end
  if count == 0 then
    without:close()
    return profile
  end
  profile:close()
  return without
end

--- What each rule took: { rule, origin, sites, bytes, count }, and those that took nothing last.
function Suppressions:rows()
  local out = {}
  for _, want in ipairs { true, false } do
    for _, rule in ipairs(self.rules) do
      if (rule.sites > 0) == want then
        out[#out + 1] = { rule = rule.name, origin = rule.origin, sites = rule.sites, bytes = rule.bytes, count = rule.count }
      end
    end
  end
  return out
end

--- One line for people: what was left out by whom, and which rules took nothing. nil when there are no rules.
function Suppressions:summary()
  local used, unused, sites, bytes = {}, {}, 0, 0
  for _, row in ipairs(self:rows()) do
    local list = row.sites > 0 and used or unused
    list[#list + 1] = row.rule
    sites, bytes = sites + row.sites, bytes + row.bytes
  end
  if #used + #unused == 0 then return nil end
  local line = sites == 0 and "suppressed: nothing" or ("suppressed: %d sites%s, by %s"):format(sites,
    bytes ~= 0 and ", " .. core.format(bytes, "bytes") or "", table.concat(used, ", "))
  return line .. (#unused > 0 and "; unused: " .. table.concat(unused, ", ") or "")
end

return M
