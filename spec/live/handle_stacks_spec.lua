-- Who opened the descriptors and made the pixmaps that a program holds, as the malloc agent recorded it: exact, through everything
-- that changes what a number means.
local agent = require "spec.support.malloc_agent"
local core = require "tidemark.core"
local helper = require "spec.support.helper"

local HANDLES <const> = { kinds = 4 }
local SHOT <const> = "int memfd_create(const char *, unsigned); int ftruncate(int, long); int ioctl(int fd, unsigned long request, ...) {\n"
  .. " __builtin_va_list rest; __builtin_va_start(rest, request); unsigned *ask = __builtin_va_arg(rest, unsigned *);\n"
  .. " if (request != 0xc0184800ul) return -1; ask[2] = memfd_create(\"buffer\", 0); return 0; }\n"

describe("handle stacks", function()
  local folder, program, behind, running

  setup(function()
    folder = helper.folder()
    program = agent.build("spec/support/programs/handle_cases.c", "", folder, "cases")
    local source = folder .. "/behind.c"
    helper.write(source, SHOT)
    behind = agent.build(source, "-shared -fPIC", folder, "behind.so")
  end)
  after_each(function()
    if running then running.stop() end
    running = nil
  end)
  teardown(helper.tidy)

  local function start(extra, command)
    running = agent.start(command or program, "full", extra)
    assert(agent.ask(running.pid, "handles_start"))
    return running
  end

  -- Runs a case in the program; answers the lines that it said before it was done.
  local function run(name)
    local lines = {}
    running.say(name)
    for line in running.read do
      if line == "done" then return lines end
      lines[#lines + 1] = line
    end
    error("the program ended in " .. name)
  end

  local function snapshot(pid, options) return agent.snapshot(pid or running.pid, options or HANDLES) end
  local function held(p, name, focus)
    local t = assert(p:report("top", { nodecount = 0, cum = true, nodefraction = 0, edgefraction = 0, tagfocus = focus }))
    for i = 1, #t do
      if t[i].name == name then return t[i].cum end
    end
    return 0
  end

  -- What /proc says, without the socket of the agent.
  local function descriptors(pid)
    local count = 0
    for number in helper.shell(("ls /proc/%d/fd"):format(pid)).out:gmatch("%d+") do
      if tonumber(number) < 512 then count = count + 1 end
    end
    return count
  end

  it("is off until it is asked for", function()
    running = agent.start(program, "full")
    local about = assert(agent.ask(running.pid, "hello"))
    assert.equal(0, about.handles_on)
    run "plain"
    local p = snapshot()
    assert.equal(0, held(p, "leak_file"))
    assert.equal(0, assert(agent.ask(running.pid, "hello")).handles_seen)
    assert(agent.ask(running.pid, "handles_start"))
    run "plain"
    assert.equal(20, held(snapshot(), "leak_file"))
  end)

  it("names who holds, and not who gave back, in the first line of top", function()
    start()
    run "plain"
    local p = snapshot()
    local t = p:report("top", {})
    assert.equal("leak_file", t[1].name)
    assert.equal(20, t[1].flat)
    assert.equal(0, held(p, "open_and_close"))
    assert.equal(20, held(p, "leak_file", "kind=file"))
    assert.equal(0, held(p, "leak_file", "kind=socket"))
    assert.equal(1020, assert(agent.ask(running.pid, "hello")).handles_seen)
  end)

  it("counts as many as /proc does", function()
    start()
    run "plain"
    run "every"
    local total, outside
    for _ = 1, 50 do -- the connection of the last question may be open still
      total, outside = agent.total(snapshot(), "handles"), descriptors(running.pid)
      if total == outside then break end
      core.sleep(20000000)
    end
    assert.equal(outside, total)
  end)

  it("sees every way to open", function()
    start { behind = behind }
    run "every"
    local p = snapshot()
    local two = { leak_socketpair = true, leak_pipe = true, leak_pipe2 = true, leak_memfd = true, leak_received = true }
    for _, name in ipairs { "openat", "mkstemp", "fopen", "freopen", "tmpfile", "popen", "opendir", "socket", "socketpair", "pipe", "pipe2", "accept",
      "accept4", "dup", "fcntl", "epoll", "eventfd", "timerfd", "inotify", "signalfd", "memfd", "shm", "received", "buffer" } do
      local leak = "leak_" .. name
      assert.equal(two[leak] and 2 or 1, held(p, leak), leak)
    end
    for name, kind in pairs { epoll = "epoll", eventfd = "eventfd", timerfd = "timerfd", inotify = "inotify", signalfd = "signalfd", memfd = "memfd",
      socket = "socket", pipe = "pipe", opendir = "directory", tmpfile = "deleted" } do
      assert.is_true(held(p, "leak_" .. name, "kind=" .. kind) > 0, name .. " is no " .. kind)
    end
    assert.equal(1 << 20, agent.sum(p, "leak_memfd", "space"), "two descriptors of one memfd hold its bytes once")
  end)

  it("sees every way to close", function()
    start()
    run "closes"
    assert.equal(0, held(snapshot(), "open_for_closing"))
  end)

  it("gives a number to who opened it last", function()
    start()
    run "over"
    local p = snapshot()
    assert.equal(0, held(p, "opens_first"))
    assert.equal(1, held(p, "leak_over"))
  end)

  it("blames nobody for a number that changed hands behind its back", function()
    start()
    run "raw"
    assert.equal(0, held(snapshot(), "opens_behind_the_back"))
  end)

  it("is not misled by what a child of vfork closes", function()
    start()
    run "vforks"
    assert.equal(1, held(snapshot(), "leak_before_vfork"))
  end)

  it("goes on in a child of fork, which holds what its parent held", function()
    start()
    local child = math.tointeger(tonumber(run("forks")[1]))
    local p = snapshot(child)
    assert.equal(1, held(p, "leak_file"))
    assert.equal(5, held(p, "leak_in_child"))
    local q = snapshot()
    assert.equal(1, held(q, "leak_file"))
    assert.equal(0, held(q, "leak_in_child"))
  end)

  it("is exact after a storm of 16 threads", function()
    start()
    run "storm"
    local p = snapshot()
    assert.equal(160, held(p, "leak_storm"))
    assert.equal(0, held(p, "open_and_close"))
  end)

  it("forgets by reset, and records nothing new after stop, but sees what is closed", function()
    start()
    run "plain"
    assert(agent.ask(running.pid, "reset"))
    assert.equal(0, held(snapshot(), "leak_file"))
    run "plain"
    assert(agent.ask(running.pid, "handles_stop"))
    run "plain"
    assert.equal(20, held(snapshot(), "leak_file"))
  end)

  it("tells new ones by epoch", function()
    start()
    run "plain"
    assert(agent.ask(running.pid, "mark"))
    run "over"
    local p = snapshot(nil, { kinds = 4, since_epoch = 1 })
    assert.equal(0, held(p, "leak_file"))
    assert.equal(1, held(p, "leak_over"))
    assert.equal(1, agent.total(p, "handles"))
  end)

  it("records in a program into which the agent was brought, and leaves it as it was", function()
    running = agent.start(program, false)
    run "plain"
    local result = helper.tidemark("inject", tostring(running.pid))
    assert.equal(0, result.code, result.err)
    assert(agent.ask(running.pid, "handles_start"))
    run "plain"
    run "closes"
    local p = snapshot()
    assert.equal(20, held(p, "leak_file"))
    assert.equal(0, held(p, "open_and_close"))
    assert.equal(0, held(p, "open_for_closing"))
    assert(agent.ask(running.pid, "detach"))
    run "every"
  end)

  it("are recorded because a rule wants them, whose finding names the opener, and only as long", function()
    local rules = folder .. "/quick.lua"
    helper.write(rules, [[tm.override { rule = "proc.handle_opener", params = { span = "2s", steps = 2, patience = 2 } }]])
    running = agent.start(("sh -c 'echo $$; exec %s --fds 40/s --fd-kind socket --quiet --for 70s'"):format(
      os.getenv("TM_BUILD") .. "/examples/leaky/leaky"), "sampled")
    local found, result
    for _ = 1, 3 do -- a loaded machine has the rule stopped for taking long
      result = helper.shell(helper.command("watch", tostring(running.pid), "--jsonl", "--no-history", "--rules", rules, "--for", "15s"))
      for line in result.out:gmatch("[^\n]+") do
        local e = line:match("^{") and core.json_decode(line)
        if e and e.type == "alert" and e.state == "firing" and e.rule == "proc.handle_opener" then found = found or e end
      end
      if found then break end
    end
    assert.is_truthy(found, result.out:sub(-2000) .. result.err)
    local told = core.json_decode(found.evidence)
    assert.equal("socket", told.kind)
    assert.equal("open_socket", told.opener)
    assert.is_truthy(told.trace:find("^open_socket .*modes%.c:%d+\ngrow_fds "))
    local about = assert(agent.ask(running.pid, "hello"))
    assert.is_true(about.handles_seen > 0)
    assert.equal(0, about.handles_on, "recording ends with who wanted it")
    os.execute("kill " .. running.pid)
  end)

  it("can be recorded from the beginning", function()
    running = agent.start(program, "full", { handles = true })
    run "plain"
    local p = snapshot()
    assert.equal(20, held(p, "leak_file"))
    assert.equal(1, assert(agent.ask(running.pid, "hello")).handles_on)
  end)

  for _, extra in ipairs { {}, { handles = true } } do
    it("is listened to though it hardly allocates" .. (extra.handles and ", and is recorded" or ""), function()
      local leaky = os.getenv("TM_BUILD") .. "/examples/leaky/leaky"
      running = agent.start(("sh -c 'echo $$; exec %s --fds 100/s --quiet --for 20s'"):format(leaky), "sampled", extra)
      local about
      for _ = 1, 100 do
        about = core.malloc_agent(running.pid, "hello", {})
        if about then break end
        core.sleep(100000000)
      end
      assert.is_truthy(about)
      assert.equal(0, about.samples)
      assert.equal(extra.handles and 1 or 0, about.handles_on)
      os.execute("kill " .. running.pid)
    end)
  end

  it("are shown plainly, and as a document", function()
    start()
    run "plain"
    local pid = tostring(running.pid)
    local document, code = helper.document("malloc", "malloc", pid, "handles", "--json")
    assert.equal(0, code)
    assert.is_true(document.meta.is_on)
    assert.equal(1020, document.meta.seen)
    local row = document.rows[1]
    assert.same({ "file", 20, 0, true }, { row.kind, row.count, row.bytes, row.is_seen })
    assert.equal("leak_file", row.frames[1].name)
    assert.matches("^leak_file handle_cases.c:%d+$", row.name)
    assert.is_false(document.rows[#document.rows].is_seen)
    assert.matches("\n *20 +file +leak_file handle_cases.c:%d+\n +< plain < main", helper.tidemark("malloc", pid, "handles").out)
    local path = folder .. "/handles.pb.gz"
    assert.equal(0, helper.tidemark("snap", pid, "handles", "-o", path).code)
    assert.matches("\n +20 .- leak_file\n", helper.tidemark("top", path).out)
    assert.matches("no longer recorded; 1020 were seen", helper.tidemark("malloc", pid, "handles", "stop").out)
  end)

  it("are recorded for so long as a snapshot says", function()
    running = agent.start(program, "full")
    local path = folder .. "/seconds.pb.gz"
    running.say "plain"
    local result = helper.tidemark("snap", tostring(running.pid), "handles", "--seconds", "0.2", "-o", path)
    assert.equal(0, result.code, result.err)
    assert.equal(0, assert(agent.ask(running.pid, "hello")).handles_on)
    assert.equal("done", running.read())
  end)

  describe("of pixmaps", function()
    local display, server
    setup(function()
      if helper.shell("command -v Xvfb").code ~= 0 then return end
      for number = 70, 79 do
        if not core.stat(("/tmp/.X11-unix/X%d"):format(number)) then
          display = ":" .. number
          break
        end
      end
      os.execute(("Xvfb %s -screen 0 320x240x24 -nolisten tcp >%s/log 2>&1 & echo $! >%s/pid"):format(display, folder, folder))
      server = helper.read(folder .. "/pid"):match("%d+")
      for _ = 1, 100 do
        if core.stat("/tmp/.X11-unix/X" .. display:sub(2)) then break end
        core.sleep(50000000)
      end
    end)
    teardown(function()
      if server then os.execute("kill " .. server) end
    end)

    it("names who made them with libX11, with exact numbers and bytes", function()
      if not server then return pending "no Xvfb here" end
      if helper.shell("ls /usr/lib/*/libX11.so.6").code ~= 0 then return pending "no libX11 here" end
      local client = agent.build("spec/support/programs/handle_cases.c", "-DX11 -Wl,--no-as-needed -l:libX11.so.6", folder, "xcases")
      start(nil, ("env DISPLAY=%s %s"):format(display, client))
      run "pixmaps"
      local p = snapshot()
      assert.equal("leak_pixmap", p:report("top", {})[1].name)
      assert.equal(200, held(p, "leak_pixmap", "kind=pixmap"))
      assert.equal(200 * 64 * 64 * 4, agent.sum(p, "leak_pixmap", "space"))
      assert.equal(0, held(p, "made_and_freed"))
      run "hang_up"
      assert.equal(0, held(snapshot(), "leak_pixmap"))
    end)

    it("names who made them with libxcb", function()
      if not server then return pending "no Xvfb here" end
      local leaky = os.getenv("TM_BUILD") .. "/examples/leaky/leaky"
      if helper.shell("ldd " .. leaky .. " | grep libxcb").code ~= 0 then return pending "built without xcb" end
      start(nil, ("sh -c 'echo $$; exec env DISPLAY=%s %s --pixmaps 200/s --heap 4MB/s --quiet --for 20s'"):format(display, leaky))
      local p
      for _ = 1, 100 do
        p = snapshot()
        if held(p, "leaky_grow_pixmaps", "kind=pixmap") >= 100 then break end
        core.sleep(50000000)
      end
      local t = p:report("top", { tagfocus = "state=live" })
      assert.equal("leaky_grow_pixmaps", t[1].name)
      assert.equal(t[1].flat * 64 * 64 * 4, agent.sum(p, "leaky_grow_pixmaps", "space"))
      os.execute("kill " .. running.pid)
    end)
  end)
end)
