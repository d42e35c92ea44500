-- proof: leaked goroutines of real programs of every kind, by every Go that is here, and none that lives; dumps of unknown versions.
local goheap = require "spec.support.goheap_writer"
local helper = require "spec.support.helper"

local G, SUDOG, CHAN, OTHER, KEPT = 0xc000008000, 0xc000010000, 0xc000020000, 0xc000030000, 0xc000040000
local WAITING <const> = 312 -- g.waiting of Go 1.21, 64-bit

-- A goroutine that waits for a channel; the channel is what `holder` of the roots says, or nobody's.
local function stuck(options)
  return goheap(function(w)
    w:memstats()
    w:object(G, 416, { [WAITING] = SUDOG })
    w:object(SUDOG, 96, { [0] = G, [80] = CHAN })
    w:object(CHAN, 96, { [56] = SUDOG })
    w:object(OTHER, 1024, {})
    w:object(KEPT, 64, { [8] = CHAN })
    w:goroutine(G, 7, options.reason or "chan receive")
    w:frame("runtime.gopark", {})
    w:frame("main.stuck", { [16] = CHAN, [24] = OTHER })
    w:frame("main.start.gowrap1", {}) -- made by the compiler: go stuck(x)
    w:frame("runtime.goexit", {})
    w:data(0x500000, { [16] = options.global and CHAN or 0 })
    local late = options.defer or options.panic or options.closure
    if late then -- a closure in the frame of another, of which the map of pointers says nothing
      w:goroutine(OTHER, 8, "sleep", options.closure)
      w:frame("main.holder", { [16] = 0 }, { [8] = CHAN })
    end
    if options.arguments then -- of one that was stopped anywhere: in the frame of its caller
      w:goroutine(OTHER, 8)
      w:frame("runtime.asyncPreempt", {})
      w:frame("main.busy", {})
      w:frame("main.caller", { [16] = 0 }, { [8] = CHAN })
    end
    if options.defer then w:defer(0x6000, options.defer) end
    if options.panic then w:panic(0x6000, options.panic) end
    if options.finalizer then w:finalizer(KEPT, 0x401000) end
  end, { version = options.version or "go1.21.0" })
end

local function write(bytes) return helper.write(helper.folder() .. "/dump", bytes) end

local function proof(bytes) return helper.document("proof", "proof", write(bytes), "--json") end

describe("proof", function()
  teardown(helper.tidy)

  it("accuses who waits for what nothing else reaches, and counts what it holds", function()
    local doc, code = proof(stuck {})
    assert.equal(1, code)
    assert.equal(1, doc.meta.leaked)
    local row = doc.rows[1]
    assert.same({ 1, "chan receive", "main.stuck", 7, 96 + 96 + 1024 }, { row.count, row.state, row.site, row.goroutine, row.retained_bytes })
    assert.equal("main.stuck", row.entry)
  end)

  it("accuses nobody whose channel a global or a finalizer reaches, or who waits for the world", function()
    for _, options in ipairs { { global = true }, { finalizer = true }, { reason = "IO wait" }, { reason = "sleep" },
      { defer = 0x7008 }, { panic = 0x7008 }, { closure = 0x7008 }, { arguments = true } } do
      local doc, code = proof(stuck(options))
      assert.equal(0, code)
      assert.equal(0, doc.meta.leaked)
    end
    assert.equal(1, proof(stuck { defer = 0x5000 }).meta.leaked)
  end)

  -- A cleanup's closure: nothing in the dump refers to it. Offsets of Go 1.26, 64-bit.
  it("accuses nobody whom a cleanup may wake, which dumps do not show", function()
    local function dump(cleanups, code)
      return goheap(function(w)
        w:memstats()
        w:object(G, 448, { [320] = SUDOG })
        w:object(SUDOG, 112, { [0] = G, [96] = CHAN })
        w:object(CHAN, 112, { [56] = SUDOG })
        w:object(KEPT, 64, { [0] = code, [8] = CHAN })
        w:goroutine(G, 7, "chan receive")
        w:frame("runtime.gopark", {})
        w:frame("main.stuck", { [16] = CHAN })
        w:goroutine(OTHER, 8, "cleanup wait")
        w:frame(cleanups and "runtime.runCleanups" or "runtime.runFinalizers", {})
      end, { version = "go1.26.1" })
    end
    local doc, code = proof(dump(true, 0x402000))
    assert.same({ 0, 0, 1 }, { code, doc.meta.leaked, doc.meta.doubtful })
    doc, code = proof(dump(false, 0x402000)) -- who has no cleanups has garbage
    assert.same({ 1, 1, 0 }, { code, doc.meta.leaked, doc.meta.doubtful })
    doc = proof(dump(true, 0x401000)) -- what a goroutine was started with is garbage, too
    assert.same({ 1, 0 }, { doc.meta.leaked, doc.meta.doubtful })
  end)

  it("refuses a version that it does not know, loudly", function()
    local result = helper.tidemark("proof", write(stuck { version = "go1.99.1" }))
    assert.equal(6, result.code)
    assert.matches("go1.99.1", result.err, 1, true)
    assert.matches("--exe", result.err, 1, true)
  end)

  it("proves nothing of a dump that is cut", function()
    local whole = stuck { global = true }
    for _, cut in ipairs { 1, 20, 60 } do
      local result = helper.tidemark("proof", write(whole:sub(1, #whole - cut)))
      assert.equal(3, result.code)
      assert.matches("not whole", result.err, 1, true)
    end
  end)

  it("refuses other heap dumps", function()
    local result = helper.tidemark("proof", write('{"snapshot":{"meta":{"node_fields":["type","name","id","self_size","edge_count"],"node_types":[["hidden"]],'
      .. '"edge_fields":["type","name_or_index","to_node"],"edge_types":[["context"]]},"node_count":1,"edge_count":0},"nodes":[0,0,1,8,0],"edges":[],'
      .. '"strings":[""]}'))
    assert.equal(2, result.code)
  end)

  -- The names of goleaks.go say who is leaked.
  local function check(go)
    local folder = helper.folder()
    local program, dump = folder .. "/goleaks", folder .. "/dump"
    helper.write(folder .. "/goleaks.go", helper.read("spec/support/goleaks.go"))
    local env = helper.go(folder)
    assert.equal(0, helper.shell(env .. go .. " build -o goleaks goleaks.go && ./goleaks dump 30").code)
    for _, words in ipairs { {}, { "--exe", program } } do
      local doc, code = helper.document("proof", "proof", dump, "--json", table.unpack(words))
      assert.equal(1, code)
      local found = {}
      for _, row in ipairs(doc.rows) do
        local kind = row.entry:match("^main%.(.*)$")
        assert.matches("^leak", kind)
        found[kind] = (found[kind] or 0) + row.count
        if words[1] then assert.matches("goleaks.go:%d+$", row.site) end
      end
      for _, kind in ipairs { "Send", "Receive", "Range", "Select", "NilReceive", "NilSend", "Forever", "Mutex", "RWMutex", "WaitGroup", "Cond",
        "Context", "Pair", "Pair.func1" } do
        assert.is_true((found["leak" .. kind] or 0) >= 29, kind .. ": " .. tostring(found["leak" .. kind])) -- 95 %
      end
      assert.is_true(doc.meta.retained_bytes > 30 * 100000)
    end
  end

  for _, go in ipairs { "go", "/usr/lib/go-1.19/bin/go" } do
    it("finds every kind in a program of " .. go .. ", and accuses none that lives", function()
      if helper.shell(go .. " version").code ~= 0 then pending("no Go here") return end
      check(go)
    end)
  end
end)
