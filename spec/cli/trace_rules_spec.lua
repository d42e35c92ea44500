-- Rules with tm.trace over Go traces in files: of a program whose goroutines never end, and of quiet ones.
local core = require "tidemark.core"
local gotrace = require "spec.support.gotrace_writer"
local gotrace1 = require "spec.support.gotrace1_writer"
local helper = require "spec.support.helper"
local pprof_server = require "spec.support.pprof_server"

-- A second of a program: `born` goroutines of main.worker begin, of which `ends` end; `old` ones are there already, blocked,
-- and `old_ends` of these end. (Times of these traces are 5 s of the clock: they get 5 minutes each in a replay.)
local function second(w, born, ends, old, old_ends)
  w:generation(1, function(gen)
    local worker, go = gen:stack { "main.worker", "w.go", 9 }, gen:stack { "main.serve", "main.go", 20 }
    local recv = gen:stack { "runtime.chanrecv1", "chan.go", 1, "main.wait", "w.go", 12, "main.worker", "w.go", 10 }
    local why = gen:string "chan receive"
    local made, ran = { { "GoStatus", 1, 7, 2 } }, {}
    for id = 5001, 5000 + old do made[#made + 1] = { "GoStatusStack", id, -1, 4, recv } end
    for id = 2, 1 + born do
      made[#made + 1] = { "GoCreate", id, worker, go }
      ran[#ran + 1] = { "GoStart", id, 1 }
      ran[#ran + 1] = id <= 1 + ends and { "GoDestroy" } or { "GoBlock", why, recv }
    end
    for id = 5001, 5000 + old_ends do
      made[#made + 1] = { "GoUnblock", id, 1, 0 }
      ran[#ran + 1] = { "GoStart", id, 2, dt = 9000 }
      ran[#ran + 1] = { "GoDestroy" }
    end
    made[#made + 1] = { "HeapAlloc", 4096 }
    gen:thread(8, 200, ran)
    gen:thread(7, 100, made)
  end)
end

local function files(rows, version)
  local dir, list = helper.folder(), {}
  for i, row in ipairs(rows) do
    list[i] = helper.write(("%s/%d.out"):format(dir, i), gotrace(version or 26, function(w) second(w, table.unpack(row)) end))
  end
  return list
end

local leak, busy = {}, {}
for i = 1, 6 do
  leak[i] = { 30, 1, 29 * i, 0 }
  busy[i] = { 60, 30, 29 * i, 30 } -- grows, but what began earlier ends
end

local function replay(list, ...)
  local words = { "replay", "--snapshots", "trace.go", "--json" }
  for _, more in ipairs { { ... }, list } do table.move(more, 1, #more, #words + 1, words) end
  local document, code = helper.document("replay", table.unpack(words))
  return document.rows, document.meta, code
end

describe("rules over Go traces", function()
  teardown(helper.tidy)

  for _, version in ipairs { 23, 25, 26 } do
    it("name goroutines that begin and do not end (1." .. version .. ")", function()
      local rows, meta, code = replay(files(leak, version), "--expect", "1")
      assert.equal(0, code)
      assert.equal("go.never_ending", rows[1].rule)
      assert.equal("main.worker", rows[1].key)
      assert.equal(6 * 29 + 29, rows[1].value)
      assert.matches("180 began and 6 ended; begun at main%.serve main%.go:20", rows[1].text)
      assert.equal(6, meta.samples)
    end)
  end

  it("name them in traces of version 1", function()
    local dir, list = helper.folder(), {}
    for i = 1, 6 do
      local ran, made = { { "Batch", 1, 1000 }, { "ProcStart", 7 } }, { { "Batch", 0, 500 }, { "GoCreate", 1, 40, 0 }, { "GoStart", 1, 1 } }
      local function add(to, ...) to[#to + 1] = { ... } end
      for id = 5001, 5000 + 29 * i do -- those that were there
        add(made, "GoCreate", id, 10, 0)
        add(made, "GoWaiting", id)
      end
      add(made, "Gomaxprocs", 2, 0)
      for id = 2, 31 do
        add(made, "GoCreate", id, 10, 20)
        add(ran, "GoStart", id, 1)
        if id == 2 then add(ran, "GoEnd") else add(ran, "GoBlockRecv", 30) end
      end
      table.move(made, 1, #made, #ran + 1, ran)
      for _, e in ipairs { { "Stack", 10, 1, 1, 2, 9 }, { "Stack", 20, 2, 4, 5, 20 }, { "Stack", 30, 3, 6, 2, 12, 1, 1, 2, 10 }, { "Stack", 40, 4, 7, 5, 3 },
        { "String", 1, "main.worker" }, { "String", 2, "w.go" }, { "String", 4, "main.serve" }, { "String", 5, "main.go" }, { "String", 6, "main.wait" },
        { "String", 7, "main.main" }, { "Frequency", 500000000 } } do ran[#ran + 1] = e end
      list[i] = helper.write(("%s/%d.out"):format(dir, i), gotrace1(19, ran))
    end
    local rows, meta = replay(list)
    assert.same("profiles are taken as 5 minutes apart: " .. list[1] .. " has no time", meta.problems[1])
    assert.equal(1, #rows)
    assert.equal("main.worker", rows[1].key)
    assert.equal(6 * 29 + 29, rows[1].value)
    assert.matches("180 began and 6 ended; begun at main%.serve main%.go:20", rows[1].text)
  end)

  it("are quiet when those of before end", function()
    local rows, _, code = replay(files(busy), "--expect", "0")
    assert.same({}, rows)
    assert.equal(0, code)
  end)

  it("are quiet about a program that does nothing, and about too few traces", function()
    assert.same({}, (replay(files { { 0, 0, 50, 0 }, { 0, 0, 50, 0 }, { 0, 0, 50, 0 }, { 0, 0, 50, 0 }, { 0, 0, 50, 0 }, { 0, 0, 50, 0 } })))
    assert.same({}, (replay(files { leak[1], leak[2], leak[3] })))
  end)

  it("see the same of what was kept of traces", function()
    local kept = {}
    for i, path in ipairs(files(leak)) do
      local t = assert(core.read(path))
      kept[i] = helper.write(path .. ".pb.gz", t:snapshot():write "pprof")
      t:close()
    end
    local rows = replay(kept)
    assert.equal(1, #rows)
    assert.equal(6 * 29 + 29, rows[1].value)
  end)

  it("tell a leaking Go program from one that grows no pile", function()
    if not os.execute("command -v go >/dev/null 2>&1") then return pending("no Go here") end
    local dir = helper.folder()
    assert(os.execute("cd spec/support && GOFLAGS= go build -o " .. helper.quote(dir .. "/program") .. " gotrace_leak.go"))
    local function traces_of(kind)
      local list, into = {}, helper.folder()
      assert(os.execute(("%s/program %s %s"):format(dir, into, kind)))
      for i = 1, 6 do list[i] = ("%s/%d.out"):format(into, i) end
      return replay(list)
    end
    local rows = traces_of "leak"
    assert.equal(1, #rows)
    assert.equal("main.serve", rows[1].key)
    assert.equal(40 + 6 * 30, rows[1].value)
    assert.matches("begun at main%.begin .*gotrace_leak%.go:%d+", rows[1].text)
    assert.same({}, (traces_of "quiet"))
  end)

  it("are those over goroutine dumps, too", function()
    local function lock(i)
      return gotrace(26, function(w)
        w:generation(1, function(gen)
          local stop = gen:stack { "sync.runtime_SemacquireMutex", "sema.go", 1, "sync.(*Mutex).Lock", "mutex.go", 1, "main.work", "w.go", 10 }
          local events = { { "GoStatus", 1, 7, 2 } }
          for id = 100, 100 + 10 * i do events[#events + 1] = { "GoStatusStack", id, -1, 4, stop } end
          gen:thread(7, 100, events)
        end)
      end)
    end
    local list, dir = {}, helper.folder()
    for i = 1, 6 do list[i] = helper.write(("%s/%d.out"):format(dir, i), lock(i)) end
    local document = helper.document("replay", "replay", "--snapshots", "go.goroutines", "--json", table.unpack(list))
    local found = {}
    for _, row in ipairs(document.rows) do found[row.rule] = row.value end
    assert.same({ ["go.lock_waiters"] = 61 }, found)
  end)

  it("see states, sites and counts in the frames of all snapshots", function()
    local rule = helper.write(helper.folder() .. "/own.lua", [[
      tm.rule { id = "own.trace", every = "1m", inputs = { t = tm.trace("go", { every = "5m", seconds = 2, keep = 4 }) },
        check = function(c)
          if c.t.n < 3 then return end
          local blocked = c.t:where { blocked = true }:pivot({ "entry", "state" }, "count")
          local began = c.t:pivot("created_by", "created"):only("main.serve")
          local s = c.t.last.stats
          return c:finding { level = "high", value = blocked.last_total, text = ("%s %d %d; %s %d; %d ended; %s %s"):format(blocked[1].key,
            #blocked:monotonic { steps = 2 }, blocked[1].last, began[1].key, began[1].last, c.t:pivot("entry", "ended").last_total,
            s.Alive, s.HeapFloor) }
        end } ]])
    local rows = replay(files { leak[1], leak[2], leak[3] }, "--no-builtin", "--rules", rule)
    assert.equal(1, #rows)
    assert.equal("main.worker, chan receive 1 116; main.serve 30; 1 ended; 117.0 4096.0", rows[1].text)
  end)

  it("tell a file that is none, and keep what is whole of one that breaks off", function()
    local list = files(leak)
    local none = helper.write(helper.folder() .. "/x.pb.gz", "main;f 1\n")
    local result = helper.tidemark("replay", "--snapshots", "trace.go", none)
    assert.matches("x%.pb%.gz: collapsed is no trace", result.err)
    local whole = helper.read(list[1])
    helper.write(list[6], helper.read(list[6]) .. whole:sub(17, 40))
    local rows, meta = replay(list)
    assert.equal(1, #rows)
    assert.matches("6%.out: the trace ends within a batch", meta.problems[1])
  end)
end)

describe("traces of a live app", function()
  local server, dir
  setup(function()
    server, dir = pprof_server.start(), helper.folder()
  end)
  teardown(function()
    if server then server.stop() end
    helper.tidy()
  end)

  local function rule(id, every)
    return ([[tm.rule { id = "%s", every = "1s", inputs = { t = tm.trace("go", { every = "%s", seconds = 0.05, keep = 3 }) },
      check = function(c)
        local s = c.t.n >= 2 and c.t.last.stats
        if s and s.Seconds > 0.04 and s.Alive > 5 then
          return c:finding { level = "high", value = c.t:pivot("entry", "count").last_total, text = "traced" }
        end
      end }]]):format(id, every)
  end

  it("are taken once for all rules, for at most a hundredth of the time", function()
    if not server then return pending("no Go here") end
    local path = helper.write(dir .. "/live.lua", rule("own.a", "5s") .. "\n" .. rule("own.b", "6s"))
    local result = helper.tidemark("watch", server.pid, "--endpoint", server.url, "--rules", path, "--no-history", "--no-builtin", "--for", "12s",
      "--json")
    local document = assert(core.json_decode(result.out), result.err)
    local found, own = {}, document.meta.self
    for _, row in ipairs(document.rows) do found[row.rule] = row.value > 3 end
    assert.same({ ["own.a"] = true, ["own.b"] = true }, found)
    assert.is_true(own.traces == 2 or own.traces == 3, own.traces) -- one at the start, then 5 s apart at least
    assert.is_true(own.traced_ns >= own.traces * 50000000)
    assert.is_true(own.traced_ns * 100 < own.uptime_ns + 100 * own.traced_ns / own.traces, own.traced_ns)
    assert.is_true(own.trace_bytes > 1000 and own.fetch_cpu_ns > 0)
    assert.equal(own.traces, own.fetched)
  end)

  it("cost what rules explain says", function()
    if not server then return pending("no Go here") end
    local path = helper.write(dir .. "/cost.lua", rule("own.c", "10s"))
    local function row(...)
      return helper.document("rules-explain", "rules", "explain", "own.c", "--rules", path, "--json", ...).rows[1]
    end
    local said = row()
    assert.equal(50000000, said.traced_ns)
    assert.near(0.005, said.traced_ratio, 1e-9)
    said = row(server.url)
    assert.is_true(said.fetched and said.trace_bytes > 1000 and said.read_cpu_ns > 0)
    said = row(server.url .. "/garbage")
    assert.is_false(said.fetched)
    assert.matches("no trace", said.fetch)
    assert.matches("traces for 50 ms every 10 s, 0%.50 %% of the time", helper.tidemark("rules", "explain", "own.c", "--rules", path).out)
  end)
end)

describe("tm.trace", function()
  local function problem(arguments)
    local source = [[tm.rule { id = "x", every = "5m", inputs = { t = tm.trace(%s) }, check = function() end }]]
    local _, err = core.rules_check("x.lua", source:format(arguments))
    return err and err.message or nil
  end

  it("takes a kind and its options", function()
    for _, good in ipairs { '"go"', '"go", {}', '"go", { every = "5m", seconds = 1, keep = 6 }', '"go", { every = "2m", seconds = 0.5 }',
      '"go", { every = "1h", seconds = 10, keep = 64 }' } do
      assert.is_nil(problem(good))
    end
  end)

  it("says what is wrong with others", function()
    local wrong = { ['"goo"'] = "did you mean 'go'", ['nil'] = "no trace is called 'nil'",
      ['"go", { evry = "5m" }'] = "unknown key 'evry'; did you mean 'every'",
      ['"go", { gc = true }'] = "unknown key 'gc'", ['"go", { seconds = "1s" }'] = "seconds = 1s is not 0.01 to 10",
      ['"go", { seconds = 11, every = "1h" }'] = "seconds = 11",
      ['"go", { every = "30s" }'] = 'would trace 3.33 % of the time; at most 1 %: every = "100s"',
      ['"go", { keep = 65 }'] = "keeps at most 64 traces", ['"go", 5'] = "options must be a table" }
    for arguments, words in pairs(wrong) do
      local text = problem(arguments)
      assert.is_truthy(text and text:find(words, 1, true), arguments .. ": " .. tostring(text))
    end
  end)
end)
