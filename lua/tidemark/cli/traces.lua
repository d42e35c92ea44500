-- What the commands over traces share, Go's and Chrome's: opening one, their options, and printing a table of it.
local args = require "tidemark.cli.args"
local profile = require "tidemark.profile"
local profiles = require "tidemark.cli.profiles"
local text = require "tidemark.show.text"

local M = {}

local shared = {
  { "csv", "print the table as CSV" },
  { "output", "FILE", "write there instead of to the terminal" },
  { "format", "F", "how the file is written, when it cannot be seen" },
}

--- The options of every command over a trace, and those of its own.
function M.options_with(...)
  local out = { ... }
  return table.move(shared, 1, #shared, #out + 1, out)
end

--- Reads the one trace that `words` names. Raises when it is none of these kinds.
---@param what string  for people: "trace of Chrome"
---@param kinds table  kind -> true: trace (Go's), timeline (Chrome's)
---@param problems? table  gets what was wrong with it
---@return userdata trace, table problems
function M.open(words, options, what, kinds, problems)
  if #words ~= 1 then args.usage("one " .. what .. " is needed") end
  problems = problems or {}
  local t = profile.read(words[1], options, problems)
  if not kinds[t.kind] then
    error({ message = ("%s is a %s (%s), no %s"):format(words[1], t.kind, t.format, what), code = "argument" }, 0)
  end
  return t, problems
end

--- t, or raises the error that a verb returned with nil.
function M.checked(t, err)
  if not t then error(err, 0) end
  return t
end

--- All rows of a table for which keep, if given, is true.
function M.rows(t, keep)
  local out = {}
  for _, row in t:rows() do if not keep or keep(row) then out[#out + 1] = row end end
  return out
end

--- What --json says above the rows.
function M.meta(words, trace, problems, more)
  local meta = { files = text.array(words), format = trace.format, partial = trace.partial, problems = text.array(problems) }
  for key, value in pairs(more or {}) do meta[key] = value end
  return meta
end

--- Prints rows under `head` as aligned text, and the problems beside them.
---@param columns table  of the text: see show.text.table
function M.print(options, problems, columns, head, rows)
  profiles.warn(problems)
  profiles.output(options, head .. (#rows > 0 and text.table(columns, rows) or ""))
end

--- Columns of nanoseconds, of bytes, of counts.
function M.ns(key, title) return { key = key, title = title, unit = "ns", right = true } end
function M.bytes(key, title) return { key = key, title = title, unit = "bytes", right = true } end
function M.number(key, title) return { key = key, title = title, right = true } end

return M
