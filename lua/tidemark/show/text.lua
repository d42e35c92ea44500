-- Text for people: colours, aligned tables, sparklines, and names from outside made harmless.
local core = require "tidemark.core"

local M = { colored = false }

local utf8_locale = ((os.getenv("LC_ALL") or os.getenv("LC_CTYPE") or os.getenv("LANG") or ""):lower():find("utf%-?8")) ~= nil
M.utf8 = utf8_locale

--- WHEN of --color: auto looks at the terminal, NO_COLOR and CLICOLOR_FORCE.
function M.set_color(when)
  if when == "always" or os.getenv("CLICOLOR_FORCE") and when == "auto" then M.colored = true
  elseif when == "never" or os.getenv("NO_COLOR") then M.colored = false
  else M.colored = core.terminal(1).tty end
end

local styles = { bold = "1", dim = "2", red = "31", green = "32", yellow = "33", blue = "34", magenta = "35", cyan = "36" }

function M.style(name, s)
  if not M.colored or not styles[name] then return s end
  return "\27[" .. styles[name] .. "m" .. s .. "\27[0m"
end

local level_styles = { info = "cyan", warn = "yellow", high = "red", critical = "magenta", fail = "magenta" }
function M.level(level, s) return M.style(level_styles[level] or "dim", s or level) end

--- Control bytes, escapes and bidirectional marks of names from outside become '?'.
function M.clean(s)
  s = tostring(s):gsub("[%z\1-\8\11-\31\127]", "?")
  s = s:gsub("\226\128[\142\143\170-\174]", "?"):gsub("\226\129[\166-\169]", "?"):gsub("\194[\128-\159]", "?")
  return s
end

--- The same on one line.
function M.line(s) return (M.clean(s):gsub("[\t\n]+", " ")) end

--- Columns that a text takes, colours not counted.
function M.width(s) return core.width((s:gsub("\27%[[%d;]*m", ""))) end

function M.pad(s, width, right)
  local gap = width - M.width(s)
  if gap <= 0 then return s end
  return right and (" "):rep(gap) .. s or s .. (" "):rep(gap)
end

--- Cuts a text to so many columns; colours take none and are closed.
function M.cut(s, width)
  if M.width(s) <= width then return s end
  local out, columns, i = {}, 0, 1
  while i <= #s and columns < width - 1 do
    local escape = s:match("^\27%[[%d;]*m", i)
    local piece = escape or s:match("^[%z\1-\127\194-\244][\128-\191]*", i) or s:sub(i, i)
    if not escape then columns = columns + core.width(piece) end
    if columns > width - 1 then break end
    out[#out + 1] = piece
    i = i + #piece
  end
  return table.concat(out) .. (M.utf8 and "…" or "~") .. (M.colored and "\27[0m" or "")
end

--- A table for people. columns: { {key=, title=, unit=, right=} ... }; numbers are printed in their unit.
function M.table(columns, rows)
  local cells, widths = {}, {}
  for i, c in ipairs(columns) do widths[i] = M.width(c.title) end
  for r, row in ipairs(rows) do
    cells[r] = {}
    for i, c in ipairs(columns) do
      local value = row[c.key]
      local s = value == nil and "" or type(value) == "number" and core.format(value, c.unit or "") or M.line(value)
      cells[r][i] = s
      widths[i] = math.max(widths[i], M.width(s))
    end
  end
  local out, line = {}, {}
  for i, c in ipairs(columns) do line[i] = M.pad(c.title, widths[i], c.right) end
  out[1] = M.style("dim", (table.concat(line, "  "):gsub("%s+$", "")))
  for _, row in ipairs(cells) do
    for i, c in ipairs(columns) do line[i] = M.pad(row[i], widths[i], c.right) end
    out[#out + 1] = (table.concat(line, "  "):gsub("%s+$", ""))
  end
  return table.concat(out, "\n") .. "\n"
end

local blocks = { "▁", "▂", "▃", "▄", "▅", "▆", "▇", "█" }
local ascii = { "_", ".", "-", "~", "=", "+", "*", "#" }

--- A sparkline of numbers; NaN is a blank. Low and high default to the series' own.
function M.spark(values, low, high)
  local lo, hi = low or math.huge, high or -math.huge
  for _, v in ipairs(values) do
    if v == v then
      if not low and v < lo then lo = v end
      if not high and v > hi then hi = v end
    end
  end
  local marks, out = M.utf8 and blocks or ascii, {}
  for i, v in ipairs(values) do
    if v ~= v then out[i] = " "
    else
      local place = hi > lo and math.floor((v - lo) / (hi - lo) * 7.999) or 0
      out[i] = marks[math.max(0, math.min(7, place)) + 1]
    end
  end
  return table.concat(out)
end

--- One JSON document by the contract: schema, meta, rows.
function M.document(verb, meta, rows)
  return core.json { schema = "tidemark/" .. verb .. "/1", meta = meta or {}, rows = M.array(rows) } .. "\n"
end

--- The same over the rows of a core table, which renders them itself.
function M.document_of(verb, meta, t)
  return ('{"schema":"tidemark/%s/1","meta":%s,"rows":%s}\n'):format(verb, core.json(meta or {}), t:json())
end

local array_meta = { __name = "tidemark.Array" }
--- Marks a list so that it is [] in JSON when it is empty.
function M.array(list) return setmetatable(list, array_meta) end

function M.clock(time_ns) return os.date("%H:%M:%S", time_ns // 1000000000) end

return M
