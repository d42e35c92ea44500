-- Go execution traces of version 1 (Go 1.11 to 1.21) written by hand, of which everything is known.
local core = require "tidemark.core"
local gotrace1 = require "spec.support.gotrace1_writer"
local helper = require "spec.support.helper"

-- Proc 0 lists 1 (running), 9 (waits since before) and 8 (in a syscall), then main starts 2 to 4, which proc 1 runs. The batch of proc 1
-- stands first, and the strings last.
local function records()
  return {
    { "Batch", 1, 1000 }, { "ProcStart", 7 }, { "GoStart", 2, 1 }, { "GoBlockRecv", 30, dt = 9 }, { "GoStart", 3, 1 }, { "GoEnd", dt = 90 },
    { "GoSysExit", 8, 2, 1005, dt = 5 }, { "GoStart", 8, 3 }, { "GoSysCall", 40 }, { "GoSysBlock", dt = 20 },
    { "Batch", 0, 500 }, { "GoCreate", 1, 10, 0, 0 }, { "GoStart", 1, 1 }, { "GoCreate", 9, 10, 0 }, { "GoWaiting", 9 }, { "GoCreate", 8, 10, 0 },
    { "GoInSyscall", 8 }, { "Gomaxprocs", 2, 0 },
    { "GoCreate", 2, 10, 20, dt = 44 }, { "GoCreate", 3, 10, 20 }, { "GoCreate", 4, 10, 20 }, { "HeapAlloc", 4096 }, { "HeapGoal", 8192 },
    { "GCStart", 0, 0 }, { "GCDone" },
    { "TaskCreate", 5, 0, 3, 0 }, { "Region", 5, 0, 3, 0 }, { "Log", 5, 3, 0, "a value" }, { "Region", 5, 1, 3, 0, dt = 70 }, { "TaskEnd", 5, 0 },
    { "GoSysCall", 0 }, { "GoSched", 20, dt = 2000 },
    { "Stack", 10, 1, 1, 2, 9 }, { "Stack", 20, 2, 4, 5, 20 }, { "Stack", 30, 3, 6, 2, 12, 1, 1, 2, 10 }, { "Stack", 40, 4, 7, 2, 14 },
    { "String", 1, "main.worker" }, { "String", 2, "w.go" }, { "String", 3, "frame" }, { "String", 4, "main.main" }, { "String", 5, "main.go" },
    { "String", 6, "main.wait" }, { "String", 7, "main.read" }, { "Frequency", 500000000 },
  }
end

-- GoCreate has a stack behind the new one; the list of those that were there has no creator.
local function fixed(version)
  local list = records()
  for _, e in ipairs(list) do
    if e[1] == "GoCreate" then while #e < 4 do e[#e + 1] = 0 end end
    if e[1] == "GoCreate" and #e > 4 then e[5] = nil end
  end
  return gotrace1(version, list), list
end

