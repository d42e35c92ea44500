-- `tidemark hotspots`: a CPU profile beside heap profiles that are made here, number by number.
local core = require "tidemark.core"
local helper = require "spec.support.helper"
local pprof = require "spec.support.pprof_writer"

local SECOND = 1000000000
local MB = 1048576

local json = "main.main main.go:9;main.load load.go:%d;encoding/json.Unmarshal decode.go:1;encoding/json.(*decodeState).object decode.go:2"
local push = "main.main main.go:10;main.(*List).push list.go:5"
local queue = "main.main main.go:11;main.(*Queue).add queue.go:7"

local function cpu()
  return pprof { types = { "samples/count", "cpu/nanoseconds" }, duration_ns = SECOND,
    { json:format(20) .. ";runtime.mapassign map.go:3;runtime.mallocgc malloc.go:1", 30, 300 },
    { json:format(20) .. ";runtime.mallocgc malloc.go:1;runtime.gcAssistAlloc gc.go:1", 10, 100 },
    { push .. ";gcWriteBarrier /go/src/runtime/asm_amd64.s:1", 10, 100 },
    { queue .. ";runtime.growslice slice.go:1;runtime.mallocgc malloc.go:1", 20, 200 },
    { "runtime.gcBgMarkWorker gc.go:2;runtime.scanobject gc.go:3", 10, 100 },
    { "main.main main.go:12;main.compute compute.go:1", 20, 200 } }
end

local function heap(time_ns, queue_bytes, made)
  return pprof { types = { "alloc_space/bytes", "inuse_space/bytes" }, time_ns = time_ns,
    { json:format(20), 400 * MB * made, 1 * MB }, { json:format(99), 77 * MB, 77 * MB }, { queue, queue_bytes, queue_bytes },
    { "main.main main.go:13;main.other other.go:1", 10 * MB, 10 * MB } }
end

