-- `check`: the order of Go traces written by hand, right and wrong in ways of which the rule is known.
local core = require "tidemark.core"
local gotrace = require "spec.support.gotrace_writer"
local helper = require "spec.support.helper"

local function check(version, ...)
  local generations = { ... }
  return assert(core.check_trace { bytes = gotrace(version, function(w)
    for number, fill in ipairs(generations) do w:generation(number, fill) end
  end) })
end

-- Thread 7 holds proc 0 and runs goroutine 1.
local function main_thread(more)
  local events = { { "ProcStatus", 0, 1 }, { "GoStatus", 1, 7, 2 } }
  return table.move(more, 1, #more, #events + 1, events)
end

local function one_thread(more)
  return check(23, function(gen) gen:thread(7, 100, main_thread(more)) end)
end

describe("check of a Go trace", function()
  teardown(helper.tidy)

  it("puts events in order whose times lie", function()
    local v = check(25, function(gen)
      gen:thread(8, 50, { { "ProcStatus", 1, 2 }, { "ProcStart", 1, 1 }, { "GoStart", 2, 1 }, { "GoDestroy" } }) -- before its birth, says the clock
      gen:thread(7, 100, main_thread { { "GoCreate", 2, 0, 0 }, { "GoCreate", 3, 0, 0 }, { "GoStop", 0, 0 } })
    end)
    assert.is_nil(v.problem)
    assert.is_true(v.valid)
    assert.equal(9, v.events)
    assert.is_true(v.waited > 0)
    assert.same({ 2, 1, 2, 2 }, { v.created, v.ended, v.alive, v.runnable })
  end)

  it("carries goroutines, procs and threads into the next generation", function()
    local function first(gen) gen:thread(7, 100, main_thread { { "GoCreate", 2, 0, 0 }, { "GoSyscallBegin", 1, 0 } }) end
    local function second(gen)
      gen:thread(7, 900, { { "ProcStatus", 0, 3 }, { "GoStatus", 1, 7, 3 }, { "GoSyscallEnd" }, { "GoBlock", 0, 0 }, { "GoStatus", 2, -1, 1 },
        { "GoStart", 2, 1 } })
    end
    local v = check(26, first, second)
    assert.is_nil(v.problem)
    assert.same({ 2, 1, 1 }, { v.generations, v.running, v.waiting })
    local again = check(26, first, function(gen) gen:thread(7, 900, { { "GoStatus", 2, -1, 4 } }) end)
    assert.matches("goroutine 2 was in status 1 and is said to be in 4", again.problem, 1, true)
    local stranger = check(26, first, function(gen) gen:thread(7, 900, { { "GoStatus", 9, -1, 4 } }) end)
    assert.matches("goroutine 9 comes from nowhere", stranger.problem, 1, true)
  end)

  for what, case in pairs {
    ["a goroutine that ends twice"] = { { { "GoDestroy" }, { "GoDestroy" } }, "expected a goroutine but didn't have one" },
    ["a goroutine created twice"] = { { { "GoCreate", 2, 0, 0 }, { "GoCreate", 2, 0, 0 } }, "created twice" },
    ["a start out of sequence"] = { { { "GoCreate", 2, 0, 0 }, { "GoStop", 0, 0 }, { "GoStart", 2, 5 } }, "all 1 threads wait" },
    ["an unblock of one that does not wait"] = { { { "GoCreate", 2, 0, 0 }, { "GoUnblock", 2, 1, 0 } }, "all 1 threads wait" },
    ["a syscall out of sequence"] = { { { "GoSyscallBegin", 7, 0 } }, "has number 7 after 0" },
    ["a syscall that ends twice"] = { { { "GoSyscallBegin", 1, 0 }, { "GoSyscallEnd" }, { "GoSyscallEnd" } }, "not in a syscall" },
    ["a proc stolen from a stranger"] = { { { "ProcStatus", 1, 3 }, { "ProcSteal", 1, 1, 99 } }, "unknown thread 99" },
    ["a region that ends out of turn"] = { { { "RegionBegin", 0, 1, 0 }, { "RegionBegin", 0, 2, 0 }, { "RegionEnd", 0, 1, 0 } }, "innermost" },
    ["a task that begins twice"] = { { { "TaskBegin", 4, 0, 1, 0 }, { "TaskBegin", 4, 0, 1, 0 } }, "task 4 begins twice" },
    ["a collection within a collection"] = { { { "GCBegin", 1, 0 }, { "GCBegin", 2, 0 } }, "within a collection" },
    ["a sweep that did not begin"] = { { { "GCSweepEnd", 1, 1 } }, "a sweep ends that did not begin" },
    ["a mark assist within a mark assist"] = { { { "GCMarkAssistBegin", 0 }, { "GCMarkAssistBegin", 0 } }, "begins within another" },
    ["a world that was not stopped"] = { { { "STWEnd" } }, "was not stopped" },
    ["a stack that is not there"] = { { { "GoBlock", 0, 44 } }, "names a stack" },
    ["a string that is not there"] = { { { "GoBlock", 44, 0 } }, "names a string" },
  } do
    it("refuses " .. what, function()
      local v = check(23, function(gen)
        gen:string "one"
        gen:string "two"
        gen:thread(7, 100, main_thread(case[1]))
      end)
      assert.is_false(v.valid)
      assert.matches(case[2], v.problem, 1, true)
      assert.is_true(v.offset > 16)
    end)
  end

  it("knows a region's end that is right, and one older than the trace", function()
    local v = check(23, function(gen)
      local a, b = gen:string "a", gen:string "b"
      gen:thread(7, 100, main_thread { { "RegionEnd", 0, b, 0 }, { "RegionBegin", 0, a, 0 }, { "RegionBegin", 1, b, 0 }, { "RegionEnd", 1, b, 0 },
        { "RegionEnd", 0, a, 0 }, { "RegionBegin", 0, b, 0 }, { "GoDestroy" } })
    end)
    assert.is_nil(v.problem)
  end)

  it("says where a trace was cut, and how much is whole before", function()
    local function fill(gen) gen:thread(7, 100, main_thread {}) end
    local whole = gotrace(26, function(w)
      w:generation(1, fill)
      w:generation(2, function(gen) gen:thread(7, 900, { { "ProcStatus", 0, 1 }, { "GoStatus", 1, 7, 2 } }) end)
    end)
    for size = 17, #whole - 1 do
      local v = assert(core.check_trace { bytes = whole:sub(1, size) })
      if v.valid then -- it ends between two generations
        assert.equal(1, v.generations)
        assert.equal(52, whole:byte(size))
      else
        assert.is_true(v.offset <= size, v.problem)
        assert.is_true(v.events == 0 or v.events == 2, ("%d events of %d bytes: %s"):format(v.events, size, v.problem))
      end
    end
  end)

  it("is a command with an exit code", function()
    local good = helper.write(helper.folder() .. "/good.trace", gotrace(26, function(w)
      w:generation(1, function(gen) gen:thread(7, 100, main_thread {}) end)
    end))
    local rows = helper.rows("check", "check", good)
    assert.is_true(rows[1].valid)
    assert.equal(2, rows[1].events)
    local bad = helper.write(helper.folder() .. "/bad.trace", "go 1.26 trace\0\0\0\1\1\1")
    local result = helper.tidemark("check", good, bad)
    assert.equal(1, result.code)
    assert.matches("whole and in order", result.out, 1, true)
    assert.matches("at byte 16", result.out, 1, true)
    assert.equal(3, helper.tidemark("check", helper.write(helper.folder() .. "/no.trace", "nothing")).code)
  end)

  it("writes what goroutines waited for as a profile", function()
    local file = helper.write(helper.folder() .. "/w.trace", gotrace(26, function(w)
      w:generation(1, function(gen)
        local recv = gen:stack { "runtime.chanrecv1", "chan.go", 1, "main.wait", "w.go", 12 }
        local nap = gen:stack { "time.Sleep", "t.go", 1, "main.nap", "w.go", 20 }
        local why, sleep = gen:string "chan receive", gen:string "sleep"
        gen:thread(8, 110, { { "ProcStatus", 1, 2 }, { "ProcStart", 1, 1 }, { "GoStart", 2, 1 }, { "GoBlock", why, recv }, { "GoStart", 2, 3, dt = 200 },
          { "GoBlock", why, recv }, { "GoStart", 3, 1 }, { "GoBlock", sleep, nap } })
        gen:thread(7, 100, main_thread { { "GoCreate", 2, 0, 0 }, { "GoCreate", 3, 0, 0 }, { "GoUnblock", 2, 2, 0, dt = 60 },
          { "GoUnblock", 2, 4, 0, dt = 300 } })
      end)
    end))
    local out = helper.folder() .. "/block.pb.gz"
    assert.equal(0, helper.tidemark("check", file, "--blocked", out).code)
    local p = assert(core.read(out))
    local delay, count = {}, {}
    for _, row in p:report("top", {}, "table"):rows() do delay[row.name] = row.flat end
    for _, row in p:report("top", { sample_index = "contentions" }, "table"):rows() do count[row.name] = row.flat end
    -- blocked at 114 until 164, again at 315 until 464; the sleep has not ended
    assert.same({ (164 - 114 + 464 - 315) * 64, 2 }, { delay["runtime.chanrecv1"], count["runtime.chanrecv1"] })
    assert.is_nil(count["time.Sleep"])
  end)

  it("of one thread alone is in order", function() assert.is_true(one_thread({}).valid) end)
end)