describe("a Go trace of version 1", function()
  teardown(helper.tidy)

  for _, version in ipairs { 11, 19, 21 } do
    it("tells of goroutines as later ones do (1." .. version .. ")", function()
      local t, err = core.read { bytes = (fixed(version)) }
      assert.is_nil(err)
      local info = t:info()
      assert.same({ version, 1, 2 }, { info.format_version, info.generations, info.batches })
      assert.same({ 3, 1, 5 }, { info.created, info.ended, info.goroutines })
      local rows = {}
      for i = 1, info.goroutines do rows[t:goroutine(i).id] = t:goroutine(i) end
      assert.equal("runnable", rows[1].state)
      assert.equal("runtime.Gosched", rows[1].reason)
      assert.same({ "waiting", "chan receive", "main.worker", true }, { rows[2].state, rows[2].reason, rows[2].entry, rows[2].born })
      assert.equal("runnable", rows[4].state)
      assert.same({ "syscall", "main.worker", false }, { rows[8].state, rows[8].entry, rows[8].born })
      assert.same({ "waiting", "", 0 }, { rows[9].state, rows[9].reason, rows[9].since_ns })
      assert.equal(9 * 2, rows[2].running_ns)
      -- 8 left its syscall at tick 1005, whatever the time of the event says.
      assert.equal((1005 - 506 + 2632 - 1129) * 2, rows[8].syscall_ns)
      local by_state = {}
      for _, row in t:goroutines({}):rows() do by_state[row.state] = row end
      assert.equal("main.wait w.go:12", by_state["chan receive"].site)
      assert.equal("main.main", by_state["chan receive"].creation)
      assert.equal("main.read w.go:14", by_state.syscall.site)
    end)
  end

  it("calls the main goroutine as later ones do", function()
    local list = records()
    for _, e in ipairs(list) do
      if e[1] == "GoCreate" and #e > 4 then e[5] = nil end
      if e[1] == "String" and e[2] == 1 then e[3] = "runtime.main" end
    end
    local t = core.read { bytes = gotrace1(19, list) }
    local by_state = {}
    for _, row in t:goroutines({}):rows() do by_state[row.state] = row end
    assert.equal("main.main", by_state.runnable.entry)
    assert.equal("runtime.main", by_state.waiting.entry) -- without a stack nothing else is known
  end)

  it("has regions, tasks, logs, counters and collections", function()
    local t = assert(core.read { bytes = (fixed(19)) })
    local regions = t:regions()
    assert.equal(1, #regions)
    assert.same({ "frame", 1, 5, 71 * 2 }, { regions[1].name, regions[1].goroutine, regions[1].task, regions[1].end_ns - regions[1].begin_ns })
    local _, heap = t:counter "heap_live"
    assert.same({ 4096 }, heap)
    local info = t:info()
    assert.same({ 1, 1, 1 }, { info.tasks, info.logs, info.gc })
  end)

  it("is in order when the events of its processors can be", function()
    local bytes, list = fixed(21)
    local v = assert(core.check_trace { bytes = bytes })
    assert.is_nil(v.problem)
    assert.same({ true, 3, 1, 5 }, { v.valid, v.created, v.ended, v.alive })
    for _, e in ipairs(list) do if e[1] == "GoStart" and e[2] == 3 then e[3] = 7 end end
    v = assert(core.check_trace { bytes = gotrace1(21, list) })
    assert.is_false(v.valid)
    assert.matches("wait for each other", v.problem, 1, true)
    assert.is_true(v.offset > 16 and v.offset < #bytes)
    local t, err = core.read { bytes = gotrace1(21, list) } -- what came before is read
    assert.equal("format", err.code)
    assert.is_true(t.partial)
    assert.equal(3, t:info().created)
  end)

  it("tells what goroutines waited for", function()
    local _, waits = core.check_trace({ bytes = gotrace1(19, { { "Batch", 0, 100 }, { "GoCreate", 1, 0, 0 }, { "GoStart", 1, 1 }, { "Gomaxprocs", 1, 0 },
      { "GoCreate", 2, 0, 0 }, { "GoSched", 0 }, { "GoStart", 2, 1 }, { "GoBlockRecv", 7 }, { "GoStart", 1, 2 }, { "GoUnblock", 2, 2, 0, dt = 40 },
      { "Stack", 7, 1, 1, 2, 3 }, { "String", 1, "main.wait" }, { "String", 2, "w.go" }, { "Frequency", 500000000 } }) }, true)
    local rows = {}
    for _, row in waits:report("top", {}, "table"):rows() do rows[row.name] = row.flat end
    assert.same({ ["main.wait"] = 41 * 2 }, rows)
  end)

  it("of which the clock goes backwards is no order", function()
    local v = assert(core.check_trace { bytes = gotrace1(19, { { "Batch", 0, 500 }, { "GoCreate", 1, 0, 0 }, { "GoStart", 1, 1 }, { "Gomaxprocs", 1, 0 },
      { "Batch", 0, 100 }, { "HeapAlloc", 1 }, { "Frequency", 1000 } }) })
    assert.is_false(v.valid)
    assert.matches("clock goes backwards", v.problem, 1, true)
  end)

  it("cut at any byte gives what is whole, and where it ends", function()
    local whole = fixed(19)
    local most = 0
    for size = 17, #whole - 1 do
      local t, err = core.read({ bytes = whole:sub(1, size) }, { format = "gotrace" })
      if t then
        assert.is_true(t.partial)
        assert.is_true(err.offset <= size, err.message)
        most = math.max(most, t:info().events)
        t:goroutines {}
      else
        assert.equal("format", err.code)
      end
      assert.is_false(core.check_trace({ bytes = whole:sub(1, size) }).valid)
    end
    assert.equal(core.read({ bytes = whole }):info().events, most)
  end)

  it("of Go 1.5 to 1.10 is refused with what to do", function()
    for _, version in ipairs { "5", "7", "8", "9", "10" } do
      local head = ("go 1.%s trace"):format(version)
      local t, err = core.read { bytes = head .. ("\0"):rep(16 - #head) .. "\1\2\3" }
      assert.is_nil(t)
      assert.equal("unsupported", err.code)
      assert.matches("1." .. version .. ", which only Go 1.10 and older wrote", err.message, 1, true)
    end
  end)

  it("that claims more than it holds costs nothing", function()
    local claim = "\255\255\255\255\15" -- 4 GB
    for _, bytes in ipairs { "\1\0\100\37\1" .. claim, "\1\0\100\195" .. claim, "\1\0\100\195\6\1\255\255\255\255\15", "\1\0\100\240" .. claim } do
      local v, err = core.check_trace { bytes = "go 1.19 trace\0\0\0\65" .. bytes:sub(2) .. ("x"):rep(900) }
      assert.is_nil(err)
      assert.is_false(v.valid)
    end
  end)
end)
