-- A pprof-compatible shell over one profile: the same command words, option assignments, shortcuts and redirection; pipes and
-- our own outputs (flame, collapsed, speedscope, csv, json) beside them. It reads no lines itself: whoever owns the prompt
-- calls execute(line), so that it runs alike from `tidemark pprof`, from the REPL's `:pprof` and from tests.
--
-- Source of the grammar: the interactive mode of github.com/google/pprof.
local args = require "tidemark.cli.args"
local core = require "tidemark.core"
local profile = require "tidemark.profile"
local text = require "tidemark.show.text"

local M = {}

-- Command words. verb: a report of core; write: a format of profile:write; takes: a word that is needed; file: what it is
-- saved as when nobody redirects it.
local commands = {
  top = { verb = "top", rows = 10, doc = "the functions with the most" },
  text = { verb = "top", rows = 10, doc = "the same as top" },
  tree = { verb = "tree", doc = "each function with its callers and callees" },
  peek = { verb = "peek", takes = "REGEXP", doc = "callers and callees of the functions that match" },
  list = { verb = "list", takes = "REGEXP", doc = "source lines with their values" },
  disasm = { verb = "disasm", takes = "REGEXP", doc = "assembly with its values" },
  weblist = { verb = "weblist", takes = "REGEXP", file = "html", doc = "source and assembly as a page" },
  traces = { verb = "traces", doc = "every stack with its labels and value" },
  tags = { verb = "tags", doc = "values by label; the words filter labels" },
  raw = { verb = "raw", doc = "all that stands in the profile" },
  comments = { verb = "comments", doc = "the comments of the profile" },
  dot = { verb = "dot", doc = "the call graph for Graphviz" },
  svg = { verb = "svg", file = "svg", doc = "the call graph as a picture" },
  flame = { flame = "html", file = "html", doc = "the flame graph as a page" },
  callgrind = { verb = "callgrind", file = "callgrind", doc = "for KCachegrind" },
  proto = { write = "pprof", file = "pb.gz", doc = "the profile as the filters leave it, as pprof file" },
  topproto = { write = "topproto", file = "pb.gz", doc = "the functions and their values as pprof file" },
  collapsed = { write = "collapsed", doc = "one line a stack" },
  speedscope = { write = "speedscope", file = "speedscope.json", doc = "for speedscope.app" },
  csv = { verb = "top", as = "csv", doc = "the functions as CSV" },
  json = { verb = "top", as = "json", doc = "the functions as JSON" },
}
M.commands = commands

-- Words that pprof gives to viewers of other makers: what to use instead.
local elsewhere = { web = "svg", gv = "svg", evince = "svg", eog = "svg", png = "svg", gif = "svg", pdf = "svg", ps = "svg",
  kcachegrind = "callgrind" }

local granularities = { addresses = true, filefunctions = true, files = true, functions = true, lines = true }

local Shell = {}
Shell.__index = Shell
Shell.prompt = "(pprof) "

--- A shell over p. io: write(text) and complain(text); recombine(normalize) -> p when the profile was made of two.
---@param p userdata
---@param io table
function M.new(p, io)
  local self = setmetatable({ p = p, io = io, options = {}, kinds = {}, docs = {}, saved = 0 }, Shell)
  for _, o in ipairs(core.report_options()) do
    self.kinds[o.name], self.docs[o.name] = o.kind, o.doc
    self.options[o.name] = o.default
  end
  local own = { normalize = "boolean", output = "text", sort = "text", intel_syntax = "boolean" }
  for name, kind in pairs(own) do self.kinds[name] = kind end
  self.docs.normalize, self.docs.output = "scale the profile to the base's total", "file that the next reports are written to"
  self.docs.sort, self.docs.intel_syntax = "flat or cum", "assembly as Intel writes it"
  self.options.normalize, self.options.output, self.options.sort, self.options.intel_syntax = "false", "", "flat", "false"
  self.options.compact_labels = "true"
  self.options.granularity = ""
  self.kinds.cum, self.options.cum = nil, nil -- it is sort=cum here
  self.types = {}
  for i, t in ipairs(p:info().types) do self.types[i] = t.type end
  return self
