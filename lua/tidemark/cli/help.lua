-- help: a command's page, or a topic.
local args = require "tidemark.cli.args"
local core = require "tidemark.core"
local text = require "tidemark.show.text"

local topics = {
  ["exit-codes"] = [[
0    ok, nothing found
1    findings (--fail-on), or a gate or test failed
2    usage: an unknown option, a missing word
3    input cannot be read or is damaged (file, offset, hint)
4    the target is gone or cannot be reached
5    refused: a permission, or rules that nobody trusts
6    this platform or build lacks it
70   internal error
130  interrupted; what was done so far is written and said
]],
  units = [[
Sizes: 512MB, 8MiB, 1.5G, 100B (powers of 1024). Durations: 250ms, 10s, 1h30m, 2d. Ratios: 15% or 0.15.
A bare number is refused where a size or a duration is meant. In JSON all sizes are bytes and all times nanoseconds.
]],
  targets = [[
PID            a process                          4711
NAME           its name, if only one has it       firefox
http://...     an app's pprof endpoint            http://127.0.0.1:6060/debug/pprof/
unix:PATH      the same on a unix socket          unix:/run/app.sock
jvm:PID        a JVM                              jvm:4711
node:PORT|PID  V8 by its inspector; chrome: too   chrome:9222/Shop
-- CMD ARGS    a command to start (run, record)   -- ./myapp --open big.doc
]],
  env = [[
TIDEMARK_DEBUG    traces of internal errors
TIDEMARK_LUA      folder of Lua modules that go before the embedded ones
NO_COLOR          no colours; CLICOLOR_FORCE: always
XDG_STATE_HOME    where history and trust are kept ($HOME/.local/state)
XDG_CONFIG_HOME   where tidemark/config.lua and tidemark/rules/ are looked for ($HOME/.config)
]],
  rules = [[
A rule is a Lua file that calls tm.rule { id =, every =, inputs = {...}, check = function(c) ... end }.
  tidemark rules new my.rule -o rules/my.lua    a skeleton with tests
  tidemark rules check rules/my.lua             does it load?
  tidemark rules test rules/my.lua              run its tests
  tidemark watch PID --rules rules/             use it; a save takes effect at once
The guide is docs/rule-guide.md.
]],
}

local function signals()
  local out, owners = {}, {}
  for i, o in ipairs(core.owners()) do owners[i] = "account." .. o.owner end
  for _, s in ipairs(core.signals()) do
    out[#out + 1] = { name = s.name, unit = s.unit, kind = s.kind, group = s.group, doc = s.doc }
  end
  return text.table({ { key = "name", title = "SIGNAL" }, { key = "unit", title = "UNIT" }, { key = "kind", title = "KIND" },
    { key = "group", title = "READ WITH" }, { key = "doc", title = "WHAT IT IS" } }, out)
    .. "\nBy kind: proc.handles, proc.handle_bytes (descriptors), proc.mappings, proc.mapping_bytes (memory mappings).\n"
    .. "The accounting of RSS, where there is something: " .. table.concat(owners, ", ") .. ";\nsums: account.go, account.jvm, account.v8, account.c_heap, "
    .. "account.files, account.rss.\n"
end

local function profile_options()
  return "Options of every profile command (top, tree, peek, diff, growth, convert, ...), also as -name=value:\n"
    .. args.option_lines(require("tidemark.profile").options)
end

return {
  name = "help", summary = "a command's page, or a topic", usage = "help [COMMAND|TOPIC]",
  examples = { "tidemark help watch", "tidemark help signals" },
  run = function(_, words)
    local cli = require "tidemark.cli"
    local topic = words[1]
    if not topic then io.write(cli.overview())
    elseif topic == "topics" then
      io.write("rules, signals, profile-options, units, targets, exit-codes, env\n")
    elseif topic == "signals" then io.write(signals())
    elseif topic == "profile-options" then io.write(profile_options())
    elseif cli.command(topic) and topic ~= "rules" then io.write(args.help(cli.command(topic)))
    elseif topics[topic] then
      io.write(topics[topic])
      if topic == "rules" then io.write("\n", args.help(cli.command("rules"))) end
    else
      local names = { "signals", "profile-options", "topics" }
      for name in pairs(topics) do names[#names + 1] = name end
      for _, name in ipairs(cli.names) do names[#names + 1] = name end
      args.usage("no help on '" .. topic .. "'" .. args.nearest(topic, names))
    end
  end,
}
