-- Profiles by name: files, folders, standard input, URLs and unix sockets, read, merged and subtracted as pprof does it.
local args = require "tidemark.cli.args"
local core = require "tidemark.core"
local suppressions = require "tidemark.suppressions"

local M = {}

--- The options that every profile command takes, as rows of a command's table. Names are pprof's, with - for _.
M.options = {
  { "sample-index", "NAME", "which value: a name such as inuse_space, or a number" },
  { "base", "FILE", "subtract this profile (repeatable)", kind = "list" },
  { "diff-base", "FILE", "the same, percentages of the base (repeatable)", kind = "list" },
  { "normalize", "scale the profile so that its total is the base's", kind = "boolean" },
  { "focus", "RX", "keep samples with a frame that matches" },
  { "ignore", "RX", "drop samples with a frame that matches" },
  { "hide", "RX", "take matching frames out" },
  { "show", "RX", "keep only matching frames" },
  { "show-from", "RX", "cut what lies above the highest match" },
  { "prune-from", "RX", "cut what lies under the lowest match" },
  { "tagfocus", "TAGS", "keep samples with a label: [key=]regexp, or a range such as 1kb:4mb" },
  { "tagignore", "TAGS", "drop samples with a label" },
  { "tagshow", "RX", "only these label keys are shown" },
  { "taghide", "RX", "label keys that are not shown" },
  { "tagroot", "KEYS", "label keys that become frames at the root" },
  { "tagleaf", "KEYS", "label keys that become frames at the leaf" },
  { "granularity", "KIND", "functions, filefunctions, files, lines or addresses",
    choices = { "functions", "filefunctions", "files", "lines", "addresses" } },
  { "functions", "short for --granularity functions", kind = "boolean" },
  { "filefunctions", "short for --granularity filefunctions", kind = "boolean" },
  { "files", "short for --granularity files", kind = "boolean" },
  { "lines", "short for --granularity lines", kind = "boolean" },
  { "addresses", "short for --granularity addresses", kind = "boolean" },
  { "noinlines", "charge inlined functions to their caller", kind = "boolean" },
  { "showcolumns", "show column numbers", kind = "boolean" },
  { "nodecount", "N", "so many rows or nodes at most; 0 = all", kind = "integer" },
  { "nodefraction", "F", "hide nodes below this share of the total (0.005)" },
  { "edgefraction", "F", "hide edges below this share of the total (0.001)" },
  { "trim", "hide what is small; --trim=false shows all", kind = "boolean" },
  { "cum", "sort by cumulative value", kind = "boolean" },
  { "flat", "sort by flat value", kind = "boolean" },
  { "relative-percentages", "percent of what the filters leave", kind = "boolean" },
  { "unit", "UNIT", "unit of all values: MB, ms, auto, minimum" },
  { "divide-by", "N", "divide all values by this" },
  { "mean", "value of each sample divided by its first value", kind = "boolean" },
  { "drop-negative", "leave out what shrank", kind = "boolean" },
  { "call-tree", "a context tree instead of a graph (dot, callgrind)", kind = "boolean" },
  { "compact-labels", "show few labels", kind = "boolean" },
  { "source-path", "DIRS", "folders to look for sources in, separated by :" },
  { "trim-path", "DIRS", "prefixes to cut from source paths, separated by :" },
  { "intel-syntax", "show instructions as Intel writes them", kind = "boolean" },
  { "symbolize", "MODE", "names for bare addresses: none, local, fastlocal, force, demangle=none|templates|full" },
  { "seconds", "N", "how long a live endpoint collects", kind = "integer" },
  { "timeout", "DUR", "how long to wait for a live endpoint", kind = "duration" },
  { "host-header", "NAME", "the Host header for a live endpoint; '' sends it empty" },
  { "header", "NAME:VALUE", "a header for a live endpoint (repeatable)", kind = "list" },
  { "ca-file", "FILE", "https: the roots to trust (PEM)" },
  { "max-size", "SIZE", "how large the answer of a live endpoint may be", kind = "bytes" },
  { "format", "F", "how the inputs are written, when it cannot be seen" },
}

