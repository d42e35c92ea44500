-- Lines from people: with editing, history and completion on a terminal, plain from a pipe. One console serves the process.
local core = require "tidemark.core"
local history = require "tidemark.repl.history"

local M = {}

local console, loaded = nil, nil

--- The console of this process with the history of that name; nil when standard input is no terminal.
---@param name string|nil
---@return userdata|nil
function M.console(name)
  if console then return console end
  console = core.console()
  if not console then return nil end
  loaded = name
  for _, entry in ipairs(name and history.load(name) or {}) do console:add_history(entry) end
  return console
end

--- Gives the terminal back as it was found.
function M.close()
  if console then console:close() end
  console = nil
end

--- The last word of the text before the cursor, by blanks: where candidates for it begin.
local function answer_tab(c, complete)
  local line, cursor = c:text()
  local before = line:sub(1, cursor)
  c:candidates(#before:match("^(.-)%S*$"), complete(before))
end

--- Reads one line. opts: complete(line) -> { { word, doc }, ... } for the last word of the line; history = a name.
--- Ctrl-C empties the line; Ctrl-D or the end of input answers nil.
---@param prompt string
---@param opts table|nil
---@return string|nil
function M.read_line(prompt, opts)
  opts = opts or {}
  local c = M.console(opts.history)
  if not c then return io.read("l") end
  io.stdout:flush()
  c:raw(true)
  c:begin(prompt, "")
  local line
  while true do
    local event = c:event()
    if event == "enter" then
      line = c:text()
      c:accept()
      break
    elseif event == "complete" then
      if opts.complete then answer_tab(c, opts.complete) else c:candidates(0, {}) end
    elseif event == "interrupt" then
      c:abandon()
      c:begin(prompt, "")
    elseif event == "suspend" then c:suspend()
    elseif event then
      c:accept()
      break
    else c:wait() end
  end
  c:raw(false)
  if line and line ~= "" then
    c:add_history(line)
    if loaded then history.append(loaded, line) end
  end
  return line
end

return M
