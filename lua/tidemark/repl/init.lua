-- The REPL: lines in, values out, while the session's engine goes on sampling. Each line is a coroutine, so it may await; Ctrl-C
-- stops it wherever it is. Without a terminal the lines are a script, and its failures an exit code.
local core = require "tidemark.core"
local eval = require "tidemark.repl.eval"
local jobs = require "tidemark.repl.jobs"
local print_value = require "tidemark.repl.print"
local targets = require "tidemark.targets"
local text = require "tidemark.show.text"

local has_interrupt, interrupt = pcall(require, "tidemark.interrupt") -- the program has it, the library has not
local raw_resume = coroutine.resume

local M = {}
local Repl = {}
Repl.__index = Repl

local LINES_A_SECOND <const> = 10

-- ---- coroutines that Ctrl-C can stop ----

local function resume(co, ...)
  if not has_interrupt then return table.pack(raw_resume(co, ...)), false end
  local before = interrupt.enter(co)
  local results = table.pack(raw_resume(co, ...))
  local hit = interrupt.leave(co, before)
  return results, hit
end

-- Coroutines that a line makes are stopped as the line is.
local function make_stoppable()
  if not has_interrupt then return end
  -- luacheck: globals coroutine.resume coroutine.wrap
  coroutine.resume = function(co, ...)
    local results = resume(co, ...)
    return table.unpack(results, 1, results.n)
  end
  coroutine.wrap = function(f)
    local co = coroutine.create(f)
    return function(...)
      local results = resume(co, ...)
      if not results[1] then error(results[2], 0) end
      return table.unpack(results, 2, results.n)
    end
  end
end

-- ---- what is said ----

--- Shows text above the prompt.
function Repl:show(out)
  if out == "" then return end
  if self.prompting then self.console:print_above(out) else
    io.write(out, out:sub(-1) == "\n" and "" or "\n")
    io.flush()
  end
end

