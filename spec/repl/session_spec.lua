-- Whole sessions at the prompt, as a user has them: a live Go app that leaks, a heap dump walked to a root, a rule that is changed
-- until its verdict on the last hour is right, and every kind of file that can be named on the command line.
local core = require "tidemark.core"
local gotrace = require "spec.support.gotrace_writer"
local helper = require "spec.support.helper"
local hprof = require "spec.support.hprof_writer"
local v8heap = require "spec.support.v8heap_writer"

local S <const> = 1000000000

-- Types lines into `tidemark repl WORDS` in a folder.
local function type_lines(folder, words, ...)
  local script = helper.write(folder .. "/script", table.concat({ ... }, "\n") .. "\n")
  return helper.shell("LC_ALL=C.UTF-8 NO_COLOR=1 " .. helper.command("repl", "--no-history", table.unpack(words)) .. " <" .. helper.quote(script))
end

local app_source <const> = [[
package main

import (
	"fmt"
	"net"
	"net/http"
	_ "net/http/pprof"
	"os"
	"time"
)

var kept [][]byte

//go:noinline
func leak() { kept = append(kept, make([]byte, 1<<20)) }

func main() {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		panic(err)
	}
	os.WriteFile(os.Args[1]+".new", []byte(fmt.Sprint("http://", l.Addr())), 0o600)
	os.Rename(os.Args[1]+".new", os.Args[1])
	go http.Serve(l, nil)
	for i := 0; i < 3000; i++ {
		leak()
		time.Sleep(20 * time.Millisecond)
		if i%100 == 99 {
			kept = kept[:50:50]
		}
	}
}
]]

-- An hour of an app that grows from 500 MB by 100 kB a second, as a recording.
local function record_an_hour(path)
  local t0 = 1700000000 * S
  local engine <close> = assert(core.engine { virtual = true, quiet = true })
  engine:advance(t0)
  assert(engine:record(path, "{}", true))
  local target = engine:add_target { id = "7:1", name = "app", command = "app --serve", start_time_ns = t0 }
  for i = 1, 720 do
    local now = t0 + i * 5 * S
    engine:advance(now - 1)
    engine:feed(target.id, "proc.rss", "", now, 500e6 + i * 5e5, "bytes")
  end
  engine:advance(t0 + 3601 * S)
end

local rule_source <const> = [[
tm.rule {
  id = "my.rss", doc = "resident memory is high", every = "10s", hold = "30s", linger = "1m", level = "warn",
  inputs = { rss = tm.gauge("proc.rss", { every = "5s" }) },
  check = function(c)
    if c.rss.last and c.rss.last > BOUND then return c:finding { key = "rss", value = c.rss.last, unit = "bytes" } end
  end,
  say = "{target}: rss is {value:bytes}",
}
]]