table.move(suppressions.options, 1, #suppressions.options, #M.options + 1, M.options)

-- Words that choose a value, as pprof has them.
local values = { "inuse_space", "inuse_objects", "alloc_space", "alloc_objects", "contentions", "total_delay", "mean_delay" }
for _, name in ipairs(values) do
  M.options[#M.options + 1] = { (name:gsub("_", "-")), "short for --sample-index " .. name, kind = "boolean" }
end

for _, row in ipairs(M.options) do row.topic = "profile-options" end

local granularities = { "functions", "filefunctions", "files", "lines", "addresses" }

local report_names -- option of a command line -> option of core
local function report_name(name)
  if not report_names then
    report_names = {}
    for _, o in ipairs(core.report_options()) do report_names[o.name:gsub("_", "-")] = o.name end
  end
  return report_names[name]
end

local filters = { "focus", "ignore", "hide", "show", "show_from", "prune_from", "tagfocus", "tagignore", "tagshow", "taghide" }

--- Which filters of a report match nothing, in pprof's words: a slip of the pen shows as a report that lacks what was asked for.
---@param p userdata
---@param report table
---@return string[]
function M.idle_filters(p, report)
  local set = {}
  for _, name in ipairs(filters) do
    local value = report[name]
    set[name] = value ~= "" and value or nil
  end
  if next(set) == nil then return {} end
  set.tagroot, set.tagleaf, set.sample_index = report.tagroot, report.tagleaf, report.sample_index
  local t = p:report("comments", set, "table") -- filters, and counts nothing
  return t and t.notes.warnings or {}
end

--- The options of core's reports in a command's options.
---@param options table
---@return table
function M.report_options(options)
  local out = {}
  for name, value in pairs(options) do
    local known = report_name(name)
    if known then out[known] = value end
  end
  for _, name in ipairs(granularities) do
    if options[name] then out.granularity = name end
  end
  for _, name in ipairs(values) do
    if options[name:gsub("_", "-")] then
      if name == "mean_delay" or name == "total_delay" then
        out.sample_index, out.mean = "delay", name == "mean_delay"
      else out.sample_index = name end
    end
  end
  if options.flat then out.cum = false end
  return out
end

local function fail(err, where)
  local message = where and not tostring(err.message):find(where, 1, true) and where .. ": " .. err.message or err.message
  error({ message = message, code = err.code, advice = err.advice }, 0)
end

-- Names as a person sorts them: heap.2 before heap.10.
local function natural(name)
  return (name:gsub("%d+", function(digits) return ("%020d"):format(math.tointeger(tonumber(digits)) or 0) end))
end

--- The files of a folder that look like profiles, in natural order.
function M.files_in(dir)
  local names = {}
  for _, name in ipairs(core.list(dir) or {}) do
    local stat = core.stat(dir .. "/" .. name)
    if stat and stat.kind == "file" and not name:match("^%.") then names[#names + 1] = name end
  end
  table.sort(names, function(a, b) return natural(a) < natural(b) end)
  for i, name in ipairs(names) do names[i] = dir .. "/" .. name end
  return names
end

local function progress(path)
  if not core.terminal(2).tty then return nil end
  return function(done, total)
    io.stderr:write(("\rreading %s: %s"):format(path, core.format(done, "bytes")))
    if total > 0 then io.stderr:write((" of %s, %d %%"):format(core.format(total, "bytes"), done * 100 // total)) end
    io.stderr:write("\27[K")
    if done >= total and total > 0 then io.stderr:write("\r\27[K") end
  end
end

local function is_remote(word)
  return word:match("^https?[%+%w]*://") or word:match("^unix:") or (word:match("^[%w%.%-]+:%d+") and not core.stat(word))
end
M.is_remote = is_remote

local function is_binary(path)
  local f = io.open(path, "rb")
  if not f then return false end
  local magic = f:read(4)
  f:close()
  return magic == "\127ELF"
end

--- The file that a word names, and which of several dumps in it: "app.hprof#2".
---@return string path, integer? part
function M.part(word)
  local path, part = word:match("^(.+)#(%d+)$")
  if not path or core.stat(word) or not core.stat(path) then return word end
  return path, math.tointeger(tonumber(part))
end

-- What is said of a file that was read in part: whose it is and where stand in it once.
local function note(word, err)
  local what = err.message
  local own = "reading " .. word .. ": "
  if what:sub(1, #own) == own then what = what:sub(#own + 1) end
  if err.offset and not what:find("at byte " .. err.offset, 1, true) then what = ("%s (at byte %d)"):format(what, err.offset) end
  return word .. ": " .. what
end

-- One word as one profile. notes: a list that takes problems of partial inputs; kind: what is taken of an app.
local function read_one(word, options, notes, kind)
  local p, err
  if is_remote(word) then
    local fetch = require "tidemark.fetch"
    local wanted = fetch.from_options(options)
    wanted.kind = kind
    local bytes, problem = fetch.bytes(word, wanted)
    if not bytes then fail(problem, word) end
    p, err = core.read({ bytes = bytes }, { format = options.format })
  else
    local path, part = M.part(word)
    p, err = core.read(path, { format = options.format, part = part, index = options.index_places, progress = not options.quiet and progress(word) or nil })
  end
  if not p then fail(err, word) end
  if err then notes[#notes + 1] = note(word, err) end
  return p
end
M.read = read_one

-- A trace counts as the profile of the goroutines that are alive at its end, by what they wait for; a heap dump as that of its objects
-- by type path from the roots.
local function profile_one(word, options, notes)
  local p = read_one(word, options, notes)
  if p.kind ~= "trace" and p.kind ~= "graph" then return p end
  local made, err
  if p.kind == "graph" then
    if options.exe then require("tidemark.cli.dumps").use_exe(p, options.exe, notes) end
    made, err = p:paths { follow = type(options.follow) == "string" and options.follow or nil }
    p:close()
  else
    made, err = p:profile()
  end
  if not made then fail(err, word) end
  return made
end
M.read_profile = profile_one

local function read_all(words, options, notes)
  local list = {}
  for _, word in ipairs(words) do
    local stat = not is_remote(word) and word ~= "-" and core.stat(word)
    if stat and stat.kind == "directory" then
      for _, path in ipairs(M.files_in(word)) do list[#list + 1] = profile_one(path, options, notes) end
    else
      list[#list + 1] = profile_one(word, options, notes)
    end
  end
  return list
end

-- Functions and lines for profiles of native programs; what could not be found is said, not fatal.
local function symbolize(list, options, binary)
  for _, p in ipairs(list) do
    if p.kind == "profile" then
      local problems, err = core.symbolize(p, { mode = options.symbolize, binary = binary })
      if not problems then fail(err) end
      for line in (options.quiet and "" or problems):gmatch("[^\n]+") do io.stderr:write("tidemark: ", line, "\n") end
    end
  end
end

-- What is known is taken out of each; counted are the sources.
local function suppress(sources, bases, options)
  local s = suppressions.from_options(options)
  if not s then return nil end
  local of_bases = suppressions.from_options(options)
  for i, p in ipairs(sources) do if p.kind == "profile" then sources[i] = s:apply(p) end end
  for i, p in ipairs(bases) do if p.kind == "profile" then bases[i] = of_bases:apply(p) end end
  if not options.quiet and not options.json then io.stderr:write("tidemark: ", s:summary() or "no suppressions", "\n") end
  return s
end

--- Reads and combines what the words name. A first word that is a program is taken as the binary, as pprof does.
--- Raises { message, code, advice }.
---@param words string[]
---@param options table  base, diff-base, normalize, format, seconds, timeout
---@return userdata profile
---@return table about  files, problems, binary, suppressed
function M.open(words, options)
  words = table.move(words, 1, #words, 1, {})
  local about = { files = words, problems = {} }
  if #words > 1 and not is_remote(words[1]) and is_binary(words[1]) then about.binary = table.remove(words, 1) end
  if #words == 0 then args.usage("a profile is needed: a file, a folder, a URL, or - for standard input") end
  local base, diff_base = options.base, options["diff-base"]
  if base and diff_base then args.usage("--base and --diff-base exclude each other") end
  local sources = read_all(words, options, about.problems)
  local bases = read_all(base or diff_base or {}, options, about.problems)
  if #sources == 0 then fail({ message = "no profile is in " .. table.concat(words, ", "), code = "io" }) end
  symbolize(sources, options, about.binary)
  symbolize(bases, options, about.binary)
  about.format, about.partial = sources[1].format, #about.problems > 0
  about.suppressed = suppress(sources, bases, options)
  if #sources == 1 and #bases == 0 then return sources[1], about end
  local p, err = core.combine(sources, bases, { diff_base = diff_base ~= nil, normalize = options.normalize })
  if not p then fail(err) end
  for _, one in ipairs(sources) do one:close() end
  for _, one in ipairs(bases) do one:close() end
  return p, about
end

return M