--- The same for lines that come by themselves: more than ten a second are folded.
function Repl:say(line)
  local second = core.now() // 1000000000
  if second ~= self.say_second then
    self.say_second, self.said = second, 0
  end
  self.said = self.said + 1
  self.log[#self.log + 1] = line
  if #self.log > 1000 then table.remove(self.log, 1) end
  if self.said <= LINES_A_SECOND then return self:show(line) end
  self.folded = (self.folded or 0) + 1
  if self.folded > 1 then return end
  self:after(1000000000, function()
    local n = self.folded
    self.folded = nil
    self:show(text.style("dim", ("(+%d lines; :log shows them)"):format(n)))
  end)
end

function Repl:complain(err)
  self.failures = self.failures + 1
  if type(err) == "string" then
    err = eval.plain(err)
    local advice = require("tidemark.repl.hint").of(self, err, self.source)
    if advice then err = { message = err, advice = advice } end
  end
  local out = print_value.problem(err)
  if self.console then return self:show(out) end
  io.stdout:flush()
  io.stderr:write(out, "\n")
end

function Repl:width() return core.terminal(1).columns or 100 end

--- Shows values as a line's answer.
function Repl:echo(values, items)
  local first, second = values[1], values[2]
  if values.n >= 2 and first == nil and type(second) == "table" and second.message then return self:complain(second) end
  for i = 1, values.n do
    local out, cut = print_value.render(values[i], { width = self:width(), items = items })
    if cut then self.cut_value, self.cut_items = values[i], items or 20 end
    self:show(out)
  end
end

-- ---- time ----

--- Calls fn once after so long; answers what forget takes. every: again and again.
function Repl:after(ns, fn, every)
  local _, now = core.now()
  local timer = { due = now + ns, fn = fn, every = every and ns }
  self.timers[#self.timers + 1] = timer
  return timer
end

function Repl:forget(timer)
  for i, t in ipairs(self.timers) do
    if t == timer then return table.remove(self.timers, i) end
  end
end

-- Runs what is due; answers the time until the next, or nil.
function Repl:tick()
  local _, now = core.now()
  local due = {}
  for _, t in ipairs(self.timers) do
    if t.due <= now then due[#due + 1] = t end
  end
  for _, t in ipairs(due) do
    if t.every then t.due = now + t.every else self:forget(t) end
    local ok, err = pcall(t.fn)
    if not ok then
      self:forget(t)
      self:complain(err)
    end
  end
  local next_due
  for _, t in ipairs(self.timers) do next_due = math.min(next_due or t.due, t.due) end
  return next_due and math.max(0, next_due - now)
end

--- Calls fn for every line object of the session: alerts, actions, loads.
function Repl:on_event(fn)
  self.hooks[#self.hooks + 1] = fn
  return fn
end

function Repl:forget_event(fn)
  for i, f in ipairs(self.hooks) do
    if f == fn then return table.remove(self.hooks, i) end
  end
end

-- Lets the loop run until a key, a timer, or an event that ends it.
function Repl:wait()
  local ns = self:tick()
  local session = targets.session(false)
  if session then
    local ok, reason = pcall(session.engine.run, session.engine, { for_ns = ns and math.max(ns, 1000000) })
    if not ok then self:complain(reason) end
    if reason == "interrupted" then self.interrupted = true end
  elseif self.console then self.console:wait(ns and math.ceil(ns / 1000000))
  elseif ns then core.sleep(ns)
  else error("nothing will ever happen: no job and no program is watched", 0) end
  self:tick()
end

-- ---- lines ----

-- The job that the line waits for, or the end of the line.
function Repl:step(...)
  local co = self.co
  local results, hit = resume(co, ...)
  if coroutine.status(co) == "suspended" and not hit then
    local job = results[2]
    if not jobs.is(job) then return self:finish({ n = 2, false, "a line may yield jobs only: await(job)" }) end
    local done = false
    self.cancel = nil
    local ok, cancel = pcall(job.start, self, function(...)
      if self.co ~= co then return end
      done = true
      self.ready = table.pack(...)
      local session = targets.session(false)
      if session then session.engine:stop() end
    end)
    if not ok then self.ready = table.pack(nil, { code = "lua", message = tostring(cancel) }) end
    if ok and not done then self.cancel = cancel end
    self.waiting = true
    return
  end
  if hit and self.console then io.write("\n") end -- behind the terminal's ^C
  self.stopped = hit
  if hit then results = { n = 2, false, { code = "cancelled", message = "interrupted" } } end
  self:finish(results)
end

function Repl:finish(results)
  local co = self.co
  self.co, self.waiting, self.ready, self.cancel = nil, false, nil, nil
  if not results[1] then
    self.trace = coroutine.status(co) == "dead" and debug.traceback(co) or nil
    self:complain(results[2])
    return
  end
  local values = table.pack(table.unpack(results, 2, results.n))
  if values[1] ~= nil then
    self.count = self.count + 1
    self.env._ = values[1]
    self.env["_" .. self.count] = values[1]
  end
  self:echo(values)
end

--- Ctrl-C while a line waits.
function Repl:cancel_line()
  if self.cancel then self.cancel() end
  self:finish({ n = 2, false, { code = "cancelled", message = "interrupted" } })
end

--- Starts a function as a line; its values are echoed.
function Repl:start(fn)
  self.co = coroutine.create(fn)
  self:step()
end

-- Runs a line until it is done; keys but Ctrl-C wait.
function Repl:drive()
  while self.co do
    if self.ready then
      local values = self.ready
      self.ready, self.waiting = nil, false
      self:step(table.unpack(values, 1, values.n))
    else
      self:wait()
      if self.co and not self.ready and (self.interrupted or self.console and self.console:interrupted()) then self:cancel_line() end
      self.interrupted = false
    end
  end
end

--- Runs one input: Lua, a :magic, or a ?question. Answers false, true when more lines must come.
---@param source string
---@return boolean ok, boolean|nil incomplete
function Repl:execute(source)
  local failures = self.failures
  if self.shell then return self:execute_in_shell(source) end
  if source:match("^%s*$") then return true end
  self.source = source
  local command = require "tidemark.repl.magic".find(source)
  if command then
    self:start(function() return command(self) end)
    self:drive()
    return self.failures == failures
  end
  local chunk, problem, incomplete = eval.compile(source, self.env)
  if incomplete then return false, true end
  if not chunk then
    self:complain(problem)
    return false
  end
  self.inputs[#self.inputs + 1] = source
  self:start(chunk)
  self:drive()
  return self.failures == failures
end

--- Another shell takes the lines until it says that it is over: execute(line) -> go_on, complete(text), prompt.
function Repl:nested(shell)
  self.shell = shell
  if shell.greet then shell:greet() end
end

function Repl:execute_in_shell(source)
  local failures, shell = self.failures, self.shell
  self:start(function()
    if not shell:execute(source) then self.shell = nil end
  end)
  self:drive()
  return self.failures == failures
end

-- ---- the session around it ----

local function environment(self)
  local env = setmetatable({}, { __index = _G })
  local help = require "tidemark.repl.help"
  env.tm = require "tidemark"
  env.help = function(what) io.write(help.text(self, what)) end
  env.await = function(job)
    if not jobs.is(job) then error("await takes a job, such as job.sleep '5s'", 2) end
    if coroutine.running() ~= self.co then error("await works in the line itself, not in a coroutine of its own", 2) end
    return coroutine.yield(job)
  end
  env.job = { sleep = jobs.sleep, all = jobs.all, any = jobs.any, next_alert = jobs.next_alert,
    read = self.console and jobs.read or nil, go = function(job) return jobs.go(self, job) end }
  env.sleep = function(span) return env.await(jobs.sleep(span)) end
  env.more = function()
    if self.cut_value == nil then return end
    self:echo({ n = 1, self.cut_value }, self.cut_items * 10)
  end
  return env
end

-- Requests and reads of a line let the loop go on: taking a profile for half a minute stops no sampling.
local function make_work_wait(self)
  local http, read = core.http, core.read
  local function in_line() return self.co and coroutine.running() == self.co and coroutine.isyieldable() end
  core.http = function(request)
    if not in_line() or request.file or request.progress then return http(request) end
    return coroutine.yield(jobs.http(request))
  end
  core.read = function(path, options)
    local plain = type(path) == "string" and not (options and (options.progress or options.max_bytes))
    if not plain or not in_line() then return read(path, options) end
    return coroutine.yield(jobs.read(path, options))
  end
end

--- A REPL; console = nil: a script.
function M.new(console)
  local self = setmetatable({ console = console, timers = {}, hooks = {}, log = {}, inputs = {}, kept = {}, is_kept = {}, background = {},
    failures = 0, count = 0 }, Repl)
  self.env = environment(self)
  if console then make_work_wait(self) end
  targets.on_open(function(session)
    if console then console:bind(session.engine) end
    local cli = require "tidemark.cli.session"
    session.sinks[#session.sinks + 1] = function(object)
      for _, hook in ipairs({ table.unpack(self.hooks) }) do hook(object) end
      if console and cli.worth_a_line(object) then self:say(cli.line(object)) end
    end
  end)
  return self
end

function Repl:close()
  for _, cancel in pairs(self.background) do cancel() end
  if self.console then self.console:bind() end
  targets.close()
end

-- Leaves a half-written line of output alone: the prompt goes below it, as zsh does it.
local function fresh_line(width)
  io.write(text.style("dim", text.utf8 and "⏎" or "~"), (" "):rep(width - 1), "\r\27[K")
  io.flush()
end

-- Runs what was typed. While it computes, Ctrl-C is a signal and the terminal is as programs expect it; while it waits, a key.
function Repl:run_input(source)
  local c = self.console
  c:accept()
  self.prompting, self.interrupted = false, false
  io.stdout:flush()
  if has_interrupt then interrupt.catch(true) end
  c:raw(false)
  self.wait = function(me)
    c:raw(true)
    Repl.wait(me)
    if me.ready then c:raw(false) end
  end
  self:execute(source)
  self.wait = nil
  io.stdout:flush()
  c:raw(true)
  if has_interrupt then interrupt.catch(false) end
  if not self.quit then fresh_line(self:width()) end
end

function Repl:on_enter()
  local c = self.console
  local source = c:text()
  local is_lua = not self.shell and not require("tidemark.repl.magic").find(source)
  if is_lua and source:match("%S") and select(3, eval.compile(source, self.env)) then
    c:newline(eval.indent(source))
    return
  end
  if source:match("%S") then
    c:add_history(source)
    require("tidemark.repl.history").append("repl", source)
  end
  self:run_input(source)
end

function Repl:begin()
  self.console:begin(text.style("bold", self.shell and self.shell.prompt or "tm> "), text.style("dim", "..> "))
  self.prompting = true
end

function Repl:on_tab()
  local line, cursor = self.console:text()
  local before = line:sub(1, cursor)
  local ok, from, list
  if self.shell then
    ok, list = pcall(self.shell.complete, self.shell, before)
    from = #before:match("^(.-)%S*$")
  else ok, from, list = pcall(require("tidemark.repl.complete").candidates, self, before) end
  self.console:candidates(ok and from or 0, ok and list or {})
end

--- Reads keys until the user leaves; answers the exit code.
function Repl:interact()
  local c = self.console
  make_stoppable()
  c:raw(true)
  self:begin()
  while not self.quit do
    local event = c:event()
    if event == "enter" then
      self:on_enter()
      if not self.quit and not self.prompting then self:begin() end
    elseif event == "complete" then self:on_tab()
    elseif event == "interrupt" then
      c:abandon()
      self:begin()
    elseif event == "suspend" then c:suspend()
    elseif event then
      if event == "eof" then c:accept() end
      break
    else self:wait() end
  end
  c:raw(false)
  return 0
end

--- Runs lines from a file or pipe; answers 0, or 1 when one failed.
function Repl:script(lines)
  make_stoppable()
  if has_interrupt then interrupt.catch(true) end
  local pending = nil
  for line in lines do
    local source = pending and pending .. "\n" .. line or line
    local _, incomplete = self:execute(source)
    pending = incomplete and source or nil
    if self.stopped then return 130 end
    if self.quit then break end
  end
  if pending then self:complain("the input ends within a statement: " .. pending:match("[^\n]*")) end
  io.stdout:flush()
  return self.failures > 0 and 1 or 0
end

return M
