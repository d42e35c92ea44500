-- config: where settings come from. A config file is Lua that returns a table of options; it may call nothing.
local args = require "tidemark.cli.args"
local paths = require "tidemark.cli.paths"
local session = require "tidemark.cli.session"
local text = require "tidemark.show.text"

local M = {}

--- Candidates in order: the first that exists counts.
function M.files()
  return { os.getenv("TIDEMARK_CONFIG"), paths.config() .. "/config.lua", "/etc/tidemark/config.lua" }
end

--- The settings of the first config file, and its path; {} and nil when there is none.
function M.load()
  local candidates = { os.getenv("TIDEMARK_CONFIG") or false, paths.config() .. "/config.lua", "/etc/tidemark/config.lua" }
  for _, path in ipairs(candidates) do
    local source = path and paths.read(path)
    if source then
      local chunk, problem = load(source, "@" .. path, "t", {})
      if not chunk then session.fail({ message = problem, code = "format" }, 3) end
      local ok, settings = pcall(chunk)
      if not ok or type(settings) ~= "table" then
        session.fail({ message = path .. ": it must return a table" .. (ok and "" or ": " .. tostring(settings)), code = "format" }, 3)
      end
      return settings, path
    end
  end
  return {}, nil
end

--- Fills options that the command line did not give from the config file. Texts are read as on the command line.
function M.apply(command, options)
  local settings, path = M.load()
  local known, names = {}, {}
  for _, option in ipairs(session.options) do
    known[option[1]] = option
    names[#names + 1] = option[1]
  end
  if type(settings.policies) == "table" then options.policies = settings.policies end
  for name in pairs(settings) do
    if not known[name] and name ~= "policies" then args.usage(path .. ": unknown setting '" .. tostring(name) .. "'" .. args.nearest(tostring(name), names)) end
  end
  for _, option in ipairs(command.options) do
    local value = settings[option[1]]
    if value ~= nil and options[option[1]] == nil then options[option[1]] = args.from_config(option, value, path) end
  end
end

M.name, M.summary, M.usage = "config", "show settings and where each comes from", "config show [--origin] [--json]"
M.examples = { "tidemark config show --origin" }
M.options = { { "origin", "say where each value comes from" } }

function M.run(options, words)
  if words[1] and words[1] ~= "show" then args.usage("unknown word '" .. words[1] .. "'" .. args.nearest(words[1], { "show" })) end
  local settings, path = M.load()
  local rows = {}
  for _, option in ipairs(session.options) do
    local given = settings[option[1]]
    local value = given
    if value == nil then value = args.is_flag(option) and false or option.default or "" end
    rows[#rows + 1] = { name = option[1], value = type(value) == "table" and table.concat(value, ", ") or tostring(value),
      origin = given ~= nil and path or "default" }
  end
  rows[#rows + 1] = { name = "state", value = paths.state(), origin = os.getenv("XDG_STATE_HOME") and "XDG_STATE_HOME" or "default" }
  rows[#rows + 1] = { name = "rules", value = paths.config() .. "/rules", origin = os.getenv("XDG_CONFIG_HOME") and "XDG_CONFIG_HOME" or "default" }
  if options.json then
    io.write(text.document("config", { file = path or "" }, rows))
    return
  end
  local columns = { { key = "name", title = "NAME" }, { key = "value", title = "VALUE" } }
  if options.origin then columns[3] = { key = "origin", title = "ORIGIN" } end
  io.write(text.table(columns, rows))
end

return M
