-- Recordings of heaptrack: what lives at the end, what lived at the highest point, what was freed at once; of every version, raw and
-- interpreted, whole and cut, and the same sums as heaptrack_print.
local core = require "tidemark.core"
local helper = require "spec.support.helper"

local SEEDS <const> = "spec/fuzz/seeds/fuzz_heaptrack/"

local function values(bytes, name)
  local p, err = core.read { bytes = bytes, name = name or "recording" }
  if not p then return nil, err end
  local out = {}
  for _, t in ipairs(p:info().types) do out[t.type] = t.total end
  return out, p
end

local function by_name(p, sample_index)
  local out = {}
  for _, row in assert(p:report("top", { sample_index = sample_index, nodecount = 0, nodefraction = 0, edgefraction = 0 })):rows() do
    out[row.name] = row.flat
  end
  return out
end

describe("heaptrack", function()
  teardown(helper.tidy)

  it("counts allocations, leaks, the peak and temporaries by stack", function()
    local sums, p = values(table.concat({ "v 10400 3", "X app", "s 8 /bin/app", "s 4 main", "s 5 store", "s 3 a.c", "i 1000 1 2 4 a", "t 1 0",
      "i 2000 1 3 4 14", "t 2 1", "a 64 2", "a 10 1", "+ 0", "+ 0", "+ 1", "- 1", "c a", "- 0", "+ 1", "R 3", "c 14", "" }, "\n"))
    assert.same({ alloc_objects = 4, alloc_space = 232, inuse_objects = 2, inuse_space = 116, peak_space = 216, temporary_objects = 2 }, sums)
    assert.same({ store = 100, main = 16 }, by_name(p, "inuse_space"))
    assert.same({ store = 200, main = 16 }, by_name(p, "peak_space"))
    -- A free behind a free is temporary to heaptrack when it is of allocation 0; so it is here.
    assert.same({ main = 1, store = 1 }, by_name(p, "temporary_objects"))
    local info = p:info()
    assert.same({ "command: app" }, info.comments)
    assert.equal(20000000, info.duration_ns)
    assert.equal(3 * 4096, info.stats.MaxRSS)
  end)

  it("leaves operator new to whom it works for, and knows inlined functions", function()
    local sums, p = values(helper.read(SEEDS .. "version2"))
    assert.equal(0x40 * 2, sums.inuse_space)
    assert.same({ work = 0x80 }, (function()
      local found = {}
      for name, flat in pairs(by_name(p, "inuse_space")) do if flat > 0 then found[name] = flat end end
      return found
    end)())
    assert.equal(1, sums.temporary_objects)
  end)

  it("follows pointers in raw and old recordings", function()
    local sums = values(helper.read(SEEDS .. "version0"))
    assert.same({ alloc_objects = 3, alloc_space = 56, inuse_objects = 2, inuse_space = 40, peak_space = 48, temporary_objects = 0 }, sums)
    local raw = values(helper.read(SEEDS .. "raw"))
    local interpreted = values(helper.read(SEEDS .. "interpreted"))
    raw.alloc_space, interpreted.alloc_space = nil, nil -- they are two runs
    raw.temporary_objects, interpreted.temporary_objects = nil, nil -- interpreted ones know no blocks, only kinds of them
    assert.same(interpreted, raw)
  end)

  it("gives what is whole of a recording that was cut, and says where", function()
    local whole = helper.read(SEEDS .. "interpreted")
    local last = 0
    for percent = 5, 95, 5 do
      local part = whole:sub(1, #whole * percent // 100)
      if part:sub(-1) ~= "\n" then
        local p, err = core.read { bytes = part, name = "cut", format = "heaptrack" }
        assert.matches("ends inside line %d+", err.message)
        local _, lines = part:gsub("\n", "")
        assert.equal(lines + 1, tonumber(err.message:match "inside line (%d+)"))
        assert.equal(#part:match("^.*\n"), err.offset)
        assert.is_true(p.partial)
        local all = 0
        for _, t in ipairs(p:info().types) do if t.type == "alloc_objects" then all = t.total end end
        assert.is_true(all >= last)
        last = all
      end
    end
    for _, bad in ipairs { "t 1 0", "t 0 5", "+ 7", "i 10 1 1 1 zz", "a 10 99", "s ffffffff x", "- 0" } do
      local p, err = core.read { bytes = "v 10400 3\nX app\ns 3 abc\n" .. bad .. "\n", name = "bad" }
      assert.matches("line 4: .* is expected; what came before is counted", err.message, bad)
      assert.equal(24, err.offset)
      assert.is_true(p.partial)
    end
    assert.matches("version 9", select(2, core.read { bytes = "v 10400 9\nX app\n", name = "new" }).message)
  end)

  it("reads packed recordings as far as they are whole", function()
    local folder, part = helper.folder(), helper.read(SEEDS .. "raw")
    local whole = part
    for i = 1, 30000 do whole = whole .. ("+ %x 1 %x\n"):format(i * 7919 % 60000, i << 20 | 0x7f << 32) end
    local all = values(whole)
    helper.write(folder .. "/r", whole)
    for _, how in ipairs { { "zstd -q -c %s", "zstd" }, { "gzip -c %s", "gzip" }, { "sh -c 'head -c 9000 %s | gzip; tail -c +9001 %s | gzip'", "gzip" } } do
      local packed = helper.shell((how[1]:gsub("%%s", folder .. "/r"))).out
      assert.same(all, (values(packed)))
      local last = 0
      for _, percent in ipairs { 50, 80, 99 } do
        local sums, p = values(packed:sub(1, #packed * percent // 100))
        local _, err = core.read { bytes = packed:sub(1, #packed * percent // 100), name = "cut" }
        assert.is_true(p.partial)
        assert.is_true(sums.alloc_objects > last and sums.alloc_objects < all.alloc_objects)
        assert.matches("only what came before is counted: " .. how[2] .. " data is cut or damaged at byte %d+", err.message)
        assert.equal(#packed * percent // 100, err.offset)
        last = sums.alloc_objects
      end
    end
  end)

  it("has the sums of heaptrack_print", function()
    if helper.shell("command -v heaptrack heaptrack_print").code ~= 0 then return pending "no heaptrack" end
    local folder = helper.folder()
    local source = helper.write(folder .. "/app.cc", [[
#include <map>
#include <string>
#include <vector>
struct Node { std::string text; Node *next; };
static std::map<int, std::string> kept;
static Node *head;
__attribute__((noinline)) void work(int i) {
  std::vector<int> v;
  for (int k = 0; k < 50; k++) v.push_back(k * i);
  kept[i % 500] = std::string(40 + i % 100, 'x');
  if (i % 7 == 0) head = new Node{std::string("a text that is too long to be kept inside"), head};
}
__attribute__((noinline)) void deep(int d, int i) { if (d == 0) work(i); else deep(d - 1, i); asm volatile(""); }
int main() { for (int i = 0; i < 20000; i++) deep(i % 20, i); kept.clear(); }
]])
    assert.equal(0, helper.shell(("c++ -g -O1 -o %s/app %s"):format(folder, source)).code)
    helper.shell(("heaptrack -o %s/rec %s/app"):format(folder, folder))
    local said = helper.shell(("heaptrack_print -p 0 -a 0 -T 0 %s/rec.zst"):format(folder)).out
    local p = assert(core.read(folder .. "/rec.zst"))
    local stats = p:info().stats
    assert.equal(tonumber(said:match("calls to allocation functions: (%d+)")), stats.Allocations)
    assert.equal(tonumber(said:match("temporary memory allocations: (%d+)")), stats.TemporaryAllocations)
    local function human(bytes) -- as it prints them: thousands, two digits
      local units, n = { "B", "K", "M", "G" }, 1
      while bytes >= 1000 and n < 4 do bytes, n = bytes / 1000, n + 1 end
      return n == 1 and ("%dB"):format(bytes) or ("%.2f%s"):format(bytes, units[n])
    end
    assert.equal(said:match("peak heap memory consumption: (%S+)"), human(stats.PeakBytes))
    assert.equal(said:match("total memory leaked: (%S+)"), human(stats.LeakedBytes))
    local sums = {}
    for _, t in ipairs(p:info().types) do sums[t.type] = t.total end
    assert.equal(stats.LeakedBytes, sums.inuse_space)
    assert.equal(stats.PeakBytes, sums.peak_space)
    local rows = helper.rows("top", "top", folder .. "/rec.zst", "--focus", "work", "--cum")
    assert.is_true(rows[1].cum > 100000)

    -- Raw: what the interpreter counts over the same file, and the names of the interpreted one.
    helper.shell(("heaptrack --raw -o %s/rec %s/app"):format(folder, folder))
    local raw = folder .. "/rec.raw.zst"
    local interpreter = helper.shell("find /usr/lib /usr/lib64 -name heaptrack_interpret").out:match("%S+")
    if interpreter then
      said = helper.shell(("zstd -dqc %s | %s 2>&1 >/dev/null"):format(raw, interpreter)).out
      p = assert(core.read(raw))
      stats, sums = p:info().stats, {}
      for _, t in ipairs(p:info().types) do sums[t.type] = t.total end
      assert.equal(tonumber(said:match("\tallocations:%s+(%d+)")), stats.Allocations)
      assert.equal(tonumber(said:match("temporary allocations:%s*(%d+)")), stats.TemporaryAllocations)
      assert.equal(tonumber(said:match("leaked allocations:%s+(%d+)")), sums.inuse_objects)
    end
    local function flat(path)
      local out = {}
      for _, row in ipairs(helper.rows("top", "top", path, "--symbolize", "demangle=full", "--nodefraction", "0")) do
        if row.flat > 0 then out[row.name:gsub(" %(inline%)", "")] = row.flat end
      end
      return out
    end
    assert.same(flat(folder .. "/rec.zst"), flat(raw))
  end)
end)
