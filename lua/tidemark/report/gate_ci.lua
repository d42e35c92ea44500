-- What a gate decided, for CI systems: JUnit XML, SARIF 2.1.0, and GitHub's annotations. d as in gate_text.lua.
local core = require "tidemark.core"
local gate = require "tidemark.report.gate"
local gate_text = require "tidemark.report.gate_text"
local text = require "tidemark.show.text"

local M = {}

-- Names come from files of strangers: what is no text, or not allowed in XML 1.0, becomes '?'.
local function plain(s)
  s = text.clean(s)
  if not utf8.len(s) then s = s:gsub("[\128-\255]", "?") end
  return (s:gsub("\239\191[\190\191]", "?"))
end

local xml_escapes = { ["&"] = "&amp;", ["<"] = "&lt;", [">"] = "&gt;", ['"'] = "&quot;", ["'"] = "&apos;", ["\n"] = "&#10;", ["\r"] = "&#13;",
  ["\t"] = "&#9;" }

--- Text for XML, in elements and attributes.
function M.escape_xml(s) return (plain(s):gsub("[&<>\"'\n\r\t]", xml_escapes)) end
local xml = M.escape_xml

local function details(d)
  local r, lines = d.result, { gate.method(d.result) }
  if r.weak then lines[#lines + 1] = r.weak end
  for _, row in ipairs(gate_text.shown(r)) do
    lines[#lines + 1] = gate_text.site_sentence(r, row) .. (row.where ~= "" and " (" .. row.where .. ")" or "")
    lines[#lines + 1] = "  " .. table.concat(row.path, " < ")
  end
  return table.concat(lines, "\n")
end

-- The test cases: the total, the limit of single sites, and each rule.
local function cases(d)
  local r, out = d.result, {}
  out[1] = { name = r.value .. " grows by at most " .. core.format(r.limit, "ratio"), message = r.over and gate.sentence(r), details = details(d) }
  if r.limit_site then
    local message = r.sites_over > 0 and ("%d site%s grew by more than %s"):format(r.sites_over, r.sites_over == 1 and "" or "s",
      core.format(r.limit_site, "ratio"))
    out[2] = { name = "no site grows by more than " .. core.format(r.limit_site, "ratio"), message = message, details = details(d) }
  end
  for _, f in ipairs(d.rules or {}) do out[#out + 1] = { name = f.rule, message = f.failed and f.text, details = f.text } end
  return out
end

--- JUnit XML as CI systems read it: a testsuite, a testcase for each decision.
function M.junit(d)
  local list, failures, body = cases(d), 0, {}
  for _, c in ipairs(list) do
    local open = ('    <testcase classname="tidemark.gate" name="%s" time="0"'):format(xml(c.name))
    if c.message then
      failures = failures + 1
      body[#body + 1] = ('%s>\n      <failure type="memory-growth" message="%s">%s</failure>\n    </testcase>\n'):format(open, xml(c.message), xml(c.details))
    else
      body[#body + 1] = open .. "/>\n"
    end
  end
  local counts = ('tests="%d" failures="%d" errors="0"'):format(#list, failures)
  return table.concat { '<?xml version="1.0" encoding="UTF-8"?>\n<testsuites ', counts, '>\n  <testsuite name="tidemark gate" ', counts,
    ' skipped="0" time="0">\n', table.concat(body), "  </testsuite>\n</testsuites>\n" }
end

local function percent(s) return (s:gsub("[^%w%-%._~/]", function(c) return ("%%%02X"):format(c:byte()) end)) end

-- An artifactLocation: relative to the repository when it is in it.
local function artifact(path, inside)
  path = plain(path):gsub("\\", "/")
  if inside then return { uri = percent(path), uriBaseId = "%SRCROOT%" } end
  if path:match("^%a:/") then return { uri = "file:///" .. path:sub(1, 2) .. percent(path:sub(3)) } end
  return { uri = (path:sub(1, 1) == "/" and "file://" or "") .. percent(path) }
end

local function location(d, row)
  local path, line, inside, frame = gate_text.place(d, row)
  if not path then return nil end
  return { physicalLocation = { artifactLocation = artifact(path, inside), region = { startLine = math.max(1, line or 1) } },
    logicalLocations = text.array { { fullyQualifiedName = plain(frame.name), kind = "function" } } }
end

local function site_result(d, row)
  local r = d.result
  local at = location(d, row)
  return { ruleId = row.failed and "site-growth" or "memory-growth", level = "error",
    message = { text = plain(gate_text.site_sentence(r, row) .. ". " .. gate.sentence(r) .. ".") },
    locations = at and text.array { at } or nil,
    partialFingerprints = { ["tidemarkSite/v1"] = core.hash(r.value .. "\0" .. table.concat(row.path, "\0")) },
    properties = { before = row.before, after = row.after, delta = row.delta, unit = r.unit, path = text.array(row.path) } }
end

--- The sites that a failed gate points at.
local function guilty(d)
  local out = {}
  for _, row in ipairs(gate_text.shown(d.result)) do
    if row.failed or d.result.over and (row.share or 0) >= 0.05 then out[#out + 1] = row end
  end
  return out
end

--- SARIF 2.1.0: one result for each site that holds the growth, one for each rule that failed; none when the gate passed.
function M.sarif(d)
  local results = text.array {}
  for _, row in ipairs(guilty(d)) do results[#results + 1] = site_result(d, row) end
  if d.result.over and #results == 0 then
    results[1] = { ruleId = "memory-growth", level = "error", message = { text = plain(gate.sentence(d.result)) } }
  end
  local rules = text.array {
    { id = "memory-growth", shortDescription = { text = "Memory grew from the first runs to the last by more than the limit" } },
    { id = "site-growth", shortDescription = { text = "The memory of one site grew by more than its limit" } } }
  local known = {}
  for _, f in ipairs(d.rules or {}) do
    if f.failed then
      if not known[f.rule] then rules[#rules + 1] = { id = plain(f.rule), shortDescription = { text = "A gate of a rule file" } } end
      known[f.rule] = true
      results[#results + 1] = { ruleId = plain(f.rule), level = "error", message = { text = plain(f.text) } }
    end
  end
  local driver = { name = "tidemark", version = core.version, semanticVersion = core.version, rules = rules }
  return core.json { ["$schema"] = "https://json.schemastore.org/sarif-2.1.0.json", version = "2.1.0",
    runs = text.array { { tool = { driver = driver }, columnKind = "unicodeCodePoints", results = results } } } .. "\n"
end

local function escape_data(s) return (plain(s):gsub("%%", "%%25"):gsub("\r", "%%0D"):gsub("\n", "%%0A")) end
local function escape_property(s) return (escape_data(s):gsub(":", "%%3A"):gsub(",", "%%2C")) end

local function command(kind, properties, message)
  local list = {}
  for _, pair in ipairs(properties) do list[#list + 1] = pair[1] .. "=" .. escape_property(pair[2]) end
  return ("::%s %s::%s\n"):format(kind, table.concat(list, ","), escape_data(message))
end

--- Workflow commands of GitHub Actions: an error at each guilty line, or a notice that it passed.
function M.github(d)
  local r = d.result
  if not d.failed then return command("notice", { { "title", "memory gate" } }, gate.sentence(r)) end
  local out = {}
  for _, row in ipairs(guilty(d)) do
    local properties = { { "title", "memory growth" } }
    local file, line, inside = gate_text.place(d, row)
    if inside then properties = { { "file", file }, { "line", tostring(line or 1) }, properties[1] } end
    out[#out + 1] = command("error", properties, gate_text.site_sentence(r, row) .. ". " .. gate.sentence(r))
  end
  if #out == 0 and r.failed then out[1] = command("error", { { "title", "memory gate" } }, gate.sentence(r)) end
  for _, f in ipairs(d.rules or {}) do
    if f.failed then out[#out + 1] = command("error", { { "title", f.rule } }, f.text) end
  end
  return table.concat(out)
end

return M
