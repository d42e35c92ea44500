-- malloc PID handles: who opened what the process holds.
local args = require "tidemark.cli.args"
local core = require "tidemark.core"
local handles = require "tidemark.handles"
local text = require "tidemark.show.text"

local M = {}

local columns = { { key = "count", title = "COUNT", right = true }, { key = "bytes", title = "BYTES", right = true }, { key = "kind", title = "KIND" },
  { key = "name", title = "OPENED BY" } }

local function fail(err) error({ message = err.message, code = err.code, advice = err.advice }, 0) end

local function callers(row)
  local out = {}
  for i = 2, math.min(#row.frames, 8) do out[#out + 1] = row.frames[i].name end
  return #out > 0 and text.style("dim", "  < " .. text.clean(table.concat(out, " < "))) .. "\n" or ""
end

-- The table, with the callers of each row below it.
local function render(rows)
  local cells = {}
  for i, row in ipairs(rows) do
    cells[i] = { count = row.count, bytes = row.bytes > 0 and core.format(row.bytes, "bytes") or "", kind = row.kind, name = text.clean(row.name) }
  end
  local i, out = -1, {}
  for line in text.table(columns, cells):gmatch("[^\n]+") do
    i = i + 1
    out[#out + 1] = line .. "\n" .. (rows[i] and callers(rows[i]) or "")
  end
  return table.concat(out)
end

local function document(pid, about, rows)
  local list = {}
  for i, row in ipairs(rows) do
    list[i] = { count = row.count, bytes = row.bytes, kind = row.kind, name = row.name, is_seen = row.is_seen, frames = text.array(row.frames) }
  end
  return text.document("malloc", { pid = pid, verb = "handles", is_on = about.handles_on == 1, seen = about.handles_seen }, text.array(list))
end

--- start and stop recording; nothing: the table of what is held.
function M.run(pid, what, opts)
  if what == "start" or what == "stop" then
    local about, err = handles[what](pid)
    if not about then fail(err) end
    if opts.json then
      io.write(text.document("malloc", { pid = pid, verb = "handles " .. what, is_on = about.handles_on == 1, seen = about.handles_seen }, text.array {}))
    elseif not opts.quiet then
      io.write(about.handles_on == 1 and "recorded from now on\n" or ("no longer recorded; %d were seen\n"):format(about.handles_seen))
    end
    return 0
  end
  if what then args.usage("handles takes start, stop or nothing: tidemark malloc 4711 handles") end
  local p, about = handles.profile(pid)
  if not p then fail(about) end
  local rows = handles.rows(p)
  p:close()
  if opts.json then
    io.write(document(pid, about, rows))
  elseif not opts.quiet then
    io.write(render(rows))
    if about.handles_on == 0 and about.handles_seen == 0 then
      io.stderr:write(("tidemark: nothing is recorded yet: tidemark malloc %d handles start\n"):format(pid))
    end
  end
  return 0
end

return M
