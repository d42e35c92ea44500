-- attach: what a target offers, what is withheld, and what would add it. Changes nothing.
local args = require "tidemark.cli.args"
local capture = require "tidemark.capture"
local core = require "tidemark.core"
local fetch = require "tidemark.fetch"
local offers = require "tidemark.cli.offers"
local session = require "tidemark.cli.session"
local target = require "tidemark.cli.target"
local text = require "tidemark.show.text"

local units = {}
for _, s in ipairs(core.signals()) do units[s.name] = s.unit end

-- By name where the program is an interpreter, else by what its linker wrote into it. /proc/PID/exe is the program itself, also
-- when its file was replaced or stands in a container.
local function runtime_of(p)
  local exe, command = p.exe:match("([^/]+)$") or p.name, p.command
  if exe:match("^node") or command:match("^node ") then return "node" end
  if exe:match("^java") then return "jvm" end
  if exe:match("^python") then return "python" end
  if exe:match("chrom") or command:match("%-%-type=renderer") then return "chromium" end
  local found = core.exe_runtime("/proc/" .. p.pid .. "/exe") or p.exe ~= "" and core.exe_runtime(p.exe)
  if not found then return "unknown: the program cannot be read" end
  return found.name .. (found.version ~= "" and " (" .. found.version .. ")" or "")
end

local function by_kind(map)
  local list = {}
  for kind, n in pairs(map) do list[#list + 1] = { kind, n } end
  table.sort(list, function(a, b) return a[2] > b[2] or a[2] == b[2] and a[1] < b[1] end)
  for i, row in ipairs(list) do list[i] = ("%s %d"):format(row[1], row[2]) end
  return table.concat(list, ", ")
end

local function describe(pid, endpoint, how)
  local p, err = core.describe(pid)
  if not p then session.fail(err, 4) end
  local rows = {
    { capability = "process", detail = ("pid %d, uid %d, %s"):format(p.pid, p.uid, p.command) },
    { capability = "runtime", detail = runtime_of(p) },
  }
  local names = {}
  for name in pairs(p.signals) do
    if type(p.signals[name]) == "number" then names[#names + 1] = name end
  end
  table.sort(names)
  for _, name in ipairs(names) do
    rows[#rows + 1] = { capability = name, detail = core.format(p.signals[name], units[name] or ""), value = p.signals[name] }
  end
  if next(p.signals.handles) then rows[#rows + 1] = { capability = "proc.handles", detail = by_kind(p.signals.handles) } end
  if next(p.signals.mappings) then rows[#rows + 1] = { capability = "proc.mappings", detail = by_kind(p.signals.mappings) } end
  local captured = capture.of(pid, endpoint)
  if captured then offers.add_captures(rows, captured) end
  endpoint = endpoint or captured and captured.runtime == "go" and captured.base
  if endpoint then offers.add(rows, endpoint, how) end
  for _, w in ipairs(p.withheld) do
    rows[#rows + 1] = { capability = "withheld: " .. w.group, detail = w.what .. "; " .. w.remedy, withheld = true }
  end
  return p, rows
end

local options = { { "endpoint", "URL", "the app's pprof endpoint" } }
table.move(fetch.options, 1, #fetch.options, #options + 1, options)

return {
  name = "attach", summary = "what can be read of a target, what is withheld, and what would add it", usage = "attach TARGET [--json]",
  examples = { "tidemark attach 4711", "tidemark attach http://127.0.0.1:6060", "tidemark attach unix:/run/app.sock" },
  doc = "With an address it also asks the app what it offers: profiles, counters, metrics. Nothing costly is asked for.",
  options = options,
  run = function(opts, words)
    if #words ~= 1 then args.usage("one TARGET is needed") end
    local how, p, rows = fetch.from_options(opts), nil, {}
    local t = not words[1]:match("^%d+$") and capture.target(words[1]) -- jvm:, node:, chrome:
    if t and t.pid then
      p, rows = describe(t.pid, opts.endpoint, how)
    elseif t then
      offers.add_inspector(rows, t)
    elseif target.is_address(words[1]) and not target.listener(words[1]) and fetch.index(words[1], how) then
      offers.add(rows, words[1], how) -- of another machine, or another user's
    else
      local pid, endpoint = target.resolve(words[1])
      p, rows = describe(pid, opts.endpoint or endpoint, how)
    end
    if opts.json then
      io.write(text.document("attach", { target = words[1], pid = p and p.pid, name = p and p.name }, rows))
      return
    end
    for _, row in ipairs(rows) do
      local name = text.pad(row.capability, 26)
      io.write(row.withheld and text.style("yellow", name) or text.style("bold", name), " ", text.clean(row.detail), "\n")
    end
  end,
}