end

-- ---- options ----

local truth = { [""] = true, t = true, ["true"] = true, y = true, yes = true, ["1"] = true, f = false, ["false"] = false, n = false,
  no = false, ["0"] = false }

local function quoted(values) return table.concat(values, " | ") end

-- Sets one option; answers nil, or what is wrong.
function Shell:assign(name, value)
  if granularities[name] then
    if truth[value:lower()] == nil then return ("%s: '%s' is neither yes nor no"):format(name, value) end
    self.options.granularity = truth[value:lower()] and name or ""
    return
  elseif name == "flat" or name == "cum" then
    self.options.sort = name
    return
  end
  local kind = self.kinds[name]
  if kind == "boolean" then
    local yes = truth[value:lower()]
    if yes == nil then return ("%s: '%s' is neither yes nor no"):format(name, value) end
    value = tostring(yes)
  elseif kind == "integer" and not math.tointeger(tonumber(value)) then
    return ("%s: '%s' is no whole number"):format(name, value)
  elseif kind == "real" and not tonumber(value) then
    return ("%s: '%s' is no number"):format(name, value)
  elseif name == "sort" and value ~= "flat" and value ~= "cum" then
    return "sort: choose flat or cum"
  elseif name == "granularity" and value ~= "" and not granularities[value] then
    return "granularity: choose addresses, filefunctions, files, functions or lines"
  elseif name == "sample_index" then
    local index, type = self.p:sample_index(value)
    if not index then return type.message end
    value = type
  end
  self.options[name] = value
  if name == "normalize" and self.io.recombine then
    local p, err = self.io.recombine(value == "true")
    if not p then return err.message end
    self.p = p
  end
end

function Shell:is_option(name) return self.kinds[name] ~= nil or granularities[name] or name == "flat" or name == "cum" end

