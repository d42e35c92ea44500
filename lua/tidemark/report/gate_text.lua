-- What a gate decided, for people: terminal text and Markdown, and the rows of the JSON contract.
--
-- d = { result = gate:decide(), rules = findings of tm.gate rules, problems = texts, locate = file -> path, is_inside }: locate gives
-- a source file's path in the repository, or what it is called elsewhere.
local core = require "tidemark.core"
local gate = require "tidemark.report.gate"
local text = require "tidemark.show.text"

local M = {}

-- Names of strangers, on one line.
local function flat(s) return (text.clean(s):gsub("[\r\n\t]", " ")) end

local function signed(value, unit) return (value > 0 and "+" or "") .. gate.show(value, unit) end
local function share(value) return value and core.format(value, "ratio") or "" end
local function p_text(p) return p and ("%.2g"):format(p) or "-" end

--- The sites worth telling: those over their limit, and those that hold a part of a growth that matters.
function M.shown(r, most)
  local out = {}
  local least = r.failed and 0 or r.before * 0.01
  for _, row in ipairs(r.sites) do
    if #out == (most or 10) and not row.failed then break end
    if row.failed or row.delta > least and (row.share or 0) >= 0.01 then out[#out + 1] = row end
  end
  return out
end

--- One site in words: "main.f grew by 9.3 MiB, 1.0 MiB -> 10.3 MiB, 95 % of the growth".
function M.site_sentence(r, row)
  local part = row.share and r.delta > 0 and (", %s of the growth"):format(share(row.share)) or ""
  local over = row.failed and (", more than %s for one site"):format(core.format(r.limit_site, "ratio")) or ""
  return ("%s grew by %s, %s -> %s%s%s"):format(row.name, gate.show(row.delta, r.unit), gate.show(row.before, r.unit),
    gate.show(row.after, r.unit), part, over)
end

--- Where to point for a site: its first frame in the repository, else its owner. Returns path, line, is_inside, frame; nil when no
--- file is known.
function M.place(d, row)
  for _, frame in ipairs(row.frames) do
    if frame.file then
      local path, inside = d.locate(frame.file)
      if inside then return path, frame.line, true, frame end
    end
  end
  if not row.file then return nil end
  return (d.locate(row.file)), row.line, false, row
end

-- The sparkline's values: at most so many, each the median of its runs.
local function thinned(values, most)
  local out, n = {}, math.min(#values, most)
  for i = 1, n do
    local from, to = (i - 1) * #values // n + 1, i * #values // n
    out[i] = core.median(table.move(values, from, to, 1, {}))
  end
  return out
end

local function path_line(path, most)
  local names = table.move(path, 1, math.min(#path, most), 1, {})
  if #path > most then names[#names + 1] = ("(%d more)"):format(#path - most) end
  return table.concat(names, " < ")
end

local columns = { { key = "name", title = "WHAT GREW" }, { key = "where", title = "WHERE" }, { key = "before", title = "BEFORE", right = true },
  { key = "after", title = "AFTER", right = true }, { key = "delta", title = "GROWTH", right = true }, { key = "share", title = "SHARE", right = true },
  { key = "p", title = "P", right = true } }

local function cells(r, row)
  return { name = (row.failed and "! " or "") .. flat(row.name), where = flat(row.where), before = gate.show(row.before, r.unit),
    after = gate.show(row.after, r.unit), delta = signed(row.delta, r.unit), share = share(row.share), p = p_text(row.p) }
end

--- The verdict, how it was reached, the runs, the table of what grew, and a path for each of the first three.
function M.text(d)
  local r, out = d.result, {}
  local function line(s) out[#out + 1] = s .. "\n" end
  local by_rules = 0
  for _, f in ipairs(d.rules or {}) do by_rules = by_rules + (f.failed and 1 or 0) end
  local why = not r.failed and by_rules > 0 and ("%d finding%s; "):format(by_rules, by_rules == 1 and "" or "s") or ""
  line((d.failed and text.style("red", "FAIL") or text.style("green", "ok  ")) .. "  " .. text.style("bold", why .. flat(gate.sentence(r))))
  local shown = M.shown(r)
  if d.failed and shown[1] then line("      " .. flat(M.site_sentence(r, shown[1]))) end
  line("      " .. gate.method(r))
  if r.weak then line("      " .. r.weak) end
  for _, f in ipairs(d.rules or {}) do line(("      %s %s: %s"):format(text.level(f.level, f.level:upper()), flat(f.rule), flat(f.text))) end
  for _, problem in ipairs(d.problems or {}) do line("      note: " .. flat(problem)) end
  if #r.totals > 2 then
    line(("\n%s  %s  %s"):format(core.format(r.totals[1], r.unit), text.style("cyan", text.spark(thinned(r.totals, 60))),
      core.format(r.totals[#r.totals], r.unit)))
  end
  if #shown == 0 then return table.concat(out) end
  local rows = {}
  for i, row in ipairs(shown) do rows[i] = cells(r, row) end
  line("")
  out[#out + 1] = text.table(columns, rows)
  line("")
  for i = 1, math.min(3, #shown) do
    line(text.style("dim", "  " .. flat(path_line(shown[i].path, 8))))
  end
  return table.concat(out)
end

--- Text that Markdown shows as it is, on one line, also in a table.
function M.escape_markdown(s)
  s = flat(s)
  if not utf8.len(s) then s = s:gsub("[\128-\255]", "?") end
  s = s:gsub("[\\`*_{}%[%]()#+!|~@]", "\\%0"):gsub("&", "&amp;"):gsub("<", "&lt;"):gsub(">", "&gt;")
  return s
end
local md = M.escape_markdown

function M.markdown(d)
  local r = d.result
  local out = { ("## %s Memory gate: %s\n\n"):format(d.failed and "❌" or "✅", d.failed and "failed" or "passed"),
    ("**%s**\n\n%s.\n"):format(md(gate.sentence(r)), md(gate.method(r))) }
  if r.weak then out[#out + 1] = "\n> " .. md(r.weak) .. "\n" end
  for _, f in ipairs(d.rules or {}) do out[#out + 1] = ("\n- **%s** %s: %s\n"):format(md(f.level), md(f.rule), md(f.text)) end
  for _, problem in ipairs(d.problems or {}) do out[#out + 1] = "\n> " .. md(problem) .. "\n" end
  local shown = M.shown(r)
  if #shown > 0 then out[#out + 1] = "\n| what grew | where | before | after | growth | share |\n|---|---|---:|---:|---:|---:|\n" end
  for _, row in ipairs(shown) do
    local c = cells(r, row)
    local path, at = M.place(d, row)
    local where = path and path .. (at and ":" .. at or "") or ""
    out[#out + 1] = ("| %s | %s | %s | %s | %s | %s |\n"):format(md(row.name), md(where), c.before, c.after, md(c.delta), c.share)
  end
  if shown[1] then out[#out + 1] = "\nThe first one's path: " .. md(path_line(shown[1].path, 12)) .. "\n" end
  return table.concat(out)
end

--- meta and rows of tidemark/gate/1.
function M.document(d)
  local r, rows, runs = d.result, {}, {}
  for i, total in ipairs(r.totals) do runs[i] = { name = r.names[i], total = total } end
  for i, row in ipairs(r.sites) do
    rows[i] = { name = row.name, file = row.file, line = row.line, site = row.site, path = text.array(row.path), before = row.before,
      after = row.after, delta = row.delta, growth_ratio = row.growth, share_ratio = row.share, p = row.p, failed = row.failed }
  end
  local meta = { failed = d.failed, sentence = gate.sentence(r), method = gate.method(r), weak = r.weak, value = r.value, unit = r.unit,
    before = r.before, after = r.after, delta = r.delta, growth_ratio = r.growth, max_growth_ratio = r.limit, max_growth_site_ratio = r.limit_site,
    min_amount = r.min_amount, p = r.p, p_limit = r.limit_p, tested = r.tested, warm_up = r.warm_up, first_runs = r.head, last_runs = r.tail,
    baseline_runs = r.baseline, runs = text.array(runs), rules = text.array(d.rules or {}), problems = text.array(d.problems or {}),
    suppressed = d.suppressed and text.array(d.suppressed) }
  return text.document("gate", meta, rows)
end

return M
