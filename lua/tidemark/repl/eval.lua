-- Lines as chunks: an expression is tried first, an incomplete chunk asks for more, locals of a line live on in the session.
local M = {}

local function load_in(source, env, name) return load(source, name or "=line", "t", env) end

--- True when the problem is that the text ends too early.
function M.is_incomplete(problem)
  return problem ~= nil and problem:find("near '?<eof>'?$") ~= nil and not problem:find("unfinished string near", 1, true)
end

-- "local a, b = ..." at the begin of a line becomes an assignment, so that the next line sees it; blanks before the first
-- one are of who pasted it.
local function promoted(source)
  local found = false
  local function names_only(list) return (list:gsub("%s*<%s*%a+%s*>", "")) end
  local out = ("\n" .. source:gsub("^[ \t]+", "")):gsub("\nlocal%s+function%s+([%a_][%w_]*)", function(name)
    found = true
    return "\nfunction " .. name
  end):gsub("\nlocal%s+([%a_][%w_%s,<>]-)%s*=([^=])", function(names, rest)
    found = true
    return "\n" .. names_only(names) .. " =" .. rest
  end)
  return found and out:sub(2) or nil
end

--- A problem without the name that lines have as chunks; "line 3: " stays.
function M.plain(problem)
  if type(problem) ~= "string" then return problem end
  return (problem:gsub("^line:(%d+): ", function(n) return n == "1" and "" or "line " .. n .. ": " end))
end

--- Compiles what was typed. Answers a function, or nil, problem, incomplete.
---@param source string
---@param env table
---@return function|nil chunk, string|nil problem, boolean|nil incomplete
function M.compile(source, env)
  local chunk, as_value = load_in("return " .. source, env)
  if chunk then return chunk end
  local as_assignment = promoted(source)
  chunk = as_assignment and load_in(as_assignment, env)
  if chunk then return chunk end
  local plain, problem = load_in(source, env)
  if plain then return plain end
  return nil, problem, M.is_incomplete(problem) or M.is_incomplete(as_value)
end

--- Blanks for the next line of an incomplete chunk: two for each block or bracket that is open.
function M.indent(source)
  local depth = 0
  local text = source:gsub("%-%-[^\n]*", ""):gsub('"[^"\n]*"', ""):gsub("'[^'\n]*'", "")
  for word in text:gmatch("[%a_][%w_]*") do
    if word == "function" or word == "do" or word == "then" or word == "repeat" then depth = depth + 1
    elseif word == "end" or word == "until" or word == "elseif" then depth = depth - 1 end
  end
  for bracket in text:gmatch("[%(%){}]") do depth = depth + ((bracket == "(" or bracket == "{") and 1 or -1) end
  return math.max(0, math.min(depth, 8)) * 2
end

return M
