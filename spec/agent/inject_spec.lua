-- The agent is brought into programs that run: whatever they are busy with goes on as if nothing had been, and what they allocate from
-- then on is known.
local agent = require "spec.support.malloc_agent"
local core = require "tidemark.core"
local helper = require "spec.support.helper"

local BLOCKS <const>, BYTES <const> = 1000, 100 -- of one line of inject_cases.c

describe("inject", function()
  local folder, program, library

  setup(function()
    folder = helper.folder()
    program = agent.build("spec/support/programs/inject_cases.c", "", folder, "cases")
    local source = helper.write(folder .. "/late.c", [[#include <stdlib.h>
      void *volatile last;
      void leak_in_library(void) { for (int i = 0; i < 500; i++) last = malloc(40); }]])
    library = agent.build(source, "-shared -fPIC", folder, "late.so")
  end)
  teardown(helper.tidy)

  local function start(...) return agent.start(table.concat({ program, ... }, " "), false) end

  local function inject(pid, ...)
    local result = helper.shell("XDG_RUNTIME_DIR= TIDEMARK_AGENT=" .. agent.library .. " " .. helper.command("inject", pid, "--json", ...))
    if result.code ~= 0 then return nil, result.err end
    local rows = assert(core.json_decode(result.out)).rows
    return rows[1]
  end

  local function line(app)
    app.say "leak"
    assert.equal("leak", app.read())
  end

  it("counts what is allocated from then on, until it is detached, and again", function()
    local app = start "lines"
    line(app) -- before: not known
    for round = 1, 3 do
      local row = assert(inject(app.pid, "--mode", "full"))
      assert.is_true(row.stopped_ns > 0)
      assert.is_false(row.was_there)
      core.malloc_agent(app.pid, "reset")
      line(app)
      line(app)
      local p = agent.snapshot(app.pid)
      assert.equal(2 * BLOCKS * BYTES, agent.sum(p, "leak_line"), "round " .. round)
      assert(core.malloc_agent(app.pid, "detach"))
      core.pause(100000000)
      line(app)
      assert.equal("gone", select(2, core.malloc_agent(app.pid, "hello")).code)
    end
    assert.truthy(app.stop())
  end)

  it("only starts an agent that is there", function()
    local app = start "lines"
    assert(inject(app.pid))
    local row = assert(inject(app.pid, "--mode", "full"))
    assert.is_true(row.was_there)
    assert.equal(2, agent.ask(app.pid, "hello").mode)
    app.stop()
  end)

  it("is brought, asked and taken out from the prompt", function()
    local app = start "lines"
    local script = helper.write(folder .. "/session.lua", ([[
      local row = assert(tm.inject(%d, { mode = "full" }))
      print(row.stopped_ns > 0, tm.malloc(row.pid, "hello").is_patched)
      p = assert(tm.snap(row.pid, "malloc"))
      print(p.kind, #tm.top(p) >= 0)
      print(tm.malloc(row.pid, "detach").mode)
    ]]):format(app.pid))
    local result = helper.shell("XDG_RUNTIME_DIR= TIDEMARK_AGENT=" .. agent.library .. " " .. helper.command "repl" .. " < " .. script)
    assert.equal("true\t1\nprofile\ttrue\n0\n", result.out, result.err)
    app.stop()
  end)

  it("knows libraries that come later, and outlives those that go", function()
    local app = start "lines"
    assert(inject(app.pid, "--mode", "full"))
    app.say("dlopen " .. library)
    app.read()
    core.pause(300000000)
    app.say "call"
    app.read()
    assert.equal(500 * 40, agent.sum(agent.snapshot(app.pid), "leak_in_library"))
    app.say "dlclose"
    app.read()
    assert(core.malloc_agent(app.pid, "detach"))
    line(app)
    app.stop()
  end)

  for _, call in ipairs { "nanosleep", "poll", "select", "epoll", "condition", "wait", "recv" } do
    it("leaves a call alone in which the program waits: " .. call, function()
      local app = start(call)
      core.pause(100000000)
      local row = assert(inject(app.pid))
      assert.equal(app.pid, row.thread) -- it has no other
      assert.equal("ok", app.read())
      app.stop()
    end)
  end

  it("takes a thread in the middle of arithmetic", function()
    local app = start "spin"
    assert(inject(app.pid))
    assert.equal("ok", app.read())
    app.stop()
  end)

  it("comes into a program all of whose threads allocate", function()
    local app = start("storm", "16")
    assert(inject(app.pid, "--mode", "full"))
    local about = assert(agent.ask(app.pid, "stats"))
    assert.equal(1, about.is_patched)
    assert.equal("ok", app.read())
    app.stop()
  end)

  it("does no harm to the program when it is killed in the middle of it", function()
    local app = start("storm", "4")
    for ms = 1, 40, 3 do
      helper.shell(("timeout -s KILL 0.0%02d %s"):format(ms, helper.command("inject", app.pid)))
      assert.is_truthy(core.describe(app.pid))
    end
    assert(inject(app.pid))
    assert.equal("ok", app.read())
    app.stop()
  end)

  it("names C callers below Go", function()
    if helper.shell("go version").code ~= 0 then return pending "no go tool" end
    assert(os.execute(("cp spec/support/cgoleak.go %s/"):format(folder)))
    local built = helper.shell(helper.go(folder) .. "go build -o running cgoleak.go")
    assert.equal(0, built.code, built.err)
    local app = agent.start(folder .. "/running", false)
    assert(inject(app.pid, "--mode", "full"))
    assert.equal(1, agent.ask(app.pid, "hello").is_patched)
    app.stop()
  end)

  it("goes into an interpreter", function()
    if helper.shell("python3 -V").code ~= 0 then return pending "no python3" end
    local script = helper.write(folder .. "/app.py", [[
import os, sys
print(os.getpid(), flush=True)
kept = []
for line in sys.stdin:
    kept.append(bytearray(300000))
    print("kept", flush=True)
]])
    local app = agent.start("python3 " .. script, false)
    assert(inject(app.pid, "--mode", "full"))
    for _ = 1, 5 do
      app.say "more"
      assert.equal("kept", app.read())
    end
    assert.is_true(agent.total(agent.snapshot(app.pid)) >= 5 * 300000)
    app.stop()
  end)

  it("refuses what it cannot go into, and says why", function()
    local static = agent.build(helper.write(folder .. "/static.c", [[#include <stdio.h>
      #include <unistd.h>
      int main(void) { printf("%d\n", getpid()); fflush(stdout); while (getchar() != EOF) continue; return 0; }]]), "-static", folder, "static")
    local app = agent.start(static, false)
    local row, err = inject(app.pid)
    assert.is_nil(row)
    assert.matches("linked statically", err)
    app.stop()

    local asan = agent.build(folder .. "/static.c", "-fsanitize=address", folder, "asan")
    app = agent.start("env ASAN_OPTIONS=detect_leaks=0 " .. asan, false)
    row, err = inject(app.pid)
    assert.is_nil(row)
    assert.matches("AddressSanitizer", err)
    app.stop()

    local own = agent.build(helper.write(folder .. "/own.c", [[#include <stdio.h>
      #include <string.h>
      #include <unistd.h>
      static char pool[1 << 20]; static size_t used;
      void *malloc(size_t n) { void *p = pool + used; used += (n + 31) & ~15ul; return p; }
      void free(void *p) { (void)p; }
      void *calloc(size_t a, size_t b) { return memset(malloc(a * b), 0, a * b); }
      void *realloc(void *p, size_t n) { void *q = malloc(n); return p ? memcpy(q, p, n) : q; }
      int main(void) { printf("%d\n", getpid()); fflush(stdout); while (getchar() != EOF) continue; return 0; }]]), "-rdynamic", folder, "own")
    app = agent.start(own, false)
    row, err = inject(app.pid)
    assert.is_nil(row)
    assert.matches("allocator of its own", err)
    app.stop()

    row, err = inject(999999999)
    assert.is_nil(row)
    assert.matches("999999999", err)
    local stopped = start "lines"
    helper.shell("kill -STOP " .. stopped.pid)
    row, err = inject(stopped.pid)
    helper.shell("kill -CONT " .. stopped.pid)
    assert.is_nil(row)
    assert.matches("is stopped", err)
    stopped.stop()
  end)
end)
