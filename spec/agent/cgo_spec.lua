-- C memory behind cgo: every block carries the Go code that asked for it, in unmodified programs, stripped ones too.
local agent = require "spec.support.malloc_agent"
local core = require "tidemark.core"
local helper = require "spec.support.helper"

local has_go = helper.shell("go version").code == 0
local CALLS <const> = 10000

describe("malloc agent and cgo", function()
  local folder

  setup(function() folder = helper.folder() end)
  teardown(helper.tidy)

  local function build(name, go_flags, c_flags)
    assert(os.execute(("cp spec/support/cgoleak.go %s/"):format(folder)))
    local built = helper.shell(("%sCGO_CFLAGS=%s go build %s -o %s cgoleak.go"):format(helper.go(folder), helper.quote(c_flags or "-O2 -g"),
      go_flags or "", name))
    assert.equal(0, built.code, built.err)
    return folder .. "/" .. name
  end

  -- All blocks of a kind of leak are below the Go function that made them. The runtime may start a thread there: some hundred bytes.
  local function check_books(p)
    local sizes = { leakTexture = 8192, leakMalloc = 4096, leakString = 2049, handler = 8192 + 4096 + 2049 }
    for name, size in pairs(sizes) do
      local more = agent.sum(p, "main." .. name) - CALLS * size
      assert.is_true(more >= 0 and more < 10000, name .. ": " .. more)
    end
    assert.is_true(agent.total(p) - CALLS * (8192 + 4096 + 2049) < 100000) -- what the runtime's threads have
  end

  -- leaks: each site has its Go caller; Go's heap holds the blocks, but for what the race between the appends dropped.
  local function check_leaks(pid)
    local callers = {}
    for _, row in ipairs((helper.rows("leaks", "leaks", pid, "--seconds", "1"))) do
      local other = callers[row.caller] -- a thread that the runtime began there, one block
      if row.caller and not (other and other.live_count > row.live_count) then callers[row.caller] = row end
    end
    for _, name in ipairs { "main.leakTexture", "main.leakMalloc", "main.leakString" } do
      local row = assert(callers[name], name)
      assert.is_true(row.never_freed)
      assert.equal(CALLS, row.live_count)
      assert.equal("go", row.holders[1].kind)
      assert.is_true(row.lost_count < CALLS / 2, name .. ": " .. row.lost_count)
    end
  end

  for _, how in ipairs {
    { "plain", "", nil }, { "stripped", "-ldflags '-s -w'", nil }, { "pie", "-buildmode=pie -ldflags '-s -w'", nil },
    { "framed", "", "-O2 -g -fno-omit-frame-pointer" }, { "unframed", "", "-O2 -fomit-frame-pointer" },
  } do
    it("finds the Go callers of C.malloc, C.CString and of C code: " .. how[1], function()
      if not has_go then return pending "no go tool" end
      local app = agent.start(build(how[1], how[2], how[3]), "full")
      check_books(agent.snapshot(app.pid))
      if how[1] == "plain" or how[1] == "stripped" then check_leaks(app.pid) end
      app.stop()
    end)
  end

  it("keeps a snapshot of a Go program, which ends without a word", function()
    if not has_go then return pending "no go tool" end
    local out = folder .. "/go.pb.gz"
    local result = helper.shell("sleep 3 | " .. helper.command("run", "--quiet", "--no-history", "--malloc=full", "--malloc-out", out,
      "--malloc-every", "500ms", "--", build "kept"))
    assert.equal(0, result.code, result.err)
    local p = assert(core.read(out))
    check_books(p) -- symbolized in the file
    local rows, meta = helper.rows("top", "top", out, "--focus", "leakString", "--cum")
    assert.equal("bytes", meta.unit)
    assert.is_true(rows[1].cum >= CALLS * 2049)
  end)
end)
