-- :save rule NAME: a rule and its tests from lines that were typed. A comparison such as t:last("rss") > 500e6 becomes a bound; a
-- signal that was only looked at (series, trend, plot) becomes a search for steady growth.
local core = require "tidemark.core"

local M = {}

local function full_name(signal)
  if signal:find(".", 1, true) then return signal end
  local other
  for _, s in ipairs(core.signals()) do
    if s.name == "proc." .. signal then return s.name end
    if s.name:match("([^.]+)$") == signal then other = other or s.name end
  end
  return other or "proc." .. signal
end

--- The signals that lines look at: { { metric, name, op, bound }, ... }, each metric once.
function M.signals(lines)
  local list, seen = {}, {}
  local function add(signal, op, bound)
    local metric = full_name(signal)
    if seen[metric] then
      if op and not seen[metric].op then seen[metric].op, seen[metric].bound = op, bound end
      return
    end
    seen[metric] = { metric = metric, name = metric:match("([^.]+)$"), op = op, bound = bound }
    list[#list + 1] = seen[metric]
  end
  for _, line in ipairs(lines) do
    for signal, op, bound in line:gmatch("last%s*%(?%s*[\"']([%w_.]+)[\"']%s*%)?%s*([<>]=?)%s*([%d.eE+]+)") do
      add(signal, op, tonumber(bound))
    end
    for _, verb in ipairs { "last", "series", "trend", "plot" } do
      for signal in line:gmatch("[:.]" .. verb .. "%s*%(?%s*[\"']([%w_.]+)[\"']") do add(signal) end
    end
    local plotted = line:match("^%s*:plot%s+([%w_.]+)")
    if plotted then add(plotted) end
  end
  return list
end

local function number(value) return math.tointeger(value) and ("%d"):format(math.tointeger(value)) or ("%.6g"):format(value) end

-- Feeds on both sides of a bound.
local function bound_test(s)
  local up = s.op:sub(1, 1) == ">"
  local quiet, loud = s.bound * (up and 0.5 or 1.5), s.bound * (up and 1.5 or 0.5)
  if s.bound == 0 then quiet, loud = up and 0 or 1, up and 1 or 0 end
  local function whole(v) return number(math.floor(v + 0.5)) end
  if not up and s.bound == 0 then return nil end
  return ('    { name = "fires beyond the bound of %s",\n      feed = { ["%s"] = "5s %sx60 %sx60" },\n'):format(s.name, s.metric, whole(quiet), whole(loud))
    .. '      expect = { { at = "4m", is = "inactive" }, { at = "9m", is = "firing" } } },\n'
end

local function growth_test(s)
  return ('    { name = "finds steady growth of %s",\n      feed = { ["%s"] = "5s 500M+1Mx480" },\n'):format(s.name, s.metric)
    .. '      expect = { { at = "35m", is = "firing" } } },\n'
    .. ('    { name = "is quiet about a level %s",\n      feed = { ["%s"] = "5s 500Mx480" },\n'):format(s.name, s.metric)
    .. '      expect = { { at = "35m", is = "inactive" } } },\n'
end

local function units()
  local by_name = {}
  for _, s in ipairs(core.signals()) do by_name[s.name] = s.unit end
  return by_name
end

-- What the alert says: a size as a size, growth as growth, as long as that holds for every signal.
local function sentence(signals, unit)
  local sizes, bounds = true, 0
  for _, s in ipairs(signals) do
    sizes = sizes and unit[s.metric] == "bytes"
    bounds = bounds + (s.op and 1 or 0)
  end
  local value = sizes and "{value:bytes}" or "{value}"
  if bounds == 0 then return "{target}: {key} grows by " .. value .. "/h" end
  return bounds == #signals and "{target}: {key} is at " .. value or "{target}: {key} stands out with " .. value
end

--- The text of a rule over signals of lines.
function M.text(name, lines)
  local signals, unit = M.signals(lines), units()
  if #signals == 0 then signals[1] = { metric = "proc.rss", name = "rss" } end
  local inputs, checks, tests = {}, {}, {}
  for _, s in ipairs(signals) do
    local value_unit = unit[s.metric] or ""
    if s.op then
      inputs[#inputs + 1] = ('    %s = tm.gauge("%s", { every = "5s" }),\n'):format(s.name, s.metric)
      checks[#checks + 1] = ('    local %s = c.%s.last\n    if %s and %s %s %s then\n      return c:finding { key = "%s", value = %s, unit = "%s" }\n'
        .. "    end\n"):format(s.name, s.name, s.name, s.name, s.op, number(s.bound), s.name, s.name, value_unit)
      tests[#tests + 1] = bound_test(s)
    else
      inputs[#inputs + 1] = ('    %s = tm.series("%s", { every = "5s", window = "30m" }),\n'):format(s.name, s.metric)
      checks[#checks + 1] = ('    local %s = c.%s:trend { floor = 30, min_growth = 0.03 }\n    if %s.leak and c.%s.span >= 600 then\n'):format(s.name, s.name,
        s.name, s.name) .. ('      return c:finding { key = "%s", value = %s.slope, unit = "%s" }\n    end\n'):format(s.name, s.name, value_unit)
      tests[#tests + 1] = growth_test(s)
    end
  end
  local comment = {}
  for i, line in ipairs(lines) do comment[i] = "--   " .. line:gsub("\n", "\n--   ") end
  return ("-- %s: made in the REPL from these lines:\n%s\n"):format(name, table.concat(comment, "\n"))
    .. ('tm.rule {\n  id = "%s",\n  doc = "what was looked at in the REPL",\n  every = "10s", hold = "10s", linger = "1m", level = "warn",\n'):format(name)
    .. "  inputs = {\n" .. table.concat(inputs) .. "  },\n  check = function(c)\n" .. table.concat(checks) .. "  end,\n"
    .. ('  say = "%s",\n  tests = {\n'):format(sentence(signals, unit)) .. table.concat(tests) .. "  },\n}\n"
end

--- Writes rules/NAME.lua (or NAME.lua where there is no such folder), checks it and runs its tests.
function M.rule(name, lines)
  if not name:match("^[%a][%w_.%-]*$") then error({ code = "argument", message = "'" .. name .. "' is no name of a rule" }, 0) end
  local stat = core.stat("rules")
  local path = (stat and stat.kind == "directory" and "rules/" or "") .. name:gsub("[.%-]", "_") .. ".lua"
  if core.stat(path) then error({ code = "argument", message = path .. " exists already" }, 0) end
  local source = M.text(name, lines)
  local rules, err = core.rules_check(path, source)
  if not rules then error(err, 0) end
  local ok, tests = core.rules_test(path, source)
  local f, problem = io.open(path, "w")
  if not f then error({ code = "io", message = "cannot write " .. problem }, 0) end
  f:write(source)
  f:close()
  io.write(("wrote %s, %d test%s %s\n"):format(path, #tests, #tests == 1 and "" or "s", ok and "passed" or "run, some failed"))
  for _, t in ipairs(tests) do
    if not t.ok then io.write("  ", t.test, ": ", t.why, "\n") end
  end
  io.write("load it with :load " .. path .. "\n")
end

return M