function Shell:show_options()
  local names = {}
  for name in pairs(self.options) do
    if name ~= "source_path" then names[#names + 1] = name end
  end
  table.sort(names)
  for _, name in ipairs(names) do
    local value, note = self.options[name], nil
    if name == "granularity" then
      note, value = "[addresses | filefunctions | files | functions | lines]", value == "" and "(default)" or value
    elseif name == "sort" then note = "[cum | flat]"
    elseif name == "sample_index" then
      if value == "" then value = select(2, self.p:sample_index("")) end
      note = "[" .. quoted(self.types) .. "]"
    elseif name == "nodecount" and value == "-1" then note = "default"
    elseif value == "" then value = '""' end
    self.io.write(("  %-25s = %-20s %s"):format(name, value, note and "//: " .. note or "") .. "\n")
  end
end

-- ---- help ----

function Shell:help(word)
  if word == "" then
    local names = {}
    for name in pairs(commands) do names[#names + 1] = name end
    table.sort(names)
    self.io.write("  Commands: NAME [ROWS] [FOCUS]... [-IGNORE]... [-cum] [> FILE] [| COMMAND]\n")
    for _, name in ipairs(names) do self.io.write(("    %-14s %s\n"):format(name, commands[name].doc)) end
    self.io.write("    o, options     the options and their values\n    :              clear focus, ignore, hide, tagfocus, tagignore\n")
    self.io.write("    q, quit, exit  leave\n\n  Options: NAME=VALUE\n")
    names = {}
    for name in pairs(self.kinds) do names[#names + 1] = name end
    table.sort(names)
    for _, name in ipairs(names) do self.io.write(("    %-21s %s\n"):format(name, self.docs[name])) end
    self.io.write("    addresses, filefunctions, files, functions, lines: what is one node\n")
  elseif commands[word] then
    local c = commands[word]
    self.io.write(("  %s%s [ROWS] [FOCUS]... [-IGNORE]... [-cum] [> FILE] [| COMMAND]\n    %s\n"):format(word,
      c.takes and " " .. c.takes or "", c.doc))
  elseif self.docs[word] then self.io.write("  " .. word .. "=VALUE\n    " .. self.docs[word] .. "\n")
  else self.io.complain("unknown command: " .. word) end
end

-- ---- commands ----

local function joined(a, b) return a and a .. "|" .. b or b end

-- Splits "top 5 json -fmt >x | less": a space stands before the pipe, since a regexp may hold |.
local function words_of(line)
  local words, pipe = {}, nil
  local at = line:find("%s|")
  if at then line, pipe = line:sub(1, at - 1), line:sub(at + 2):match("^%s*(.-)%s*$") end
  for word in line:gmatch("%S+") do words[#words + 1] = word end
  return words, pipe
end

-- The report options of one command, its command row and where its output goes; or nil, problem.
function Shell:parse(line)
  local words, pipe = words_of(line)
  local name = table.remove(words, 1)
  if not commands[name] and not elsewhere[name] then
    local stem, digits = name:match("^(%a+)(%d+)$")
    if stem and commands[stem] then
      name = stem
      table.insert(words, 1, digits)
    end
  end
  local command = commands[name]
  if elsewhere[name] then return nil, ("%s opens a viewer elsewhere; here `%s > FILE` writes one"):format(name, elsewhere[name]) end
  if not command then
    if self.docs[name] or self:is_option(name) then return nil, ("did you mean: %s=%s"):format(name, words[1] or "<val>") end
    local names = {}
    for known in pairs(commands) do names[#names + 1] = known end
    return nil, ('unrecognized command: "%s"%s'):format(name, args.nearest(name, names))
  end
  local call = { name = name, command = command, pipe = pipe }
  if command.takes then
    if not words[1] then return nil, ("command %s requires an argument"):format(name) end
    call.symbol = table.remove(words, 1)
  end
  local i = 1
  while i <= #words do
    local word = words[i]
    if math.tointeger(tonumber(word)) then call.rows = math.tointeger(tonumber(word))
    elseif word:sub(1, 1) == ">" then
      call.file = word:sub(2)
      if call.file == "" then
        i = i + 1
        call.file = words[i]
        if not call.file then return nil, "unexpected end of line after >" end
      end
    elseif word == "-cum" or word == "--cum" then call.cum = true
    elseif word:sub(1, 1) == "-" then call.ignore = joined(call.ignore, word:sub(2))
    else call.focus = joined(call.focus, word) end
    i = i + 1
  end
  return call
end

function Shell:report_options(call)
  local report = {}
  for name, value in pairs(self.options) do
    if name ~= "normalize" and name ~= "output" and name ~= "sort" and name ~= "intel_syntax" then report[name] = value end
  end
  if report.granularity == "" then report.granularity = nil end
  report.cum = call.cum or self.options.sort == "cum"
  report.symbol = call.symbol
  local focus, ignore = "focus", "ignore"
  if call.name == "tags" then focus, ignore = "tagfocus", "tagignore" end
  report[focus], report[ignore] = call.focus or report[focus], call.ignore or report[ignore]
  local rows = call.rows or math.tointeger(tonumber(self.options.nodecount))
  report.nodecount = rows == -1 and call.command.rows or rows
  return report
end

function Shell:output(call)
  local command, report = call.command, self:report_options(call)
  if command.write then return self.p:write(command.write, report) end
  if self.io.warn then
    for _, line in ipairs(profile.idle_filters(self.p, report)) do self.io.warn(line) end
  end
  if command.flame then return self.p:flame(command.flame, report) end
  local t, out = self.p:report(command.verb, report, command.as and "table" or "text")
  if type(out) ~= "string" then return nil, out end
  return command.as and t[command.as](t) or out
end

function Shell:deliver(call, out)
  local file = call.file or self.options.output ~= "" and self.options.output or nil
  if not file and call.command.file and not call.pipe then
    self.saved = self.saved + 1
    file = ("profile%03d.%s"):format(self.saved, call.command.file)
  end
  if file then
    local f, problem = io.open(file, "wb")
    if not f then return self.io.complain("cannot write " .. problem) end
    f:write(out)
    f:close()
    self.io.write("Generating report in " .. file .. "\n")
  elseif call.pipe then
    local f, problem = io.popen(call.pipe, "w")
    if not f then return self.io.complain("cannot run " .. problem) end
    f:write(out)
    f:close()
  else
    self.io.write(out)
  end
end

-- Aliases that stand for assignments.
function Shell:expand(line)
  if line == ":" then return { "focus=", "ignore=", "hide=", "tagfocus=", "tagignore=" } end
  for _, type in ipairs(self.types) do
    if line == type then return { "sample_index=" .. type } end
    if line == "total_" .. type then return { "mean=0", "sample_index=" .. type } end
    if line == "mean_" .. type then return { "mean=1", "sample_index=" .. type } end
  end
  return { line }
end

local leave = { q = true, quit = true, exit = true }

function Shell:execute_one(line)
  local name, value = line:match("^%s*([^=]-)%s*=(.*)$")
  name = name or line:match("^%s*(.-)%s*$")
  if self:is_option(name) then
    local is_switch = self.kinds[name] == "boolean" or granularities[name] or name == "flat" or name == "cum"
    if not value and not is_switch then
      self.io.complain(("please specify a value, e.g. %s=<val>"):format(name))
      return true
    end
    value = (value or ""):gsub("//:.*$", ""):match("^%s*(.-)%s*$")
    local problem = self:assign(name, value)
    if problem then self.io.complain(problem) end
    return true
  end
  local word, rest = line:match("^%s*(%S+)%s*(.-)%s*$")
  if not word then return true end
  if leave[word] then return false end
  if word == "o" or word == "options" then self:show_options()
  elseif word == "help" then self:help(rest)
  else
    local call, problem = self:parse(line)
    if not call then
      self.io.complain(problem)
      return true
    end
    local out, err = self:output(call)
    if out then self:deliver(call, out) else self.io.complain(err.message) end
  end
  return true
end

--- Runs one line. Answers false when it says to leave.
---@param line string
---@return boolean go_on
function Shell:execute(line)
  for _, one in ipairs(self:expand(line:match("^%s*(.-)%s*$"))) do
    if not self:execute_one(one) then return false end
  end
  return true
end

--- What the shell says before the first prompt.
function Shell:greet()
  local _, out = self.p:report("top", { nodecount = 1, compact_labels = false }, "text")
  if type(out) == "string" then
    for line in out:gmatch("[^\n]+") do
      if line:match("^Showing") or line:match("^Active") or line:match("^%s") then break end
      self.io.write(line .. "\n")
    end
  end
  self.io.write('Entering interactive mode (type "help" for commands, "o" for options)\n')
end

--- Candidates for the last word of a line: { word, doc } each. Commands and options first, then functions that hold the word.
---@param line string
---@return table candidates
function Shell:complete(line)
  local before, last = line:match("^(.-)(%S*)$")
  local out = {}
  if before:match("^%s*$") or before:match("^%s*help%s+$") then
    for name, c in pairs(commands) do
      if name:sub(1, #last) == last then out[#out + 1] = { name, c.doc } end
    end
    for name in pairs(self.kinds) do
      if name:sub(1, #last) == last then out[#out + 1] = { before == "" and name .. "=" or name, self.docs[name] } end
    end
  else
    if not self.functions then
      local t = self.p:report("top", { nodecount = 0, trim = false }, "table")
      self.functions = t and t:column("name") or {}
    end
    local sign, word = last:match("^(%-?)(.*)$")
    for _, name in ipairs(self.functions) do
      if word ~= "" and name:find(word, 1, true) then out[#out + 1] = { sign .. text.clean(name), "" } end
      if #out >= 200 then break end
    end
  end
  table.sort(out, function(a, b) return a[1] < b[1] end)
  return out
end

return M
