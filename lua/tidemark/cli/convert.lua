-- convert: profiles in, one profile out in another format; merging and subtracting on the way. --redact: a heap dump in, the same
-- without its contents out.
local args = require "tidemark.cli.args"
local capture = require "tidemark.capture"
local profile = require "tidemark.profile"
local profiles = require "tidemark.cli.profiles"
local text = require "tidemark.show.text"

-- Each answers bytes, or nil and an error.
local function written(format)
  return function(p, report) return p:write(format, report) end
end
local function reported(verb)
  return function(p, report)
    local _, out = p:report(verb, report, "text") -- the second result is the text, or the error
    if type(out) ~= "string" then return nil, out end
    return out
  end
end
local function tabled(render)
  return function(p, report)
    report.nodecount = report.nodecount or 0
    if report.trim == nil then report.trim = false end
    local t, err = p:report("top", report, "table")
    if not t then return nil, err end
    return t[render](t)
  end
end

local function flamed(form)
  return function(p, report) return p:flame(form, report) end
end

local writers = { pprof = written "pprof", proto = written "proto", topproto = written "topproto",
  collapsed = written "collapsed", speedscope = written "speedscope",
  csv = tabled "csv", json = tabled "json", text = reported "top", raw = reported "raw",
  dot = reported "dot", svg = reported "svg", callgrind = reported "callgrind", flame = flamed "html", ["flame-svg"] = flamed "svg" }
local names = { "pprof", "proto", "topproto", "collapsed", "speedscope", "csv", "json", "text", "raw", "dot", "svg", "callgrind", "flame",
  "flame-svg" }

local by_ending = { ["pb.gz"] = "pprof", gz = "pprof", pprof = "pprof", pb = "proto", folded = "collapsed", collapsed = "collapsed",
  ["speedscope.json"] = "speedscope", csv = "csv", json = "json", txt = "text", dot = "dot",
  svg = "svg", callgrind = "callgrind", html = "flame" }

local function format_of(options)
  if options.to then return options.to end
  local name = options.output or ""
  return by_ending[name:match("%.([^./]+%.[^./]+)$") or ""] or by_ending[name:match("%.([^./]+)$") or ""] or "pprof"
end

local function redact(options, words)
  if #words ~= 1 or not options.output or options.output == "-" then args.usage("--redact wants one heap dump, and -o FILE") end
  local done, err = capture.redact(words[1], options.output, {})
  if not done then error(err, 0) end
  if options.json then
    local row = { file = options.output, format = done.format, blanked_count = done.blanked_count, blanked_bytes = done.blanked_bytes }
    io.write(text.document("convert", { files = words }, { row }))
  elseif not options.quiet then
    io.write(("%s: %s, contents of %d %s blanked\n"):format(options.output, done.format, done.blanked_count,
      done.format == "v8heap" and "strings" or done.format == "hprof" and "arrays" or "objects"))
  end
end

return {
  name = "convert", summary = "profiles into another format, merged and subtracted on the way", pprof_flags = true,
  usage = "convert PROFILE... -o FILE [--to FORMAT]",
  examples = { "tidemark convert heap.txt -o heap.pb.gz", "tidemark convert a.pb.gz b.pb.gz -o both.pb.gz",
    "tidemark convert cpu.pb.gz --to collapsed | flamegraph.pl", "tidemark convert heap.pb.gz -o heap.speedscope.json",
    "tidemark convert app.hprof --redact -o clean.hprof" },
  options = profiles.options_with({ "to", "FORMAT", table.concat(names, ", ") .. "; else by FILE's ending",
    choices = names }, { "redact", "of a heap dump: blank what strings and arrays hold; sizes stay" }),
  writers = writers,
  run = function(options, words)
    if #words == 0 then args.usage("a profile is needed") end
    if options.redact then return redact(options, words) end
    local p, about = profile.open(words, options)
    local to = format_of(options)
    local out, err = writers[to](p, profile.report_options(options))
    if not out then error(err, 0) end
    profiles.warn(about.problems)
    profiles.output(options, out)
  end,
}
