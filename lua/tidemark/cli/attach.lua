-- attach: what a target offers, what is withheld, and what would add it. Changes nothing.
local args = require "tidemark.cli.args"
local core = require "tidemark.core"
local session = require "tidemark.cli.session"
local target = require "tidemark.cli.target"
local text = require "tidemark.show.text"

local units = {}
for _, s in ipairs(core.signals()) do units[s.name] = s.unit end

local function runtime_of(p)
  local exe, command = p.exe:match("([^/]+)$") or p.name, p.command
  if exe:match("^node") or command:match("^node ") then return "node" end
  if exe:match("^java") then return "jvm" end
  if exe:match("^python") then return "python" end
  if exe:match("chrom") or command:match("%-%-type=renderer") then return "chromium" end
  local f = p.exe ~= "" and io.open(p.exe, "rb")
  if f then
    local head = f:read(1 << 20) or ""
    f:close()
    if head:find("\255 Go buildinf:", 1, true) or head:find("Go build ID", 1, true) then return "go" end
  end
  return "native"
end

local probes = { { "pprof", "", "profiles: heap, allocs, goroutine, cpu, trace..." }, { "expvar", "../vars", "counters of the app" } }

local function probe(endpoint, rows)
  if not endpoint or not core.http then return end
  for _, p in ipairs(probes) do
    local url = p[2] == "" and endpoint or endpoint:gsub("pprof/?$", "vars")
    local answer = core.http { url = url, timeout_ns = 2000000000, max_body_bytes = 4 << 20 }
    if answer and answer.status == 200 then rows[#rows + 1] = { capability = p[1], detail = url .. ": " .. p[3] }
    else rows[#rows + 1] = { capability = "no " .. p[1], detail = url .. ": " .. (answer and "HTTP " .. answer.status or "no answer") } end
  end
end

local function by_kind(map)
  local list = {}
  for kind, n in pairs(map) do list[#list + 1] = { kind, n } end
  table.sort(list, function(a, b) return a[2] > b[2] or a[2] == b[2] and a[1] < b[1] end)
  for i, row in ipairs(list) do list[i] = ("%s %d"):format(row[1], row[2]) end
  return table.concat(list, ", ")
end

local function describe(pid, endpoint)
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
  probe(endpoint, rows)
  for _, w in ipairs(p.withheld) do
    rows[#rows + 1] = { capability = "withheld: " .. w.group, detail = w.what .. "; " .. w.remedy, withheld = true }
  end
  return p, rows
end

return {
  name = "attach", summary = "what can be read of a target, what is withheld, and what would add it", usage = "attach TARGET [--json]",
  examples = { "tidemark attach 4711", "tidemark attach http://127.0.0.1:6060", "tidemark attach unix:/run/app.sock" },
  options = { { "endpoint", "URL", "the app's pprof endpoint" } },
  run = function(options, words)
    if #words ~= 1 then args.usage("one TARGET is needed") end
    local pid, endpoint = target.resolve(words[1])
    local p, rows = describe(pid, options.endpoint or endpoint)
    if options.json then
      io.write(text.document("attach", { target = words[1], pid = p.pid, name = p.name }, rows))
      return
    end
    for _, row in ipairs(rows) do
      local name = text.pad(row.capability, 26)
      io.write(row.withheld and text.style("yellow", name) or text.style("bold", name), " ", text.clean(row.detail), "\n")
    end
  end,
}
