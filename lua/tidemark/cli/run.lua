-- run: start a command and watch it until it ends.
local access = require "tidemark.cli.access"
local args = require "tidemark.cli.args"
local malloc = require "tidemark.cli.malloc_run"
local policies = require "tidemark.cli.policies"
local sessions = require "tidemark.cli.session_watch"
local session = require "tidemark.cli.session"
local watch = require "tidemark.cli.watch"

local options = table.move(session.options, 1, #session.options, 1, {})
table.move(malloc.options, 1, #malloc.options, #options + 1, options)
options[#options + 1] = { "gctrace", "let a Go program print its collections (GODEBUG=gctrace=1)" }

return {
  name = "run", configurable = true, summary = "start a program and watch it", usage = "run [OPTIONS] -- COMMAND [ARGS]",
  examples = { "tidemark run -- ./myapp --open big.doc", "tidemark run --record out.tmr --fail-on high -- ./soak-test.sh",
    "tidemark run --malloc --malloc-out native.pb.gz -- ./myapp" },
  doc = "Ends when the command ends. Exit code: 1 when --fail-on says so, else the command's own.",
  options = options, stop_at_word = true,
  run = function(opts, words, rest)
    local argv = {}
    for _, word in ipairs(words) do argv[#argv + 1] = word end
    for _, word in ipairs(rest or {}) do argv[#argv + 1] = word end
    if #argv == 0 then args.usage("the command is missing: tidemark run -- COMMAND") end
    local agent = malloc.begin(opts, argv[1])
    local s = session.open(opts)
    local app = access.of(opts)
    app.env = opts.gctrace and { "GODEBUG=gctrace=1" } or {}
    if agent then table.move(agent.env, 1, #agent.env, #app.env + 1, app.env) end
    if opts.control then app.env[#app.env + 1] = "TIDEMARK_CONTROL=" .. opts.control end
    local t, err = s.engine:spawn(argv, app)
    if not t then
      -- It may have ended before it could be looked at: then its own exit code is the answer.
      if err.code == "gone" then s.engine:run { for_ns = 200000000 } end
      local exit = s.engine:exit_code()
      s.close()
      if agent then agent:finish() end
      if err.code == "gone" and exit >= 0 then
        io.stderr:write("tidemark: ", argv[1], " ended before it could be watched\n")
        return exit
      end
      session.fail(err, 4)
    end
    if agent then agent:watch(t.pid) end
    watch.demand(s, t.id, opts.every)
    policies.watch(s, t)
    sessions.watch(s, t, opts.endpoint)
    local reason = watch.drive(s, opts, { for_ns = opts["for"], until_idle = true })
    if agent and reason ~= "idle" then agent:snapshot(t.pid) end
    if reason ~= "idle" then s.engine:end_spawned(2000000000) end
    local exit = s.engine:exit_code()
    if agent then agent:finish() end
    watch.summary_of(s, opts, reason, { exit_code = exit, targets = { { id = t.id, pid = t.pid, name = t.name } } })
    local code = session.exit_code(s, opts)
    s.close()
    if reason == "interrupted" then return 130 end
    if code ~= 0 then return code end
    return reason == "idle" and exit > 0 and exit or 0
  end,
}
