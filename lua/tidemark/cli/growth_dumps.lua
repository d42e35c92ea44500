-- growth and diff over heap dumps: what has more objects in every dump, by type path, by type, or by object id; and two dumps by type.
local args = require "tidemark.cli.args"
local chains = require "tidemark.report.chains"
local core = require "tidemark.core"
local dumps = require "tidemark.cli.dumps"
local profile = require "tidemark.profile"
local profiles = require "tidemark.cli.profiles"
local text = require "tidemark.show.text"

local M = {}

local function fail(message, advice) error({ message = message, code = "argument", advice = advice }, 0) end

--- True for what this file takes: a heap dump, or a path summary that was saved of one.
function M.takes(model) return model.kind == "graph" or chains.is_paths(model) end

local function signed(n, unit)
  local number = unit and core.format(math.abs(n), unit) or tostring(math.abs(n))
  return (n < 0 and "-" or "+") .. number
end

local function plain(step) return text.clean(step) end

-- ---- growth ----

-- Dumps of different runtimes have nothing in common.
local function check_format(first, model, file)
  if model.kind == "graph" and first and first ~= model.format then
    fail(("%s is of another format (%s) than those before it (%s)"):format(file, model.format, first), "compare dumps of one program")
  end
  return first or model.kind == "graph" and model.format or nil
end

-- Each dump is reduced to its paths and closed before the next is read; the last is answered, too.
local function summaries(files, first, options, problems)
  local list, last, format = {}, nil, nil
  for i, file in ipairs(files) do
    local model = i == 1 and first or profile.read(file, options, problems)
    format = check_format(format, model, file)
    if not M.takes(model) then fail(("%s is a %s, no heap dump"):format(file, model.kind)) end
    local paths = model
    if model.kind == "graph" then
      local err
      if options.exe then dumps.use_exe(model, options.exe, problems) end
      paths, err = model:paths { follow = options.follow }
      if i == #files then last = model else model:close() end
      if not paths then error(err, 0) end
    end
    list[i] = chains.summary(paths)
    paths:close()
  end
  return list, last
end

