-- Profiles of a C++ program that hold bare addresses: named, listed and disassembled from the program itself.
local helper = require "spec.support.helper"

local source = [[
namespace app {
volatile int sink;
template <class T> __attribute__((noinline)) int work(T n) {
  for (T i = 0; i < n; i++) sink = sink + i;
  return sink;
}
}
int main() { return app::work<int>(3) & 1; }
]]

describe("a native profile", function()
  local dir, binary, profile, start
  setup(function()
    dir = helper.folder()
    helper.write(dir .. "/prog.cc", source)
    binary = dir .. "/prog"
    assert(os.execute(("cd '%s' && g++ -g -O1 -no-pie -o prog prog.cc"):format(dir)))
    local pipe = assert(io.popen(("nm '%s'"):format(binary)))
    start = tonumber(pipe:read("a"):match("(%x+) [TW] _ZN3app4workIiEEiT_"), 16)
    pipe:close()
    -- Two objects of 100 bytes; a return address, so one byte behind the second instruction's begin counts for what is before.
    profile = helper.write(dir .. "/heap.txt", ("heap profile: 2: 200 [2: 200] @ heapprofile\n2: 200 [2: 200] @ 0x%x\n\n"
      .. "MAPPED_LIBRARIES:\n400000-600000 r-xp 00000000 08:01 1 %s\n"):format(start + 1, binary))
  end)
  teardown(helper.tidy)

  it("gets the names of its functions from the program", function()
    local rows = helper.rows("top", "top", profile)
    assert.same({ name = "app::work", flat = 200, cum = 200, inline = "" }, rows[1])
    rows = helper.rows("top", "top", "--symbolize", "demangle=full", profile)
    assert.equal("int app::work<int>(int)", rows[1].name)
    rows = helper.rows("top", "top", "--symbolize", "none", profile)
    assert.equal("[prog]", rows[1].name)
  end)

  it("lists the source lines of a function", function()
    local rows, meta = helper.rows("list", "list", "app::work", profile)
    assert.equal(200, meta.total)
    assert.equal(3, rows[1].line)
    assert.equal(dir .. "/prog.cc", rows[1].file)
    assert.matches("^template", rows[1].source)
    local flat = 0
    for _, row in ipairs(rows) do flat = flat + row.flat end
    assert.equal(200, flat)
  end)

  it("shows a function's instructions, by name and by address", function()
    local rows = helper.rows("disasm", "disasm", "app::work", profile)
    assert.equal(start, rows[1].address)
    assert.equal(200, rows[1].flat)
    assert.matches("prog%.cc:%d", rows[1].place)
    assert.equal(#rows, #helper.rows("disasm", "disasm", ("0x%x"):format(start), binary, profile))
  end)

  it("lays instructions under source lines in a page of its own", function()
    local page = helper.tidemark("weblist", "work", profile).out
    assert.matches("<h2>app::work</h2>", page)
    assert.matches("<details><summary>", page)
    assert.is_nil(page:find("<script", 1, true))
    assert.is_nil(page:find("://", 1, true))
  end)

  it("says which binary it did not find", function()
    local moved = helper.write(dir .. "/moved.txt", (helper.read(profile):gsub("/prog\n", "/gone\n")))
    local result = helper.tidemark("top", moved)
    assert.equal(0, result.code)
    assert.matches("%[gone%]", result.out)
    assert.matches("gone: no binary", result.err)
    result = helper.tidemark("disasm", "work", moved)
    assert.equal(2, result.code)
    assert.matches("no matches found for regexp work; no binary .*/gone here", result.err)
  end)
end)
