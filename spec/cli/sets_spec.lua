-- Questions about heap dumps of which every object is known: sets and their operators, references, consumers, garbage, queries.
local core = require "tidemark.core"
local helper = require "spec.support.helper"
local leaks = require "spec.support.leaks"

local function rows(t)
  local out = {}
  for i, row in t:rows() do out[i] = row end
  return out
end

local function find(list, field, value)
  for _, row in ipairs(list) do
    if row[field] == value then return row end
  end
end

describe("a set of objects", function()
  local g, at
  setup(function()
    g = assert(core.read { bytes = leaks.jvm() })
    at = {}
    for name, id in pairs(leaks.jvm_nodes) do at[name] = g:find(id) end
  end)

  it("is chosen by type, class above, size, root and reachability", function()
    assert.equal(40, #g:where { type = "com.acme.Session" })
    assert.equal(40, #g:where { match = "Session$" })
    assert.equal(0, #g:where { type = "com.acme.Session", extends = "java.util.*" })
    assert.equal(40, #g:where { type = "com.acme.Session", extends = "java.lang.Object" })
    assert.equal(3, #g:where { type = "java.util.HashMap" })
    assert.equal(3, #g:where { type = "java.util.HashMap$Node", unreachable = true })
    assert.equal(41, #g:where { type = "java.util.HashMap$Node", reachable = true })
    assert.equal(1, #g:where { root = "thread" })
    assert.equal(40, #g:where { type = "byte[]", min_size = "100B", max_size = "200B" })
    assert.equal(1, #g:where { id = leaks.jvm_nodes.cache })
    assert.equal(1, #g:where { type = "java.util.HashMap", min_retained = "4kB" })
  end)

  it("refuses sizes without a unit, unknown options and wrong patterns", function()
    assert.has_error(function() g:where { min_size = 5 } end)
    assert.has_error(function() g:where { types = "x" } end)
    assert.has_error(function() g:where { root = "nonsense" } end)
    local none, err = g:where { match = "[" }
    assert.is_nil(none)
    assert.equal("argument", err.code)
  end)

  it("joins with | & and -", function()
    local maps, big = g:where { type = "java.util.HashMap" }, g:where { min_retained = "4kB" }
    assert.equal(#maps + #big - #(maps & big), #(maps | big))
    assert.equal(#maps, #(maps - big) + #(maps & big))
    assert.has_error(function() return maps | assert(core.read { bytes = leaks.go() }):where {} end)
  end)

  it("retains exactly what dies with it", function()
    local sessions = g:where { type = "com.acme.Session" }
    local each = 0
    for _, node in ipairs(sessions:nodes()) do each = each + g:node(node).retained_bytes end
    assert.equal(each, sessions:retained())
    assert.equal(each, sessions:retained { exact = false })
    assert.equal(each, sessions:retained_set():shallow())
    local arrays = g:where { type = "byte[]" } & sessions:outgoing()
    assert.equal(arrays:shallow(), arrays:retained())
    assert.equal(40, #arrays)
  end)

  it("knows who dominates it and what is beside it", function()
    local sessions = g:where { type = "com.acme.Session" }
    assert.same({ "java.util.HashMap$Node" }, sessions:dominators():group("type"):column("name"))
    assert.equal(40, #sessions:incoming())
    assert.equal(80, #(sessions:outgoing() - g:where { type = "com.acme.Session" }))
    assert.is_true(#g:where { node = at.cache }:reach() > 200)
    local near = g:where { node = at.app }:reach { around = g:where { type = "java.util.HashMap" } }
    assert.equal(3, #(near & g:where { type = "java.util.HashMap" }))
    assert.equal(0, #(near & sessions))
  end)

  it("is grouped, listed and filtered", function()
    local groups = rows(g:where { match = "^com" }:group "package")
    assert.equal("com.acme", groups[1].name)
    assert.equal(42, groups[1].count)
    local list = g:where { type = "java.util.HashMap" }:rows {}
    assert.equal(at.cache, list[1].node)
    assert.equal(3, list.notes.count)
    assert.equal(1, #g:where { type = "java.util.HashMap" }:filter(function(o) return o.retained_bytes > 1000 and o.node == at.cache end))
  end)

  it("has merged ways from the roots", function()
    local t = g:where { type = "com.acme.Session" }:paths { by = "type" }
    local last = t[#t]
    assert.equal("com.acme.Session", last.type)
    assert.equal(40, last.count)
    assert.equal("class com.acme.App", t[1].preview)
    assert.equal(40, t.notes.reached)
    assert.equal(5, #t) -- class, map, table, entry, session
  end)

  it("keeps its graph alive, and says when that was closed", function()
    local set
    do
      local other = assert(core.read { bytes = leaks.go() })
      set = other:where { min_size = "300B" }
    end
    collectgarbage()
    assert.is_true(set:shallow() > 0)
  end)
end)

describe("a question to a heap dump", function()
  teardown(helper.tidy)
  local jvm, v8, go
  setup(function()
    local dir = helper.folder()
    jvm = helper.write(dir .. "/a.hprof", leaks.jvm())
    v8 = helper.write(dir .. "/a.heapsnapshot", leaks.v8())
    go = helper.write(dir .. "/a.goheap", leaks.go())
  end)

  it("names referrers and references with strength", function()
    local word = ("0x%x"):format(leaks.jvm_nodes.cache)
    local r, meta = helper.rows("references", "references", jvm, word)
    assert.same({ "cache", "strong", "java.lang.Class" }, { r[1].edge, r[1].strength, r[1].type })
    assert.equal(1, meta.count)
    r = helper.rows("references", "references", jvm, word, "--outgoing")
    assert.equal("table", r[#r].edge)
    r = helper.rows("references", "references", v8, "#" .. leaks.v8_nodes.keep)
    assert.equal("keep", r[1].edge)
    r = helper.rows("references", "references", go, ("0x%x"):format(leaks.go_nodes.table))
    assert.equal("+0", r[1].edge)
  end)

  it("shows one object with its fields", function()
    local r = helper.rows("object", "object", jvm, ("0x%x"):format(leaks.jvm_nodes.cache))
    assert.equal("40", find(r, "name", "size").value)
    assert.matches("retains", helper.tidemark("object", jvm, ("0x%x"):format(leaks.jvm_nodes.cache)).out)
  end)

  it("tells who holds how much", function()
    local r = helper.rows("consumers", "consumers", jvm, "--by", "package")
    local acme, all = find(r, "name", "com.acme"), find(r, "name", "com")
    assert.equal(1, acme.depth)
    assert.equal(all.retained_bytes, acme.retained_bytes)
    r = helper.rows("consumers", "consumers", jvm, "--by", "global")
    assert.equal("com.acme.App.cache", r[1].name)
    r = helper.rows("consumers", "consumers", jvm, "--by", "thread")
    assert.equal('java.lang.Thread "worker-1"', r[1].name)
    r = helper.rows("consumers", "consumers", jvm, "--by", "loader")
    local loaders = {}
    for _, row in ipairs(r) do if row.name == "com.acme.Loader" then loaders[#loaders + 1] = row end end
    assert.equal(2, #loaders)
    for _, row in ipairs(loaders) do assert.is_true(row.count > 0 and row.node >= 0) end -- itself and its classes
    assert.matches("NODE +LOADER", helper.tidemark("consumers", jvm, "--by", "loader").out)
    r = helper.rows("consumers", "consumers", v8, "--by", "module")
    assert.equal(500 + 32 + 8 + 8, find(r, "name", "@acme/bus").retained_bytes)
    r = helper.rows("consumers", "consumers", v8, "--by", "global")
    assert.equal("global.keep", r[1].name)
    r = helper.rows("consumers", "consumers", v8, "--by", "context")
    assert.equal("global", r[1].name)
    r = helper.rows("consumers", "consumers", go, "--by", "global")
    assert.equal(48 + 320 + 40 * (32 + 208), r[1].retained_bytes)
    r = helper.rows("consumers", "consumers", go, "--by", "thread")
    assert.matches("goroutine 7", r[1].name)
    assert.equal(416 + 512, r[1].retained_bytes)
  end)

  it("tells what garbage held", function()
    local r, meta = helper.rows("garbage", "garbage", jvm)
    local chain = find(r, "type", "java.util.HashMap$Node")
    assert.equal(3, chain.count)
    assert.equal(chain.shallow_bytes, chain.retained_bytes)
    assert.equal(1, chain.tops)
    local count = 0
    for _, row in ipairs(r) do count = count + row.count end
    assert.equal(meta.count, count)
    assert.equal(0, #helper.rows("garbage", "garbage", v8))
  end)

  it("answers Lua over the graph", function()
    local r = helper.rows("query", "query", jvm, "#g:where{type='com.acme.Session'}")
    assert.equal(40, r[1].value)
    r = helper.rows("query", "query", jvm, "g:where{type='com.acme.Session'}:group 'type'")
    assert.equal(40, r[1].count)
    r = helper.rows("query", "query", jvm, "local s = g:where{type='java.util.HashMap'} return s - s")
    assert.equal(0, #r)
    assert.equal("40\n", helper.tidemark("query", jvm, "#g:where{type='com.acme.Session'}").out)
    local bad = helper.tidemark("query", jvm, "1 +")
    assert.equal(2, bad.code)
    assert.matches("no Lua", bad.err)
    assert.equal(2, helper.tidemark("query", jvm, "g:where{match='['}").code)
  end)

  it("merges the ways to all objects of a type", function()
    local r, meta = helper.rows("path", "path", jvm, "--type", "com.acme.Session")
    assert.equal(40, r[1].count)
    assert.equal(40, meta.members)
    assert.matches("class com.acme.App", helper.tidemark("path", jvm, "--type", "com.acme.Session").out)
    assert.equal(40, helper.rows("path", "path", v8, "--type", "Session")[1].count)
    assert.matches("edge,", helper.tidemark("path", jvm, "--type", "com.acme.Session", "--csv").out)
    assert.equal("No object is of a type like 'Nope'.\n", helper.tidemark("path", jvm, "--type", "Nope").out)
  end)
end)
