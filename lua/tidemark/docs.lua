-- What is said of functions, at the place where they are made: help() and completion in the REPL read it.
local args = require "tidemark.cli.args"

local M = { of = setmetatable({}, { __mode = "k" }), types = {}, order = {} }

--- Puts a function into a library with its signature and one sentence (or more; the first line is the summary).
---@param library table
---@param name string
---@param signature string
---@param doc string
---@param fn function
function M.define(library, name, signature, doc, fn)
  local entry = { name = name, signature = signature, doc = doc, fn = fn }
  M.of[fn] = entry
  M.order[#M.order + 1] = entry
  library[name] = fn
end

--- Methods and fields of a type of core, or of a metatable's __name: { { name, signature, doc }, ... }.
function M.type(name, doc, members)
  local by_name = {}
  for _, m in ipairs(members) do by_name[m[1]] = { name = m[1], signature = m[2], doc = m[3] } end
  M.types[name] = { doc = doc, members = by_name, order = members }
end

--- Rows that are shown with these columns in this order.
function M.rows(columns, rows) return setmetatable(rows, { columns = columns }) end

--- The first line of a doc.
function M.summary(entry) return (entry.doc:match("^[^\n]*")) end

--- Raises unless every key of options is known; names the nearest.
---@param verb string
---@param options table|nil
---@param known string[]
function M.check(verb, options, known)
  if options == nil then return {} end
  if type(options) ~= "table" then error(("%s: options are a table, not a %s"):format(verb, type(options)), 3) end
  local set = {}
  for _, name in ipairs(known) do set[name] = true end
  for name in pairs(options) do
    if not set[name] then
      local near = type(name) == "string" and args.nearest(name, known) or ""
      error(("%s: unknown option '%s'%s"):format(verb, tostring(name), near), 3)
    end
  end
  return options
end

return M
