-- What pprof has no word for: how fast is allocated (two `allocs` profiles and the time between them), and how much of what was
-- allocated is still there (one heap profile, which holds both).
local args = require "tidemark.cli.args"
local core = require "tidemark.core"
local profile = require "tidemark.profile"
local profiles = require "tidemark.cli.profiles"
local text = require "tidemark.show.text"

local M = {}

-- name -> { flat, cum } of one value of a profile, and the names in order of their flat value.
local function by_name(p, options, value)
  local report = profile.report_options(options)
  report.sample_index, report.nodecount, report.nodefraction, report.edgefraction = value, 0, 0, 0
  local t, err = p:report("top", report, "table")
  if not t then error(err, 0) end
  local out = { names = {} }
  for i, row in t:rows() do out[row.name], out.names[i] = row, row.name end
  return out, t.notes
end

local function need(p, ...)
  local have = {}
  for _, t in ipairs(p:info().types) do have[t.type] = true end
  for _, name in ipairs { ... } do
    if not have[name] then
      error({ message = ("the profile has no %s; a heap or allocs profile of Go has it"):format(name), code = "argument" }, 0)
    end
  end
end

local function finish(options, schema, meta, rows, columns, head)
  local count = options.nodecount or options.json and 0 or 20
  if count > 0 then
    for i = #rows, count + 1, -1 do rows[i] = nil end
  end
  if options.json then profiles.output(options, text.document(schema, meta, rows))
  else profiles.output(options, head .. text.table(columns, rows)) end
end

local function ratio(a, b) return b ~= 0 and a / b or 0 end

M.rate = {
  name = "rate", summary = "bytes and objects allocated per second, between two allocs profiles", pprof_flags = true,
  options = profiles.options_with(), usage = "rate BEFORE AFTER [OPTIONS]",
  examples = { "tidemark rate allocs1.pb.gz allocs2.pb.gz", "tidemark rate a.pb.gz b.pb.gz --cum --json" },
  run = function(options, words)
    if #words ~= 2 then args.usage("two allocs profiles are needed: BEFORE AFTER") end
    local before, after = profile.open({ words[1] }, options), profile.open({ words[2] }, options)
    need(before, "alloc_space", "alloc_objects")
    need(after, "alloc_space", "alloc_objects")
    local span_ns = after:info().time_ns - before:info().time_ns
    if span_ns <= 0 then
      error({ message = "the profiles have no times, or AFTER is not after BEFORE", code = "argument",
        advice = "give them in the order in which they were taken" }, 0)
    end
    local p, err = core.combine({ after }, { before })
    if not p then error(err, 0) end
    local seconds = span_ns / 1e9
    local space, notes = by_name(p, options, "alloc_space")
    local objects = by_name(p, options, "alloc_objects")
    local rows = {}
    for _, name in ipairs(space.names) do
      local s, o = space[name], objects[name] or { flat = 0, cum = 0 }
      rows[#rows + 1] = { name = name, flat_bytes_per_second = s.flat / seconds, cum_bytes_per_second = s.cum / seconds,
        flat_per_second = o.flat / seconds, mean_bytes = ratio(s.flat, o.flat), share_ratio = ratio(s.flat, notes.total) }
    end
    if options.cum then table.sort(rows, function(a, b) return a.cum_bytes_per_second > b.cum_bytes_per_second end) end
    finish(options, "rate", { files = text.array(words), span_ns = span_ns, total_bytes = notes.total, bytes_per_second = notes.total / seconds },
      rows, { { key = "flat_bytes_per_second", title = "FLAT", unit = "bytes/s", right = true },
        { key = "share_ratio", title = "SHARE", unit = "ratio", right = true },
        { key = "cum_bytes_per_second", title = "CUM", unit = "bytes/s", right = true },
        { key = "flat_per_second", title = "OBJECTS", unit = "count/s", right = true },
        { key = "mean_bytes", title = "MEAN SIZE", unit = "bytes", right = true }, { key = "name", title = "FUNCTION" } },
      ("%s allocated in %s: %s\n"):format(core.format(notes.total, "bytes"), core.format(span_ns, "ns"), core.format(notes.total / seconds, "bytes/s")))
  end,
}

M.survival = {
  name = "survival", summary = "how much of what was allocated is still in use", pprof_flags = true,
  options = profiles.options_with(), usage = "survival HEAP... [OPTIONS]",
  examples = { "tidemark survival heap.pb.gz", "tidemark survival heap.pb.gz --focus cache --json" },
  doc = "SURVIVES near 100 %: a cache, a table, or a leak. Near 0 %: garbage, worth a look with `tidemark rate` or `hotspots`.",
  run = function(options, words)
    local p, about = profile.open(words, options)
    need(p, "alloc_space", "inuse_space", "alloc_objects", "inuse_objects")
    local alloc, alloc_notes = by_name(p, options, "alloc_space")
    local inuse, inuse_notes = by_name(p, options, "inuse_space")
    local objects, live = by_name(p, options, "alloc_objects"), by_name(p, options, "inuse_objects")
    local rows, none = {}, { flat = 0, cum = 0 }
    for _, name in ipairs(alloc.names) do
      local a, u, n, l = alloc[name], inuse[name] or none, objects[name] or none, live[name] or none
      if a.flat ~= 0 then
        rows[#rows + 1] = { name = name, alloc_bytes = a.flat, inuse_bytes = u.flat, survival_ratio = ratio(u.flat, a.flat),
          alloc_objects = n.flat, inuse_objects = l.flat }
      end
    end
    table.sort(rows, function(a, b)
      if a.inuse_bytes ~= b.inuse_bytes then return a.inuse_bytes > b.inuse_bytes end
      if a.alloc_bytes ~= b.alloc_bytes then return a.alloc_bytes > b.alloc_bytes end
      return a.name < b.name
    end)
    finish(options, "survival", { files = text.array(about.files), alloc_bytes = alloc_notes.total, inuse_bytes = inuse_notes.total,
      survival_ratio = ratio(inuse_notes.total, alloc_notes.total) }, rows,
      { { key = "inuse_bytes", title = "IN USE", unit = "bytes", right = true }, { key = "alloc_bytes", title = "ALLOCATED", unit = "bytes", right = true },
        { key = "survival_ratio", title = "SURVIVES", unit = "ratio", right = true }, { key = "inuse_objects", title = "LIVE OBJECTS", right = true },
        { key = "alloc_objects", title = "OF", right = true }, { key = "name", title = "FUNCTION" } },
      ("%s of %s allocated are in use (%s)\n"):format(core.format(inuse_notes.total, "bytes"), core.format(alloc_notes.total, "bytes"),
        core.format(ratio(inuse_notes.total, alloc_notes.total), "ratio")))
  end,
}

return M
