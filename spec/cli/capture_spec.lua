-- Captures of real JVMs, Nodes, Chromium and Go programs, where they are here; and of an inspector that misbehaves.
local core = require "tidemark.core"
local helper = require "spec.support.helper"

local quote = helper.quote
local function has(program) return os.execute("command -v " .. program .. " >/dev/null 2>&1") end

-- A program in the background, once `ready(dir)` gives something: { pid, dir, value, stop() }.
local function start(dir, line, ready)
  os.execute(("cd %s && { exec %s; } >out 2>err </dev/null & echo $! >%s/pid"):format(quote(dir), line, quote(dir)))
  local pid = helper.read(dir .. "/pid"):match("%d+")
  local function stop() os.execute("kill -9 " .. pid .. " 2>/dev/null") end
  for _ = 1, 300 do
    local value = ready(dir)
    if value then return { pid = math.tointeger(tonumber(pid)), dir = dir, value = value, stop = stop } end
    os.execute("sleep 0.05")
  end
  stop()
  error("it did not start: " .. helper.read(dir .. "/err"))
end

local function says(words)
  return function(dir)
    for _, name in ipairs { "/out", "/err" } do
      local found = core.stat(dir .. name) and helper.read(dir .. name):match(words)
      if found then return found end
    end
  end
end

-- Rows of a document with code 0; the first one.
local function snap(...) return helper.rows("snap", "snap", ...) end
local function refused(code, words, ...)
  local result = helper.tidemark("snap", ...)
  assert.equal(code, result.code, result.err)
  assert.is_truthy(result.err:find(words, 1, true), result.err)
end

local function mode_of(path) return ("%o"):format(core.stat(path).mode) end

local function contains(path, words) return helper.read(path):find(words, 1, true) ~= nil end

-- What `objects` shows of a dump, which redaction must not change.
local function objects(path)
  local result = helper.tidemark("objects", path, "--csv")
  assert.equal(0, result.code, result.err)
  return result.out
end

local function redacts(path, secret)
  local clean = path .. ".clean"
  assert.is_true(contains(path, secret), "the dump has no secret to hide")
  local result = helper.tidemark("convert", path, "--redact", "-o", clean)
  assert.equal(0, result.code, result.err)
  assert.is_false(contains(clean, secret))
  assert.equal("600", mode_of(clean))
  assert.equal(objects(path), objects(clean))
end

-- ---- JVM ----

