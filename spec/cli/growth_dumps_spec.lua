-- growth and diff over heap dumps: seeded leaks are the topmost paths, of written dumps and of real runtimes; ids of V8; refusals.
local core = require "tidemark.core"
local helper = require "spec.support.helper"
local hprof = require "spec.support.hprof_writer"

-- A class App that keeps an array of n Items with their bytes, a chain of n Links, and 50 Items that do not become more. first: where
-- objects lie, so that no address is that of an earlier dump.
local function dump(n, first)
  return hprof(function(w)
    local item = w:class("app.Item", { fields = { { "bytes", "object" } } })
    local link = w:class("app.Link", { fields = { { "next", "object" } } })
    local items_class, items, fixed, head = w:class("[Lapp.Item;"), {}, {}, 0
    for i = 1, n do
      items[i] = w:new(item, { bytes = w:primitive_array("byte", { 1, 2, 3 }) })
      head = w:new(link, { next = head })
    end
    for i = 1, 50 do fixed[i] = w:new(item) end
    w:root("sticky", w:class("app.App", { statics = { { "cache", "object", w:object_array(items_class, items) },
      { "fixed", "object", w:object_array(items_class, fixed) }, { "head", "object", head } } }))
  end, { base = first })
end

describe("growth of heap dumps", function()
  local folder, files
  setup(function()
    folder, files = helper.folder(), {}
    for i, n in ipairs { 100, 130, 200 } do files[i] = helper.write(folder .. "/" .. i .. ".hprof", dump(n, 0x80000000 + i * 0x1000000)) end
  end)
  teardown(helper.tidy)

  local function growth(...) return helper.rows("growth", "growth", files[1], files[2], files[3], ...) end

  it("names the topmost paths that grow in every step, with root, holder and depth", function()
    local rows, meta = growth("--min-delta", "10")
    assert.equal("path", meta.by)
    assert.equal(2, #rows)
    local chain, items = rows[1], rows[2]
    if chain.type ~= "app.Link" then chain, items = items, chain end
    assert.same({ "static app.App;head app.Link", 100, 200, 100, 2, 2 },
      { chain.key, chain.first, chain.last, chain.delta, chain.steps, chain.depth })
    assert.same({ "static app.App;cache app.Item[];[x] app.Item", "app.Item", "static app.App", { 100, 130, 200 } },
      { items.key, items.type, items.root, items.counts })
    assert.equal("static app.App", items.holder) -- not the array
    assert.is_true(items.bytes_delta >= 100 * (24 + 24)) -- with what hangs below
  end)

  it("gives examples, and what would be freed with all objects of a path", function()
    local rows = growth("--min-delta", "10", "--retained")
    local last <close> = assert(core.read(files[3]))
    for _, row in ipairs(rows) do
      local each = row.type == "app.Item" and 24 + 32 or 24 -- an Item has its bytes
      assert.equal(200 * each, row.retained_bytes)
      assert.equal(3, #row.examples)
      for _, example in ipairs(row.examples) do
        assert.equal(row.type, last:node(tonumber(example:match("^#(%d+)$"))).type)
        assert.equal(0, helper.tidemark("path", files[3], example).code)
      end
    end
    assert.is_nil(growth("--min-delta", "10")[1].retained_bytes)
    assert.equal(2, helper.tidemark("growth", files[1], files[2], files[3], "--by", "type", "--retained").code)
  end)

  it("calls holder what does not become more itself", function()
    local function sessions(n, each)
      return hprof(function(w)
        local item, list = w:class("app.Item"), w:class("[Lapp.Item;")
        local session, all, of = w:class("app.Session", { fields = { { "items", "object" } } }), w:class("[Lapp.Session;"), {}
        for i = 1, n do
          local items = {}
          for k = 1, each do items[k] = w:new(item) end
          of[i] = w:new(session, { items = w:object_array(list, items) })
        end
        local users = w:class("app.Users", { fields = { { "all", "object" } } })
        local one = w:new(users, { all = w:object_array(all, of) })
        w:root("sticky", w:class("app.App", { statics = { { "users", "object", one } } }))
      end)
    end
    local names = {}
    for i = 1, 3 do names[i] = helper.write(("%s/s%d.hprof"):format(folder, i), sessions(10 + 2 * i, 10)) end
    local rows = helper.rows("growth", "growth", names[1], names[2], names[3], "--min-delta", "10")
    assert.equal(1, #rows)
    assert.same({ "app.Item", 40, "users app.Users" }, { rows[1].type, rows[1].delta, rows[1].holder })
  end)

  it("leaves out what grows by less in any step", function()
    assert.equal(0, #growth("--min-delta", "30"))
    assert.equal(0, #growth())
  end)

  it("compares types whatever holds them", function()
    local rows = growth("--by", "type", "--min-delta", "10")
    local found = {}
    for _, row in ipairs(rows) do found[row.key] = row.last end
    assert.same({ ["app.Item"] = 250, ["app.Link"] = 200, ["byte[]"] = 200 }, found)
  end)

  it("works on the paths that are left when the dumps have gone", function()
    local kept = {}
    for i, file in ipairs(files) do
      kept[i] = ("%s/%d.pb.gz"):format(folder, i)
      assert.equal(0, helper.tidemark("convert", file, "--to", "pprof", "-o", kept[i]).code)
    end
    local rows = helper.rows("growth", "growth", kept[1], files[2], kept[3], "--min-delta", "10")
    assert.equal(2, #rows)
    assert.equal(100, rows[1].delta)
    local top = helper.rows("top", "top", files[3], "--sample_index", "objects")
    assert.is_true(#top > 3)
  end)

  it("fails a gate by paths that grow in every dump, whatever the heap as a whole does", function()
    local document, code = helper.document("gate", "gate", files[1], files[2], files[3], "--min-delta", "10", "--json")
    assert.equal(1, code)
    assert.equal(2, #document.meta.rules)
    local finding = document.meta.rules[1]
    assert.same({ true, "heap.root_path_growth", 100 }, { finding.failed, finding.rule, finding.value })
    assert.matches("100 more app%.%a+ %(100, 130, 200%) from static app.App", finding.text)
    assert.equal(0, helper.tidemark("gate", files[1], files[2], files[3]).code) -- 500 more is the default
    local said = helper.tidemark("gate", files[1], files[2], files[3], "--min-delta", "10")
    assert.matches("^FAIL  2 findings; ", said.out)
  end)

  it("gives a gate's rules each dump, from files and folders of rules", function()
    local dir = folder .. "/rules"
    core.mkdir(dir)
    helper.write(dir .. "/grows.lua", [[
tm.rule { id = "ci.paths", every = "1s", inputs = { d = tm.dumps("jvm.hprof", { keep = 3 }) },
  check = function(c)
    if c.d.n < 3 then return c:skip "too few" end
    return c:finding { level = "fail", value = c.d.n }
  end,
  say = "{value} dumps" }
]])
    local document = helper.document("gate", "gate", files[1], files[2], files[3], "--rules", dir, "--json")
    local finding = document.meta.rules[1]
    assert.same({ "ci.paths", "3 dumps", true }, { finding.rule, finding.text, finding.failed })
    local none = helper.tidemark("gate", files[1], files[2], "--rules", folder .. "/nowhere")
    assert.not_equal(0, none.code)
    assert.matches("nowhere", none.err, 1, true)
  end)

  it("says it in words, and draws it", function()
    local result = helper.tidemark("growth", files[1], files[2], files[3], "--min-delta", "10")
    assert.equal(0, result.code)
    assert.matches("2 paths have more than 10 objects more in every one", result.out, 1, true)
    assert.matches("static app.App  >  cache app.Item[]  >  [x] app.Item", result.out, 1, true)
    local drawn = helper.tidemark("flame", files[3], "-o", folder .. "/paths.svg")
    assert.equal(0, drawn.code)
    assert.matches("app.Link", helper.read(folder .. "/paths.svg"), 1, true)
  end)

  it("tells two dumps apart by type", function()
    local document = helper.document("dump-diff", "diff", files[1], files[3], "--json")
    local found = {}
    for _, row in ipairs(document.rows) do found[row.type] = { row.count, row.shallow_bytes } end
    assert.same({ 100, 2400 }, found["app.Item"])
    assert.same({ 100, 2400 }, found["app.Link"])
    assert.is_nil(found["app.App"])
  end)

  it("says what cannot be compared", function()
    assert.equal(2, helper.tidemark("growth", files[1], files[2], files[3], "--by", "id").code)
    assert.equal(2, helper.tidemark("growth", files[1], files[2], files[3], "--by", "function").code)
    local other = helper.write(folder .. "/x.txt", "main;a 5\n")
    assert.equal(2, helper.tidemark("growth", files[1], other).code)
  end)

  it("finds what a Node program leaks, by path and by id", function()
    if helper.shell("node --version").code ~= 0 then pending("no node here") return end
    helper.write(folder .. "/leak.js", [[
      class Session { constructor(i) { this.id = i; this.tag = { n: i } } }
      const cache = new Map(); globalThis.app = { cache }; let n = 0;
      for (let d = 1; d <= 3; d++) {
        for (let i = 0; i < 900; i++, n++) cache.set("k" + n, new Session(n));
        global.gc(); require("v8").writeHeapSnapshot(`n${d}.heapsnapshot`);
      }]])
    assert.equal(0, helper.shell(("cd %s && node --expose-gc leak.js"):format(folder)).code)
    local n = {}
    for i = 1, 3 do n[i] = ("%s/n%d.heapsnapshot"):format(folder, i) end
    local rows = helper.rows("growth", "growth", n[1], n[2], n[3])
    local session
    for _, row in ipairs(rows) do -- the keys are beside the sessions
      assert.matches("cache Map;table %(array%);%[x%] ", row.key)
      if row.type == "Session" then session = row end
    end
    assert.is_true(math.abs(session.delta - 1800) < 200) -- a few may be on the way elsewhere
    local born, meta = helper.rows("growth", "growth", n[1], n[2], n[3], "--by", "id")
    local count
    for _, row in ipairs(born) do count = row.type == "Session" and row.delta or count end
    assert.equal(900, count)
    assert.is_true(meta.retained_bytes > 900 * 50)
    assert.equal("Session", born[1].type) -- holds the most of what is new
    assert.matches("cache Map;table %(array%);%[x%] Session$", born[1].path)
    assert.is_true(born[1].retained_bytes > born[1].bytes_delta)
    local told = helper.tidemark("growth", n[1], n[2], n[3], "--by", "id")
    assert.matches("cache Map > table %(array%) > %[x%] Session", told.out)
  end)

  it("finds what a Java program leaks, thread locals too", function()
    if helper.shell("javac -version && jcmd -h").code ~= 0 then pending("no JDK here") return end
    helper.write(folder .. "/Leak.java", [[
      import java.util.*;
      public class Leak {
        static class Session { int id; String name; Session(int i) { id = i; name = "s" + i; } }
        static final Map<String, Session> cache = new HashMap<>();
        static final ThreadLocal<List<byte[]>> local = ThreadLocal.withInitial(ArrayList::new);
        public static void main(String[] a) throws Exception {
          for (int d = 1; d <= 3; d++) {
            for (int i = 0; i < 900; i++) { cache.put("k" + d + "." + i, new Session(i)); local.get().add(new byte[16]); }
            new ProcessBuilder("jcmd", "" + ProcessHandle.current().pid(), "GC.heap_dump", a[0] + "/j" + d + ".hprof").start().waitFor();
          }
        }
      }]])
    assert.equal(0, helper.shell(("cd %s && javac Leak.java && java -Xmx64m Leak %s"):format(folder, folder)).code)
    local rows = helper.rows("growth", "growth", folder .. "/j1.hprof", folder .. "/j2.hprof", folder .. "/j3.hprof")
    local found = {}
    for _, row in ipairs(rows) do found[row.type] = row end
    assert.equal(2, #rows)
    assert.same({ 1800, "static Leak", "cache java.util.HashMap" },
      { found["java.util.HashMap$Node"].delta, found["java.util.HashMap$Node"].root, found["java.util.HashMap$Node"].holder })
    assert.equal(1800, found["byte[]"].delta)
    assert.equal("thread local Leak.local java.util.ArrayList;elementData java.lang.Object[];[x] byte[]", found["byte[]"].key)
  end)

  it("gives what threads keep to the thread local, and a stack's view of it to its owner", function()
    local function locals(n)
      return hprof(function(w)
        local reference = w:class("java.lang.ref.Reference", { fields = { { "referent", "object" } } })
        local weak = w:class("java.lang.ref.WeakReference", { super = reference })
        local entry = w:class("java.lang.ThreadLocal$ThreadLocalMap$Entry", { super = weak, fields = { { "value", "object" } } })
        local map = w:class("java.lang.ThreadLocal$ThreadLocalMap", { fields = { { "table", "object" } } })
        local local_, entries = w:class("java.lang.ThreadLocal"), w:class("[Ljava.lang.ThreadLocal$ThreadLocalMap$Entry;")
        local thread = w:class("java.lang.Thread", { fields = { { "threadLocals", "object" } } })
        local item, list = w:class("app.Item"), w:class("[Lapp.Item;")
        local function items()
          local out = {}
          for i = 1, n do out[i] = w:new(item) end
          return w:object_array(list, out)
        end
        local key, handle, held = w:new(local_), items(), items()
        local pairs_of = { w:new(entry, { referent = key, value = held }), w:new(entry, { value = items() }) }
        local worker = w:new(thread, { threadLocals = w:new(map, { table = w:object_array(entries, pairs_of) }) })
        w:root("local_", handle)
        w:root("local_", held)
        w:root("thread", worker)
        w:root("jni_global", handle)
        w:root("sticky", w:class("app.App", { statics = { { "users", "object", key } } }))
      end)
    end
    local names = {}
    for i = 1, 3 do names[i] = helper.write(("%s/l%d.hprof"):format(folder, i), locals(100 * i)) end
    local found = {}
    for _, row in ipairs((helper.rows("growth", "growth", names[1], names[2], names[3], "--min-delta", "10"))) do found[row.key] = row.delta end
    assert.same({ ["thread local app.App.users app.Item[];[x] app.Item"] = 200, ["thread local app.Item[];[x] app.Item"] = 200,
      ["jni global app.Item[];[x] app.Item"] = 200 }, found)
  end)

  it("answers a profile to rules and the prompt", function()
    local g <close> = assert(core.read(files[3]))
    local p = assert(g:paths { follow = "strong" })
    assert.equal("profile", p.kind)
    assert.same({ "objects", "space" }, { p:info().types[1].type, p:info().types[2].type })
    assert.has_error(function() g:paths { folow = "strong" } end)
    local at = g:at_paths { "static app.App;head app.Link", "static app.App", "static nothing" }
    assert.same({ 200, 1, 0 }, { #at[1], #at[2], #at[3] })
    local some = g:paths { of = at[1] }
    assert.equal(200, some:info().types[1].total)
    assert.has_error(function() g:at_paths { 5 } end)
    local other <close> = assert(core.read(files[1]))
    assert.has_error(function() other:paths { of = at[1] } end)
  end)
end)
