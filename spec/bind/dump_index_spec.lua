-- Saved indexes of heap dumps: every answer is the same with one as without, for all three formats; and one that is of another state
-- of the dump, cut, or changed in any byte is not taken.
local core = require "tidemark.core"
local goheap = require "spec.support.goheap_writer"
local helper = require "spec.support.helper"
local hprof = require "spec.support.hprof_writer"
local v8heap = require "spec.support.v8heap_writer"

local function jvm()
  return hprof(function(w)
    local node = w:class("app.Node", { fields = { { "left", "object" }, { "right", "object" }, { "n", "int" } } })
    local leaf = w:class("app.Leaf", { super = node, fields = { { "more", "object" } } })
    local bytes = w:primitive_array("byte", { 1, 2, 3, 4 })
    local last = nil
    for i = 1, 40 do last = w:new(i % 3 == 0 and leaf or node, { left = last, right = i % 4 == 0 and bytes or nil, n = i }) end
    w:new(node, { left = bytes })
    w:root("jni_global", last)
    w:root("sticky", node)
  end)
end

local function go()
  local A <const>, B <const>, C <const>, G <const> = 0xc000000000, 0xc000002000, 0xc000004000, 0xc000008000
  return goheap(function(w)
    w:memstats()
    w:type(0x4a0000, 640, "main.conn")
    w:itab(0x4a1000, 0x4a0000)
    w:object(A, 32, { [0] = B + 24, [16] = 0 })
    w:object(B, 48, { [8] = C })
    w:object(C, 16, {}, { letters = "hello, heap" })
    w:object(C + 16, 16, { [0] = C })
    w:object(G, 416, {})
    w:goroutine(G, 12, "chan receive")
    w:frame("runtime.gopark", {})
    w:frame("main.stuck", { [16] = B })
    w:data(0x500000, { [16] = A })
  end)
end

local function v8()
  local w = v8heap()
  local a, b = w:root("object", "Session", 100), w:root("object", "Session", 10)
  local own, shared = w:node("array", "", 40), w:node("array", "", 7)
  w:edge(a, "internal", "elements", own)
  w:edge(a, "internal", "properties", shared)
  w:edge(b, "internal", "properties", shared)
  w:edge(b, "weak", "cache", own)
  return w:text()
end

local dumps = { hprof = jvm, goheap = go, v8heap = v8 }

local function rows(t)
  local out = {}
  for i, row in t:rows() do out[i] = row end
  return out
end

-- Everything that a graph tells, as plain tables.
local function all_of(g)
  local out = { info = g:info(), format = g.format, partial = g.partial, problem = g.problem, nodes = {}, objects = rows(g:objects {}),
    strong = rows(g:objects { follow = "strong" }), holders = rows(g:dominated()), paths = {} }
  for n = 0, g:info().nodes - 1 do
    local node = g:node(n)
    node.fields = rows(g:fields(n))
    node.path = rows(g:path(n))
    node.found = g:find(node.id)
    node.held = rows(g:dominated(n))
    out.nodes[n] = node
  end
  local p = g:paths {}
  out.paths = rows(p:report("top", {}, "table"))
  local goroutines = g.goroutines and g.format == "goheap" and g:goroutines {}
  out.goroutines = goroutines and rows(goroutines)
  return out
end

