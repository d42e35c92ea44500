-- gate: fails a build when memory grew from the first runs to the last, or from a baseline to a new build.
local args = require "tidemark.cli.args"
local chains = require "tidemark.report.chains"
local core = require "tidemark.core"
local suppressions = require "tidemark.suppressions"
local fetch = require "tidemark.fetch"
local gate = require "tidemark.report.gate"
local gate_ci = require "tidemark.report.gate_ci"
local gate_rules = require "tidemark.report.gate_rules"
local gate_runs = require "tidemark.gate_runs"
local gate_text = require "tidemark.report.gate_text"
local paths = require "tidemark.cli.paths"

local M = {
  name = "gate", summary = "fail a build when memory grew over many runs, and say what grew",
  usage = "gate RUNS | gate --baseline OLD NEW | gate --endpoint URL -- CMD | gate --spawn -- CMD",
  examples = { "tidemark gate runs/                                  a folder of heap profiles, first against last",
    "tidemark gate --baseline main/ branch/ --junit gate.xml",
    "tidemark gate --endpoint localhost:6060 --runs 100 --warm-up 5 -- ./load.sh",
    "tidemark gate --spawn --runs 30 --github -- ./app --once",
    "tidemark gate t1.hprof t2.hprof t3.hprof             heap dumps of one run: paths that grow in each" },
  doc = "Exit code: 0 passed, 1 grew, 2 usage, 3 a run cannot be read, 4 the endpoint or the command failed.",
  options = {
    { "baseline", "PATH", "compare with these runs (a file or folder, repeatable)", kind = "list" },
    { "max-growth", "RATIO", "growth that still passes", default = "15%" },
    { "max-growth-site", "RATIO", "the same for each single site; none by default" },
    { "min-bytes", "SIZE", "growth below this never fails, for values in bytes", default = "1MB", kind = "bytes" },
    { "min-count", "N", "the same for objects, goroutines, ...", default = "100", kind = "integer" },
    { "min-delta", "N", "of three heap dumps and more: a path with so many objects more in every one fails", default = "500", kind = "integer" },
    { "warm-up", "N", "first runs that are dropped (of each side with --baseline)", default = "0", kind = "integer" },
    { "group", "N", "so many first and last runs are compared", default = "10", kind = "integer" },
    { "p", "P", "growth must be this unlikely to be chance", default = "0.01" },
    { "value", "NAME", "inuse_space, inuse_objects, alloc_space, ... (the profile's own default)" },
    { "focus", "RX", "weigh only samples with a frame that matches" },
    { "ignore", "RX", "leave samples with a frame that matches out" },
    suppressions.options[1], suppressions.options[2],
    { "endpoint", "URL", "take the profiles of a live program, after each run of CMD" },
    { "profile", "KIND", "which one of the endpoint: heap, goroutine, ...", default = "heap" },
    { "gc", "collect before each heap profile, as is usual; --gc=false: do not", kind = "boolean" },
    { "every", "DUR", "time between profiles when there is no CMD", default = "10s", kind = "duration" },
    { "spawn", "CMD writes its profile to the file that $TIDEMARK_PROFILE names" },
    { "runs", "N", "how many runs, behind the warm-up", default = "100", kind = "integer" },
    { "keep", "DIR", "keep the profiles taken there" },
    { "rules", "FILE", "tm.gate rules to evaluate on the same runs (repeatable)", kind = "list" },
    { "trim-path", "DIR", "prefix to cut from source paths (repeatable; the working folder is cut always)", kind = "list" },
    { "junit", "FILE", "write JUnit XML" },
    { "sarif", "FILE", "write SARIF 2.1.0" },
    { "markdown", "FILE", "write Markdown" },
    { "github", "print GitHub annotations" },
  },
}

