-- census: goroutines of live programs that nobody stops, fixed and position-independent, of every Go that is here; and refusals.
local helper = require "spec.support.helper"

-- Builds the sleeper, runs it, and calls check(pid, its file).
local function with_sleeper(go, flags, check)
  local folder = helper.folder()
  helper.write(folder .. "/main.go", helper.read("spec/support/gosleeper.go"))
  local env = helper.go(folder)
  local built = helper.shell(env .. go .. " build " .. flags .. " -o sleeper main.go")
  assert.equal(0, built.code, built.err)
  local pipe = assert(io.popen(("cd %s && { ./sleeper 300 5 & } >out; echo $! >pid; wait"):format(folder), "w"))
  for _ = 1, 200 do
    local out = io.open(folder .. "/out")
    local text = out and out:read("a") or ""
    if out then out:close() end
    if text:find("ready", 1, true) then break end
    require("tidemark.core").sleep(20000000)
  end
  local pid = helper.read(folder .. "/pid"):match("%d+")
  local ok, err = pcall(check, pid, folder .. "/sleeper")
  os.execute("kill " .. pid)
  pipe:close()
  if not ok then error(err, 0) end
end

local function find(rows, entry)
  for _, row in ipairs(rows) do
    if row.entry:find(entry, 1, true) or row.site:find(entry, 1, true) then return row end
  end
  error("no row of " .. entry)
end

describe("census", function()
  teardown(helper.tidy)

  for _, case in ipairs { { "go", "" }, { "go", "-buildmode=pie" }, { "/usr/lib/go-1.19/bin/go", "" } } do
    it(("counts what runs, built by %s %s"):format(case[1], case[2]), function()
      if helper.shell(case[1] .. " version").code ~= 0 then pending("no such Go here") return end
      with_sleeper(case[1], case[2], function(pid)
        local rows, meta = helper.rows("census", "census", pid)
        assert.equal(306, meta.alive)
        assert.is_true(meta.system >= 3)
        local stuck, nap = find(rows, "main.stuck"), find(rows, "main.nap")
        assert.same({ 300, "chan receive", "main.main" }, { stuck.count, stuck.state, stuck.creation })
        assert.matches("main.stuck main.go:13", stuck.site, 1, true)
        assert.equal(5, nap.count)
        for _, row in ipairs(rows) do assert.is_true(row.entry ~= "main.main" or row.creation == "", "main is begun by nobody") end
        local status = helper.read("/proc/" .. pid .. "/status")
        assert.matches("TracerPid:\t0", status, 1, true)
        local all = helper.rows("census", "census", pid, "--system")
        assert.is_truthy(find(all, "runtime.forcegchelper"))
      end)
    end)
  end

  it("measures by repeated looks who stays where he is", function()
    if helper.shell("go version").code ~= 0 then pending("no Go here") return end
    with_sleeper("go", "", function(pid)
      local rows = helper.rows("census", "census", pid, "--every", "200ms", "--for", "1s")
      assert.is_true(find(rows, "main.stuck").age_ns > 300000000)
      assert.equal(0, find(rows, "main.nap").age_ns)
    end)
  end)

  it("looks into a program by a copy of its file, and refuses another build", function()
    if helper.shell("go version").code ~= 0 then pending("no Go here") return end
    with_sleeper("go", "-ldflags=-w", function(pid, program)
      local folder = program:match("^(.*)/")
      assert.equal(0, helper.shell(helper.go(folder) .. "go build -o whole main.go").code)
      local result = helper.tidemark("census", pid, "--exe", folder .. "/whole")
      assert.equal(2, result.code)
      assert.matches("another build", result.err, 1, true)
    end)
    with_sleeper("go", "", function(pid, program)
      local copy = program .. ".copy"
      assert.equal(0, helper.shell(("cp %s %s"):format(program, copy)).code)
      assert.equal(306, select(2, helper.rows("census", "census", pid, "--exe", copy)).alive)
    end)
  end)

  it("says why it cannot look: stripped, no Go, gone", function()
    if helper.shell("go version").code == 0 then
      with_sleeper("go", "-ldflags=-w", function(pid)
        local result = helper.tidemark("census", pid)
        assert.equal(3, result.code)
        assert.matches("no debug information", result.err, 1, true)
      end)
    end
    local result = helper.tidemark("census", "999999999")
    assert.equal(4, result.code)
  end)
end)
