-- What traces hold beside goroutines, on traces written by hand: times by name against a brute-force reckoning, frames, floors, diffs.
local core = require "tidemark.core"
local gotrace = require "spec.support.gotrace_writer"
local helper = require "spec.support.helper"

local UNIT = 64 -- nanoseconds

local function one(version, fill) return gotrace(version, function(w) w:generation(1, fill) end) end

local function file_of(bytes) return helper.write(helper.folder() .. "/t.trace", bytes) end

-- A thread with regions of the given lengths (in units), begun `every` units apart.
local function regions_of(gen, name, lengths, every)
  local id = gen:string(name)
  local events = { { "GoStatus", 1, 7, 2 } }
  for _, length in ipairs(lengths) do
    events[#events + 1] = { "RegionBegin", 0, id, 0, dt = #events == 1 and 1 or every }
    events[#events + 1] = { "RegionEnd", 0, id, 0, dt = length }
  end
  return events
end

local function quantile(sorted, q) -- type 7 of Hyndman and Fan
  local place = q * (#sorted - 1)
  local low = math.floor(place)
  local a, b = sorted[low + 1], sorted[low + 2] or sorted[low + 1]
  return a + (place - low) * (b - a)
end

describe("regions", function()
  teardown(helper.tidy)

  it("have the quantiles of their durations", function()
    local lengths, sorted = {}, {}
    local n = 7
    for i = 1, 101 do
      n = (n * 75 + 74) % 65537
      lengths[i] = n % 5000 + 1
      sorted[i] = lengths[i] * UNIT
    end
    table.sort(sorted)
    local rows, meta = helper.rows("regions", "regions", file_of(one(25, function(gen) gen:thread(7, 100, regions_of(gen, "draw", lengths, 10)) end)))
    local row = rows[1]
    assert.same({ "region", "draw", 101, 0 }, { row.kind, row.name, row.count, row.open })
    for name, q in pairs { p50_ns = 0.5, p95_ns = 0.95, p99_ns = 0.99, max_ns = 1 } do
      assert.is_true(math.abs(row[name] - quantile(sorted, q)) <= 1, name)
    end
    local total = 0
    for _, ns in ipairs(sorted) do total = total + ns end
    assert.equal(total, row.total_ns)
    assert.equal(0, meta.open)
  end)

  it("and tasks that did not end are counted apart, and listed", function()
    local file = file_of(one(26, function(gen)
      local load, inner = gen:string "load", gen:string "inner"
      gen:thread(7, 100, { { "GoStatus", 1, 7, 2 }, { "TaskBegin", 3, 0, load, 0 }, { "TaskBegin", 4, 0, load, 0 }, { "TaskEnd", 3, 0, dt = 8 },
        { "RegionBegin", 4, inner, 0 }, { "RegionEnd", 0, load, 0 }, { "RegionBegin", 4, inner, 0, dt = 5 }, { "HeapAlloc", 1, dt = 20 } })
    end))
    local rows, meta = helper.rows("regions", "regions", file)
    assert.equal(2, meta.open)
    local by_kind = {}
    for _, row in ipairs(rows) do by_kind[row.kind] = row end
    assert.same({ 1, 1, 9 * UNIT }, { by_kind.task.count, by_kind.task.open, by_kind.task.max_ns })
    assert.same({ 1, 1 }, { by_kind.region.count, by_kind.region.open })
    rows = helper.rows("unfinished", "regions", file, "--unfinished")
    assert.same({ kind = "task", name = "load", id = 4, goroutine = 0, begin_ns = 3 * UNIT, age_ns = 35 * UNIT }, rows[1])
    assert.same({ kind = "region", name = "inner", id = 4, goroutine = 1, begin_ns = 18 * UNIT, age_ns = 20 * UNIT }, rows[2])
  end)
end)

describe("frames", function()
  teardown(helper.tidy)
  local ms = 1000000 // UNIT

  it("tell intervals, jitter, work, and those missed", function()
    local file = file_of(one(26, function(gen)
      -- 16, 16, 50 ms apart (two missed at 60 Hz), then a pause of a second, then 16
      local id = gen:string "frame"
      local events = { { "GoStatus", 1, 7, 2 } }
      for _, gap in ipairs { 1, 16, 16, 50, 1000, 16 } do
        events[#events + 1] = { "RegionBegin", 0, id, 0, dt = gap * ms - (gap > 1 and 2 * ms or 0) }
        events[#events + 1] = { "RegionEnd", 0, id, 0, dt = 2 * ms }
      end
      gen:thread(7, 100, events)
    end))
    local rows, meta = helper.rows("frames", "frames", file, "--region", "frame")
    assert.same({ 6, 1, 2, 3 * 1 + 5 }, { meta.frames, meta.pauses, meta.missed_60hz, meta.missed_120hz })
    assert.same({ "interval", 4, 16000000, 50000000 }, { rows[1].what, rows[1].count, rows[1].p50_ns, rows[1].max_ns })
    assert.same({ "jitter", 0, 34000000 }, { rows[2].what, rows[2].p50_ns, rows[2].max_ns })
    assert.same({ "work", 6, 2000000 }, { rows[3].what, rows[3].count, rows[3].max_ns })
    local _, all = helper.rows("frames", "frames", file, "--region", "frame", "--pause", "0")
    assert.same({ 0, 2 + 59 }, { all.pauses, all.missed_60hz })
  end)

  it("are marked by logs, too", function()
    local file = file_of(one(23, function(gen)
      local key, value = gen:string "vsync", gen:string ""
      local events = { { "GoStatus", 1, 7, 2 } }
      for i = 1, 5 do events[i + 1] = { "Log", 0, key, value, 0, dt = 8 * ms } end
      gen:thread(7, 100, events)
    end))
    local rows, meta = helper.rows("frames", "frames", file, "--log", "vsync")
    assert.same({ 2, 4, 8000000, 0, 0 }, { #rows, rows[1].count, rows[1].p50_ns, meta.missed_60hz, meta.missed_120hz })
    assert.equal(125, meta.per_second)
    assert.equal(2, helper.tidemark("frames", file, "--log", "nothing").code)
    assert.equal(2, helper.tidemark("frames", file).code)
  end)
end)

describe("floors", function()
  teardown(helper.tidy)

  -- Each collection leaves live(i) bytes; the heap grows by 3 MB until the next one.
  local function trace(count, live)
    return one(26, function(gen)
      local events = { { "GoStatus", 1, 7, 2 }, { "HeapAlloc", 5 } }
      for i = 1, count do
        local bytes = live(i)
        table.move({ { "GCBegin", i * 2, 0, dt = 15625000 }, { "HeapAlloc", bytes + 3000000 }, { "HeapAlloc", bytes }, { "GCEnd", i * 2 + 1 },
          { "HeapAlloc", bytes + 1000000 }, { "HeapGoal", 9000000 } }, 1, 6, #events + 1, events)
      end
      gen:thread(7, 100, events)
    end)
  end

  it("are what each collection left", function()
    local file = file_of(trace(4, function(i) return 1000000 + i * 10 end))
    local rows, meta = helper.rows("floors", "floors", file)
    for i, row in ipairs(rows) do assert.equal(1000000 + i * 10, row.live_bytes) end
    assert.same({ 4, 10, 9000000, "unknown" }, { #rows, rows[2].change_bytes, rows[2].goal_bytes, meta.verdict })
    assert.is_true(math.abs(meta.slope_per_s - 10) < 0.01)
  end)

  it("that rise are a leak, and others are not", function()
    local rising = helper.tidemark("floors", file_of(trace(60, function(i) return 5000000 + i * 200000 + i * 7919 % 5000 end)))
    assert.equal(1, rising.code)
    assert.matches("^leak after 60 collections", rising.out)
    local flat = helper.tidemark("floors", file_of(trace(60, function(i) return 5000000 + i * 7919 % 50000 end)))
    assert.equal(0, flat.code)
    assert.matches("^steady after 60 collections", flat.out)
  end)
end)

describe("goroutines of a trace", function()
  teardown(helper.tidy)

  local function waiting(count, started)
    return one(26, function(gen)
      local worker, recv = gen:stack { "main.worker", "w.go", 9 }, gen:stack { "runtime.chanrecv1", "chan.go", 1, "main.worker", "w.go", 10 }
      local sweeper, go = gen:stack { "runtime.bgsweep", "mgc.go", 1 }, gen:stack { "main.main", "main.go", 20 }
      local why = gen:string "chan receive"
      local events = { { "GoStatus", 1, 7, 2 }, { "GoCreate", 90, sweeper, go } }
      for id = 2, started do events[#events + 1] = { "GoCreate", id, worker, go } end
      gen:thread(7, 100, events)
      events = {}
      for id = 2, count do table.move({ { "GoStart", id, 1 }, { "GoBlock", why, recv } }, 1, 2, #events + 1, events) end
      gen:thread(8, 300, events)
    end)
  end

  it("are without the runtime's own unless asked for", function()
    local t = assert(core.read { bytes = waiting(3, 3) })
    assert.equal(1, t:goroutines({}).notes.system)
    local entries = {}
    for _, row in t:goroutines({ system = true }):rows() do entries[row.entry] = row.count end
    assert.equal(1, entries["runtime.bgsweep"])
    for _, row in t:goroutines({}):rows() do assert.not_equal("runtime.bgsweep", row.entry) end
  end)

  it("are compared with those of another", function()
    local folder = helper.folder()
    local old, new = helper.write(folder .. "/old.trace", waiting(3, 3)), helper.write(folder .. "/new.trace", waiting(12, 12))
    local rows, meta = helper.rows("goroutines_diff", "goroutines", new, "--base", old)
    assert.same({ change = 9, count = 11, base_count = 2, state = "chan receive", entry = "main.worker", site = "main.worker w.go:10",
      creation = "main.main" }, rows[1])
    assert.same({ 13, 4 }, { meta.alive, meta.base_alive })
    rows = helper.rows("goroutines_diff", "goroutines", old, "--base", new)
    assert.equal(-9, rows[#rows].change)
    assert.matches("CHANGE%s+BEFORE%s+NOW", helper.tidemark("goroutines", new, "--base", old).out)
    assert.matches("9,2,11,chan receive,main.worker", helper.tidemark("goroutines", new, "--base", old, "--csv").out, 1, true)
  end)

  it("that wait go to Chrome's trace viewer", function()
    local result = helper.tidemark("goroutines", file_of(waiting(4, 6)), "--chrome")
    local document = assert(core.json_decode(result.out))
    local blocked, names = 0, {}
    for _, e in ipairs(document.traceEvents) do
      if e.cat == "blocked" then blocked = blocked + 1 end
      if e.ph == "M" then names[#names + 1] = e.args.name end
    end
    assert.equal(3, blocked)
    assert.same({ "G2 main.worker", "G3 main.worker", "G4 main.worker" }, names)
  end)

  it("make a profile by where they are blocked", function()
    local t = assert(core.read { bytes = waiting(4, 6) })
    local p = t:profile()
    local info = p:info()
    assert.same({ "goroutines", "blocked" }, { info.types[1].type, info.types[2].type })
    local top = p:report("top", { sample_index = "goroutines" }, "table")
    local flat = {}
    for _, row in top:rows() do flat[row.name] = row.flat end
    assert.equal(3, flat["runtime.chanrecv1"])
    local by_state = {}
    for _, row in core.goroutines(p):rows() do by_state[row.state] = (by_state[row.state] or 0) + row.count end
    assert.same({ ["chan receive"] = 3, runnable = 2, running = 1 }, by_state) -- the keys are a trace's own
    local out = helper.folder() .. "/p.pb.gz"
    assert.equal(0, helper.tidemark("convert", file_of(waiting(4, 6)), "-o", out).code)
    assert.equal(6, assert(core.read(out)):info().samples)
  end)
end)
