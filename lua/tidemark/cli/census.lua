-- census: goroutines of a live Go process, without stopping or asking it.
local args = require "tidemark.cli.args"
local core = require "tidemark.core"
local profiles = require "tidemark.cli.profiles"
local target = require "tidemark.cli.target"
local text = require "tidemark.show.text"

local function duration(what, word)
  if not word then return nil end
  local ns, err = core.duration(word)
  if not ns or ns <= 0 then args.usage(what .. ": " .. (err and err.message or "must be above 0")) end
  return ns
end

local function columns()
  local out = { { key = "count", title = "COUNT", right = true }, { key = "age_ns", title = "OLDEST", unit = "ns", right = true } }
  for _, key in ipairs { "state", "entry", "site", "creation" } do out[#out + 1] = { key = key, title = key:upper() } end
  return out
end

local function show(options, pid, t, look)
  if options.csv then return profiles.output(options, t:csv()) end
  if options.json then
    local meta = { target = pid, partial = false, problems = text.array {} }
    for key, value in pairs(look) do meta[key] = value end
    for key, value in pairs(t.notes) do meta[key] = value end
    return profiles.output(options, text.document_of("census", meta, t))
  end
  local rows = {}
  for i, row in t:rows() do rows[i] = row end
  local head = ("%d goroutines of process %d, seen in %s while it ran on"):format(look.alive, pid, core.format(look.took_ns, "ns"))
  if look.torn > 0 then head = head .. ("; %d changed meanwhile and are left out"):format(look.torn) end
  if not options.system then head = head .. ("; %d of the runtime itself are not shown (--system)"):format(look.system) end
  local out = { head .. "\n" }
  for _, row in ipairs(options.stacks and rows or {}) do
    out[#out + 1] = text.table(columns(), { row })
    for line in row.stack:gmatch("[^\n]+") do out[#out + 1] = "    " .. text.clean(line) .. "\n" end
    out[#out + 1] = "\n"
  end
  if not options.stacks then out[#out + 1] = text.table(columns(), rows) end
  profiles.output(options, table.concat(out))
end

return {
  name = "census", summary = "goroutines of a live Go process, by state, entry, site and creation, without stopping it",
  usage = "census TARGET [OPTIONS]",
  examples = { "tidemark census myapp", "tidemark census 4711 --every 1s --for 1m", "tidemark census 4711 --stacks --json" },
  doc = "The process is neither stopped nor asked: its memory is read. It must be a Go program with debug information (not built with\n"
    .. "-ldflags=-w), or --exe names one that is the same. OLDEST is how long the runtime says that it waits, which it notes at collections\n"
    .. "only, or for how long repeated looks (--every) have seen it wait there, whichever is longer.",
  options = {
    { "exe", "FILE", "the same program with debug information" },
    { "every", "TIME", "look again and again" },
    { "for", "TIME", "end after that long; with --every" },
    { "system", "also goroutines of the runtime itself" },
    { "stacks", "tell different stacks apart, and print them" },
    { "nodecount", "N", "so many rows at most; 0 = all", kind = "integer" },
    { "csv", "print the table as CSV" },
    { "output", "FILE", "write there instead of to the terminal" },
  },
  run = function(options, words)
    if #words ~= 1 then args.usage("one process is needed: a PID or a name") end
    local every, total = duration("--every", options.every), duration("--for", options["for"])
    if total and not every then args.usage("--for needs --every") end
    local pid = target.resolve(words[1])
    local census, err = core.go_census(pid, { exe = options.exe })
    if not census then error(err, 0) end
    local wanted = { stacks = options.stacks, nodecount = options.nodecount or (options.json or options.csv) and 0 or 20 }
    local _, started = core.now()
    while true do
      local profile, look = census:look { system = options.system }
      if not profile then error(look, 0) end
      local t = assert(core.goroutines(profile, wanted))
      local _, now = core.now()
      local last = not every or total and now + every > started + total
      if not every or not (options.json or options.csv) or last then show(options, pid, t, look) end
      if last then return 0 end
      core.sleep(every)
      if not (options.json or options.csv) then io.write("\n") end
    end
  end,
}
