-- Waiting at the prompt. A job is { what, start = function(repl, done) -> cancel }; done(value...) ends it, done(nil, err) too.
-- await() hands it to the loop: the line goes on when the job is done, sampling goes on meanwhile, Ctrl-C cancels it.
local core = require "tidemark.core"

local M = {}

local Job = { __name = "tidemark.Job" }
Job.__index = Job
Job.__tostring = function(job) return "job: " .. job.what end

--- A job. start may call done at once.
function M.new(what, start) return setmetatable({ what = what, start = start }, Job) end
function M.is(value) return getmetatable(value) == Job end

local function nothing() end

--- Waits for a span: "5s", or a number of seconds.
function M.sleep(span)
  local ns, err = core.duration(type(span) == "number" and span .. "s" or tostring(span))
  if not ns then error(err.message, 2) end
  return M.new("sleep " .. tostring(span), function(repl, done)
    local timer = repl:after(ns, function() done(true) end)
    return function() repl:forget(timer) end
  end)
end

--- Waits for the next alert that fires, of one rule or any; answers it.
function M.next_alert(rule)
  return M.new("the next alert", function(repl, done)
    local hook
    hook = repl:on_event(function(object)
      if object.type == "alert" and object.state == "firing" and (not rule or object.rule == rule) then
        repl:forget_event(hook)
        done(object)
      end
    end)
    return function() repl:forget_event(hook) end
  end)
end

--- A request that lets the loop go on; answers what core.http answers.
function M.http(request)
  return M.new("http " .. tostring(request.url), function(repl, done)
    local call, err = core.http_start(request, repl.console, done)
    if not call then
      done(nil, err)
      return nothing
    end
    return function() call:cancel() end
  end)
end

--- A file read on a thread of its own; answers what core.read answers.
function M.read(path, options)
  return M.new("read " .. tostring(path), function(repl, done)
    local call = core.read_start(path, options and options.format, repl.console, done)
    return function() call:cancel() end
  end)
end

--- Starts a job now and lets the line go on; awaiting what it answers gives the job's values.
function M.go(repl, job)
  local values, waiting
  local cancel = job.start(repl, function(...)
    values = table.pack(...)
    repl.background[job] = nil
    if waiting then waiting(table.unpack(values, 1, values.n)) end
  end)
  if not values then repl.background[job] = cancel or nothing end
  return M.new(job.what .. " (started)", function(_, done)
    if values then done(table.unpack(values, 1, values.n)) else waiting = done end
    return function() waiting = nil end
  end)
end

-- Starts jobs together until enough(left); then finish(done, results, i) answers for them.
local function together(what, jobs, enough, finish)
  return M.new(what, function(repl, done)
    local cancels, results, left, over = {}, {}, #jobs, false
    local function cancel_all()
      for _, cancel in pairs(cancels) do cancel() end
    end
    if left == 0 then
      done({})
      return nothing
    end
    for i, job in ipairs(jobs) do
      if over then break end
      local at_once = false
      local cancel = job.start(repl, function(...)
        at_once = true
        if over then return end
        cancels[i] = nil
        results[i] = (...)
        left = left - 1
        if enough(left) then
          over = true
          cancel_all()
          finish(done, results, i)
        end
      end)
      if not at_once and not over then cancels[i] = cancel or nothing end
    end
    return cancel_all
  end)
end

--- All of the jobs: answers the list of their first results.
function M.all(jobs)
  return together("all", jobs, function(left) return left == 0 end, function(done, results) done(results) end)
end

--- The first of the jobs that is done: its result and its number; the others are cancelled.
function M.any(jobs)
  return together("any", jobs, function() return true end, function(done, results, i) done(results[i], i) end)
end

return M
