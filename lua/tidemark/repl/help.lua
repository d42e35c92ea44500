-- ?x and help(): what a name means, from the place where it was defined; ??x: where that is, and its text.
local core = require "tidemark.core"
local docs = require "tidemark.docs"
local print_value = require "tidemark.repl.print"
local targets = require "tidemark.targets"
local text = require "tidemark.show.text"

local M = {}

-- Own fields of a value that may be shown without running anything: raw tables, and the methods of our types.
local function raw_field(value, key)
  if type(value) == "table" then
    local v = rawget(value, key)
    if v ~= nil then return v end
  end
  local meta = debug.getmetatable(value)
  local index = type(meta) == "table" and rawget(meta, "__index")
  if type(index) == "function" then -- a type of core keeps its methods with the function
    local _, methods = debug.getupvalue(index, 1)
    index = methods
  end
  if type(index) == "table" then return rawget(index, key) end
end
M.raw_field = raw_field

--- The value that a chain of names means, such as "tm.read" or "_.notes", without running any code.
---@param env table
---@param chain string
---@return any
function M.resolve(env, chain)
  local first, rest = chain:match("^([%a_][%w_]*)(.*)$")
  if not first then return nil end
  local value = rawget(env, first)
  if value == nil then value = rawget(_G, first) end
  local at = 1
  while value ~= nil and at <= #rest do
    local name, stop = rest:match("^[%.:]([%a_][%w_]*)()", at)
    local index
    if not name then index, stop = rest:match("^%[(%d+)%]()", at) end
    if not stop then return nil end
    value = raw_field(value, name or math.tointeger(tonumber(index)))
    at = stop
  end
  return value
end

local function overview()
  local out = { text.style("bold", "Type Lua; its values are shown.") .. " _ is the last value, _1, _2 ... those before.",
    "  tm.<Tab>        the verbs: read, top, diff, attach, snap, rules ...", "  ?tm.snap        what a name means; ??name shows its source",
    "  :help           the commands that begin with a colon", "  sleep '5s'      waits while sampling goes on; await(job) for other jobs",
    "  more()          more of what was cut", "", text.style("bold", "Verbs"), }
  for _, entry in ipairs(docs.order) do
    out[#out + 1] = ("  %s %s"):format(text.pad("tm." .. entry.name, 16), docs.summary(entry))
  end
  return table.concat(out, "\n") .. "\n"
end

local function of_type(value)
  local entry = docs.types[print_value.type_name(value)]
  if not entry then return nil end
  local out = { text.style("bold", print_value.type_name(value)) .. ": " .. entry.doc }
  for _, m in ipairs(entry.order) do out[#out + 1] = ("  %s %s"):format(text.pad(m[2], 44), m[3]) end
  return table.concat(out, "\n") .. "\n"
end

local function of_entry(entry) return text.style("bold", entry.signature) .. "\n  " .. entry.doc:gsub("\n", "\n  ") .. "\n" end

local function of_signal(name)
  for _, s in ipairs(core.signals()) do
    if s.name == name then return ("%s: %s (%s, %s)\n"):format(text.style("bold", s.name), s.doc, s.kind, s.unit) end
  end
end

local function rule_named(id)
  for _, r in ipairs(targets.rules()) do
    if r.id == id then return r end
  end
end

--- Where a rule comes from and its text.
function M.rule_source(rule)
  local origin = rule.origin or ""
  local builtin = origin:match("^builtin:(.*)$")
  if builtin then return origin, core.embedded(builtin) end
  return origin, require("tidemark.cli.paths").read(origin)
end

local function of_rule(rule)
  local out = { text.style("bold", rule.id) .. ": " .. rule.doc }
  for _, i in ipairs(rule.inputs) do
    out[#out + 1] = ("  input %s: %s %s every %s"):format(i.name, i.kind, i.metric, core.format(i.every_ns, "ns"))
  end
  out[#out + 1] = ("  hold %s, linger %s, cooldown %s"):format(core.format(rule.hold_ns, "ns"), core.format(rule.linger_ns, "ns"),
    core.format(rule.cooldown_ns, "ns"))
  if #rule.caps > 0 then out[#out + 1] = "  asks for " .. table.concat(rule.caps, ", ") end
  out[#out + 1] = "  from " .. (rule.origin or "")
  return table.concat(out, "\n") .. "\n"
end
M.of_rule = of_rule

local function of_method(repl, word)
  local owner, name = word:match("^(.+)[%.:]([%a_][%w_]*)$")
  local value = owner and M.resolve(repl.env, owner)
  local entry = value ~= nil and docs.types[print_value.type_name(value)]
  local m = entry and entry.members[name]
  return m and text.style("bold", m.signature) .. "\n  " .. m.doc .. "\n"
end

local function of_word(repl, word)
  local magic = require "tidemark.repl.magic"
  local command = magic.commands[word:match("^:(%a+)$") or ""]
  if command then return text.style("bold", ":" .. command.usage) .. "\n  " .. command.doc .. "\n" end
  local rule = rule_named(word)
  return of_method(repl, word) or rule and of_rule(rule) or of_signal(word)
end

--- What help(what) prints. what: nothing, a name, or a value.
function M.text(repl, what)
  if what == nil then return overview() end
  if type(what) == "string" then
    local value = M.resolve(repl.env, what)
    local found = of_word(repl, what)
    if found then return found end
    if value == nil then return "nothing is known of '" .. text.clean(what) .. "'\n" end
    what = value
  end
  local entry = docs.of[what]
  if entry then return of_entry(entry) end
  if what == require "tidemark" then return overview() end
  return of_type(what) or print_value.type_name(what) .. ": " .. (print_value.render(what, { depth = 1, width = repl:width() }))
end

local function source_of_function(f)
  local info = debug.getinfo(f, "S")
  if info.what == "C" then return "a function of core, written in C\n" end
  local path = info.source:match("^@(.*)$")
  local source = path and (core.embedded(path) or require("tidemark.cli.paths").read(path)) or not path and info.source
  local out, n = { text.style("dim", ("%s:%d"):format(info.short_src, info.linedefined)) }, 0
  for line in ((source or "") .. "\n"):gmatch("([^\n]*)\n") do
    n = n + 1
    if n >= info.linedefined and n <= info.lastlinedefined then out[#out + 1] = line end
  end
  return table.concat(out, "\n") .. "\n"
end

--- What ??word prints: the source.
function M.source(repl, word)
  local rule = rule_named(word)
  if rule then
    local origin, source = M.rule_source(rule)
    return text.style("dim", origin) .. "\n" .. (source or "its text is not at hand\n")
  end
  local value = M.resolve(repl.env, word)
  if type(value) ~= "function" then return M.text(repl, word) end
  return source_of_function(value)
end

return M
