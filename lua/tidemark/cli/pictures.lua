-- Profiles as pictures: flame graphs and call graphs, each one file that needs nothing else.
local args = require "tidemark.cli.args"
local core = require "tidemark.core"
local profile = require "tidemark.profile"
local profiles = require "tidemark.cli.profiles"
local text = require "tidemark.show.text"

local M = {}

local function ending(path) return path and path:match("%.(%w+)$") or nil end

-- What is to be made: --to, else by the file's ending, else the command's own.
local function form_of(options, forms, otherwise)
  if options.to then return options.to end
  local by_name = forms[ending(options.output) or ""]
  return by_name or otherwise
end

-- A picture is no text for a terminal: without --output it goes into a file named after the profile.
local function place(options, words, form)
  if options.output or not core.terminal(1).tty then return end
  local name = (words[#words]:match("([^/]+)$") or "profile"):gsub("%.gz$", ""):gsub("%.pb$", "")
  options.output = ("%s.%s"):format(name, form)
end

local function open(options, words)
  if #words == 0 then args.usage("a profile is needed") end
  local p, about = profile.open(words, options)
  profiles.warn(about.problems)
  return p, about
end

local function meta_json(about, p, more)
  local info = p:info()
  local meta = { files = text.array(about.files), format = about.format, partial = about.partial, problems = text.array(about.problems),
    time_ns = info.time_ns, duration_ns = info.duration_ns, samples = info.samples }
  for key, value in pairs(more or {}) do meta[key] = value end
  return core.json(meta)
end

M.flame = {
  name = "flame", summary = "a flame graph as a page, a picture or JSON", pprof_flags = true, usage = "flame [BINARY] PROFILE... [OPTIONS]",
  examples = { "tidemark flame cpu.pb.gz -o cpu.html", "tidemark flame heap.pb.gz -o heap.svg --sample-index alloc_space",
    "tidemark flame --diff-base monday.pb.gz friday.pb.gz -o diff.html" },
  doc = "The page zooms, searches and turns upside down without a server. Branches narrower than half a pixel are folded into their\n"
    .. "parents, so that it stays below 300 kB whatever the profile.",
  options = profiles.options_with({ "to", "FORM", "html or svg; else by FILE's ending", choices = { "html", "svg" } }),
  run = function(options, words)
    if options.csv then args.usage("a flame graph has no CSV; `tidemark traces --csv` has every stack") end
    local p, about = open(options, words)
    local form = options.json and "json" or form_of(options, { html = "html", svg = "svg" }, "html")
    local out, err = p:flame(form, profile.report_options(options))
    if not out then error(err, 0) end
    if options.json then out = ('{"schema":"tidemark/flame/1","meta":%s,"rows":[%s]}\n'):format(meta_json(about, p), out)
    else place(options, words, form) end
    profiles.output(options, out)
  end,
}

M.graph = {
  name = "graph", summary = "the call graph as a picture, for Graphviz, or for KCachegrind", pprof_flags = true,
  usage = "graph [BINARY] PROFILE... [OPTIONS]",
  examples = { "tidemark graph cpu.pb.gz -o cpu.svg", "tidemark graph --nodefraction 0.02 --to dot cpu.pb.gz | dot -Tpdf > cpu.pdf",
    "tidemark graph --call-tree cpu.pb.gz --to callgrind -o callgrind.out" },
  doc = "The picture is drawn here; Graphviz is not needed. --nodecount (80), --nodefraction (0.005) and --edgefraction (0.001) say what\n"
    .. "is shown of it.",
  options = profiles.options_with({ "to", "FORM", "svg, dot or callgrind; else by FILE's ending", choices = { "svg", "dot", "callgrind" } }),
  run = function(options, words)
    local p, about = open(options, words)
    local report = profile.report_options(options)
    if options.json or options.csv then return profiles.print("dot", p, about, options, report, "graph") end
    local form = form_of(options, { svg = "svg", dot = "dot", gv = "dot", callgrind = "callgrind", out = "callgrind" }, "svg")
    local _, out = p:report(form, report, "text")
    if type(out) ~= "string" then error(out, 0) end
    if form == "svg" then place(options, words, form) end
    profiles.output(options, out)
  end,
}

return M
