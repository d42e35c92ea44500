-- What leaks of a native heap: exact states and holders of known blocks, the verdicts leak, cache and retention, saved snapshots.
local agent = require "spec.support.malloc_agent"
local core = require "tidemark.core"
local helper = require "spec.support.helper"

describe("leaks of a native heap", function()
  local folder, program

  setup(function()
    folder = helper.folder()
    program = agent.build("spec/support/programs/leak_cases.c", "", folder, "cases")
  end)
  teardown(helper.tidy)

  local function by_owner(document)
    local sites = {}
    for _, row in ipairs(document.rows) do sites[row.owner] = row end
    return sites
  end

  -- The document of `leaks` over a program that runs with these cases.
  local function look(cases, mode, ...)
    local app = agent.start(program .. " " .. cases, mode, { rate = mode == "sampled" and 4096 or nil })
    assert(agent.ask(app.pid, "hello"))
    local result = helper.tidemark("leaks", app.pid, "--json", ...)
    app.stop()
    assert.equal(0, result.code, result.err)
    local document = assert(core.json_decode(result.out))
    assert.equal("tidemark/leaks/1", document.schema)
    return by_owner(document), document.meta
  end

  local function holds(row, kind, name, site)
    local h = row.holders[1]
    assert.equal(kind, h.kind, row.owner)
    assert.equal(name, h.name, row.owner)
    assert.equal(site, h.site)
    return h
  end

  it("leaves a call alone in which the program waits, though its threads are stopped", function()
    local waiting = agent.build("spec/support/programs/inject_cases.c", "", folder, "waiting")
    local app = agent.start(waiting .. " epoll 4", false)
    local brought = helper.shell("XDG_RUNTIME_DIR= TIDEMARK_AGENT=" .. agent.library .. " " .. helper.command("inject", app.pid, "--mode", "full"))
    assert.equal(0, brought.code, brought.err)
    local result = helper.tidemark("leaks", app.pid, "--seconds", "0.3", "--json")
    assert.equal(0, result.code, result.err)
    assert.is_true(core.json_decode(result.out).meta.scan.registers > 0)
    assert.equal("ok", app.read())
    app.stop()
  end)

  describe("with all blocks known", function()
    local sites, meta
    setup(function() sites, meta = look("", "full", "--seconds", "1.5") end)

    it("counts what nothing points to, lists with a lost head included", function()
      assert.equal(30, sites.site_lost.lost_count)
      assert.equal(30000, sites.site_lost.lost_bytes)
      assert.equal(25, sites.site_lost_list.lost_count)
      assert.equal("leak", sites.site_lost.verdict)
      assert.is_true(sites.site_lost.never_freed)
      assert.equal(64, meta.lost_count)
      assert.equal("leak", meta.verdict)
      assert.is_true(meta.scan.registers > 0)
    end)

    it("takes leftovers in free memory for no reference", function()
      assert.is_true(meta.knows_all)
      assert.equal(9, sites.site_freed.lost_count)
    end)

    it("loses none that a global, a list, a stack, thread-local data or a mapping holds, and names it", function()
      for name, n in pairs { site_global = 40, site_list = 50, site_stack = 6, site_thread_stack = 5, site_mapping = 7, site_tls = 1 } do
        local row = sites[name]
        assert.equal(n, row.live_count, name)
        assert.equal(0, row.lost_count, name)
        assert.equal("kept", row.verdict, name)
      end
      assert.equal("cases", holds(sites.site_global, "data", "table_of_pages").module)
      local list = holds(sites.site_list, "data", "list_head", "this site")
      assert.equal(49, list.count)
      assert.equal(1, sites.site_list.holders[2].count)
      assert.equal(meta.pid, holds(sites.site_stack, "stack", "cases").tid)
      assert.is_true(holds(sites.site_thread_stack, "stack", "cases").tid ~= meta.pid)
      assert.equal("memory", sites.site_mapping.holders[1].kind)
    end)

    it("tells a pointer to the middle from one to the start", function()
      local h = holds(sites.site_interior, "data", "middle")
      assert.is_true(h.interior)
      assert.equal(400, sites.site_interior.interior_bytes)
    end)
  end)

  it("finds the same where samples are taken, but for what free memory hides", function()
    local sites = look("", "sampled", "--seconds", "1.5")
    local row = sites.site_lost
    assert.is_true(row.lost_count > 0)
    assert.equal(row.live_count, row.lost_count)
    assert.equal("leak", row.verdict)
    for _, name in ipairs { "site_global", "site_list", "site_stack", "site_thread_stack", "site_mapping", "site_tls" } do
      assert.equal(0, sites[name] and sites[name].lost_count or 0, name)
    end
  end)

  it("calls a bounded cache a cache", function()
    local sites, meta = look("cache every10ms", "full", "--seconds", "2")
    assert.equal("cache", sites.site_cache.verdict, sites.site_cache.why)
    assert.equal(0, sites.site_cache.lost_count)
    assert.equal("cache", meta.verdict)
  end)

  it("calls growth that nobody frees a leak though a table holds it", function()
    local sites, meta = look("grow cache every10ms", "full", "--seconds", "2")
    assert.equal("leak", sites.site_growing.verdict, sites.site_growing.why)
    assert.is_true(sites.site_growing.slope_bytes_per_s > 0)
    assert.matches("growing in cases", sites.site_growing.why, 1, true)
    assert.equal("cache", sites.site_cache.verdict, sites.site_cache.why)
    assert.equal("leak", meta.verdict)
  end)

  it("calls memory that the allocator keeps retention, and a trim proves it", function()
    local sites, meta = look("burst every10ms", "full", "--seconds", "1.5", "--trim")
    assert.equal("retention", meta.verdict, table.concat(meta.evidence, "; "))
    assert.is_true(meta.free_bytes > 16 << 20 or meta.trimmed_bytes > 16 << 20)
    assert.is_true(meta.trimmed_bytes > 16 << 20)
    assert.equal(0, sites.site_growing.lost_count)
  end)

  it("reads saved snapshots, shows tables and gates", function()
    local app = agent.start(program .. " drip every10ms", "full")
    assert(agent.ask(app.pid, "hello"))
    local a, b = folder .. "/a.pb.gz", folder .. "/b.pb.gz"
    assert.equal(0, helper.tidemark("snap", app.pid, "malloc", "-o", a).code)
    core.pause(300000000)
    assert.equal(0, helper.tidemark("snap", app.pid, "malloc", "-o", b).code)
    local csv = helper.tidemark("leaks", app.pid, "--seconds", "0", "--no-scan", "--csv")
    local shown = helper.tidemark("leaks", app.pid, "--seconds", "1.2", "--no-stop", "--full", "--fail-on", "leak")
    app.stop()
    assert.matches("^name,verdict,confidence,live_bytes", csv.out)
    assert.equal(1, shown.code, shown.err)
    assert.matches("leak +%d+ %% .-site_drip leak_cases.c:%d+", shown.out)
    assert.matches("\n      drip_round ", shown.out, 1, true)
    local rows = helper.rows("leaks", "leaks", a, b)
    assert.equal("site_drip", rows[1].owner)
    assert.equal("leak", rows[1].verdict, rows[1].why)
    assert.equal(2, helper.tidemark("leaks").code)
    assert.is_true(helper.tidemark("leaks", "1").code >= 4)
  end)

  it("is a take of rules, with the grant", function()
    local rules = helper.folder()
    helper.write(rules .. "/leaks.lua", [[
      tm.rule {
        id = "spec.leaks", doc = "asks what leaks", every = "1s", hold = "0s", warmup = "0s", level = "warn",
        inputs = { rss = tm.series("proc.rss", { every = "1s", window = "1m" }) },
        check = function(c) return c:finding { level = "warn", value = c.rss.last, unit = "bytes" } end,
        on = { warn = function(c) c:attach(c:await(c.take.native_leaks { seconds = 1.2, timeout = "30s" }), "what leaks") end },
        caps = { "take:native_leaks" }, say = "{target}",
      }]])
    assert.equal(0, helper.tidemark("rules", "trust", rules).code)
    local app = agent.start(program, "full")
    assert(agent.ask(app.pid, "hello"))
    local out = helper.shell("timeout -s INT 8 " .. helper.command("watch", app.pid, "--no-history", "--jsonl", "--rules", rules, "--allow", "act:snap")).out
    app.stop()
    assert.matches('"text":"what leaks"', out, 1, true)
  end)
end)
