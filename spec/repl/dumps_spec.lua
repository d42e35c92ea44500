-- Heap dumps, goroutines and growth at the prompt: the same answers as the commands give, from written dumps.
local goheap = require "spec.support.goheap_writer"
local helper = require "spec.support.helper"
local hprof = require "spec.support.hprof_writer"

local function run(...)
  local path = helper.write(helper.folder() .. "/script", table.concat({ ... }, "\n") .. "\n")
  return helper.shell("LC_ALL=C.UTF-8 " .. helper.command("repl", "--no-history") .. " <" .. helper.quote(path))
end

local G <const>, SUDOG <const>, CHAN <const> = 0xc000008000, 0xc000010000, 0xc000020000

local function stuck()
  return goheap(function(w)
    w:memstats()
    w:object(G, 416, { [312] = SUDOG })
    w:object(SUDOG, 96, { [0] = G, [80] = CHAN })
    w:object(CHAN, 96, { [56] = SUDOG })
    w:goroutine(G, 7, "chan receive")
    w:frame("runtime.gopark", {})
    w:frame("main.stuck", { [16] = CHAN })
    w:data(0x500000, { [16] = 0 })
  end)
end

local function items(n)
  return hprof(function(w)
    local item, list = w:class("app.Item"), {}
    for i = 1, n do list[i] = w:new(item) end
    w:root("sticky", w:class("app.App", { statics = { { "cache", "object", w:object_array(w:class("[Lapp.Item;"), list) } } }))
  end)
end

describe("the prompt over heap dumps", function()
  local folder
  setup(function()
    folder = helper.folder()
    helper.write(folder .. "/go", stuck())
    for i, n in ipairs { 10, 30, 60 } do helper.write(("%s/j%d"):format(folder, i), items(n)) end
  end)
  teardown(helper.tidy)

  it("proves goroutines leaked, and lists them", function()
    local r = run(("g = tm.read '%s/go'"):format(folder), "tm.proof(g).notes.leaked", "tm.proof(g)[1].site", "#tm.goroutines(g)", "tm.goroutines(g)[1].state")
    assert.same({ 0, '1\n"main.stuck"\n1\n"chan receive"\n' }, { r.code, (r.out:gsub("^heap graph[^\n]*\n", "")) })
  end)

  it("compares dumps, and treats their paths as profiles", function()
    local r = run(("d = {}; for i = 1, 3 do d[i] = tm.read('%s/j' .. i) end"):format(folder), "rows = tm.chains(d, { min_delta = 5 })", "#rows",
      "rows[1].key", "rows[1].holder", "tm.top(tm.paths(d[3]), { sample_index = 'objects' })[1].flat")
    assert.same({ 0, '1\n"static app.App;cache app.Item[];[x] app.Item"\n"static app.App"\n60\n' }, { r.code, r.out })
  end)

  it("says what is wrong of it", function()
    local r = run(("tm.proof '%s/j1'"):format(folder), "tm.census(999999999)", "tm.chains({}, {})", "tm.paths({}, {})")
    assert.equal(1, r.code)
    assert.matches("Go heap dumps only", r.out .. r.err, 1, true)
    assert.matches("no process 999999999", r.out .. r.err, 1, true)
    assert.matches("two dumps or more", r.out .. r.err, 1, true)
  end)
end)
