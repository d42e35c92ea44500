-- The malloc agent inside of programs: exact books in full mode, through everything that is known to break such agents.
local agent = require "spec.support.malloc_agent"
local core = require "tidemark.core"
local helper = require "spec.support.helper"
local malloc = require "tidemark.malloc"

describe("malloc agent", function()
  local folder, program

  setup(function()
    folder = helper.folder()
    program = agent.build("spec/support/programs/malloc_cases.c", "", folder, "cases")
  end)
  teardown(helper.tidy)

  -- Runs a case, which must end well; returns its profile.
  local function run(case, mode, extra)
    local result, profile, reason = agent.run(program .. " " .. case, mode, extra)
    assert.equal(0, result.code, case .. ": " .. result.err)
    assert.equal("", reason)
    return assert(profile, case .. " left no profile")
  end

  it("counts each block of a site, live and ever made, and the temporary ones", function()
    local p = run "basic"
    assert.equal(100000, agent.sum(p, "leak_basic"))
    assert.equal(100, agent.sum(p, "leak_basic", "inuse_objects"))
    assert.equal(0, agent.sum(p, "temporary"))
    assert.equal(1000, agent.sum(p, "temporary", "alloc_objects"))
    assert.equal(48000, agent.sum(p, "temporary", "alloc_space"))
    assert.equal(1000, agent.sum(p, "temporary", "temporary_objects"))
    assert.equal(0, agent.sum(p, "leak_basic", "temporary_objects"))
  end)

  it("sees what constructors allocate before main", function() assert.equal(12345, agent.sum(run "nothing", "leak_early")) end)

  it("follows realloc from nothing, to nothing, in place, moved, and failed", function()
    local p = run "realloc"
    assert.equal(50000, agent.sum(p, "leak_realloc"))
    assert.equal(2, agent.sum(p, "leak_realloc", "inuse_objects"))
  end)

  it("sees all aligned forms, and their frees", function()
    local p = run "aligned"
    assert.equal(6024, agent.sum(p, "leak_aligned"))
    assert.equal(6, agent.sum(p, "leak_aligned", "inuse_objects"))
    assert.equal(12, agent.sum(p, "leak_aligned", "alloc_objects"))
  end)

  it("outlives destructors of threads that allocate after its own data is gone", function()
    local p = run "thread_exit"
    assert.equal(100000, agent.sum(p, "leak_basic"))
    assert.equal(0, agent.sum(p, "at_thread_end"))
  end)

  it("keeps no block that another of 64 threads has freed", function()
    local p = run "storm"
    assert.equal(0, agent.sum(p, "storm_alloc"))
    assert.equal(64 * 4000, agent.sum(p, "storm_alloc", "alloc_objects"))
    agent.run(program .. " storm", "sampled")
  end)

  it("does not hang in signal handlers that allocate", function()
    local p = run "signals"
    assert.equal(3000, agent.sum(p, "leak_basic"))
  end)

  it("goes on through forks of a busy program, whose children do not speak for it", function()
    assert.equal(1000, agent.sum(run "forks", "leak_basic"))
  end)

  it("does no harm to spawned, vforked and cloned children", function()
    assert.equal(1000, agent.sum(run "spawns", "leak_basic"))
    run "bare_clone"
  end)

  it("begins anew after exec", function() assert.equal(100000, agent.sum(run "execs", "leak_basic")) end)

  it("names functions of libraries that were closed", function()
    local library = folder .. "/lib.so"
    agent.build(helper.write(folder .. "/lib.c",
      'void *malloc(unsigned long);\nvoid *leak_in_library(unsigned long n) { void *p = malloc(n); __asm__ volatile("" ::: "memory"); return p; }\n'),
      "-shared -fPIC", folder, "lib.so")
    local p = run("libraries " .. library)
    assert.equal(20000, agent.sum(p, "leak_in_library"))
    assert.is_true(agent.sum(p, "libraries") >= 20000) -- and what dlopen keeps
  end)

  it("walks coroutines, deep recursions and realigned stacks", function()
    local p = run "coroutines"
    assert.equal(50000, agent.sum(p, "in_coroutine"))
    assert.equal(10000, agent.sum(run "deep", "deeper"))
    p = run "realigning"
    assert.equal(10000, agent.sum(p, "realigned"))
    assert.equal(10000, agent.sum(p, "realigning"))
  end)

  it("leaves a program alone that may not make sockets", function()
    local result = agent.run(program .. " no_sockets", "full")
    assert.equal(0, result.code, result.err)
  end)

  it("listens again after the program closed its socket", function()
    local app = agent.start(program .. " closes_all+", "full")
    local about = assert(agent.ask(app.pid, "hello"))
    assert.equal(2, about.mode)
    app.stop()
  end)

  it("has mappings as a kind of their own, cut where the program cut them", function()
    local app = agent.start(program .. " mappings+", "full")
    assert.equal(0, agent.sum(agent.snapshot(app.pid), "leak_mapping"))
    local p = agent.snapshot(app.pid, { kinds = malloc.kinds.mmap })
    assert.equal(3 << 20, agent.sum(p, "leak_mapping"))
    assert.equal(5 << 20, agent.sum(p, "mappings"))
    app.stop()
  end)

  it("estimates sites of any block size without bias", function()
    local sums, runs <const> = { 0, 0 }, 12
    for _ = 1, runs do
      local p = run("sites", "sampled", { rate = 65536 })
      sums[1], sums[2] = sums[1] + agent.sum(p, "leak_basic"), sums[2] + agent.total(p)
    end
    -- 128 + 32 or so and 128 samples a run and site: sigma is 3 % over all runs.
    assert.near(16 << 20, sums[1] / runs, (16 << 20) * 0.09)
    assert.near(24 << 20, sums[2] / runs, (24 << 20) * 0.09)
  end)

  it("keeps a preloaded jemalloc at work", function()
    local found = helper.shell("ldconfig -p | grep -o '/.*libjemalloc.so.2$' | head -1").out:match("%S+")
    if not found then return pending "libjemalloc2 is not installed" end
    assert.equal(100000, agent.sum(run("basic", "full", { behind = found }), "leak_basic"))
    assert.equal(0, agent.sum(run("storm", "full", { behind = found }), "storm_alloc"))
    local app = agent.start(program .. " storm+", "full", { behind = found })
    assert.equal(0, assert(agent.ask(app.pid, "stats")).allocator_is_libc)
    local about, err = core.malloc_agent(app.pid, "trim")
    assert.is_nil(about)
    assert.equal("unsupported", err.code)
    app.stop()
  end)

  it("says that a program has an allocator linked into it", function()
    local source = helper.write(folder .. "/own.c", [[#include <stddef.h>
      static char pool[1 << 20]; static size_t used;
      void *malloc(size_t n) { used += (n + 31) & ~(size_t)15; return used < sizeof pool ? pool + used - ((n + 15) & ~(size_t)15) : 0; }
      void free(void *p) { (void)p; }
      int main(void) { return malloc(100) ? 7 : 1; }]])
    local result, profile, reason = agent.run(agent.build(source, "-rdynamic", folder, "own"), "full")
    assert.equal(7, result.code)
    assert.is_nil(profile)
    assert.matches("allocator of its own", reason)
  end)

  it("works in programs that are linked to fixed addresses and hand out malloc and free", function()
    local fixed = agent.build(helper.write(folder .. "/fixed.c", [[#include <stdlib.h>
      void *(*volatile give)(size_t);
      void (*volatile take)(void *);
      __attribute__((noinline)) void *leak_fixed(void) { return give(1000); }
      int main(void) { void *volatile p; give = malloc; take = free; for (int i = 0; i < 10; i++) { p = leak_fixed(); take(give(50)); } return p ? 0 : 1; }]]),
      "-no-pie -fno-pic", folder, "fixed")
    local result, profile = agent.run(fixed, "full")
    assert.equal(0, result.code)
    assert.equal(10000, agent.sum(assert(profile), "main"))
  end)

  it("can be started where it was brought in later", function()
    local source = helper.write(folder .. "/late.c", [[#include <dlfcn.h>
      #include <stdio.h>
      #include <unistd.h>
      int main(int argc, char **argv) {
        int (*start)(const char *) = 0;
        void *library = dlopen(argv[1], RTLD_NOW);
        if (library) *(void **)&start = dlsym(library, "tidemark_agent_start");
        if (!start || start("mode=idle") != 0) return 1;
        printf("%d\n", getpid());
        fflush(stdout);
        while (getchar() != EOF) continue;
        return 0;
      }]])
    local late = agent.build(source, "", folder, "late")
    local app = agent.start("sh -c 'unset LD_PRELOAD; exec " .. late .. " " .. agent.library .. "'", "idle")
    local about = assert(agent.ask(app.pid, "hello"))
    assert.equal(0, about.is_preloaded)
    assert.equal(0, about.mode)
    app.stop()
  end)

  it("is left out of what children inherit if that is asked", function()
    local shown = agent.run("sh -c 'echo [$LD_PRELOAD]; env | grep -c LD_PRELOAD=.*tidemark'", "sampled")
    assert.equal("1", shown.out:match("(%d)\n$"))
    shown = agent.run("env LD_PRELOAD=" .. agent.library .. " sh -c 'env | grep -c LD_PRELOAD=.*tidemark'", "sampled", { children = "drop" })
    assert.equal("0", shown.out:match("(%d)\n$"))
  end)

  it("does its verbs while the program runs", function()
    local app = agent.start(program .. " basic+", "idle")
    core.malloc_agent(app.pid, "hello")
    app.stop()
    app = agent.start(program .. " storm+", "idle")
    local about = assert(agent.ask(app.pid, "hello"))
    assert.equal(0, about.mode)
    assert.equal(0, about.samples)
    about = assert(core.malloc_agent(app.pid, "start", { mode = "full", min_size = 40 }))
    assert.equal(2, about.mode)
    assert.equal(40, about.min_size_bytes)
    assert.equal(1, core.malloc_agent(app.pid, "mark").epoch)
    assert.equal(0, core.malloc_agent(app.pid, "stop").mode)
    about = assert(core.malloc_agent(app.pid, "stats"))
    assert.equal(1, about.allocator_is_libc)
    assert.is_true(about.arena_bytes >= about.used_bytes and about.used_bytes > 0)
    assert.is_true(assert(core.malloc_agent(app.pid, "trim")).trim_ns > 0)
    assert.equal(0, core.malloc_agent(app.pid, "reset").live)
    assert(core.malloc_agent(app.pid, "detach"))
    for _ = 1, 100 do
      if not core.malloc_agent(app.pid, "hello") then break end
      core.pause(20000000)
    end
    local gone, err = core.malloc_agent(app.pid, "hello")
    assert.is_nil(gone)
    assert.equal("gone", err.code)
    app.stop()
  end)

  it("labels blocks with thread, age, epoch, kind and state, and mappings with build ids", function()
    local app = agent.start(program .. " basic+", "full")
    local path = helper.write(folder .. "/labels.pb", assert(select(2, agent.ask(app.pid, "snapshot"))))
    local raw = helper.shell("go tool pprof -raw " .. path)
    assert.equal(0, raw.code, raw.err)
    assert.matches("kind:%[malloc%] state:%[live%] thread:%[cases " .. app.pid .. "%]", raw.out)
    assert.matches("age:%[%d+ seconds%]", raw.out)
    assert.matches("epoch:%[0 epoch%]", raw.out)
    assert.matches("cases %x%x%x%x%x%x%x%x%x%x", raw.out:match("Mappings.*"))
    app.stop()
  end)

  it("keeps working when who asked it is killed", function()
    local app = agent.start(program .. " basic+", "full")
    assert(agent.ask(app.pid, "hello"))
    for _ = 1, 5 do
      helper.shell(("(%s & p=$!; sleep 0.05; kill -9 $p) 2>/dev/null"):format(helper.command("snap", app.pid, "malloc", "-o", folder .. "/killed.pb.gz")))
    end
    assert.equal(100000, agent.sum(agent.snapshot(app.pid), "leak_basic"))
    app.stop()
  end)
end)
