-- record: watch with the emphasis on the file.
local args = require "tidemark.cli.args"
local run = require "tidemark.cli.run"
local session = require "tidemark.cli.session"
local watch = require "tidemark.cli.watch"

local options = { { "output", "FILE", "the recording (.tmr)" } }
for _, option in ipairs(session.options) do
  if option[1] ~= "record" then options[#options + 1] = option end
end

return {
  name = "record", configurable = true, summary = "write samples, events and evidence of a program to a file", usage = "record TARGET -o FILE.tmr [OPTIONS]",
  examples = { "tidemark record firefox -o ff.tmr --for 1h", "tidemark record -o app.tmr -- ./myapp" },
  doc = "The file can be replayed (`tidemark replay`), reported on (`tidemark report`), and survives a kill.",
  options = options,
  run = function(opts, words, rest)
    if not opts.output then args.usage("-o FILE is missing") end
    opts.record = opts.output
    if rest then return run.run(opts, {}, rest) end
    return watch.run(opts, words)
  end,
}
