-- account: of programs whose memory is known: a C program with an extra mapping, a server that tells Go's numbers, a recording.
local core = require "tidemark.core"
local helper = require "spec.support.helper"

local program = [[
#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>
static void *map(size_t n, int flags) { void *p = mmap(0, n, 3, MAP_ANONYMOUS | flags, -1, 0); memset(p, 1, n); return p; }
int main(void) {
  for (int i = 0; i < 16 << 10; i++) memset(malloc(1000), 1, 1000);
  for (int i = 0; i < 8; i++) memset(malloc(4 << 20), 1, 4 << 20);
  map(24 << 20, MAP_PRIVATE);
  map(12 << 20, MAP_SHARED);
  void *freed[8 << 10];
  for (int i = 0; i < 8 << 10; i++) memset(freed[i] = malloc(1000), 1, 1000);
  memset(malloc(1000), 1, 1000);
  for (int i = 0; i < 8 << 10; i++) free(freed[i]);
  puts("ready");
  fflush(stdout);
  malloc_info(0, stderr);
  fflush(stderr);
  for (;;) pause();
}
]]

local MIB <const> = 1 << 20

describe("account", function()
  local folder, pid
  setup(function()
    folder = helper.folder()
    local f = assert(io.open(folder .. "/known.c", "w"))
    f:write(program)
    f:close()
    assert(os.execute(("cc -O0 -o %s/known %s/known.c"):format(folder, folder)))
    local started = io.popen(("%s/known > %s/out 2> %s/info & echo $!"):format(folder, folder, folder))
    pid = started:read("n")
    started:close()
    for _ = 1, 100 do
      local out = io.open(folder .. "/out")
      if out and out:read("l") == "ready" then break end
      core.pause(20000000)
    end
  end)
  teardown(function()
    if pid then os.execute("kill " .. pid) end
    helper.tidy()
  end)

  local function run(words)
    local r = helper.tidemark(table.unpack(words))
    return r.code, r.out, r.err
  end

  local function json(words)
    local code, out = run(words)
    assert.equal(0, code)
    return assert(core.json_decode(out))
  end

  local function by_owner(d)
    local owned, sum = {}, 0
    for _, row in ipairs(d.rows) do
      owned[row.owner] = row.bytes
      sum = sum + row.bytes
    end
    return owned, sum
  end

  it("adds up to RSS and knows malloc's memory of both kinds", function()
    local d = json { "account", tostring(pid), "--json" }
    local owned, sum = by_owner(d)
    assert.equal("tidemark/account/1", d.schema)
    assert.equal("native", d.meta.runtime)
    assert.is_true(math.abs(sum - d.meta.statm_bytes) <= 0.01 * d.meta.statm_bytes)
    assert.is_true(math.abs(owned.c_heap - 56 * MIB) < 2 * MIB)
    assert.is_true(math.abs(owned.unexplained - 24 * MIB) < 2 * MIB)
    assert.is_true(math.abs(owned.shared_memory - 12 * MIB) < MIB)
    assert.is_true(owned.libraries > 0 and owned.executable > 0 and owned.stacks > 0)
  end)

  it("divides the C heap by malloc_info", function()
    local owned = by_owner(json { "account", tostring(pid), "--malloc-info", folder .. "/info", "--json" })
    assert.is_true(math.abs(owned.c_heap_inuse - 48 * MIB) < MIB)
    assert.is_true(math.abs(owned.c_heap_free - 8 * MIB) < MIB)
    assert.is_nil(owned.c_heap)
    local code, _, err = run { "account", tostring(pid), "--malloc-info", folder .. "/known.c" }
    assert.equal(3, code)
    assert.matches("no text of malloc_info", err)
  end)

  it("asks the malloc agent where there is one", function()
    local started = io.popen(("%s run --malloc --quiet --no-history --no-builtin -- %s/known > %s/out2 2>&1 & echo $!"):format(
      helper.quote(helper.bin), folder, folder))
    local runner = started:read("n")
    started:close()
    local child
    for _ = 1, 200 do
      core.pause(20000000)
      for _, p in ipairs(core.processes()) do
        if p.parent == runner and p.exe:match("/known$") then child = p.pid end
      end
      local out = child and helper.read(folder .. "/out2")
      if out and out:find("</malloc>\n$") then break end
    end
    finally(function() os.execute("kill " .. runner) end)
    local d = json { "account", tostring(child), "--json" }
    os.execute("kill " .. child)
    assert.is_true(d.meta.agent)
    local owned = by_owner(d)
    assert.is_true(math.abs(owned.c_heap_inuse - 48 * MIB) < 2 * MIB)
    assert.is_true(math.abs(owned.c_heap_free - 8 * MIB) < 2 * MIB)
  end)

  it("prints a table with bars, and CSV", function()
    local code, out = run { "account", tostring(pid) }
    assert.equal(0, code)
    assert.matches("C heap %(whole%)%s+[%d.]+ MiB%s+[%d.]+ %%", out)
    local _, csv = run { "account", tostring(pid), "--csv" }
    assert.matches("^owner,bytes,share,", csv)
    assert.matches("\nshared_memory,%d+,", csv)
  end)

  it("follows with trends and writes a page that needs nothing else", function()
    local page = folder .. "/where.html"
    local d = json { "account", tostring(pid), "--watch", "1s", "--for", "3s", "--html", page, "--json", "--quiet" }
    assert.is_true(d.meta.readings >= 3)
    for _, row in ipairs(d.rows) do assert.is_number(row.trend_bytes_per_hour) end
    local html = assert(io.open(page)):read("a")
    assert.matches('data%-o="c_heap"', html)
    assert.is_nil(html:find('src=', 1, true))
    assert.is_nil(html:find('https?://'))
    local data = assert(core.json_decode(html:match('id="d">(.-)</script>')))
    assert.equal(d.meta.readings, #data.times)
    for i, rss in ipairs(data.rss) do
      local sum = 0
      for _, values in pairs(data.values) do sum = sum + values[i] end
      assert.is_true(math.abs(sum - rss) <= 0.01 * rss)
    end
  end)

  it("is recorded by watch and read from the recording", function()
    local file = folder .. "/known.tmr"
    local code = run { "record", tostring(pid), "-o", file, "--for", "2s", "--every", "1s", "--no-history", "--no-builtin", "--quiet",
      "--show", "account.c_heap" }
    assert.equal(0, code)
    local owned = by_owner(json { "account", file, "--json" })
    assert.is_true(math.abs(owned.c_heap - 56 * MIB) < 2 * MIB)
    assert.is_true(math.abs(owned.unexplained - 24 * MIB) < 2 * MIB)
  end)

  it("says what it cannot account for", function()
    local code, _, err = run { "account", "999999999" }
    assert.equal(4, code)
    assert.matches("999999999", err)
    code, _, err = run { "account", tostring(pid), "--html", folder .. "/x.html" }
    assert.equal(2, code)
    assert.matches("%-%-watch", err)
  end)

  it("is a verb of tm", function()
    local tm = require "tidemark"
    local rows = assert(tm.account(pid))
    local owned = {}
    for _, row in ipairs(rows) do owned[row.owner] = row.bytes end
    assert.is_true(owned.c_heap > 40 * MIB)
    local none, err = tm.account(999999999)
    assert.is_nil(none)
    assert.equal("gone", err.code)
  end)
end)
