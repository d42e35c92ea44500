-- Policies: what is due and what it may cost on a virtual clock; then live, with marks, thresholds and the control socket.
local core = require "tidemark.core"
local helper = require "spec.support.helper"
local policy = require "tidemark.policy"
local pprof_server = require "spec.support.pprof_server"

local SECOND <const> = 1000000000

-- Drives a policy for a while: each take costs cost[kind] seconds; values(second) is the condition's metric. What was taken:
-- { { at, kind, reason } }.
local function drive(spec, length, cost, values, asks)
  local w, list, running = policy.begin(policy.read(spec), 0), {}, nil
  for quarter = 0, length * 4 do
    local now = quarter * SECOND // 4
    if running and now >= running.until_ns then
      policy.done(w, now, running.took_ns)
      running = nil
    end
    for _, ask in ipairs(asks or {}) do
      if ask.at * 4 == quarter then policy.ask_all(w, ask.reason, true) end
    end
    local request = policy.next(w, now, values and values(quarter / 4))
    if request then
      assert.is_nil(running, "two takes at once")
      local took = math.floor((cost[request.kind] or 0) * SECOND)
      running = { until_ns = now + took, took_ns = took }
      list[#list + 1] = { at = quarter / 4, kind = request.kind, reason = request.reason, gc = request.gc }
    end
  end
  return list, w
end

local function count(list, kind)
  local n = 0
  for _, one in ipairs(list) do n = n + (one.kind == kind and 1 or 0) end
  return n
end

describe("a policy", function()
  it("takes each kind by its timer, spread over the period", function()
    local list = drive({ profiles = { heap = "60s", goroutine = "60s", mutex = "60s" } }, 600, {})
    assert.equal(30, #list - 1) -- the tenth minute begins again with the first kind
    assert.equal(11, count(list, "goroutine"))
    for i = 2, #list do assert.is_true(list[i].at - list[i - 1].at >= 19, i) end
  end)

  it("keeps within its share of time", function()
    for _, share in ipairs { 0.01, 0.05, 0.2 } do
      local list, w = drive({ profiles = { heap = "2s", cpu = { every = "10s", seconds = 5 } }, budget = share }, 5000,
        { heap = 0.5, cpu = 5 })
      assert.is_true(w.spent_ns / (5000 * SECOND) <= share * 1.05 + 0.001, share .. " " .. w.spent_ns)
      assert.is_true(w.spent_ns / (5000 * SECOND) >= share * 0.6, "it uses what it may: " .. share .. " " .. w.spent_ns)
      assert.is_true(count(list, "cpu") > 0 and count(list, "heap") > 0) -- none starves
    end
  end)

  it("takes all its kinds when a threshold is reached, once until the value was a tenth back", function()
    local steps = { 100, 600e6, 500e6, 600e6, 100, 600e6, 600e6 } -- ten seconds each
    local function values(t) return steps[t // 10 + 1] end
    local list = drive({ profiles = { heap = { gc = true }, goroutine = {} }, when = "proc.rss > 512MB", budget = "100%" }, 60, {}, values)
    local at = {}
    for _, one in ipairs(list) do
      at[#at + 1] = ("%d %s"):format(one.at // 1 | 0, one.kind)
      assert.equal("when proc.rss > 512MB", one.reason)
    end
    assert.same({ "10 goroutine", "10 heap", "50 goroutine", "50 heap" }, at)
    assert.is_true(list[2].gc)
  end)

  it("that takes another's place keeps its debt, its timers and who waits", function()
    local old = policy.begin(policy.read { profiles = { heap = "60s", mutex = "60s" } }, 0)
    assert.equal("heap", policy.next(old, 0).kind)
    policy.ask(old, { kind = "block", reason = "message", done = function() end })
    policy.ask(old, { kind = "allocs", reason = "timer" })
    local new = policy.begin(policy.read { profiles = { heap = "60s", goroutine = "60s" } }, 10 * SECOND)
    policy.succeed(new, old, 10 * SECOND)
    assert.is_nil(policy.next(new, 10 * SECOND)) -- the take of the old one still runs
    policy.done(new, 10 * SECOND, SECOND)
    assert.equal(1, new.taken)
    assert.equal(60 * SECOND, new.due.heap)
    assert.is_true(new.waiting.block) -- somebody waits for it
    assert.is_nil(new.waiting.allocs)
    assert.is_nil(policy.next(new, 109 * SECOND)) -- 1 % of the time: a second costs a hundred
    assert.equal("block", policy.next(new, 110 * SECOND).kind)
  end)

  it("does not wait at a mark, but charges it", function()
    local marks = { { at = 7, reason = "mark a" }, { at = 8, reason = "mark b" } }
    local list = drive({ profiles = { heap = "10s" }, budget = "10%" }, 100, { heap = 5 }, nil, marks)
    local at = {}
    for i, one in ipairs(list) do at[i] = one.at .. " " .. one.reason end
    assert.equal("0.0 timer", at[1])
    assert.equal("7.0 mark a", at[2])
    assert.equal("12.0 mark b", at[3]) -- after the one that ran
    assert.is_true(list[4] == nil or list[4].at >= 100, at[4]) -- 15 s at 10 % = 150 s
  end)

  it("is refused with a reason when it is none", function()
    local cases = { [{}] = "profiles are missing", [{ profiles = { heap = "10" } }] = "profiles.heap", [{ profiles = { heap = "10ms" } }] = "at least 1s",
      [{ profiles = { heap = "1m" }, budget = "200%" }] = "budget", [{ profiles = { heap = "1m" }, when = "rss" }] = "condition",
      [{ profiles = { heap = "1m" }, buget = "1%" }] = "did you mean budget", [{ profiles = { heap = { evry = "1m" } } }] = "did you mean every",
      [{ profiles = { heap = "1m" }, keep = { bytes = "1" } }] = "keep", [{ profiles = { cpu = { every = "1m", seconds = 0 } } }] = "1 to 3600" }
    for spec, words in pairs(cases) do
      local ok, err = pcall(policy.read, spec)
      assert.is_false(ok, words)
      assert.is_truthy(err.message:find(words, 1, true), err.message .. " / " .. words)
    end
  end)

  it("keeps the newest files within count and bytes, as a brute force does", function()
    math.randomseed(3)
    for _ = 1, 300 do
      local files = {}
      for i = 1, math.random(0, 12) do files[i] = { name = "f" .. i, bytes = math.random(0, 100), time_ns = math.random(1, 20) } end
      local keep_count, keep_bytes = math.random(1, 8), math.random(1, 400)
      local gone = {}
      for _, name in ipairs(policy.surplus(files, keep_count, keep_bytes)) do gone[name] = true end
      table.sort(files, function(a, b) return a.time_ns > b.time_ns or a.time_ns == b.time_ns and a.name > b.name end)
      local n, total = 0, 0
      for i, f in ipairs(files) do -- newest first: kept while both hold, and the newest always
        n, total = n + 1, total + f.bytes
        assert.equal(i > 1 and (n > keep_count or total > keep_bytes), gone[f.name] or false)
      end
    end
  end)
end)

describe("a policy of a real app", function()
  local server
  setup(function() server = pprof_server.start() end)
  teardown(function()
    if server then server.stop() end
    helper.tidy()
  end)
  local function with_server(name, body)
    it(name, function()
      if not server then return pending("no Go here") end
      body()
    end)
  end

  -- Runs watch in the background while says(path) speaks to its control socket: out, and the folder of profiles.
  local function watched(says, ...)
    local dir = helper.folder()
    local command = helper.command("watch", server.url, "--no-history", "--no-builtin", "--jsonl", "--snap-dir", dir .. "/p",
      "--control", "unix:" .. dir .. "/c.sock", ...)
    os.execute(("{ %s; } >%s/out 2>%s/err & echo $! >%s/pid"):format(command, dir, dir, dir))
    for _ = 1, 100 do
      if core.stat(dir .. "/c.sock") then break end
      os.execute("sleep 0.05")
    end
    local heard = {}
    for i, line in ipairs(says) do
      helper.write(dir .. "/line", line .. "\n")
      -- A stand-in for nc: bash has no unix sockets, Go's test server speaks them.
      local result = helper.shell(("%s say %s/c.sock %s/line"):format(server.binary, dir, dir))
      heard[i] = core.json_decode(result.out)
    end
    os.execute(("while kill -0 $(cat %s/pid) 2>/dev/null; do sleep 0.1; done"):format(dir))
    return helper.read(dir .. "/out"), core.list(dir .. "/p") or {}, heard, helper.read(dir .. "/err")
  end

  with_server("writes profiles by timer, at a threshold, and tells of each", function()
    local out, files = watched({}, "--snap", "heap=2s", "--snap", "goroutine", "--snap-when", "proc.rss > 1MB", "--for", "3500ms")
    assert.is_true(#files >= 3, out)
    for _, name in ipairs(files) do assert.matches("^server%-%d+%-%l+%-%d+T%d+Z[%-%d]*%.pb%.gz$", name) end
    assert.matches("heap profile: .* timer%)", out)
    local told = 0
    for line in out:gmatch("[^\n]+") do
      local object = core.json_decode(line)
      if object.type == "snapshot" then
        told = told + 1
        assert.equal(core.stat(object.file).size_bytes, object.bytes)
      end
    end
    assert.equal(#files, told)
    assert.matches("goroutine profile: .*when proc.rss > 1MB%)", out)
  end)

  with_server("keeps so many files", function()
    local _, files = watched({}, "--snap", "threadcreate=1s", "--snap-budget", "100%", "--snap-keep", "2", "--for", "4500ms")
    assert.equal(2, #files)
  end)

  with_server("takes what a message asks for", function()
    local says = { '{"cmd":"snap","kind":"heap","gc":true}', '{"cmd":"snap","kind":"example.com/app.documents"}', '{"cmd":"mark","name":"export done"}',
      '{"cmd":"snap","kind":"nope"}', '{"cmd":"status"}', '{"cmd":"dance"}', "no json", '{"cmd":"snap","kind":"../../x y"}', '{"cmd":"mark"}' }
    local out, files, heard, err = watched(says, "--for", "4s")
    assert.is_true(heard[1].ok, err)
    assert.is_true(core.stat(heard[1].file) ~= nil)
    assert.is_true(heard[2].ok)
    assert.is_true(heard[3].ok)
    assert.is_false(heard[4].ok)
    assert.equal(3, heard[5].apps[1].taken)
    assert.equal(server.pid, heard[5].apps[1].pid)
    for i = 6, 9 do assert.is_false(heard[i].ok) end
    assert.equal(2, #files)
    assert.matches('"type":"mark"', out)
    assert.matches("export done", out)
  end)

  with_server("is declared by a rule file, when that may", function()
    local dir = helper.folder()
    local rules = helper.write(dir .. "/own.lua", [[
      tm.policy { app = "server", profiles = { threadcreate = "1s" }, budget = "50%", keep = 3 } ]])
    local words = { "watch", server.url, "--no-history", "--no-builtin", "--plain", "--snap-dir", dir .. "/p", "--rules", rules,
      "--for", "2500ms" }
    local result = helper.tidemark(table.unpack(words))
    assert.matches("give %-%-allow act:snap", result.out .. result.err)
    assert.is_nil(core.stat(dir .. "/p"))
    words[#words + 1], words[#words + 2] = "--allow", "act:snap"
    result = helper.tidemark(table.unpack(words))
    assert.matches("threadcreate profile: .*timer%)", result.out)
    assert.is_true(#core.list(dir .. "/p") >= 2)
    helper.write(rules, "tm.policy { profiles = {} }")
    result = helper.tidemark("rules", "check", rules)
    assert.equal(1, result.code)
    assert.matches("tm.policy needs app", result.out .. result.err)
  end)

  with_server("asks with the headers and the Host that are given, as rules' snapshots do", function()
    local dir = helper.folder()
    local rules = helper.write(dir .. "/own.lua", [[
      tm.rule { id = "own.token", every = "1s", inputs = { heap = tm.snapshots("pprof.heap", { every = "1s" }) },
        check = function(c) if c.heap.n > 0 then return c:finding { level = "high", value = 1, text = "it came" } end end } ]])
    local function watch(place, ...)
      return helper.tidemark("watch", server.url .. place, "--no-history", "--no-builtin", "--plain", "--snap-dir", dir .. "/p", "--rules", rules,
        "--snap", "threadcreate=1s", "--for", "1500ms", ...)
    end
    local result = watch "/token"
    assert.matches("no threadcreate profile: .*401", result.out .. result.err)
    assert.is_nil(result.out:find("it came", 1, true))
    for place, words in pairs { ["/token"] = { "--header", "Authorization: Bearer secret" }, ["/host"] = { "--host-header", "" } } do
      result = watch(place, table.unpack(words))
      assert.matches("threadcreate profile: .*timer%)", result.out, result.err)
      assert.matches("it came", result.out)
    end
    local sleep = { "--no-history", "--no-builtin", "--plain", "--rules", rules, "--endpoint", server.url .. "/token", "--header",
      "Authorization: Bearer secret", "--", "sleep", "1.5" }
    assert.matches("it came", helper.tidemark("run", table.unpack(sleep)).out)
  end)

  with_server("of a rule file ends with the file, and is replaced by an edit, while watch runs", function()
    local dir, rules = helper.folder(), helper.folder()
    local path = helper.write(rules .. "/own.lua", [[tm.policy { app = "server", profiles = { threadcreate = "1s" }, budget = "90%" }]])
    assert.equal(0, helper.tidemark("rules", "trust", rules).code)
    local command = helper.command("watch", server.url, "--no-history", "--no-builtin", "--jsonl", "--snap-dir", dir .. "/p", "--rules", rules,
      "--allow", "act:snap", "--control", "unix:" .. dir .. "/c.sock", "--for", "30s")
    helper.write(dir .. "/out", "")
    os.execute(("{ exec %s; } >%s/out 2>%s/err & echo $! >%s/pid"):format(command, dir, dir, dir))
    local function count_kind(kind)
      local n = 0
      for line in helper.read(dir .. "/out"):gmatch("[^\n]+\n") do
        local object = core.json_decode(line)
        n = n + (object and object.type == "snapshot" and object.kind == kind and 1 or 0)
      end
      return n
    end
    local function waits_for(condition)
      for _ = 1, 200 do
        if condition() then return true end
        os.execute("sleep 0.05")
      end
      return false, helper.read(dir .. "/out") .. helper.read(dir .. "/err")
    end
    assert(waits_for(function() return count_kind "threadcreate" >= 1 end))
    helper.save(path, [[tm.policy { app = "server", profiles = { mutex = "1s" }, budget = "90%" }]])
    assert(waits_for(function() return count_kind "mutex" >= 1 end))
    local before = count_kind "threadcreate"
    assert(waits_for(function() return count_kind "mutex" >= 3 end))
    assert.equal(before, count_kind "threadcreate") -- two periods later
    os.remove(path)
    assert(waits_for(function() return helper.read(dir .. "/out"):find('"type":"rule_unloaded"', 1, true) end))
    before = count_kind "mutex"
    os.execute("sleep 2.2")
    assert.is_true(count_kind "mutex" <= before + 1) -- one may have been under way
    -- Without a policy it can still be asked.
    helper.write(dir .. "/line", '{"cmd":"snap","kind":"block"}\n')
    local heard = core.json_decode(helper.shell(("%s say %s/c.sock %s/line"):format(server.binary, dir, dir)).out)
    assert.is_true(heard.ok, heard.error)
    helper.save(path, [[tm.policy { app = "server", profiles = { allocs = "1s" }, budget = "90%" }]])
    assert(waits_for(function() return count_kind "allocs" >= 1 end))
    os.execute("kill -INT $(cat " .. dir .. "/pid)")
  end)

  it("is declared in the config file", function()
    local path = helper.write(helper.folder() .. "/config.lua", [[return { policies = { { app = "x", profiles = { heap = "soon" } } } }]])
    local result = helper.shell("export TIDEMARK_CONFIG=" .. helper.quote(path) .. "\n"
      .. helper.command("watch", "1", "--no-history"):gsub("%-u TIDEMARK_CONFIG", ""))
    assert.equal(2, result.code)
    assert.matches("policy: profiles.heap", result.err)
  end)
end)