describe("a saved index", function()
  teardown(helper.tidy)
  local dir
  setup(function() dir = helper.folder() end)

  -- A dump in a file, and its index beside it.
  local function saved(format, text)
    local file = helper.write(("%s/%s-%d"):format(dir, format, os.clock() * 1e6 // 1), text or dumps[format]())
    local g = assert(core.read(file, { index = {} }))
    local bytes = assert(g:save_index(file .. ".tmx"))
    assert.equal(bytes, core.stat(file .. ".tmx").size_bytes)
    return file, g, { index = { file .. ".tmx" } }
  end

  for format in pairs(dumps) do
    it("answers as the dump itself: " .. format, function()
      local file, _, options = saved(format)
      local g = assert(core.read(file, options))
      assert.is_true(g:indexed())
      assert.is_nil(g:index_problem())
      local plain = assert(core.read(file))
      assert.is_false(plain:indexed())
      assert.same(all_of(plain), all_of(g))
    end)

    it("is not taken when it is cut anywhere, nor when a byte of it differs: " .. format, function()
      local file, _, options = saved(format)
      local index, expected = helper.read(file .. ".tmx"), rows(assert(core.read(file)):objects {})
      local function refused(text, what)
        os.remove(file .. ".tmx")
        helper.write(file .. ".tmx", text)
        assert(os.execute("chmod 600 " .. helper.quote(file .. ".tmx")))
        local g = assert(core.read(file, options))
        assert.is_false(g:indexed(), what)
        assert.truthy(g:index_problem():find("index", 1, true), g:index_problem())
        assert.same(expected, rows(g:objects {}))
        g:close()
      end
      for percent = 0, 99 do refused(index:sub(1, #index * percent // 100), percent .. " %") end
      local seen = 0
      for at = 1, #index, #index // 150 do
        local changed = index:sub(1, at - 1) .. string.char(index:byte(at) ~ (1 << at % 8)) .. index:sub(at + 1)
        os.remove(file .. ".tmx")
        helper.write(file .. ".tmx", changed)
        os.execute("chmod 600 " .. helper.quote(file .. ".tmx"))
        local g = assert(core.read(file, options))
        assert.same(expected, rows(g:objects {}), "byte " .. at)
        seen = seen + (g:indexed() and 0 or 1)
        g:close()
      end
      assert.is_true(seen > 100) -- the rest are gaps between arrays
    end)
  end

  it("keeps what was missing of a cut dump", function()
    local text = jvm()
    local file, before, options = saved("hprof", text:sub(1, #text - 20))
    assert.is_true(before.partial)
    local g, err = core.read(file, options)
    assert.is_true(g:indexed())
    assert.is_true(g.partial)
    assert.equal(before.problem, g.problem)
    assert.equal(before.problem, err.message)
    assert.same(all_of(before), all_of(g))
  end)

  it("is of one state of one dump", function()
    local file, _, options = saved("hprof")
    local text = helper.read(file)
    local function problem() return assert(core.read(file, options)):index_problem() end
    assert(os.execute("touch -d '2001-01-01' " .. helper.quote(file)))
    assert.equal("the index is of another state of the dump", problem())
    local other, _, others = saved("hprof")
    assert(os.execute(("cp -p %s %s"):format(helper.quote(other .. ".tmx"), helper.quote(file .. ".tmx"))))
    assert.equal("the index is of another state of the dump", problem())
    -- one byte differs, size and time do not
    assert(os.execute(("cp -p %s %s.kept"):format(helper.quote(other), helper.quote(other))))
    helper.write(other, text:sub(1, #text - 30) .. string.char(text:byte(#text - 29) ~ 1) .. text:sub(#text - 28))
    assert(os.execute(("touch -r %s.kept %s"):format(helper.quote(other), helper.quote(other))))
    local g = core.read(other, others)
    assert.equal("the index is of another state of the dump", g:index_problem())
    assert.is_false(g:indexed())
  end)

  it("is nobody else's, private, and not of another format", function()
    local file, _, options = saved("hprof")
    assert.equal(384, core.stat(file .. ".tmx").mode) -- 0600
    assert(os.execute("chmod 666 " .. helper.quote(file .. ".tmx")))
    assert.equal("others may write the index", assert(core.read(file, options)):index_problem())
    assert(os.execute("chmod 600 " .. helper.quote(file .. ".tmx")))
    options.format = "goheap"
    assert.is_nil(core.read(file, options))
    os.rename(file .. ".tmx", file .. ".real")
    assert(os.execute(("ln -s %s.real %s.tmx"):format(helper.quote(file), helper.quote(file))))
    options.format = nil
    local g = assert(core.read(file, options))
    assert.is_false(g:indexed())
    assert.truthy(g:index_problem():find("cannot open the index", 1, true))
  end)

  it("is not made of what was not read from a file, and leaves nothing behind when it cannot be written", function()
    local bytes, err = assert(core.read { bytes = jvm() }):save_index(dir .. "/x.tmx")
    assert.is_nil(bytes)
    assert.truthy(err.message:find("read with", 1, true))
    local _, g = saved("hprof")
    assert.is_nil((g:save_index(dir .. "/none/x.tmx")))
    for _, name in ipairs(core.list(dir)) do assert.is_nil(name:find("tmx%.")) end
  end)

  it("is used by tm.read, and written when it is asked to", function()
    local tm = require "tidemark"
    local file = helper.write(dir .. "/tm.hprof", jvm())
    assert.is_false(assert(tm.read(file)):indexed())
    assert.is_nil(core.stat(file .. ".tmx"))
    assert.is_false(assert(tm.read(file, { index = true })):indexed())
    assert.is_true(assert(tm.read(file)):indexed())
    assert.is_false(assert(tm.read(file, { index = false })):indexed())
  end)

  it("outlives questions that change the graph's names", function()
    local file, _, options = saved("goheap")
    local g = assert(core.read(file, options))
    assert(not g:use_exe(file)) -- no program, but it may be tried after the tree
    g:close()
    assert.is_true(assert(core.read(file, options)):indexed())
  end)
end)

describe("the commands over dumps", function()
  teardown(helper.tidy)
  local dir, file
  setup(function()
    dir = helper.folder()
    file = helper.write(dir .. "/app.hprof", jvm())
  end)

  it("save an index when asked, use it, and write a stale one again", function()
    local plain = helper.tidemark("objects", file)
    assert.equal(0, plain.code)
    assert.is_nil(core.stat(file .. ".tmx"))
    local first = helper.tidemark("objects", file, "--index")
    assert.truthy(first.err:find("saved .*app.hprof.tmx"))
    assert.equal(plain.out, first.out)
    local inode = core.stat(file .. ".tmx").mtime_ns
    local second = helper.tidemark("objects", file)
    assert.same({ plain.out, "" }, { second.out, second.err })
    assert.equal(inode, core.stat(file .. ".tmx").mtime_ns)
    os.execute("touch " .. helper.quote(file))
    local stale = helper.tidemark("objects", file)
    assert.equal(plain.out, stale.out)
    assert.truthy(stale.err:find("the index is of another state of the dump; read again", 1, true))
    assert.equal("", helper.tidemark("holders", file).err)
    helper.write(file .. ".tmx", "rubbish")
    assert.same({ plain.out, "" }, { helper.tidemark("objects", file, "--no-index").out, helper.tidemark("objects", file, "--no-index").err })
    assert.truthy(helper.tidemark("objects", file).err:find("damaged", 1, true))
    assert.equal("", helper.tidemark("objects", file, "--json").err)
  end)

  it("go to the cache folder when nothing can be written beside the dump", function()
    local dump = helper.write(helper.folder() .. "/app.hprof", jvm())
    assert(os.execute("mkdir " .. helper.quote(dump .. ".tmx"))) -- in the way
    local first = helper.tidemark("objects", dump, "--index")
    assert.truthy(first.err:find("/tidemark/app%.hprof%-%x+%.tmx"))
    assert.same({ first.out, "" }, { helper.tidemark("objects", dump).out, helper.tidemark("objects", dump).err })
  end)
end)
