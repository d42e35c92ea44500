-- What bringing the agent may not do: harm the program, whatever the moment, whoever dies, however confined it is; and what it must
-- find, in programs that were begun without it.
local agent = require "spec.support.malloc_agent"
local core = require "tidemark.core"
local helper = require "spec.support.helper"

local is_root = core.uid() == 0

describe("inject", function()
  local folder, program, killer

  setup(function()
    folder = helper.folder()
    program = agent.build("spec/support/programs/inject_cases.c", "", folder, "cases")
    killer = agent.build("spec/support/programs/inject_killer.c", "-shared -fPIC", folder, "killer.so")
  end)
  teardown(helper.tidy)

  local function start(...) return agent.start(table.concat({ program, ... }, " "), false) end

  local function inject_with(before, pid, ...)
    local result = helper.shell(before .. " XDG_RUNTIME_DIR= " .. helper.command("inject", pid, "--json", ...))
    if result.code ~= 0 then return nil, result.err, result.code end
    return assert(core.json_decode(result.out)).rows[1]
  end

  local function inject(pid, ...) return inject_with("TIDEMARK_AGENT=" .. agent.library, pid, ...) end

  local function refuses(pid, why)
    local row, err = inject(pid)
    assert.is_nil(row)
    assert.matches(why, err)
    assert.equal(1, select(2, err:gsub("\n", "")), err) -- one line
  end

  local function policy_of(pid) return helper.read("/proc/" .. pid .. "/sched"):match "policy%s+:%s+(%d+)" end

  -- A library that kills the tidemark that brings it, while the thread is away.
  for _, case in ipairs { "nanosleep", "poll", "select", "epoll", "condition", "wait", "recv", "spin" } do
    it("leaves a program that goes on when it is killed amidst the calls: " .. case, function()
      local app = start(case, "2")
      core.pause(100000000)
      local _, _, code = inject_with("TIDEMARK_AGENT=" .. killer, app.pid)
      assert.equal(137, code)
      assert.equal("ok", app.read())
      assert.equal("0", policy_of(app.pid))
      assert.is_nil(helper.read("/proc/" .. app.pid .. "/maps"):find("rwxp", 1, true))
      assert.truthy(app.stop())
    end)
  end

  for _, case in ipairs { "nanosleep", "poll", "epoll", "condition" } do
    it("is brought again while the program waits in the same call: " .. case, function()
      local app = start(case, "3")
      core.pause(100000000)
      for _ = 1, 3 do
        local row, err = inject(app.pid)
        assert.is_table(row, err)
        assert.is_false(row.was_there)
        assert(core.malloc_agent(app.pid, "detach"))
        core.pause(100000000)
      end
      assert.equal("ok", app.read())
      assert.truthy(app.stop())
    end)
  end

  it("is brought and taken out many times while all threads allocate", function()
    local app = start("storm", "16", "10")
    local mappings
    for round = 1, 20 do
      local row = assert(inject(app.pid, "--mode", "full"))
      assert.is_false(row.was_there, "round " .. round)
      assert(core.malloc_agent(app.pid, "detach"))
      for _ = 1, 200 do
        if not core.malloc_agent(app.pid, "hello") then break end
        core.pause(10000000)
      end
      mappings = mappings or select(2, helper.read("/proc/" .. app.pid .. "/maps"):gsub("libtidemark", ""))
    end
    assert.equal(mappings, (select(2, helper.read("/proc/" .. app.pid .. "/maps"):gsub("libtidemark", ""))))
    assert.equal("ok", app.read())
    assert.equal("0", policy_of(app.pid))
    app.stop()
  end)

  it("waits for who holds the loader without taking a thread for so long", function()
    local source = helper.write(folder .. "/slow.c", [[#include <semaphore.h>
      #include <time.h>
      __attribute__((constructor)) static void begin(void) { // not to be taken as long as there is another
        struct timespec until;
        sem_t never;
        sem_init(&never, 0, 0);
        clock_gettime(CLOCK_REALTIME, &until);
        until.tv_sec += 2;
        sem_timedwait(&never, &until);
      }]])
    local app = start("loading", agent.build(source, "-shared -fPIC", folder, "slow.so"))
    core.pause(100000000)
    local row = assert(inject(app.pid))
    assert.is_true(row.took_ns > 500000000)
    assert.is_true(row.stopped_ns < 500000000) -- some ms, were the machine idle
    app.say "leak"
    assert.equal("leak", app.read())
    assert.truthy(app.stop())
  end)

  it("lets a read of a pipe wait on, and a signal that comes meanwhile arrive", function()
    local app = start "signalled"
    for _ = 1, 5 do
      assert(inject(app.pid))
      assert(core.malloc_agent(app.pid, "detach"))
    end
    app.say "on"
    assert.equal("on 0", app.read())
    helper.shell("kill -USR1 " .. app.pid)
    core.pause(50000000)
    app.say "on"
    assert.equal("on 1", app.read())
    assert.truthy(app.stop())
  end)

  it("names a leak of C that nobody expected", function()
    assert(os.execute(("%s --heap 4MB/s --for 20s --quiet & echo $! > %s/leaky.pid"):format(helper.quote(helper.leaky), folder)))
    local pid = math.tointeger(tonumber(helper.read(folder .. "/leaky.pid"):match "%d+"))
    core.pause(300000000)
    assert(inject(pid, "--mode", "full"))
    core.pause(1500000000)
    local p = agent.snapshot(pid)
    assert.is_true(agent.sum(p, "main") > 1 << 20)
    assert.is_true(agent.sum(p, "main") >= 0.9 * agent.total(p))
    assert(core.malloc_agent(pid, "detach"))
    core.pause(200000000)
    local out = folder .. "/once.pb.gz" -- all of that by one command
    local result = helper.shell("XDG_RUNTIME_DIR= TIDEMARK_AGENT=" .. agent.library .. " "
      .. helper.command("snap", pid, "malloc", "--inject", "--seconds", "2", "-o", out, "--json"))
    assert.equal(0, result.code, result.err)
    local row = assert(core.json_decode(result.out)).rows[1]
    assert.is_true(row.stopped_ns > 0 and row.samples > 0)
    assert.is_true(agent.sum(assert(core.read(out)), "main") > 1 << 20)
    assert.equal("gone", select(2, core.malloc_agent(pid, "hello")).code)
    assert(core.describe(pid))
    helper.shell("kill " .. pid)
  end)

  it("names the Go code above a leak of C", function()
    if helper.shell("go version").code ~= 0 then return pending "no go tool" end
    assert(os.execute(("cp spec/support/cgoslow.go %s/"):format(folder)))
    local built = helper.shell(helper.go(folder) .. "go build -o slow cgoslow.go")
    assert.equal(0, built.code, built.err)
    local app = agent.start(folder .. "/slow", false)
    assert(inject(app.pid, "--mode", "full"))
    app.say "leak"
    assert.equal("leaked", app.read())
    local p = agent.snapshot(app.pid)
    assert.equal(500 * 4000, agent.sum(p, "main.leakSlowly"))
    assert(core.malloc_agent(app.pid, "detach"))
    app.say "leak"
    assert.equal("leaked", app.read())
    app.stop()
  end)

  for _, case in ipairs { "sealed", "kill reboot", "deny clone3" } do
    it("goes into programs that may not do everything: " .. case, function()
      local app = start("confined", case)
      app.say "echo" -- it is confined
      app.read()
      local row, err = inject(app.pid)
      if not row and err:find("only root", 1, true) then return pending "filters are seen by root only" end
      assert.is_table(row, err)
      assert.equal(1, agent.ask(app.pid, "hello").is_patched)
      app.say "leak"
      assert.equal("leak", app.read())
      app.stop()
    end)
  end

  for case, why in pairs { ["kill socket"] = "call socket", ["deny socket"] = "call socket", ["kill mmap"] = "call mmap", strict = "strict mode" } do
    it("refuses what would end the program or not work: " .. case, function()
      local app = start("confined", case)
      app.say "echo" -- it is confined
      app.read()
      refuses(app.pid, is_root and why or "seccomp")
      app.say "echo"
      assert.equal("echo", app.read())
      app.stop()
    end)
  end

  it("lets a thread go that did not stop in time, for it seldom gets a core", function()
    if helper.shell("command -v chrt").code ~= 0 then return pending "no chrt here" end
    local app = agent.start("chrt --idle 0 " .. program .. " spin 3", false)
    local busy = {}
    for i = 1, 6 do busy[i] = io.popen("exec timeout 8 sh -c 'while :; do :; done'") end
    for _ = 1, 3 do -- left traced by itself, the next one was refused
      local row, err = inject(app.pid)
      assert.is_nil(err and err:match("[^\n]*may not be traced"))
      if row then core.malloc_agent(app.pid, "detach") end
    end
    for _, one in ipairs(busy) do one:close() end
    assert.equal("ok", app.read())
    app.stop()
  end)

  it("refuses the dead, the kernel's, the traced and the valgrinded, in one line", function()
    assert(os.execute(("sh -c 'sleep 0 & echo $! > %s/dead.pid; exec sleep 20' & echo $! > %s/parent.pid"):format(folder, folder)))
    core.pause(300000000)
    local row, err = inject((helper.read(folder .. "/dead.pid"):match "%d+"))
    assert.is_nil(row)
    assert.matches("ended", err)
    helper.shell("kill " .. helper.read(folder .. "/parent.pid"))
    if core.stat "/proc/2/comm" and helper.read("/proc/2/comm"):find("kthreadd", 1, true) and is_root then refuses(2, "thread of the kernel") end

    if helper.shell("strace -V").code == 0 then
      local app = start "lines"
      assert(os.execute(("strace -o /dev/null -p %d 2>/dev/null & echo $! > %s/strace.pid"):format(app.pid, folder)))
      for _ = 1, 100 do
        if helper.read("/proc/" .. app.pid .. "/status"):find "TracerPid:%s+[1-9]" then break end
        core.pause(20000000)
      end
      refuses(app.pid, "being traced")
      helper.shell("kill " .. helper.read(folder .. "/strace.pid"))
      app.stop()
    end
    if helper.shell("valgrind --version").code == 0 then
      local app = agent.start("valgrind -q " .. program .. " lines", false)
      refuses(app.pid, "valgrind")
      app.stop()
    end
  end)

  it("refuses a program of 32 bits", function()
    local code = "\xb8\x1d\0\0\0\xcd\x80\xeb\xf7" -- pause, again and again
    local head = ("<c4BBBxI8HHIIIIIHHHHHH"):pack("\127ELF", 1, 1, 1, 0, 2, 3, 1, 0x08048054, 52, 0, 0, 52, 32, 1, 0, 0, 0)
    local segment = ("<IIIIIIII"):pack(1, 0, 0x08048000, 0x08048000, 84 + #code, 84 + #code, 5, 4096)
    local small = helper.write(folder .. "/small", head .. segment .. code)
    assert(os.execute(("chmod 700 %s; timeout 50 %s & echo $! > %s/small.pid"):format(small, small, folder)))
    core.pause(200000000)
    local pid
    for _, p in ipairs(core.processes()) do
      if p.command == small then pid = p.pid end
    end
    if not pid then return pending "the kernel runs none" end
    refuses(pid, "32 bits")
    helper.shell("kill " .. pid)
  end)

  it("refuses another user's process, goes into it as root", function()
    if not is_root or helper.shell("setpriv --version").code ~= 0 then return pending "takes root and setpriv" end
    assert(os.execute("chmod 755 " .. folder))
    local nobody = "setpriv --reuid=65534 --regid=65534 --clear-groups "
    local app = start "lines"
    local seen = helper.shell("ASAN_OPTIONS=detect_leaks=0 " .. nobody .. "test -x " .. helper.bin)
    if seen.code == 0 then
      local result = helper.shell("cd / && HOME=/ " .. nobody .. "env ASAN_OPTIONS=detect_leaks=0 " .. core.realpath(helper.bin) .. " inject " .. app.pid)
      assert.equal(5, result.code)
      assert.matches("belongs to another user %(0%)", result.err)
    end
    app.stop()
    app = agent.start(nobody .. program .. " lines", false)
    assert(inject(app.pid, "--mode", "full"))
    app.say "leak"
    app.read()
    assert.equal(100000, agent.sum(agent.snapshot(app.pid), "leak_line"))
    assert(core.malloc_agent(app.pid, "detach"))
    app.stop()
  end)

  it("goes into another mount and pid namespace", function()
    if not is_root or helper.shell("unshare -m -p -f true").code ~= 0 then return pending "takes root and namespaces" end
    local inner = agent.start("unshare -m -p -f --mount-proc " .. program .. " lines", false)
    local pid
    for _, p in ipairs(core.processes()) do
      if p.command == program .. " lines" then pid = p.pid end
    end
    assert.equal(1, inner.pid)
    local row, err = inject(pid, "--mode", "full")
    assert.is_table(row, err)
    inner.say "leak"
    assert.equal("leak", inner.read())
    inner.stop()
  end)
end)
