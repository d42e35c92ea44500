-- inspect: what a file is, what stands in it, and whether it is whole.
local args = require "tidemark.cli.args"
local core = require "tidemark.core"
local text = require "tidemark.show.text"

local function amount(value, unit)
  if unit == "bytes" then return core.format(value, "bytes") end
  if unit == "nanoseconds" then return core.format(value, "ns") end
  return ("%d %s"):format(value, unit)
end

local function summary_of(p)
  local info, types = p:info(), {}
  if p.kind == "graph" then
    return ("%d objects of %d types, %s; %d references, %d roots"):format(info.nodes, info.types, core.format(info.shallow_bytes, "bytes"),
      info.edges, info.roots), info
  end
  if p.kind == "trace" then
    return ("%d events over %s in %d generation%s; goroutines: %d alive, %d created, %d ended"):format(info.events,
      core.format(info.duration_ns, "ns"), info.generations, info.generations == 1 and "" or "s", info.goroutines, info.created, info.ended), info
  end
  if p.kind == "timeline" then
    return ("%d events over %s on %d threads; %d slices, %d operations, %d points of counters, %d CPU samples"):format(info.events,
      core.format(info.duration_ns, "ns"), info.threads, info.slices, info.asyncs, info.points, info.samples), info
  end
  for i, t in ipairs(info.types) do types[i] = ("%s %s"):format(t.type, amount(t.total, t.unit)) end
  local out = { ("%d samples over %d functions"):format(info.samples, info.functions), table.concat(types, ", ") }
  if info.time_ns > 0 then out[#out + 1] = "taken " .. os.date("%Y-%m-%d %H:%M:%S", info.time_ns // 1000000000) end
  if info.duration_ns > 0 then out[#out + 1] = "over " .. core.format(info.duration_ns, "ns") end
  return table.concat(out, "; "), info
end

local function row_of(path)
  local stat, problem = core.stat(path)
  if not stat then return { file = path, format = "", kind = "", bytes = 0, summary = problem.message, ok = false } end
  local p, err = core.read(path)
  if not p then return { file = path, format = "", kind = "", bytes = stat.size_bytes, summary = err.message, ok = false, offset = err.offset } end
  local summary, info = summary_of(p)
  local row = { file = path, format = p.format, kind = p.kind, bytes = stat.size_bytes, summary = summary, ok = true, partial = p.partial, details = info }
  if err then
    row.summary = "PARTIAL (" .. err.message .. "); " .. row.summary
    row.problem, row.offset = err.message, err.offset
  end
  p:close()
  return row
end

return {
  name = "inspect", summary = "what a file is, what stands in it, and whether it is whole", usage = "inspect FILE... [--json]",
  examples = { "tidemark inspect heap.pb.gz", "tidemark inspect snapshots/* --json" },
  run = function(options, words)
    if #words == 0 then args.usage("a file is needed") end
    local rows, bad = {}, false
    for i, path in ipairs(words) do
      rows[i] = row_of(path)
      bad = bad or not rows[i].ok
    end
    if options.json then io.write(text.document("inspect", { files = text.array(words) }, rows))
    else
      for _, row in ipairs(rows) do
        io.write(text.style("bold", text.clean(row.file)), "\n")
        if row.ok then io.write("  ", row.format, " (", row.kind, "), ", core.format(row.bytes, "bytes"), "\n") end
        io.write("  ", row.ok and text.clean(row.summary) or text.style("red", text.clean(row.summary)), "\n")
      end
    end
    return bad and 3 or 0
  end,
}
