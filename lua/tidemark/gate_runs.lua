-- Where the runs of a gate come from: files, a live endpoint, a workload that writes its own profile. Each source hands profiles
-- out one by one: source.count, source.take(i) -> name, profile, and of heap dumps, whose type paths the profile is, their format.
local args = require "tidemark.cli.args"
local core = require "tidemark.core"
local fetch = require "tidemark.fetch"
local chains = require "tidemark.report.chains"
local profile = require "tidemark.profile"

local M = {}

local function fail(message, code, exit, advice) error({ message = message, code = code, exit = exit, advice = advice }, 0) end

-- A heap dump weighs by its type paths, which are all that is kept of it.
local function paths_of(dump, word)
  local p, err = dump:paths {}
  local format = dump.format
  dump:close()
  if not p then fail(word .. ": " .. err.message, err.code, 3) end
  return p, format
end

-- A run that is cut short weighs less than it should: it must not pass for a small one.
local function read_whole(word, options)
  local problems = {}
  local p = profile.read(word, options, problems)
  if problems[1] then fail(problems[1], "format", 3, "a damaged run cannot be weighed; take it again, or take it out of the folder") end
  if p.kind == "graph" then return paths_of(p, word) end
  if p.kind ~= "profile" and p.kind ~= "goroutines" then fail(("%s is a %s: a gate weighs profiles and heap dumps"):format(word, p.kind), "argument", 2) end
  return p, chains.is_paths(p) and "paths" or nil
end

--- The files that words name; folders give theirs in natural order.
function M.expand(words)
  local out = {}
  for _, word in ipairs(words) do
    local stat, err = core.stat(word)
    if profile.is_remote(word) or word == "-" then out[#out + 1] = word
    elseif not stat then fail(err.message, err.code, 3)
    elseif stat.kind == "directory" then
      local files = profile.files_in(word)
      if #files == 0 then fail(word .. ": no file is in this folder", "io", 3, "give the folder that the runs wrote their profiles to") end
      table.move(files, 1, #files, #out + 1, out)
    else out[#out + 1] = word end
  end
  return out
end

--- Runs that stand in files.
function M.files(words, options)
  local files = M.expand(words)
  return { count = #files, take = function(i) return files[i], read_whole(files[i], options) end }
end

local function quote(word) return "'" .. word:gsub("'", "'\\''") .. "'" end

-- Runs the workload; its output goes to stderr, so that ours stays readable by programs.
local function run_command(argv, environment, i)
  local words = { environment or "" }
  for _, word in ipairs(argv) do words[#words + 1] = quote(word) end
  io.stdout:flush()
  local ok, how, code = os.execute(table.concat(words, " ") .. " 1>&2")
  if ok then return end
  if how == "signal" and code == 2 or how == "exit" and code == 130 then fail("interrupted", nil, 130) end
  fail(("run %d: %s ended with %s %d"):format(i, argv[1], how == "signal" and "signal" or "exit code", code), "gone", 4,
    "a gate needs runs that succeed; look at the command's output above")
end

local function folder(options)
  if options.keep then
    core.mkdir(options.keep)
    return options.keep, function() end
  end
  local path = os.tmpname()
  os.remove(path)
  core.mkdir(path)
  return path, function()
    for _, name in ipairs(core.list(path) or {}) do os.remove(path .. "/" .. name) end
    os.remove(path)
  end
end

--- Runs of a command that writes a profile to $TIDEMARK_PROFILE before it ends.
function M.spawned(argv, count, options)
  local dir, tidy = folder(options)
  return { count = count, close = tidy, take = function(i)
    local path = ("%s/run-%04d.pb.gz"):format(dir, i)
    os.remove(path)
    run_command(argv, "TIDEMARK_PROFILE=" .. quote(path), i)
    if not core.stat(path) then
      fail(("run %d: %s ended without a profile"):format(i, argv[1]), "io", 3, "it must write one to the file that $TIDEMARK_PROFILE names")
    end
    return "run " .. i, read_whole(path, options)
  end }
end

local function save(path, bytes)
  local f, problem = io.open(path, "wb")
  if not f then fail("cannot write " .. problem, "io", 3) end
  f:write(bytes)
  f:close()
end

--- Runs of a live program: before each profile a command drives it, or some time passes.
function M.live(endpoint, argv, count, options)
  local gc = options.gc
  if gc == nil then gc = options.profile == "heap" or nil end
  local wanted = fetch.from_options(options)
  wanted.gc, wanted.kind = gc or nil, not fetch.is_one(endpoint) and options.profile or nil
  if options.keep then core.mkdir(options.keep) end
  return { count = count, take = function(i)
    if #argv > 0 then run_command(argv, nil, i)
    elseif i > 1 then os.execute(("sleep %.3f"):format((options.every or 10000000000) / 1e9)) end
    local bytes, err = fetch.bytes(endpoint, wanted)
    if not bytes then fail(("run %d: %s"):format(i, err.message), err.code, 4, err.advice) end
    if options.keep then save(("%s/run-%04d.pb.gz"):format(options.keep, i), bytes) end
    local p, problem = core.read({ bytes = bytes }, { format = options.format })
    if problem then fail(("run %d: %s: %s"):format(i, endpoint, problem.message), problem.code, 3, problem.advice) end
    return "run " .. i, p
  end }
end

--- The source that a command line asks for.
---@return table source
---@return integer|nil baseline  so many of the runs are the baseline
function M.choose(options, words, rest)
  local argv = rest or {}
  local count = (options.runs or 100) + (options["warm-up"] or 0)
  if options.spawn then
    if #argv == 0 then args.usage("--spawn needs a command: tidemark gate --spawn -- COMMAND") end
    return M.spawned(argv, count, options)
  elseif options.endpoint then
    if #words > 0 then args.usage("--endpoint takes no files; a command stands behind --") end
    return M.live(options.endpoint, argv, count, options)
  end
  if #argv > 0 then args.usage("a command needs --endpoint URL or --spawn") end
  if #words == 0 then args.usage("runs are needed: a folder of profiles, --baseline FILE NEW, or --endpoint URL -- COMMAND") end
  if not options.baseline then return M.files(words, options) end
  local base = M.expand(options.baseline)
  local all = table.move(base, 1, #base, 1, {})
  for _, word in ipairs(words) do all[#all + 1] = word end
  return M.files(all, options), #base
end

return M
