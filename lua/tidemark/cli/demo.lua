-- demo: what ./run shows. A bundled app leaks in five ways; the built-in rules find them, one action helps, one rule is edited
-- before the user's eyes and takes effect at once, and a report ends it.
local args = require "tidemark.cli.args"
local core = require "tidemark.core"
local live = require "tidemark.show.live"
local paths = require "tidemark.cli.paths"
local session = require "tidemark.cli.session"
local soak = require "tidemark.report.soak"
local text = require "tidemark.show.text"
local watch = require "tidemark.cli.watch"

local SECOND = 1000000000

local function tidy(folder)
  for _, name in ipairs(core.list(folder) or {}) do os.remove(folder .. "/" .. name) end
  os.remove(folder)
end

-- Built-in rules, as files that can be edited.
local function copy_rules(folder)
  for _, path in ipairs(core.embedded()) do
    local name = path:match("^rules/([^/]+%.lua)$")
    if name then paths.write(folder .. "/" .. name, core.embedded(path)) end
  end
end

-- One edit as a rule author would make it, saved as editors save: written aside, then renamed.
local function edit(s, folder, from, to)
  local path = folder .. "/pressure.lua"
  local edited, n = paths.read(path):gsub(from, to, 1)
  if n == 0 then return end
  s.emit(s, { type = "note", time_ns = s.engine:now(), text = ("saving pressure.lua with %s instead of %s"):format(to, from) })
  local f = io.open(path .. ".new", "w")
  f:write(edited)
  f:close()
  os.rename(path .. ".new", path)
end

-- First an edit that the file's own tests refuse: the old version goes on. Then one that takes effect.
local edits = { { 'warning = "512MB"', 'warning = "300MB"' }, { 'warning = "300MB"', 'warning = "512MB"' },
  { 'severe = "896MB"', 'severe = "710MB"' } }

return {
  name = "demo", summary = "watch the bundled leaking app for 90 s, and end with a report", usage = "demo [--app PATH] [--for DUR]",
  examples = { "tidemark demo --app build/release/examples/leaky/leaky" },
  options = { { "app", "PATH", "the leaking app" }, { "for", "DUR", "how long", default = "90s", kind = "duration" },
    { "report", "FILE", "write the HTML report there", default = "" }, { "plain", "lines instead of the live view" } },
  run = function(options, words)
    if #words > 0 or not options.app then args.usage("demo needs --app PATH and no words") end
    local folder = os.tmpname()
    os.remove(folder)
    core.mkdir(folder)
    local rules = folder .. ".rules"
    core.mkdir(rules)
    copy_rules(rules)
    local recording, hook = folder .. "/demo.tmr", folder .. "/hook.sock"
    local opts = args.defaults(watch, { ["no-builtin"] = true, ["no-history"] = true, allow = { "act:*" }, record = recording,
      every = SECOND, settle_ns = 5 * SECOND, plain = options.plain, quiet = options.quiet })
    local ok, problem = xpcall(function()
      local s = session.open(opts)
      assert(s.engine:watch_rules(rules))
      local t, err = s.engine:spawn({ options.app, "--heap", "3MB/s", "--cache", "14MB/s", "--hook", hook, "--fds", "2/s", "--threads", "1/s",
        "--memfd", "2MB/s", "--burst", "fds=300@32s", "--max", "1GB", "--quiet" }, { hook = "unix:" .. hook })
      if not t then session.fail(err, 4) end
      watch.demand(s, t.id, SECOND)
      local step = 0
      s.engine:every(options["for"] // 9, function()
        step = step + 1
        local change = edits[step - 3]
        if change then edit(s, rules, change[1], change[2]) end
      end)
      live.started_ns = s.engine:now()
      local reason = watch.drive(s, opts, { for_ns = options["for"], until_idle = true })
      s.engine:end_spawned(2 * SECOND)
      local interrupted = reason == "interrupted"
      s.close()
      local report = soak.data(recording)
      io.write("\n", soak.text { report })
      if options.report ~= "" then
        local f = io.open(options.report, "w")
        if f then
          f:write(soak.html { report })
          f:close()
          io.write("\nThe same as a page: ", options.report, "\n")
        end
      end
      if interrupted then error({ message = "interrupted", exit = 130 }, 0) end
    end, function(e) return type(e) == "table" and e or debug.traceback(tostring(e), 2) end)
    tidy(rules)
    tidy(folder)
    if not ok then
      if type(problem) == "table" and problem.exit == 130 then return 130 end
      error(problem, 0)
    end
    text.set_color(options.color)
    return 0
  end,
}
