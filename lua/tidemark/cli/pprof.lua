-- pprof: the interactive shell over profiles. Lines come from the terminal with editing, or from a pipe.
local core = require "tidemark.core"
local profile = require "tidemark.profile"
local shell = require "tidemark.pprof.shell"
local text = require "tidemark.show.text"

local function reader(s)
  local ok, repl = pcall(require, "tidemark.repl.prompt")
  if ok and core.terminal(0).tty then
    return function() return repl.read_line(s.prompt, { complete = function(line) return s:complete(line) end, history = "pprof" }) end
  end
  local prompt = core.terminal(0).tty and s.prompt or ""
  return function()
    io.write(prompt)
    io.flush()
    return io.read("l")
  end
end

return {
  name = "pprof", summary = "an interactive shell over profiles, as pprof users know it", pprof_flags = true,
  usage = "pprof [BINARY] PROFILE... [OPTIONS]",
  examples = { "tidemark pprof heap.pb.gz", "tidemark pprof --diff-base a.pb.gz b.pb.gz", "echo 'top 5' | tidemark pprof heap.pb.gz" },
  options = profile.options,
  run = function(options, words)
    local p = profile.open(words, options)
    local bad = false
    local s = shell.new(p, {
      write = function(out) io.write(out) end,
      warn = function(line)
        io.stdout:flush()
        io.stderr:write(text.clean(line), "\n")
      end,
      complain = function(problem)
        bad = true
        io.stdout:flush()
        io.stderr:write(text.clean(problem), "\n")
      end,
      recombine = function(normalize)
        options.normalize = normalize
        local ok, made = pcall(profile.open, words, options)
        if ok then return made end
        return nil, type(made) == "table" and made or { message = tostring(made) }
      end,
    })
    for name, value in pairs(profile.report_options(options)) do
      if name == "cum" then name, value = "sort", value and "cum" or "flat" end
      local problem = s:assign(name, tostring(value))
      if problem then error({ message = problem, exit = 2 }, 0) end
    end
    if not options.quiet then s:greet() end
    local next_line = reader(s)
    for line in next_line do
      if not s:execute(line) then break end
    end
    return bad and not core.terminal(0).tty and 1 or 0
  end,
}
