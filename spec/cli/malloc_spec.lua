-- The command line of the malloc agent: run --malloc, snap PID malloc, malloc PID VERB, and where it refuses.
local agent = require "spec.support.malloc_agent"
local core = require "tidemark.core"
local helper = require "spec.support.helper"

describe("tidemark and the malloc agent", function()
  local folder, program

  setup(function()
    folder = helper.folder()
    program = agent.build("spec/support/programs/malloc_cases.c", "", folder, "cases")
  end)
  teardown(helper.tidy)

  it("runs a program and keeps what lived at its end", function()
    local out = folder .. "/out.pb.gz"
    local result = helper.tidemark("run", "--quiet", "--no-history", "--malloc=full", "--malloc-out", out, "--", program, "basic")
    assert.equal(0, result.code, result.err)
    assert.equal(100000, agent.sum(assert(core.read(out)), "leak_basic"))
    assert.equal(384, core.stat(out).mode) -- 0600
    local shown = helper.tidemark("top", out)
    assert.matches("leak_basic", shown.out)
  end)

  it("takes snapshots of epochs that growth reads", function()
    local app = agent.start(program .. " storm+", "full")
    assert(agent.ask(app.pid, "hello"))
    local rows = helper.rows("malloc", "malloc", app.pid, "mark")
    assert.equal(1, rows[1].epoch)
    local a, b = folder .. "/a.pb.gz", folder .. "/b.pb.gz"
    assert.equal(0, helper.tidemark("snap", app.pid, "malloc", "-o", a).code)
    rows = helper.rows("snap", "snap", app.pid, "malloc", "-o", b, "--since-epoch", "1")
    assert.equal("malloc", rows[1].kind)
    assert.equal(0, agent.sum(assert(core.read(b)), "storm"))
    assert.equal(0, helper.tidemark("growth", a, b).code)
    rows = helper.rows("malloc", "malloc", app.pid, "stats")
    assert.equal("full", rows[1].mode)
    assert.is_true(rows[1].arena_bytes > 0)
    app.stop()
  end)

  it("says that a process has no agent", function()
    local result = helper.tidemark("snap", core.pid and core.pid() or 1, "malloc", "-o", folder .. "/none.pb.gz")
    assert.is_true(result.code ~= 0)
    assert.matches("tidemark inject", result.err)
    assert.equal(2, helper.tidemark("malloc", "1", "frobnicate").code)
    assert.equal(2, helper.tidemark("run", "--malloc=wild", "--", "true").code)
  end)

  it("refuses what it cannot see into, and says why", function()
    local static = agent.build("spec/support/programs/malloc_cases.c", "-static", folder, "static")
    local result = helper.tidemark("run", "--malloc", "--", static, "basic")
    assert.equal(6, result.code)
    assert.matches("statically", result.err)
    local sanitized = agent.build("spec/support/programs/malloc_cases.c", "-fsanitize=address", folder, "sanitized")
    result = helper.tidemark("run", "--malloc", "--", sanitized, "basic")
    assert.equal(6, result.code)
    assert.matches("AddressSanitizer", result.err)
    result = helper.tidemark("run", "--malloc", "--", "valgrind", program, "basic")
    assert.equal(6, result.code)
    assert.matches("valgrind", result.err)
  end)

  it("is silent inside of a program that refuses it, which runs as ever", function()
    local source = helper.write(folder .. "/fake.c", "void __tsan_init(void) {}\nint main(void) { return 7; }\n")
    local fake = agent.build(source, "-rdynamic", folder, "fake")
    local result, profile, reason = agent.run(fake, "full")
    assert.equal(7, result.code)
    assert.equal("", result.out .. result.err)
    assert.is_nil(profile)
    assert.matches("ThreadSanitizer", reason)
  end)
end)
