-- Command lines from tables: one table per command drives parsing, help and completion.
--
--   options = { { "every", "DUR", "sample period", default = "5s", kind = "duration" }, { "json", "print one document" } }
--
-- kind: string (default), flag (no value name), boolean (a flag that also takes =false), duration (-> ns), bytes, integer,
-- list (repeatable). A flag with choices takes one of them after = and means `bare` without.
-- A command with pprof_flags = true also takes its options as pprof writes them: -sample_index=x, -cum.
local core = require "tidemark.core"

local M = {}

-- Edit distance in which two letters that changed places count once, for "did you mean".
local function distance(a, b)
  local before, row = nil, {}
  for j = 0, #b do row[j] = j end
  for i = 1, #a do
    local two_before = before
    before, row = row, { [0] = i }
    for j = 1, #b do
      row[j] = math.min(before[j - 1] + (a:byte(i) == b:byte(j) and 0 or 1), before[j] + 1, row[j - 1] + 1)
      if two_before and j > 1 and a:byte(i) == b:byte(j - 1) and a:byte(i - 1) == b:byte(j) then
        row[j] = math.min(row[j], two_before[j - 2] + 1)
      end
    end
  end
  return row[#b]
end

--- The up to three names nearest to a word, as "did you mean a, b or c?", or "".
---@param word string
---@param names string[]
---@return string
function M.nearest(word, names)
  local close = {}
  for _, name in ipairs(names) do
    local bare = name:gsub("^%-+", "")
    local d = distance((word:lower():gsub("^%-+", "")), bare:lower())
    if d <= math.min(3, (#bare + 1) // 2) or name:find(word, 1, true) == 1 then close[#close + 1] = { d, name } end
  end
  table.sort(close, function(a, b)
    if a[1] ~= b[1] then return a[1] < b[1] end
    return a[2] < b[2]
  end)
  local best = {}
  for i = 1, math.min(3, #close) do best[i] = close[i][2] end
  if #best == 0 then return "" end
  return "; did you mean " .. table.concat(best, ", "):gsub(", ([^,]+)$", " or %1") .. "?"
end

--- Raises a usage error: exit code 2.
function M.usage(text) error({ usage = text }, 0) end

local function convert(option, text)
  local kind = option.kind
  if kind == "duration" then
    local ns, err = core.duration(text)
    if not ns then M.usage("--" .. option[1] .. ": " .. err.message) end
    return ns
  elseif kind == "bytes" then
    local bytes, err = core.bytes(text)
    if not bytes then M.usage("--" .. option[1] .. ": " .. err.message) end
    return bytes
  elseif kind == "integer" then
    local n = math.tointeger(tonumber(text))
    if not n then M.usage("--" .. option[1] .. ": '" .. text .. "' is no whole number") end
    return n
  elseif option.choices then
    for _, choice in ipairs(option.choices) do
      if choice == text then return text end
    end
    M.usage("--" .. option[1] .. ": '" .. text .. "' is none of " .. table.concat(option.choices, ", "))
  end
  return text
end

--- A setting of a config file as the option's value.
function M.from_config(option, value, path)
  if M.is_flag(option) then return value and true or nil end
  if option.kind == "list" then
    local list = type(value) == "table" and value or { value }
    for i, one in ipairs(list) do list[i] = convert(option, tostring(one)) end
    return list
  end
  if type(value) == "table" then M.usage(path .. ": " .. option[1] .. " takes one value") end
  return convert(option, tostring(value))
end

-- Options that every command takes.
M.common = {
  { "help", "show this page" },
  { "json", "print one JSON document" },
  { "quiet", "print no progress and no notes" },
  { "color", "WHEN", "auto, always or never", choices = { "auto", "always", "never" }, default = "auto" },
}

function M.is_flag(option) return #option == 2 end

local booleans = { t = true, ["true"] = true, y = true, yes = true, ["1"] = true, f = false, ["false"] = false, n = false, no = false,
  ["0"] = false }

local function boolean(name, value)
  if not value then return true end
  local yes = booleans[value:lower()]
  if yes == nil then M.usage("--" .. name .. ": '" .. value .. "' is neither yes nor no") end
  return yes
end

-- -sample_index=x -> --sample-index=x, when there is such an option.
local function pprof_word(word, by_name)
  local name, rest = word:match("^%-%-?([%a][%w_%-]+)(=?.*)$")
  if not name then return word end
  local known = name:gsub("_", "-")
  return by_name[known] and "--" .. known .. rest or word
end

--- Parses argv[from...] by a command's table. Returns options by name and the positional words; words after `--` are in rest.
---@param command table
---@param argv string[]
---@param from integer
---@return table options, string[] words, string[]|nil rest
function M.parse(command, argv, from)
  local by_name, names, options, words = {}, {}, {}, {}
  for _, list in ipairs { command.options or {}, M.common } do
    for _, option in ipairs(list) do
      by_name[option[1]] = option
      names[#names + 1] = "--" .. option[1]
    end
  end
  local short = { h = "help", q = "quiet", o = "output" }
  local i = from
  while i <= #argv do
    local word = argv[i]
    if word == "--" then
      return options, words, table.move(argv, i + 1, #argv, 1, {})
    end
    if command.pprof_flags then word = pprof_word(word, by_name) end
    local name, value = word:match("^%-%-([%w%-]+)=(.*)$")
    name = name or word:match("^%-%-([%w%-]+)$") or short[word:match("^%-(%a)$") or ""]
    if name then
      local option = by_name[name]
      if not option then M.usage("unknown option --" .. name .. M.nearest("--" .. name, names)) end
      if M.is_flag(option) then
        if value and option.kind ~= "boolean" and not option.choices then M.usage("--" .. name .. " takes no value") end
        options[name] = option.choices and (value and convert(option, value) or option.bare) or boolean(name, value)
      else
        if not value then
          i = i + 1
          value = argv[i]
          if not value then M.usage("--" .. name .. " needs a value (" .. option[2] .. ")") end
        end
        local converted = convert(option, value)
        if option.kind == "list" then
          options[name] = options[name] or {}
          table.insert(options[name], converted)
        else
          options[name] = converted
        end
      end
    elseif word:match("^%-.") and not tonumber(word) then
      M.usage("unknown option " .. word .. M.nearest(word, names))
    else
      words[#words + 1] = word
      if command.stop_at_word then
        return options, words, table.move(argv, i + 1, #argv, 1, {})
      end
    end
    i = i + 1
  end
  return options, words
end

--- Fills in defaults (after parsing, so that a config file can stand between).
function M.defaults(command, options)
  for _, list in ipairs { command.options or {}, M.common } do
    for _, option in ipairs(list) do
      if options[option[1]] == nil and option.default then options[option[1]] = convert(option, option.default) end
    end
  end
  return options
end

local function option_line(option)
  local flag = M.is_flag(option)
  local left = "  --" .. option[1] .. (flag and (option.choices and "[=MODE]" or "") or " " .. option[2])
  local text = flag and option[2] or option[3]
  if option.default and option.default ~= "" then text = text .. " (" .. option.default .. ")" end
  return ("%-28s %s"):format(left, text)
end

--- A line for each option of a list.
function M.option_lines(list)
  local out = {}
  for i, option in ipairs(list) do out[i] = option_line(option) end
  return table.concat(out, "\n") .. "\n"
end

--- The help page of a command: what, usage, examples first, then options. Options with a topic stand on that topic's page.
function M.help(command)
  local out = { "tidemark " .. command.name .. " - " .. command.summary, "", "Usage: tidemark " .. command.usage, "" }
  if command.examples then
    out[#out + 1] = "Examples:"
    for _, example in ipairs(command.examples) do out[#out + 1] = "  " .. example end
    out[#out + 1] = ""
  end
  if command.doc then
    out[#out + 1] = command.doc
    out[#out + 1] = ""
  end
  out[#out + 1] = "Options:"
  local topic
  for _, list in ipairs { command.options or {}, M.common } do
    for _, option in ipairs(list) do
      topic = topic or option.topic
      if not option.topic then out[#out + 1] = option_line(option) end
    end
  end
  if topic then out[#out + 1] = ("And those of all profile commands: see `tidemark help %s`."):format(topic) end
  return table.concat(out, "\n") .. "\n"
end

return M