local function show_path(row)
  local steps = {}
  for step in row.key:gmatch("[^;]+") do steps[#steps + 1] = plain(step) end
  local examples = row.examples and #row.examples > 0 and "\n    for example " .. table.concat(row.examples, ", ") or ""
  return "    " .. table.concat(steps, "  >  ") .. examples
end

local function counts_text(row) return table.concat(row.counts, " ") end

local function show_paths(rows, files, options)
  local head = ("%d dumps: %d paths have more than %d objects more in every one\n"):format(#files, #rows, options.least)
  if #rows == 0 then return head end
  local out, cols = { head }, { { key = "delta", title = "MORE", right = true }, { key = "bytes_text", title = "BYTES", right = true },
    { key = "retained_text", title = "RETAINED", right = true }, { key = "counts_text", title = "COUNTS" },
    { key = "depth_text", title = "DEPTH", right = true }, { key = "type", title = "TYPE" },
    { key = "holder", title = "HELD BY" }, { key = "root", title = "ROOT" } }
  local shown = {}
  if not options.retained then table.remove(cols, 3) end
  for i, row in ipairs(rows) do
    shown[i] = { delta = signed(row.delta), bytes_text = signed(row.bytes_delta, "bytes"), counts_text = counts_text(row),
      retained_text = row.retained_bytes and core.format(row.retained_bytes, "bytes") or "",
      depth_text = row.depth .. (row.smell and "!" or ""), type = plain(row.type), holder = plain(row.holder), root = plain(row.root) }
  end
  out[#out + 1] = text.table(cols, shown)
  for i = 1, math.min(#rows, 3) do
    out[#out + 1] = "\n" .. plain(chains.sentence(rows[i])) .. "\n" .. show_path(rows[i]) .. "\n"
  end
  return table.concat(out)
end

local function show_types(rows, files, options)
  local head = ("%d dumps: %d types have more than %d objects more in every one\n"):format(#files, #rows, options.least)
  local shown = {}
  for i, row in ipairs(rows) do shown[i] = { delta = signed(row.delta), counts_text = counts_text(row), type = plain(row.type) } end
  if #rows == 0 then return head end
  return head .. text.table({ { key = "delta", title = "MORE", right = true }, { key = "counts_text", title = "COUNTS" },
    { key = "type", title = "TYPE" } }, shown)
end

local function finish(options, files, problems, rows, meta, shown)
  local count = options.nodecount or (options.json or options.csv) and 0 or 20
  while count > 0 and #rows > count do rows[#rows] = nil end
  if options.csv then
    local names = { "key", "first", "last", "delta", "steps", "bytes_delta", "depth", "root", "holder", "type", "retained_bytes" }
    local out = { table.concat(names, ",") }
    for _, row in ipairs(rows) do
      local cells = {}
      for i, name in ipairs(names) do
        local cell = tostring(row[name] == nil and "" or row[name])
        cells[i] = cell:find('[,"\r\n]') and '"' .. cell:gsub('"', '""') .. '"' or cell
      end
      out[#out + 1] = table.concat(cells, ",")
    end
    return profiles.output(options, table.concat(out, "\n") .. "\n")
  end
  if options.json then
    meta.files, meta.partial, meta.problems = text.array(files), #problems > 0, text.array(problems)
    for _, row in ipairs(rows) do
      row.counts = row.counts and text.array(row.counts)
      row.examples = row.examples and text.array(row.examples)
    end
    return profiles.output(options, text.document("growth", meta, rows))
  end
  profiles.warn(problems)
  profiles.output(options, shown(rows))
end

-- By type: the path where most of its objects are, and how many.
local function commonest_paths(summary)
  local out = {}
  for path, count in pairs(summary.counts) do
    local type = chains.type_of(path)
    local known = out[type]
    if not known or count > known.count or count == known.count and path < known.path then out[type] = { path = path, count = count } end
  end
  return out
end

-- What a set holds by type, with the path of most of each.
local function id_rows(g, set, options)
  local paths, err = g:paths { follow = options.follow, of = set }
  if not paths then error(err, 0) end
  local most, rows = commonest_paths(chains.summary(paths)), {}
  for i, row in set:group("type", { follow = options.follow }):rows() do
    local at = most[row.name] or {}
    rows[i] = { key = row.name, type = row.name, first = 0, last = row.count, delta = row.count, steps = 2, bytes_delta = row.shallow_bytes,
      retained_bytes = row.retained_bytes, path = at.path, path_count = at.count, root = at.path and at.path:match("^[^;]*") }
  end
  table.sort(rows, function(a, b)
    if a.retained_bytes ~= b.retained_bytes then return a.retained_bytes > b.retained_bytes end
    return a.key < b.key
  end)
  return rows
end

-- DevTools' three snapshots: allocated between the first and the second, still alive in the third.
local function by_id(options, files, first, problems)
  if #files ~= 3 then args.usage("--by id takes three snapshots: before, after what should leave nothing, and after a collection") end
  local seen, last = {}, nil
  for i, file in ipairs(files) do
    local g = i == 1 and first or profile.read(file, options, problems)
    if g.kind ~= "graph" or g:info().id_word ~= "id" then
      fail(file .. ": only V8 and JavaScriptCore snapshots have ids that last", "growth without --by id compares by type path")
    end
    if i < 3 then
      seen[i] = g:ids()
      g:close()
    else
      last = g
    end
  end
  local set = last:born(seen[1], seen[2])
  local rows, how = id_rows(last, set, options), { follow = options.follow }
  local total = set:retained(how)
  return finish(options, files, problems, rows, { by = "id", objects = #set, retained_bytes = total }, function(shown)
    local lines = {}
    for i, row in ipairs(shown) do
      lines[i] = { count = row.delta, bytes = row.bytes_delta, retained = row.retained_bytes, type = plain(row.type),
        path = plain((row.path or ""):gsub(";", " > ")) }
    end
    return ("%d objects were allocated between the first two snapshots and are alive in the third; %s would be freed with them\n")
      :format(#set, core.format(total, "bytes"))
      .. text.table({ { key = "count", title = "COUNT", right = true }, { key = "bytes", title = "SHALLOW", unit = "bytes", right = true },
        { key = "retained", title = "RETAINED", unit = "bytes", right = true }, { key = "type", title = "TYPE" },
        { key = "path", title = "MOST ARE AT" } }, lines)
  end)
end

--- growth over dumps. first: the model of the first file, read already.
function M.growth(options, files, first, problems)
  if options.by == "id" then return by_id(options, files, first, problems) end
  if options.by == "function" then args.usage("heap dumps grow --by path, type or id") end
  options.least = options["min-delta"] or 500
  local by_type = options.by == "type"
  if by_type and options.retained then args.usage("--retained is told of paths; objects tells it of types") end
  local list, last = summaries(files, first, options, problems)
  local rows = by_type and chains.growth_by_type(list, { min_delta = options.least }) or chains.growth(list, { min_delta = options.least })
  if not by_type and last then chains.look_up(rows, last, options) end
  if options.retained and not last then problems[#problems + 1] = files[#files] .. " has paths only: --retained needs the last dump itself" end
  return finish(options, files, problems, rows, { by = by_type and "type" or "path", dumps = #files, min_delta = options.least }, function(shown)
    return by_type and show_types(shown, files, options) or show_paths(shown, files, options)
  end)
end

-- ---- diff ----

-- { name = { count, shallow_bytes, retained_bytes } } of all types, or of the objects that nothing but the roots dominates, by their type.
local function weigh(g, by, follow)
  local t, err
  if by == "dominator" then t, err = g:dominated(nil, { nodecount = 0, follow = follow }) else t, err = g:objects { nodecount = 0, follow = follow } end
  if not t then error(err, 0) end
  local out = {}
  for _, row in t:rows() do
    local to = out[row.type] or { count = 0, shallow_bytes = 0, retained_bytes = 0 }
    to.count, to.shallow_bytes = to.count + (row.count or 1), to.shallow_bytes + row.shallow_bytes
    to.retained_bytes = to.retained_bytes + row.retained_bytes
    out[row.type] = to
  end
  return out
end

local zero <const> = { count = 0, shallow_bytes = 0, retained_bytes = 0 }

local function differences(before, after)
  local rows, names = {}, {}
  for name in pairs(before) do names[name] = true end
  for name in pairs(after) do names[name] = true end
  for name in pairs(names) do
    local a, b = before[name] or zero, after[name] or zero
    local row = { type = name, count = b.count - a.count, shallow_bytes = b.shallow_bytes - a.shallow_bytes,
      retained_bytes = b.retained_bytes - a.retained_bytes, before_count = a.count, after_count = b.count }
    if row.count ~= 0 or row.shallow_bytes ~= 0 or row.retained_bytes ~= 0 then rows[#rows + 1] = row end
  end
  table.sort(rows, function(a, b)
    local x, y = math.abs(a.retained_bytes), math.abs(b.retained_bytes)
    if x ~= y then return x > y end
    return a.type < b.type
  end)
  return rows
end

--- diff of two dumps by type or by dominator. first: the model of words[1], read already.
function M.diff(options, words, first, problems)
  local by = options.by or "type"
  if options.exe then dumps.use_exe(first, options.exe, problems) end
  local before, format = weigh(first, by, options.follow), first.format
  first:close()
  local g = profile.read(words[2], options, problems)
  if g.kind ~= "graph" then fail(("%s is a %s, no heap dump"):format(words[2], g.kind)) end
  check_format(format, g, words[2])
  if options.exe then dumps.use_exe(g, options.exe, problems) end
  local rows = differences(before, weigh(g, by, options.follow))
  local count = options.nodecount or (options.json or options.csv) and 0 or 20
  while count > 0 and #rows > count do rows[#rows] = nil end
  if options.json then
    return profiles.output(options, text.document("dump-diff", { files = text.array(words), by = by, format = g.format, partial = #problems > 0,
      problems = text.array(problems) }, rows))
  end
  profiles.warn(problems)
  local shown = {}
  for i, row in ipairs(rows) do
    shown[i] = { count = signed(row.count), shallow = signed(row.shallow_bytes, "bytes"), retained = signed(row.retained_bytes, "bytes"),
      type = plain(row.type) }
  end
  profiles.output(options, #rows == 0 and "The dumps hold the same.\n" or text.table({ { key = "count", title = "COUNT", right = true },
    { key = "shallow", title = "SHALLOW", right = true }, { key = "retained", title = "RETAINED", right = true },
    { key = "type", title = by == "type" and "TYPE" or "DOMINATORS" } }, shown))
end

return M