describe("tidemark hotspots", function()
  local folder, cpu_file, first, second
  setup(function()
    folder = helper.folder()
    cpu_file = helper.write(folder .. "/cpu.pb", cpu())
    first = helper.write(folder .. "/h1.pb", heap(1000 * SECOND, 10 * MB, 1))
    second = helper.write(folder .. "/h2.pb", heap(1010 * SECOND, 50 * MB, 2))
  end)
  teardown(helper.tidy)

  local function by_name(document)
    local out = {}
    for _, row in ipairs(document.rows) do out[row.name] = row end
    return out
  end

  it("joins both by call path, and says what it means", function()
    local document, code = helper.document("hotspots", "hotspots", "--cpu", cpu_file, "--heap", first, "--heap", second, "--json")
    assert.equal(0, code)
    assert.equal(1000, document.meta.cpu_total)
    assert.equal(700, document.meta.cpu_charged)
    assert.equal(100, document.meta.cpu_background)
    assert.equal(3, #document.rows)
    local rows = by_name(document)
    local load = rows["main.load"]
    assert.equal("main.load", document.rows[1].name)
    assert.equal("json.decode", load.id)
    assert.equal(0.4, load.cpu_share_ratio)
    assert.same({ alloc = 300, assist = 100 }, load.classes)
    assert.equal("churns", load.heap)
    assert.equal(MB, load.inuse_bytes)
    assert.equal(0, load.growth_bytes)
    assert.equal(800 * MB, load.alloc_bytes) -- of line 20; line 99 is another path
    assert.equal(800, load.churn_ratio)
    assert.equal(40 * MB, load.alloc_bytes_per_second)
    assert.equal(20, load.line)
    local add = rows["main.(*Queue).add"]
    assert.equal("append.kept", add.id)
    assert.equal("grows", add.heap)
    assert.equal(40 * MB, add.growth_bytes)
    assert.equal(4, add.growth_ratio)
    assert.equal("barrier", rows["main.(*List).push"].id)
    assert.is_nil(rows["main.(*List).push"].heap)
  end)

  it("does with less: one heap, an allocs profile, none at all, another build", function()
    local one = by_name(helper.document("hotspots", "hotspots", "--cpu", cpu_file, "--heap", first, "--json"))
    assert.is_nil(one["main.load"].growth_bytes)
    assert.is_nil(one["main.load"].alloc_bytes_per_second)
    assert.equal("append.growth", one["main.(*Queue).add"].id) -- that it grows is not known
    local allocs = helper.write(folder .. "/allocs.pb", pprof { types = { "alloc_space/bytes", "inuse_space/bytes" }, duration_ns = 2 * SECOND,
      { json:format(20), 6 * MB, 0 } })
    local rated = by_name(helper.document("hotspots", "hotspots", "--cpu", cpu_file, "--heap", first, "--allocs", allocs, "--json"))
    assert.equal(3 * MB, rated["main.load"].alloc_bytes_per_second)
    local none = by_name(helper.document("hotspots", "hotspots", "--cpu", cpu_file, "--json"))
    assert.equal("json.decode", none["main.load"].id)
    assert.is_nil(none["main.load"].heap)
    local moved = helper.write(folder .. "/moved.pb", pprof { types = { "alloc_space/bytes", "inuse_space/bytes" }, { json:format(21), 5 * MB, MB } })
    assert.equal(5 * MB, by_name(helper.document("hotspots", "hotspots", "--cpu", cpu_file, "--heap", moved, "--json"))["main.load"].alloc_bytes)
  end)

  it("takes all profiles of a live program", function()
    local server = require("spec.support.pprof_server").start()
    if not server then return pending("needs go") end
    local document, code = helper.document("hotspots", "hotspots", "--endpoint", "unix:" .. server.socket, "--seconds", "1", "--json")
    server.stop()
    assert.equal(0, code)
    assert.equal(2, document.meta.heaps)
    assert.equal("cpu", document.meta.cpu_type)
    assert.equal(4, helper.tidemark("hotspots", "--endpoint", "unix:" .. folder .. "/none.sock").code)
    assert.equal(2, helper.tidemark("hotspots", "--endpoint", "x", "--cpu", cpu_file).code)
  end)

  it("puts what is spread over many places together, and keeps stacks without a caller", function()
    local samples = { types = { "samples/count", "cpu/nanoseconds" } }
    samples[1], samples[2] = { "main.main main.go:1", 1, 5000 }, { "gcWriteBarrier runtime/asm_amd64.s:9", 1, 400 }
    local stack = "main.main main.go:1;main.step%03d step.go:%d;runtime.growslice slice.go:1;runtime.mallocgc malloc.go:2"
    for i = 1, 100 do samples[#samples + 1] = { stack:format(i, i), 1, 10 + i } end
    local path = helper.write(folder .. "/spread.pb", pprof(samples))
    local document = helper.document("hotspots", "hotspots", "--cpu", path, "--json", "--least", "2%")
    assert.equal(2, #document.rows)
    local row = document.rows[1]
    assert.equal("append.growth", row.id)
    assert.equal(100, row.places)
    assert.equal("main.step100", row.name)
    assert.equal(100 * 10 + 5050, row.cpu)
    assert.equal("barrier", document.rows[2].id)
    assert.equal("gcWriteBarrier", document.rows[2].name)
    assert.is_truthy(helper.tidemark("hotspots", "--cpu", path, "--least", "2%").out:find("main.step100 and 99 more", 1, true))
  end)

  it("prints a table and an advice for each row", function()
    local out = helper.tidemark("hotspots", "--cpu", cpu_file, "--heap", first, "--heap", second).out
    for _, words in ipairs { "main.load", "load.go:20", "40 MiB/s", "decoding JSON makes garbage", "a slice grows for ever", "70 % asks for memory" } do
      assert.is_truthy(out:find(words, 1, true), words .. "\n" .. out)
    end
    assert.is_nil(out:find("compute", 1, true))
    assert.is_truthy(helper.tidemark("hotspots", "--cpu", cpu_file, "--least", "90%").out:find("no call path is hot", 1, true))
  end)

  it("takes rows of rule files, with their tests", function()
    local mine = helper.write(folder .. "/mine.lua", [[tm.hotspot { id = "my.queue", match = { owner = "main.(*Queue).*" }, needs = { growth = "10MB" },
      verdict = "the queue is not drained", advice = "see runbook 7",
      tests = { { path = { "runtime.mallocgc", "main.(*Queue).add" }, growth = "11MB", is = true } } }]])
    local rows = by_name(helper.document("hotspots", "hotspots", "--cpu", cpu_file, "--heap", first, "--heap", second, "--rules", mine, "--json"))
    assert.equal("my.queue", rows["main.(*Queue).add"].id)
    assert.equal("see runbook 7", rows["main.(*Queue).add"].advice)
    assert.equal(0, helper.tidemark("hotspots", "--test", "--rules", mine).code)
    local wrong = helper.write(folder .. "/wrong.lua", [[tm.hotspot { id = "my.wrong", match = { owner = "x" }, verdict = "v", advice = "a",
      tests = { { path = { "runtime.mallocgc", "main.f" }, is = true } } }]])
    local refused = helper.tidemark("hotspots", "--cpu", cpu_file, "--rules", wrong)
    assert.equal(3, refused.code)
    assert.is_truthy(refused.err:find("my.wrong", 1, true))
    local document, code = helper.document("hotspots-test", "hotspots", "--test", "--rules", wrong, "--json")
    assert.equal(1, code)
    assert.equal(1, document.meta.failed)
    -- The file may stand among rules: the rule host leaves these rows alone.
    assert.equal(0, helper.tidemark("rules", "check", mine).code)
  end)

  it("refuses wrong calls and files that cannot be read", function()
    assert.equal(2, helper.tidemark("hotspots").code)
    assert.equal(2, helper.tidemark("hotspots", cpu_file).code)
    assert.equal(2, helper.tidemark("hotspots", "--cpu", cpu_file, "--least", "5").code)
    assert.equal(3, helper.tidemark("hotspots", "--cpu", folder .. "/none").code)
    assert.equal(3, helper.tidemark("hotspots", "--cpu", cpu_file, "--heap", helper.write(folder .. "/bad", "\31\139junk")).code)
  end)

  it("names every field in docs/json.md", function()
    local row
    for line in helper.read("docs/json.md"):gmatch("[^\n]+") do row = line:match("^| `hotspots`.*") or row end
    local document = helper.document("hotspots", "hotspots", "--cpu", cpu_file, "--heap", first, "--heap", second, "--json")
    for _, set in ipairs { document.meta, document.rows[1] } do
      for name in pairs(set) do assert.is_truthy(row and row:find("%f[%w_]" .. name .. "%f[^%w_]"), name) end
    end
    assert.is_truthy(core.version)
  end)
end)
