-- Rules with tm.trace over Go traces in files: of a program whose goroutines never end, and of quiet ones.
local core = require "tidemark.core"
local gotrace = require "spec.support.gotrace_writer"
local helper = require "spec.support.helper"

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
    local wrong = { ['"goo"'] = "did you mean 'go'", ['nil'] = "no trace is called 'nil'", ['"go", { evry = "5m" }'] = "unknown key 'evry'; did you mean 'every'",
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