table.move(fetch.options, 1, #fetch.options, #M.options + 1, M.options)

local function ratio(name, value)
  if not value then return nil end
  local number = tonumber(value)
  if value:match("%%$") then number = tonumber(value:sub(1, -2)) and tonumber(value:sub(1, -2)) / 100 end
  if not number or number < 0 or number ~= number then args.usage(("--%s: '%s' is no ratio; write 15%% or 0.15"):format(name, value)) end
  if number > 1 and not value:match("%%$") then args.usage(("--%s: %s has no unit; write %s%% or %s"):format(name, value, value, number / 100)) end
  return number
end

local function at_least(options, name, least)
  if options[name] < least then args.usage(("--%s: %d is the least"):format(name, least)) end
end

local function gate_options(options, count, baseline)
  local p = tonumber(options.p)
  if not p or p <= 0 or p >= 1 then args.usage("--p: '" .. options.p .. "' is no probability between 0 and 1") end
  for name, least in pairs { ["warm-up"] = 0, group = 1, runs = 2, ["min-count"] = 0, ["min-delta"] = 0 } do at_least(options, name, least) end
  return { runs = count, baseline = baseline, warm_up = options["warm-up"], group = options.group, p = p,
    max_growth = ratio("max-growth", options["max-growth"]), max_growth_site = ratio("max-growth-site", options["max-growth-site"]),
    min_bytes = options["min-bytes"], min_count = options["min-count"],
    report = { sample_index = options.value, focus = options.focus, ignore = options.ignore } }
end

-- "module example.com/app" of a go.mod here: -trimpath writes sources below that name.
local function module_name()
  local source = paths.read "go.mod"
  return source and source:match("^%s*module%s+(%S+)") or source and source:match("\nmodule%s+(%S+)")
end

-- Source paths as the repository names them: path, whether it is in it.
local function locator(trim)
  local prefixes = table.move(trim or {}, 1, #(trim or {}), 1, {})
  for _, dir in pairs { core.realpath ".", os.getenv "PWD", os.getenv "GITHUB_WORKSPACE", os.getenv "CI_PROJECT_DIR", module_name() } do
    if dir ~= "" and dir ~= "/" then prefixes[#prefixes + 1] = dir end
  end
  return function(file)
    for _, prefix in ipairs(prefixes) do
      local with_slash = prefix:gsub("/+$", "") .. "/"
      if file:sub(1, #with_slash) == with_slash then return file:sub(#with_slash + 1), true end
    end
    return file, file:sub(1, 1) ~= "/" and core.stat(file) ~= nil
  end
end

local function rule_files(list)
  local out = {}
  local function add(path)
    local source, problem = paths.read(path)
    if not source then error({ message = "cannot read rules: " .. (problem or path), code = "io" }, 0) end
    out[#out + 1] = { name = path:match("([^/]+)$"), origin = path, source = source }
  end
  for _, path in ipairs(list or {}) do
    local inside = paths.rule_files(path)
    for _, file in ipairs(inside) do add(file) end
    if not inside[1] then add(path) end
  end
  return out
end

-- Takes all runs, one at a time; remembers the totals that rules see.
local function weigh(g, source, options)
  local runs = {}
  local shows = core.terminal(2).tty and not options.quiet
  for i = 1, source.count do
    if shows then io.stderr:write(("\rrun %d of %d\27[K"):format(i, source.count)) end
    local name, p, dump = source.take(i)
    local ok, err = g:add(name, p)
    if not ok then error({ message = err.message, code = err.code, advice = err.advice, exit = err.code ~= "argument" and 3 or 2 }, 0) end
    if g:role(i) ~= "warm-up" then
      local kept = #runs == 0 or i == source.count or dump -- rules compare the first and the last, and what grew on the way over dumps
      runs[#runs + 1] = { total = g.totals[i], unit = g.raw_unit, types = p:info().types, profile = kept and p:write("pprof") or nil,
        dump = dump, chains = dump and chains.summary(p) }
    end
    p:close()
  end
  if shows then io.stderr:write("\r\27[K") end
  return runs
end

local function write(path, mode, content)
  local f, problem = io.open(path, mode)
  if not f then error({ message = "cannot write " .. problem, code = "io" }, 0) end
  f:write(content)
  f:close()
end

local function write_outputs(d, options)
  if options.junit then write(options.junit, "w", gate_ci.junit(d)) end
  if options.sarif then write(options.sarif, "w", gate_ci.sarif(d)) end
  local summary = os.getenv "GITHUB_STEP_SUMMARY"
  if options.markdown then write(options.markdown, "w", gate_text.markdown(d)) end
  if summary and summary ~= "" and (options.markdown or options.github) then write(summary, "a", gate_text.markdown(d)) end
  if options.json then io.write(gate_text.document(d)) else io.write(gate_text.text(d)) end
  -- Behind the document on stdout they would spoil it.
  if options.github then (options.json and io.stderr or io.stdout):write(gate_ci.github(d)) end
end

-- Three heap dumps and more: paths that have more objects in every one fail, whatever the heap as a whole does.
local function growing_paths(runs, options)
  local list, out = {}, {}
  for i, run in ipairs(runs) do list[i] = run.chains end
  if #list < 3 or #list < #runs then return out end
  for i, row in ipairs(chains.growth(list, { min_delta = options["min-delta"] })) do
    out[i] = { rule = "heap.root_path_growth", level = "fail", key = row.key, value = row.delta, text = chains.sentence(row), failed = true }
  end
  return out
end

local function decide(source, baseline, options)
  local files = rule_files(options.rules)
  local o = gate_options(options, source.count, baseline)
  local g, err = gate.new(o)
  if not g then error({ message = err.message, code = err.code, advice = err.advice, exit = 2 }, 0) end
  local runs = weigh(g, source, options)
  g.options.min_amount = g.unit == "bytes" and o.min_bytes or o.min_count
  local findings = #files > 0 and gate_rules.over(files, runs, "runs") or {}
  local paths_found = not baseline and growing_paths(runs, options) or {}
  table.move(paths_found, 1, #paths_found, #findings + 1, findings)
  local d = { result = g:decide(), rules = findings, locate = locator(options["trim-path"]) }
  d.failed = d.result.failed
  for _, finding in ipairs(d.rules) do d.failed = d.failed or finding.failed end
  return d
end

-- The runs without what is known.
local function without(known, source)
  if not known or not source then return source end
  return setmetatable({ take = function(i)
    local name, p, format = source.take(i)
    return name, p.kind == "profile" and known:apply(p) or p, format
  end }, { __index = source })
end

function M.run(options, words, rest)
  local known = suppressions.from_options(options)
  local source, baseline = gate_runs.choose(options, words, rest)
  local ok, d = pcall(decide, without(known, source), without(known, baseline), options)
  if source.close then source.close() end
  if not ok then error(d, 0) end
  d.suppressed = known and known:rows()
  if known and not options.quiet and not options.json then io.stderr:write("tidemark: ", known:summary() or "no suppressions", "\n") end
  write_outputs(d, options)
  return d.failed and 1 or 0
end

return M