describe("a JVM", function()
  local jvm, dir
  setup(function()
    if not (has "javac" and has "java") then return end
    dir = helper.folder()
    helper.write(dir .. "/Hold.java", [[
      import java.util.*;
      public class Hold {
        static final List<Object> kept = new ArrayList<>();
        static class Order { int id; String note; Order(int i) { id = i; note = "secret-token-" + i; } }
        public static void main(String[] a) throws Exception {
          for (int i = 0; i < 2000; i++) kept.add(new Order(i));
          kept.add(new int[3][4]);
          System.out.println("ready");
          Thread.sleep(120000);
        }
      }]])
    assert(os.execute("cd " .. quote(dir) .. " && javac Hold.java"))
    jvm = start(dir, "java -Xmx64m -XX:+UseSerialGC -cp . Hold", says "ready")
  end)
  teardown(function()
    if jvm then jvm.stop() end
    helper.tidy()
  end)
  local function with_jvm(name, body)
    it(name, function()
      if not jvm then return pending("no JDK here") end
      body("jvm:" .. jvm.pid)
    end)
  end

  with_jvm("gives its dump, privately, and leaves nothing else", function(target)
    local path = helper.folder() .. "/app.hprof"
    local rows = snap(target, "dump", "-o", path)
    assert.equal(path, rows[1].file)
    assert.equal(core.stat(path).size_bytes, rows[1].bytes)
    assert.equal("600", mode_of(path))
    assert.same({ "app.hprof" }, core.list(path:match("^(.*)/")))
    assert.is_truthy(objects(path):find("\nHold%$Order,2000,"))
    redacts(path, "secret-token-1234")
  end)

  with_jvm("counts its objects as its dump does", function(target)
    local path = helper.folder() .. "/app.hprof"
    local rows, meta = snap(target, "histogram")
    snap(target, "dump", "-o", path)
    local of_dump = helper.rows("objects", "objects", path)
    local counts = {}
    for _, row in ipairs(of_dump) do counts[row.type] = row end
    local orders
    for _, row in ipairs(rows) do
      if row.type == "Hold$Order" then orders = row end
    end
    assert.equal("histogram", meta.kind)
    assert.equal(2000, orders.count)
    assert.equal(counts["Hold$Order"].count, orders.count)
    assert.equal(counts["Hold$Order"].shallow_bytes, orders.shallow_bytes)
  end)

  with_jvm("compresses, redacts, and says what its memory does", function(target)
    local path = helper.folder() .. "/app.hprof.gz"
    local rows = snap(target, "dump-all", "--gz", "--redact", "-o", path)
    assert.equal("hprof", rows[1].redacted.format)
    assert.equal("\31\139", helper.read(path):sub(1, 2))
    assert.is_truthy(objects(path):find("Hold%$Order"))
    rows = snap(target, "gc")
    assert.equal("jvm.heap_used", rows[1].name)
    assert.is_true(rows[1].value > 100000)
    rows = snap(tostring(jvm.pid), "memory")
    assert.is_true(#rows >= 3 and rows[1].value > 100000)
  end)

  with_jvm("is refused in one sentence", function(target)
    refused(2, "it has dump, dump-all, histogram", target, "heaps")
    refused(4, "/nowhere: No such file", target, "dump", "-o", "/nowhere/x.hprof")
    refused(2, "--redact is for heap dumps", target, "gc", "--redact")
    refused(6, "no HotSpot JVM", "jvm:" .. helper.shell("echo $PPID").out:match("%d+"), "dump")
  end)

  with_jvm("dumps when its policy says so, within its budget of files", function()
    local out = helper.folder()
    local result = helper.shell("timeout -s INT 7 " .. helper.command("watch", jvm.pid, "--no-history", "--jsonl", "--snap", "dump=1s",
      "--snap-budget", "100%", "--snap-keep", "2", "--snap-redact", "--snap-dir", out))
    local taken = select(2, result.out:gsub('"type":"snapshot"', ""))
    assert.is_true(taken >= 3, result.out)
    local files, paths = {}, 0
    for _, name in ipairs(core.list(out)) do
      if name:find("%.paths%.pb%.gz$") then paths = paths + 1 else files[#files + 1] = name end
    end
    assert.equal(2, #files)
    assert.is_true(paths >= taken - 1) -- they stay when the dumps go
    assert.is_truthy(files[1]:match("^java%-%d+%-dump%-%d+T%d+Z[%-%d]*%.hprof$"), files[1])
    assert.is_false(contains(out .. "/" .. files[1], "secret-token-1234"))
  end)
end)

describe("a rule's take of a JVM", function()
  it("is a dump, with the grant, and refused without it", function()
    if not has "java" then return pending("no JDK here") end
    local dir, rules, dumps = helper.folder(), helper.folder(), helper.folder()
    helper.write(dir .. "/Idle.java", "class Idle { public static void main(String[] a) throws Exception {"
      .. " System.out.println(\"ready\"); Thread.sleep(60000); } }")
    helper.write(rules .. "/dump.lua", [[
      tm.rule {
        id = "spec.dump", doc = "takes a dump", every = "1s", hold = "0s", warmup = "0s", level = "warn",
        inputs = { rss = tm.series("proc.rss", { every = "1s", window = "1m" }) },
        check = function(c) return c:finding { level = "warn", value = c.rss.last, unit = "bytes" } end,
        on = { warn = function(c)
          c:attach(c:await(c.take.heap_dump { redact = true, timeout = "60s" }), "the dump")
          c:attach(c:await(c.take.class_histogram { timeout = "60s" }), "the classes")
        end },
        caps = { "take:heap_dump", "take:class_histogram" }, say = "{target}",
      }]])
    local java = start(dir, "java -Xmx32m Idle.java", says "ready")
    assert.equal(0, helper.tidemark("rules", "trust", rules).code)
    local function watch(...)
      return helper.shell("timeout -s INT 6 " .. helper.command("watch", java.pid, "--no-history", "--jsonl", "--rules", rules, "--snap-dir", dumps, ...)).out
    end
    local out = watch()
    assert.is_truthy(out:find("give --allow act:snap", 1, true), out)
    assert.same({}, core.list(dumps))
    out = watch("--allow", "act:snap")
    java.stop()
    assert.is_truthy(out:find('"text":"the dump"', 1, true), out)
    assert.is_truthy(out:find('"text":"the classes"', 1, true), out)
    assert.equal(1, #core.list(dumps))
    helper.tidy()
  end)
end)

describe("the heap of a JVM", function()
  it("is read from the words of every collector", function()
    local jvm = require "tidemark.capture.jvm"
    local K = 1024
    local texts = {
      [4903 * K] = " garbage-first heap   total 131072K, used 4903K [0x00)\n  region size 1024K, 4 young (4096K)\n Metaspace  used 174K, committed 384K",
      [30 * K] = " def new generation   total 9K, used 10K [0)\n  eden space 8K,  52% used [0)\n tenured generation   total 9K, used 20K [0)\n   the space 9K",
      [3 * K] = " PSYoungGen      total 9K, used 1K [0)\n  eden space 3K, 4% used\n ParOldGen       total 8K, used 2K [0)",
      [36 << 20] = " ZHeap           used 36M, capacity 256M, max capacity 4096M\n Metaspace       used 7K, committed 9K",
      [4 << 20] = "Shenandoah Heap\n 128M max, 128M soft max, 128M committed, 4M used\n 256 x 512 K regions",
    }
    for bytes, text in pairs(texts) do assert.equal(bytes, jvm.read_heap_info(text), text) end
    assert.is_nil(jvm.read_heap_info("nothing known"))
  end)

  it("has types as people write them", function()
    local jvm = require "tidemark.capture.jvm"
    assert.equal("int[][]", jvm.type_name("[[I"))
    assert.equal("java.lang.String[]", jvm.type_name("[Ljava.lang.String;"))
    assert.same({ { type = "byte[]", count = 3, shallow_bytes = 96, module = "java.base@17" }, { type = "App", count = 1, shallow_bytes = 16 } },
      jvm.read_histogram(" num  #instances\n---\n   1:    3    96  [B (java.base@17)\n   2:    1    16  App\nTotal   4   112\n"))
  end)
end)

-- ---- V8 ----

describe("a Node", function()
  local node
  setup(function()
    if not has "node" then return end
    local dir = helper.folder()
    helper.write(dir .. "/app.js", [[
      class Order { constructor(i) { this.id = i; this.note = Buffer.from('secret-token-' + i).toString(); } }
      globalThis.kept = Array.from({ length: 1000 }, (_, i) => new Order(i));
      setInterval(() => { globalThis.more = Array.from({ length: 100000 }, (_, i) => ({ i })); }, 50);
      console.log('ready');]])
    node = start(dir, "node --inspect=127.0.0.1:0 app.js", says "ws://127.0.0.1:(%d+)/")
  end)
  teardown(function()
    if node then node.stop() end
    helper.tidy()
  end)
  local function with_node(name, body)
    it(name, function()
      if not node then return pending("no Node here") end
      body("node:" .. node.value)
    end)
  end

  with_node("gives a heap snapshot, privately, which can be redacted", function(target)
    local path = helper.folder() .. "/app.heapsnapshot"
    local rows = snap(target, "heap", "-o", path)
    assert.equal(core.stat(path).size_bytes, rows[1].bytes)
    assert.equal("600", mode_of(path))
    assert.same({ "app.heapsnapshot" }, core.list(path:match("^(.*)/")))
    assert.is_truthy(objects(path):find("\nOrder[^,\n]*,1000,"))
    redacts(path, "secret-token-77")
  end)

  with_node("gives a trace, whose events of a CPU profiler make it no CPU profile", function(target)
    local path = helper.folder() .. "/app.trace.json"
    snap(target, "trace", "--seconds", "1", "-o", path)
    local t, err = core.read(path)
    assert.is_nil(err)
    assert.equal("chrome", t.format)
    assert.is_true(t:info().slices > 0)
  end)

  with_node("gives sampled allocations, counters and a collection", function(target)
    local path = helper.folder() .. "/app.heapprofile"
    snap(target, "sampling", "--seconds", "1", "-o", path)
    local top = helper.tidemark("top", path)
    assert.equal(0, top.code, top.err)
    assert.is_truthy(top.out:find("app.js", 1, true) or top.out:find("Array.from", 1, true) or top.out:find("listOnTimeout", 1, true), top.out)
    local counters = {}
    for _, row in ipairs(snap(target, "counters")) do counters[row.name] = row.value end
    assert.is_true(counters["v8.heap_used"] > 1000000 and counters["node.rss"] > counters["v8.heap_used"])
    assert.equal("v8.heap_used", snap(tostring(node.pid), "gc")[1].name)
  end)

  with_node("is offered by attach, by its port and by its process", function(target)
    for _, word in ipairs { target, "node:" .. node.pid, tostring(node.pid) } do
      local rows = helper.rows("attach", "attach", word)
      local found = {}
      for _, row in ipairs(rows) do found[row.capability] = true end
      assert.is_true(found["snap heap"] and found["snap counters"], word)
    end
  end)
end)

describe("a Node without an inspector", function()
  it("opens one by signal and closes it again", function()
    if not has "node" or core.listener("tcp", 9229) then return pending("no Node here, or its port is taken") end
    local dir = helper.folder()
    helper.write(dir .. "/app.js", "console.log('ready'); setInterval(() => {}, 1000)")
    local node = start(dir, "node app.js", says "ready")
    local result = helper.tidemark("snap", "node:" .. node.pid, "counters", "gc") -- twice: the second must not meet the closing first
    assert.equal(0, result.code, result.err)
    assert.equal(2, select(2, result.err:gsub("SIGUSR1", "")), result.err)
    assert.same({}, core.ports(node.pid))
    node.stop()
    helper.tidy()
  end)

  it("is not taken for one when it is none: SIGUSR1 would end it", function()
    local sleeper = start(helper.folder(), "sleep 60", function() return true end)
    local ok, err = core.ask_inspector(sleeper.pid)
    assert.is_nil(ok)
    assert.equal("unsupported", err.code)
    assert.is_not_nil(core.describe(sleeper.pid))
    sleeper.stop()
    helper.tidy()
  end)
end)

describe("an inspector that misbehaves", function()
  local fakes = {}
  teardown(function()
    for _, fake in ipairs(fakes) do fake.stop() end
    helper.tidy()
  end)
  local script = core.realpath("spec/support/inspector_fake.py")
  local function fake(mode)
    local one = start(helper.folder(), ("python3 %s %s port"):format(quote(script), mode),
      function(dir) return core.stat(dir .. "/port") and helper.read(dir .. "/port") end)
    fakes[#fakes + 1] = one
    return "chrome:" .. one.value
  end
  local function with_python(name, body)
    it(name, function()
      if not has "python3" then return pending("no Python here") end
      body()
    end)
  end

  with_python("is no problem when it behaves: escapes, pings, pieces", function()
    local path = helper.folder() .. "/x.heapsnapshot"
    snap(fake "good", "heap", "-o", path)
    assert.equal('{"snapshot":{"meta":{}},"text":"\\u00fc \\"quoted\\""}', helper.read(path))
  end)

  with_python("leaves no file, whatever it does", function()
    local cases = { error = { 6, "wasn't found" }, garbage = { 3, "not a WebSocket's frame" }, claim = { 3, "2147483648" },
      cut = { 4, "hung up after" }, text = { 3, "is no text" }, hang = { 4, "timed out" } }
    for mode, case in pairs(cases) do
      local dir = helper.folder()
      refused(case[1], case[2], fake(mode), "heap", "-o", dir .. "/x", "--timeout", "1s")
      assert.same({}, core.list(dir))
    end
  end)

  with_python("gives a trace in pieces, whether it says that it is complete before its answer or behind it", function()
    local path = helper.folder() .. "/page.json"
    snap(fake "good", "trace", "--seconds", "0.2", "-o", path)
    assert.equal(8, #core.json_decode(helper.tidemark("tasks", path, "--json").out).rows)
  end)

  with_python("is not asked for what would not fit", function()
    refused(3, "will be written", fake "huge", "heap")
  end)

  with_python("is asked for one page by name", function()
    local target = fake "pages"
    refused(2, "Shop (page); Mail (page)", target, "gc")
    refused(2, "nothing there fits", target .. "/Nope", "gc")
    assert.equal("v8.heap_used", snap(target .. "/Mail", "gc")[1].name)
  end)
end)

describe("Chromium", function()
  it("counts the nodes and listeners of a page", function()
    if not has "chromium" then return pending("no Chromium here") end
    local dir = helper.folder()
    helper.write(dir .. "/page.html", "<title>Shop</title><script>kept=[];for(let i=0;i<50;i++){const d=document.createElement('div');"
      .. "d.addEventListener('click',()=>d);kept.push(d)}</script>")
    local browser = start(dir, "chromium --headless --no-sandbox --disable-gpu --user-data-dir=" .. quote(dir .. "/data")
      .. " --remote-debugging-port=0 file://" .. quote(dir .. "/page.html"), says "ws://127.0.0.1:(%d+)/")
    local counters = {}
    for _ = 1, 50 do
      local result = helper.tidemark("snap", "chrome:" .. browser.value .. "/Shop", "counters", "--json")
      local document = core.json_decode(result.out)
      for _, row in ipairs(document and document.rows or {}) do counters[row.name] = row.value end
      if counters["dom.listeners"] == 50 then break end
      os.execute("sleep 0.1")
    end
    browser.stop()
    assert.equal(50, counters["dom.listeners"])
    assert.is_true(counters["dom.nodes"] >= 50)
    os.execute("sleep 0.3") -- its children notice
    helper.tidy()
  end)
end)

-- ---- Go ----

describe("a Go program with the agent", function()
  local app
  setup(function()
    if not has "go" then return end
    local dir = helper.folder()
    helper.write(dir .. "/go.mod", "module app\n\ngo 1.19\n\nrequire example.org/tidemark/agent v0.0.0\n\nreplace example.org/tidemark/agent => "
      .. core.realpath("agent/go") .. "\n")
    helper.write(dir .. "/main.go", [[
      package main
      import ("fmt"; "os"; "strings"; "time"; "example.org/tidemark/agent")
      type Document struct { Title string; Body []byte }
      var documents []*Document
      func main() {
        stop, err := agent.Serve("")
        if err != nil { fmt.Println(err); os.Exit(1) }
        defer stop()
        for i := 0; i < 1000; i++ {
          documents = append(documents, &Document{strings.Clone(fmt.Sprint("secret-token-", i)), make([]byte, 512)})
        }
        agent.Session("doc 1").Register("image", "cover", 1<<20, nil)
        fmt.Println("ready")
        time.Sleep(2 * time.Minute)
      }]])
    assert(os.execute("cd " .. quote(dir) .. " && GOFLAGS=-mod=mod GOPROXY=off CGO_ENABLED=0 go build -o app ."))
    app = start(dir, "env XDG_RUNTIME_DIR=" .. quote(dir) .. " ./app", says "ready")
    app.socket = ("unix:%s/tidemark-%d.sock"):format(dir, app.pid)
  end)
  teardown(function()
    if app then app.stop() end
    helper.tidy()
  end)
  local function with_app(name, body)
    it(name, function()
      if not app then return pending("no Go here") end
      body()
    end)
  end

  with_app("gives a heap dump that objects reads, and its redaction", function()
    local path = helper.folder() .. "/app.goheap"
    local rows = snap(app.socket, "heapdump", "-o", path)
    assert.equal(core.stat(path).size_bytes, rows[1].bytes)
    assert.equal("600", mode_of(path))
    local bodies = tonumber(objects(path):match("\n512 B without pointers,(%d+)")) -- a few stand under their allocation's site
    assert.is_true(bodies > 900 and bodies <= 1001)
    redacts(path, "secret-token-77")
  end)

  with_app("is offered by attach, and found by its pid", function()
    local result = helper.shell("XDG_RUNTIME_DIR=" .. quote(app.dir) .. " " .. helper.command("attach", app.pid))
    assert.is_truthy(result.out:find("snap heapdump", 1, true), result.out)
    assert.is_truthy(result.out:find("pprof.heap", 1, true), result.out)
  end)

  with_app("collects, gives memory back, tells of sessions and of its last seconds", function()
    assert.equal("go.heap_alloc", snap(app.socket, "gc")[1].name)
    local rows = snap(app.socket, "free-os-memory")
    assert.is_true(rows[2].value > 0)
    rows = snap(app.socket, "sessions")
    assert.equal("doc 1 image cover 1048576", ("%s %s %s %d"):format(rows[1].session, rows[1].kind, rows[1].id, rows[1].bytes))
    local path = helper.folder() .. "/app.trace"
    snap(app.socket, "flight", "-o", path)
    assert.equal(0, helper.tidemark("goroutines", path).code)
    snap(app.socket, "heap", "-o", helper.folder() .. "/h.pb.gz")
  end)
end)