describe("a session", function()
  local folder
  setup(function() folder = helper.folder() end)
  teardown(helper.tidy)

  it("attaches to a live Go app, and sees what grew between two heap profiles", function()
    if not os.execute("command -v go >/dev/null 2>&1") then return pending "no Go here" end
    helper.write(folder .. "/app.go", app_source)
    local built = helper.shell(helper.go(folder) .. "go build -o app app.go")
    assert.equal(0, built.code, built.err)
    os.execute(("%s/app %s/address >/dev/null 2>&1 & echo $! >%s/pid"):format(folder, folder, folder))
    for _ = 1, 200 do
      if core.stat(folder .. "/address") then break end
      os.execute("sleep 0.05")
    end
    local r = type_lines(folder, { helper.read(folder .. "/address") }, 'a = target:snap("heap", {gc=true})',
      'sleep "1s"; b = target:snap("heap", {gc=true})', ":diff a b", "_[1].name", "_1[1].flat >= 10 << 20", ":snap heap gc",
      "tm.growth({ a, b, _ })[1].delta > 0",
      "#tm.goroutines(target) > 0", "t = target:series 'rss'; while #t == 0 do sleep '50ms'; t = target:series 'rss' end", ":plot rss 10m")
    os.execute("kill " .. helper.read(folder .. "/pid"))
    assert.same({ 0, "" }, { r.code, (r.err:gsub("[^\n]*counters:[^\n]*\n", "")) })
    assert.matches("name +flat +cum[^\n]*\nmain.leak +%d[%d.]* MiB", r.out)
    assert.matches('"main.leak"\ntrue\nprofile %(pprof', r.out)
    assert.matches("functions%)\ntrue\ntrue\napp  proc.rss", r.out)
  end)

  it("loads an HPROF and walks to a root", function()
    helper.write(folder .. "/app.hprof", hprof(function(w)
      local item, list = w:class("app.Item"), {}
      for i = 1, 300 do list[i] = w:new(item) end
      w:root("sticky", w:class("app.App", { statics = { { "cache", "object", w:object_array(w:class("[Lapp.Item;"), list) } } }))
    end))
    local r = type_lines(folder, { folder .. "/app.hprof" }, "p", "tm.objects(p, { nodecount = 2 })", 's = p:where { type = "app.Item" }', "s",
      "tm.path(p, s:nodes(1)[1])", "tm.suspects(p)[1].text")
    assert.same({ 0, "" }, { r.code, r.err })
    assert.matches("^heap graph %(hprof, 304 objects%)\n", r.out)
    assert.matches("set of 300 objects\nnode  type +shallow_bytes  retained_bytes  edge    preview\n", r.out, 1)
    assert.matches(" 303  java.lang.Class +8 B +7.06 KiB  static +class app.App\n 302  app.Item%[%] +2.37 KiB +7.05 KiB  cache +300 elements\n"
      .. " +%d+  app.Item +16 B +16 B  %[%d+%]\n", r.out)
    assert.matches('"one app.Item[] in static app.App.cache holds 7.05 KiB (100 %) in 300 app.Item (4.69 KiB)"', r.out, 1, true)
  end)

  it("changes a rule and sees its verdict on the last hour", function()
    local recording, rule = folder .. "/hour.tmr", folder .. "/my.lua"
    record_an_hour(recording)
    helper.write(rule, (rule_source:gsub("BOUND", "700e6")))
    local change = ("os.execute \"sed -i 's/700e6/900e6/' %s\""):format(rule)
    local r = type_lines(folder, { recording }, ":try " .. rule, "_[1].rule, #_", change, ":try " .. rule, ":try " .. rule .. " " .. recording,
      ":try /no/such.lua", ":try " .. rule .. " nosuch")
    assert.equal(1, r.code)
    assert.matches("^recording of app: 720 samples over 59m 55s, from %d", r.out)
    assert.matches("\n720 samples over 59m 5%ds: 1 finding\nat +level  rule    text\n[%d:]+  warn   my.rss  app: rss is 671 MiB\n\"my.rss\"\n1\ntrue", r.out)
    assert.equal(2, select(2, r.out:gsub("720 samples over 59m 5%ds: 0 findings\n", "")))
    assert.matches("cannot read rules: /no/such.lua", r.err, 1, true)
    assert.matches("'nosuch' is not watched", r.err, 1, true)
  end)

  it("opens files of every kind", function()
    local v8 = v8heap {}
    v8:root("object", "Session", 100)
    local kinds = {
      ["heap.collapsed"] = { "main;work 3\nmain;rest 1\n", "^profile %(collapsed", "tm.top(p)[1].name", '"work"' },
      ["app.heapsnapshot"] = { v8:text(), "^heap graph %(v8heap", "#tm.objects(p) > 0", "true" },
      ["trace.out"] = { gotrace(26, function(w)
        w:generation(1, function(gen) gen:thread(7, 100, { { "GoStatus", 1, 7, 2 }, { "GoCreate", 2, gen:stack { "main.f", "f.go", 3 }, 0 } }) end)
      end), "^[^\n]*trace", "#tm.goroutines(p) > 0", "true" },
      ["page.json"] = { core.json { { ph = "X", cat = "devtools.timeline", name = "RunTask", pid = 7, tid = 1, ts = 1, dur = 70000 } }, "^[^\n]*timeline|trace",
        "#tm.tasks(p)", "1" },
    }
    for name, kind in pairs(kinds) do
      local r = type_lines(folder, { helper.write(folder .. "/" .. name, kind[1]) }, "p", kind[3])
      assert.same({ 0, "" }, { r.code, r.err }, name)
      local first, second = kind[2]:match("^(.-)|(.*)$")
      assert.is_true(r.out:match(first or kind[2]) ~= nil or second and r.out:match(second) ~= nil or false, name .. ": " .. r.out)
      assert.matches("\n" .. kind[4] .. "\n$", r.out, 1)
    end
    local r = type_lines(folder, { folder .. "/heap.collapsed", folder .. "/app.heapsnapshot" }, "p1.kind", "p2.kind")
    assert.same({ 0, '"profile"\n"graph"\n' }, { r.code, r.out })
    assert.equal(3, type_lines(folder, { helper.write(folder .. "/noise", ("\1\2\3"):rep(500)) }, "1").code)
  end)
end)
