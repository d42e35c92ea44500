-- Goroutines of traces written by hand, of which everything is known; of Go's own when go is there; of dumps with the same keys.
local core = require "tidemark.core"
local gotrace = require "spec.support.gotrace_writer"
local helper = require "spec.support.helper"

-- Thread 7 runs main (1), which starts 2 to 5; thread 8 runs 2 (ends), 3 (blocks), 4 (blocks, is woken by main later). The batch of
-- thread 8 stands first in the file: no order between threads may be needed.
local function leak(w, number, again)
  w:generation(number or 1, function(gen)
    local start = gen:stack { "main.worker", "w.go", 9 }
    local go = gen:stack { "main.main", "main.go", 20 }
    local recv = gen:stack { "runtime.chanrecv1", "chan.go", 1, "main.wait", "w.go", 12, "main.worker", "w.go", 10 }
    local why = gen:string "chan receive"
    gen:thread(8, 200, {
      { "GoStart", 2, 1 }, { "GoDestroy" },
      { "GoStart", 3, 1 }, { "GoBlock", why, recv },
      { "GoStart", 4, 1 }, { "GoBlock", why, recv, dt = 4 },
    })
    local events = { { "GoStatus", 1, 7, 2 } }
    for id = 2, 5 do events[#events + 1] = { "GoCreate", id, start, go } end
    events[#events + 1] = { "HeapAlloc", 4096 }
    events[#events + 1] = { "GoUnblock", 4, 2, 0, dt = 300 }
    gen:thread(7, 100, events)
    if again then again(gen) end
  end)
end

local function by_state(t)
  local out = {}
  for _, row in t:rows() do out[row.state] = row end
  return out
end

describe("goroutines of a Go trace", function()
  teardown(helper.tidy)

  for _, version in ipairs { 22, 23, 25, 26 } do
    it("are those alive, by state, entry, site and creation (1." .. version .. ")", function()
      local file = helper.write(helper.folder() .. "/t.trace", gotrace(version, leak))
      local rows, meta = helper.rows("goroutines", "goroutines", file)
      local r = {}
      for _, row in ipairs(rows) do r[row.state] = row end
      assert.same({ count = 1, state = "chan receive", entry = "main.worker", site = "main.wait w.go:12", creation = "main.main",
        age_ns = (406 - 204) * 64, created_count = 4, ended_count = 1 }, r["chan receive"])
      assert.equal(2, r.runnable.count) -- 4 was woken, 5 never ran
      assert.equal((406 - 105) * 64, r.runnable.age_ns)
      assert.equal(1, r.running.count)
      assert.equal(4, meta.alive)
      assert.equal(4, meta.created)
      assert.equal(1, meta.ended)
    end)
  end

  it("have times per state that do not need an order of threads", function()
    local t = assert(core.read { bytes = gotrace(26, leak) })
    local g = t:goroutine(3)
    assert.equal(4, g.id)
    assert.equal(4 * 64, g.running_ns)
    assert.equal((406 - 209) * 64, g.waiting_ns)
    assert.equal((205 - 104) * 64, g.runnable_ns)
  end)

  it("live through generations, whose ids start anew", function()
    local t = assert(core.read { bytes = gotrace(26, function(w)
      leak(w)
      w:generation(2, function(gen)
        gen:string "other" -- the same numbers mean other strings now
        local sleep = gen:string "sleep"
        gen:thread(8, 500, { { "GoStatus", 5, -1, 1 }, { "GoStart", 5, 1 },
          { "GoBlock", sleep, gen:stack { "time.Sleep", "t.go", 1, "main.nap", "w.go", 40 } } })
        gen:thread(7, 500, { { "GoStatus", 1, 7, 2 }, { "GoUnblock", 5, 2, 0, dt = 90 }, { "GoDestroy" } })
        gen:thread(9, 600, { { "GoStart", 5, 3 }, { "GoDestroy" } })
      end)
    end) })
    assert.equal(2, t:info().generations)
    local r = by_state(t:goroutines { gone = true })
    assert.equal("main.wait w.go:12", r["chan receive"].site) -- of the first generation
    assert.equal(1, r.runnable.count)
    assert.equal(3, t:info().ended)
    assert.equal(2, t:info().goroutines)
  end)

  it("leave calls from C apart, and hand over by switches", function()
    local t = assert(core.read { bytes = gotrace(23, function(w)
      w:generation(1, function(gen)
        gen:thread(5, 100, { { "GoCreateSyscall", 70 }, { "GoSyscallEnd" }, { "GoSyscallBegin", 1, 0 }, { "GoDestroySyscall" } })
        gen:thread(6, 100, { { "GoStatus", 1, 6, 2 }, { "GoCreateBlocked", 2, 0, 0 }, { "GoSwitch", 2, 1 }, { "GoSwitchDestroy", 1, 2 } })
      end)
    end) })
    local table = t:goroutines {}
    assert.equal(1, table.notes.foreign)
    assert.equal(1, #table)
    assert.equal("running", table[1].state)
    assert.equal(2, t:info().ended)
  end)

  it("wait for what another thread's batch says of their first event", function()
    local t = assert(core.read { bytes = gotrace(22, function(w)
      w:generation(1, function(gen)
        gen:thread(8, 100, { { "GoSyscallEndBlocked" } })
        gen:thread(7, 100, { { "GoStatus", 9, 8, 3 }, { "GoStatus", 1, 7, 2 } })
      end)
    end) })
    assert.equal(1, by_state(t:goroutines {}).runnable.count)
    assert.equal(3, t:info().events)
  end)

  it("come with regions, tasks, logs and counters", function()
    local t = assert(core.read { bytes = gotrace(26, function(w)
      w:generation(1, function(gen)
        local frame, inner = gen:string "frame", gen:string "inner"
        gen:thread(9, 300, { { "GoStart", 1, 1 }, { "RegionEnd", 0, frame, 0 }, { "RegionBegin", 0, inner, 0 } })
        gen:thread(7, 100, { { "GoStatus", 1, 7, 2 }, { "TaskBegin", 3, 0, frame, 0 }, { "RegionBegin", 0, frame, 0 }, { "Log", 3, inner, frame, 0 },
          { "RegionBegin", 0, inner, 0 }, { "RegionEnd", 0, inner, 0 }, { "HeapAlloc", 64 }, { "ProcsChange", 2, 0 }, { "GoStop", 0, 0 } })
      end)
    end) })
    local regions = t:regions()
    assert.same({ goroutine = 1, task = 0, name = "inner", begin_ns = 5 * 64, end_ns = 6 * 64 }, regions[1])
    assert.same({ goroutine = 1, task = 0, name = "frame", begin_ns = 3 * 64, end_ns = 202 * 64 }, regions[2])
    assert.same({ goroutine = 1, task = 0, name = "inner", begin_ns = 203 * 64 }, regions[3])
    local times, values = t:counter "heap_live"
    assert.same({ { 7 * 64 }, { 64 } }, { times, values })
    assert.equal(1, t:info().tasks)
    assert.equal(1, t:info().logs)
  end)
end)

describe("a Go trace that is not whole", function()
  local whole = gotrace(26, leak)

  it("cut at any byte gives what is whole, where it ends and why", function()
    local last = 0
    for size = 17, #whole - 1 do
      local t, err = core.read({ bytes = whole:sub(1, size) }, { format = "gotrace" })
      if t then
        assert.is_true(t.partial)
        assert.is_true(err.offset <= size)
        assert.is_true(t:info().events >= last)
        last = t:info().events
        t:goroutines {}
      else
        assert.equal("format", err.code)
      end
    end
    assert.equal(13, last)
  end)

  it("loses no generation to damage in the next", function()
    local t, err = core.read { bytes = gotrace(26, function(w)
      leak(w)
      w:raw "\99"
    end) }
    assert.is_true(t.partial)
    assert.equal("format", err.code)
    assert.equal(4, t:info().goroutines)
  end)

  it("has batches that the runtime wrote twice counted once", function()
    local twice = gotrace(26, function(w)
      leak(w, 1, function(gen) gen.out[#gen.out + 1] = gen.out[#gen.out] end)
      w:generation(2, function(gen) gen.out[#gen.out + 1] = gen.out[4] end) -- and once more, after its generation's end
    end)
    local t, err = core.read { bytes = twice }
    assert.is_nil(err)
    assert.equal(2, t:info().duplicates)
    assert.equal(13, t:info().events)
    assert.equal(4, t:info().goroutines)
  end)

  it("of a newer version says so, with raw counts", function()
    local t, err = core.read { bytes = gotrace(31, leak) }
    assert.equal("unsupported", err.code)
    assert.matches("format 1.31, newer than this build knows", err.message, 1, true)
    assert.equal(5, t:info().batches)
    assert.equal(0, t:info().events)
  end)

  it("of an older version is refused", function()
    local t, err = core.read { bytes = "go 1.9 trace\0\0\0\0\1\2\3" }
    assert.is_nil(t)
    assert.equal("unsupported", err.code)
  end)
end)

describe("goroutines of a dump and a profile", function()
  teardown(helper.tidy)

  it("have the keys of a trace", function()
    local file = helper.write(helper.folder() .. "/g.txt", [[
goroutine 7 [chan receive, 2 minutes]:
main.wait(0xc000012345)
	/src/w.go:12 +0x1f
main.worker()
	/src/w.go:10 +0x20
created by main.main in goroutine 1
	/src/main.go:20 +0x30

goroutine 8 [IO wait]:
internal/poll.runtime_pollWait(0x1, 0x72)
	/go/src/runtime/netpoll.go:351 +0x85
main.serve()
	/src/s.go:5 +0x1
]])
    local rows, meta = helper.rows("goroutines", "goroutines", file)
    assert.same({ count = 1, state = "chan receive", entry = "main.worker", site = "main.wait w.go:12", creation = "main.main",
      age_ns = 120 * 1000000000, created_count = 0, ended_count = 0 }, rows[1])
    assert.equal("network", rows[2].state)
    assert.equal("main.serve s.go:5", rows[2].site)
    assert.equal(2, meta.alive)
  end)

  it("are told from the stack where a profile says no state", function()
    local file = helper.write(helper.folder() .. "/p.folded", "main.main;main.wait;runtime.chanrecv1;runtime.gopark 3\n")
    local p = assert(core.read(file))
    local t = core.goroutines(p)
    assert.equal("chan receive", t[1].state)
    assert.equal("main.wait", t[1].site)
    assert.equal(3, t[1].count)
  end)

  it("are not looked for in other files", function()
    local file = helper.write(helper.folder() .. "/p.folded", "main.main;main.wait 3\n")
    local result = helper.tidemark("goroutines", file)
    assert.equal(2, result.code)
  end)
end)
