-- Loaded by busted before every spec, and required by those that need a folder of their own or the command line.
--
-- Nothing here touches the user's state: commands run with XDG folders below a temporary one, and end after a minute.
package.path = "./?.lua;./?/init.lua;" .. package.path

local M = {}

M.build = os.getenv("TM_BUILD") or "build/asan"
M.bin = os.getenv("TIDEMARK") or M.build .. "/tidemark"
M.leaky = M.build .. "/examples/leaky/leaky"

local folders = {}

--- A word as a POSIX shell takes it literally.
function M.quote(word) return "'" .. tostring(word):gsub("'", "'\\''") .. "'" end

--- A new folder; M.tidy removes all of them.
function M.folder()
  local path = os.tmpname()
  os.remove(path)
  assert(os.execute("mkdir -m 700 -p " .. M.quote(path)))
  folders[#folders + 1] = path
  return path
end

--- Removes every folder that was made: for teardown().
function M.tidy()
  for _, path in ipairs(folders) do os.execute("rm -rf " .. M.quote(path)) end
  folders, M.home = {}, nil
end

function M.read(path)
  local f = assert(io.open(path, "rb"))
  local text = f:read("a")
  f:close()
  return text
end

function M.write(path, text)
  local f = assert(io.open(path, "wb"))
  f:write(text)
  f:close()
  return path
end

--- Saves as editors do: aside, then renamed over the old file.
function M.save(path, text)
  local aside = path:gsub("([^/]+)$", ".%1.new")
  M.write(aside, text)
  assert(os.rename(aside, path))
  return path
end

--- The command `tidemark ARGS`, for a shell: words are quoted, state and config are temporary.
function M.command(...)
  M.home = M.home or M.folder()
  local words = { "XDG_STATE_HOME=" .. M.home .. "/state", "XDG_CONFIG_HOME=" .. M.home .. "/config", "HOME=" .. M.home,
    "timeout", "-k", "5", tostring(M.patience_s or 60), M.bin }
  for _, word in ipairs { ... } do words[#words + 1] = tostring(word) end
  for i, word in ipairs(words) do words[i] = M.quote(word) end
  return "env -u TIDEMARK_CONFIG -u TIDEMARK_LUA " .. table.concat(words, " ")
end

--- The beginning of a shell command that builds a Go program in a folder, offline, with what earlier builds left in the build folder.
function M.go(folder)
  return ("cd %s && GOFLAGS= GO111MODULE=off GOTOOLCHAIN=local GOCACHE=%s/gocache "):format(M.quote(folder),
    M.build:find("^/") and M.quote(M.build) or '"$OLDPWD"/' .. M.quote(M.build))
end

--- Runs a shell command to its end: { code, out, err }.
function M.shell(line)
  local dir = M.folder()
  local _, _, code = os.execute(("{ %s\n} >%s/out 2>%s/err </dev/null"):format(line, dir, dir))
  local result = { code = code, out = M.read(dir .. "/out"), err = M.read(dir .. "/err") }
  os.execute("rm -rf " .. M.quote(dir))
  return result
end

--- Runs `tidemark ARGS` to its end: { code, out, err }.
function M.tidemark(...) return M.shell(M.command(...)) end

--- The document that a command printed with --json: must be the contract's envelope of that schema. Also the code.
function M.document(schema, ...)
  local result = M.tidemark(...)
  local document, err = require("tidemark.core").json_decode(result.out)
  assert(document, ("no JSON: %s\n%s\n%s"):format(err and err.message or "", result.out:sub(1, 500), result.err))
  assert(document.schema == "tidemark/" .. schema .. "/1", "schema is " .. tostring(document.schema))
  assert(type(document.meta) == "table" and type(document.rows) == "table", "meta or rows is missing")
  return document, result.code
end

--- The rows and the meta of a document that must come with code 0.
function M.rows(schema, ...)
  local words = { ... }
  table.insert(words, 2, "--json")
  local document, code = M.document(schema, table.unpack(words))
  assert(code == 0, "code is " .. tostring(code))
  return document.rows, document.meta
end

return M
