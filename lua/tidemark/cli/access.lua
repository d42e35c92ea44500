-- How a watched app is asked over HTTP: options of watch and run, and what the engine makes of them.
local fetch = require "tidemark.fetch"

local M = {}

M.options = {
  { "endpoint", "URL", "the app's pprof endpoint" },
  { "metrics", "URL", "where its /metrics or /debug/vars stand, when not beside it (repeatable)", kind = "list" },
}
for _, option in ipairs(fetch.options) do -- its timeouts and caps are those of single requests
  if option[1] == "host-header" or option[1] == "header" or option[1] == "ca-file" then M.options[#M.options + 1] = option end
end

local function lines_of(how)
  local lines = {}
  if how.host_header then lines[1] = "Host: " .. how.host_header .. "\n" end
  local names = {}
  for name in pairs(how.headers or {}) do names[#names + 1] = name end
  table.sort(names)
  for _, name in ipairs(names) do lines[#lines + 1] = name .. ": " .. how.headers[name] .. "\n" end
  local text = table.concat(lines)
  if text:gsub("\n", ""):find("%c") then error({ usage = "--header and --host-header are one line each" }, 0) end
  return text
end

--- A command line as a recording may keep it: headers without their values, which may be passwords.
function M.command(words)
  local shown = {}
  for i, word in ipairs(words) do
    local value = words[i - 1] == "--header" and word or word:match("^%-%-header=(.*)$")
    if value then word = word:sub(1, #word - #value) .. (value:match("^[^:]*") or "") .. ":***" end
    shown[i] = word
  end
  return table.concat(shown, " ")
end

--- What engine:watch and engine:spawn take. endpoint: when TARGET was one. A --metrics without a path has both pages.
function M.of(options, endpoint)
  local app = { hook = options.hook, endpoint = options.endpoint or endpoint, headers = lines_of(fetch.from_options(options)),
    ca_file = options["ca-file"] }
  for _, word in ipairs(options.metrics or {}) do
    local path = fetch.path(word)
    if path == "" or path == "/" then
      app.vars, app.metrics = fetch.sibling(word, "vars"), fetch.sibling(word, "metrics")
    else
      app[path:match("vars/*$") and "vars" or "metrics"] = word
    end
  end
  return app
end

--- The same from a library call: headers = { Name = "value" }, host_header, ca_file, metrics = URL or a list of them.
function M.of_call(given, endpoint)
  local header = {}
  for name, value in pairs(given.headers or {}) do header[#header + 1] = name .. ": " .. value end
  local metrics = type(given.metrics) == "string" and { given.metrics } or given.metrics
  return M.of({ hook = given.hook, endpoint = given.endpoint, header = header, metrics = metrics, ["host-header"] = given.host_header,
    ["ca-file"] = given.ca_file }, endpoint)
end

return M
