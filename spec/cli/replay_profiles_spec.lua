-- Rules with tm.snapshots over profiles in files: the times that stand in them, or five minutes apart.
local helper = require "spec.support.helper"
local pprof_writer = require "spec.support.pprof_writer"

local MB <const> = 1000000
local MINUTE <const> = 60 * 1000000000
local START <const> = 1700000000 * 1000000000

describe("replay over profiles", function()
  teardown(helper.tidy)

  -- A heap per value of a path that leaks beside one that does not: paths of files, named out of order.
  local function heaps(values, time_of)
    local dir, list = helper.folder(), {}
    for i, value in ipairs(values) do
      list[i] = helper.write(("%s/%s.pb"):format(dir, ("zyxwvutsrq"):sub(i, i)), pprof_writer {
        types = { "inuse_objects/count", "inuse_space/bytes" }, time_ns = time_of(i),
        { "main.main;main.cache", 50, 50 * MB }, { "main.main;main.serve;main.leak", value, value * MB } })
    end
    return list
  end
  local function hourly(i) return START + (i - 1) * 60 * MINUTE end
  local function untimed() return 0 end

  local function replay(files, ...)
    local words = { "replay", "--snapshots", "pprof.heap", "--json" }
    table.move({ ... }, 1, select("#", ...), #words + 1, words)
    table.move(files, 1, #files, #words + 1, words)
    local document, code = helper.document("replay", table.unpack(words))
    return document.rows, document.meta, code
  end

  it("finds with the built-in rule who leaks, at the rate of the profiles' own times", function()
    local files = heaps({ 10, 20, 30, 40, 50, 60 }, hourly)
    table.sort(files) -- the last comes first: times decide, not the order of words
    local rows, meta, code = replay(files, "--expect", "1")
    assert.equal(0, code)
    assert.equal("go.heap_growth", rows[1].rule)
    assert.is_truthy(rows[1].key:find("main.leak", 1, true))
    assert.near(10 * MB, rows[1].value, 1) -- a hour
    assert.equal(hourly(6) // 1000000000, rows[1].time_ns // 1000000000)
    assert.equal(6, meta.samples)
    assert.same({}, meta.problems)
  end)

  it("takes them as five minutes apart when one has no time, and says so", function()
    local rows, meta = replay(heaps({ 10, 20, 30, 40, 50, 60 }, untimed))
    assert.near(120 * MB, rows[1].value, 1) -- 10 MB in 5 minutes
    assert.matches("5 minutes apart: .*z%.pb has no time", meta.problems[1])
    local same = heaps({ 10, 20, 30, 40, 50, 60 }, function(i) return START + i // 6 end)
    rows, meta = replay(same)
    assert.equal(1, #rows)
    assert.matches("has the time of another", meta.problems[1])
  end)

  it("is quiet about a heap that breathes", function()
    for _, values in ipairs { { 10, 20, 30, 12, 50, 60 }, { 60, 60, 60, 60, 60, 60 }, { 10, 20, 30 } } do
      local rows, _, code = replay(heaps(values, hourly), "--expect", "0")
      assert.same({}, rows)
      assert.equal(0, code)
    end
  end)

  it("feeds several inputs of own rules, each with its own files", function()
    local dir = helper.folder()
    local rule = helper.write(dir .. "/own.lua", [[
      tm.rule { id = "own.two", every = "1m",
        inputs = { heap = tm.snapshots("pprof.heap", { every = "5m", keep = 9 }), g = tm.snapshots("go.goroutines", { every = "5m", keep = 9 }) },
        check = function(c)
          if c.g.n == 2 and c.heap.n == 2 then
            return c:finding { level = "high", value = c.g.last.total, text = ("%d + %d"):format(c.heap.last.total, c.g.last.total) }
          end
        end } ]])
    local dump = "goroutine 1 [running]:\nmain.main()\n\t/a/main.go:3 +0x1d\n"
    local one = helper.write(dir .. "/1.txt", dump)
    local two = helper.write(dir .. "/2.txt", dump .. "\n" .. dump:gsub("goroutine 1", "goroutine 7"))
    local files = heaps({ 1, 2 }, untimed)
    table.insert(files, "go.goroutines=" .. one)
    table.insert(files, "go.goroutines=" .. two)
    local rows = replay(files, "--no-builtin", "--rules", rule)
    assert.equal(1, #rows)
    assert.equal("52000000 + 2", rows[1].text)
  end)

  it("says what it cannot use", function()
    local files = heaps({ 1, 2 }, hourly)
    local _, meta = replay({ "pprof.mutex=" .. files[1], files[2] })
    assert.same({ "no rule takes snapshots of pprof.mutex" }, meta.problems)
    local cases = { { 2, "--snapshots: 'heap' is none of", "--snapshots", "heap", files[1] }, { 2, "profiles are needed", "--snapshots", "pprof.heap" },
      { 2, "hold no rules", "--snapshots", "pprof.heap", "--recorded-rules", files[1] }, { 2, "one recording is needed, or", files[1], files[2] },
      { 3, "no/such.pb", "--snapshots", "pprof.heap", "no/such.pb" } }
    for _, case in ipairs(cases) do
      local result = helper.tidemark("replay", table.unpack(case, 3))
      assert.equal(case[1], result.code, case[2] .. result.err)
      assert.is_truthy(result.err:find(case[2], 1, true), result.err)
    end
  end)
end)
