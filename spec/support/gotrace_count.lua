-- What gotrace_diff.sh compares: the counts of a trace, as gotrace_count.go prints them; of its events too when asked.
local core = require "tidemark.core"
local t, err = core.read(arg[1])
if err then error(err.message) end
local info, n = t:info(), { runnable = 0, running = 0, syscall = 0, waiting = 0 }
for i = 1, info.goroutines do
  local state = t:goroutine(i).state
  n[state] = n[state] + 1
end
local regions = 0
for _, r in ipairs(t:regions()) do regions = regions + (r.end_ns and 1 or 0) end
if arg[2] then io.write(("events %d "):format(info.events)) end
print(("created %d ended %d alive %d runnable %d running %d syscall %d waiting %d regions %d tasks %d logs %d"):format(info.created, info.ended,
  info.goroutines, n.runnable, n.running, n.syscall, n.waiting, regions, info.tasks, info.logs))
