-- Plots in text: braille dots, two by four to a character, under axes with units; stars where the locale has no UTF-8.
local core = require "tidemark.core"
local text = require "tidemark.show.text"

local M = {}

-- Bits of the dots of a braille character: column 0 or 1, row 0 (top) to 3.
local bits = { [0] = { [0] = 0x01, 0x02, 0x04, 0x40 }, { [0] = 0x08, 0x10, 0x20, 0x80 } }

local function range(values)
  local lo, hi = math.huge, -math.huge
  for _, v in ipairs(values) do
    if v == v then lo, hi = math.min(lo, v), math.max(hi, v) end
  end
  return lo, hi
end

-- A grid of dots, and what draws it.
local function braille(columns, rows)
  local grid = {}
  for r = 1, rows do
    grid[r] = {}
    for c = 1, columns do grid[r][c] = 0 end
  end
  local function dot(x, y) -- from the left and the bottom, from 0
    local top = rows * 4 - 1 - y
    local r, c = top // 4 + 1, x // 2 + 1
    if grid[r] and grid[r][c] then grid[r][c] = grid[r][c] | bits[x % 2][top % 4] end
  end
  local function line(r)
    local out = {}
    for c = 1, columns do out[c] = utf8.char(0x2800 + grid[r][c]) end
    return table.concat(out)
  end
  return columns * 2, rows * 4, dot, line
end

local function stars(columns, rows)
  local grid = {}
  for r = 1, rows do grid[r] = {} end
  local function dot(x, y) if y < rows then grid[rows - y][x + 1] = true end end
  local function line(r)
    local out = {}
    for c = 1, columns do out[c] = grid[r][c] and "*" or " " end
    return table.concat(out)
  end
  return columns, rows, dot, line
end

-- Dots for the values over their times, with lines between neighbours.
local function draw(times, values, lo, hi, wide, high, dot)
  local first, last = times[1], times[#times]
  local span, height, before_x, before_y = math.max(last - first, 1), hi > lo and hi - lo or 1, nil, nil
  for i, v in ipairs(values) do
    if v ~= v then before_x = nil
    else
      local x = math.floor((times[i] - first) / span * (wide - 1) + 0.5)
      local y = hi > lo and math.floor((v - lo) / height * (high - 1) + 0.5) or high // 2
      dot(x, y)
      if before_x then
        local steps = math.max(math.abs(x - before_x), math.abs(y - before_y))
        for s = 1, steps - 1 do
          dot(before_x + math.floor((x - before_x) * s / steps + 0.5), before_y + math.floor((y - before_y) * s / steps + 0.5))
        end
      end
      before_x, before_y = x, y
    end
  end
end

--- A plot of values over times (ns). options: unit, width, height, title.
---@param times integer[]
---@param values number[]
---@param options table|nil
---@return string
function M.render(times, values, options)
  options = options or {}
  if #values == 0 then return text.style("dim", "no samples") .. "\n" end
  local lo, hi = range(values)
  if lo > hi then return text.style("dim", "no samples") .. "\n" end
  local unit = options.unit or ""
  local top, bottom = core.format(hi, unit), core.format(lo, unit)
  local label = math.max(core.width(top), core.width(bottom))
  local columns, rows = math.max(10, (options.width or 80) - label - 3), math.max(2, options.height or 10)
  local wide, high, dot, line = (text.utf8 and braille or stars)(columns, rows)
  draw(times, values, lo, hi, wide, high, dot)
  local bar, corner, dash = "|", "+", "-"
  if text.utf8 then bar, corner, dash = "┤", "└", "─" end
  local out = {}
  if options.title then out[1] = text.style("bold", options.title) end
  for r = 1, rows do
    local name = r == 1 and top or r == rows and hi > lo and bottom or ""
    out[#out + 1] = text.pad(name, label, true) .. " " .. bar .. text.style("cyan", (line(r):gsub(" +$", "")))
  end
  local left, right = text.clock(times[1]), text.clock(times[#times])
  out[#out + 1] = (" "):rep(label + 1) .. corner .. dash:rep(columns)
  out[#out + 1] = (" "):rep(label + 2) .. left .. (" "):rep(math.max(1, columns - #left - #right)) .. right
  return table.concat(out, "\n") .. "\n"
end

return M
