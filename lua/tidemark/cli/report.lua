-- report: the soak report of one recording, or of two side by side.
local args = require "tidemark.cli.args"
local core = require "tidemark.core"
local replay = require "tidemark.cli.replay"
local session = require "tidemark.cli.session"
local soak = require "tidemark.report.soak"
local text = require "tidemark.show.text"

local M = {
  name = "report", summary = "soak report of a recording: RSS by age, trend, findings, before and after", usage = "report REC.tmr [AFTER.tmr] [OPTIONS]",
  examples = { "tidemark report soak.tmr", "tidemark report before.tmr after.tmr --format html -o fix.html", "tidemark report soak.tmr --at 0s,1h,24h" },
  options = {
    { "format", "F", "text, md, html, or the id of a rule file's tm.format", default = "text" },
    { "output", "FILE", "write there instead of to the terminal" },
    { "at", "AGES", "ages at which RSS is given, such as 0s,1h,24h" },
    { "rules", "PATH", "rule files that declare formats (repeatable)", kind = "list" },
  },
}

local function ages_of(list)
  if not list then return nil end
  local out = {}
  for word in list:gmatch("[^,]+") do
    local ns, err = core.duration(word)
    if not ns then args.usage("--at: " .. err.message) end
    out[#out + 1] = ns
  end
  return out
end

local function by_format(id, reports, options)
  local engine = assert(core.engine { virtual = true, skip_self_tests = true })
  for _, f in ipairs(replay.rule_files { rules = options.rules, ["no-builtin"] = true }) do
    engine:load_rules(f.name, f.origin, f.source)
  end
  local findings = {}
  for _, r in ipairs(reports) do
    for _, f in ipairs(r.findings) do
      findings[#findings + 1] = { rule = f.rule, level = f.level, state = f.state, text = f.text, time_ns = f.time_ns, target = r.target }
    end
  end
  local rows = soak.rows(reports)
  for _, row in ipairs(rows) do row.findings, row.actions = nil, nil end
  local plain = { findings = findings, targets = rows, meta = { version = core.version } }
  local out, err = engine:render(id, plain)
  engine:close()
  if not out then session.fail(err, 2) end
  return out
end

function M.run(options, words)
  if #words == 0 then args.usage("a recording is needed") end
  local reports = {}
  for _, word in ipairs(words) do
    local data, err = soak.data(word, ages_of(options.at))
    if not data then session.fail(err, 3) end
    reports[#reports + 1] = data
  end
  local out
  if options.json then
    out = text.document("report", { files = text.array(words) }, soak.rows(reports))
  elseif options.format == "text" then out = soak.text(reports)
  elseif options.format == "md" or options.format == "markdown" then out = soak.markdown(reports)
  elseif options.format == "html" then out = soak.html(reports)
  else out = by_format(options.format, reports, options) end
  if not options.output then
    io.write(out)
    return 0
  end
  local f, problem = io.open(options.output, "w")
  if not f then session.fail({ message = "cannot write " .. problem, code = "io" }, 3) end
  f:write(out)
  f:close()
  if not options.quiet then io.stderr:write("wrote ", options.output, "\n") end
  return 0
end

return M
