-- What is known is left out of profiles, gates and leaks, and is said.
local core = require "tidemark.core"
local helper = require "spec.support.helper"
local suppressions = require "tidemark.suppressions"

-- Root first, as collapsed stacks have them.
local STACKS <const> = table.concat({ "main;render;XCreatePixmap 100", "main;load;png_read_image 20", "main;load;jpeg_read 3", "main;cache_put 7",
  "worker;strdup 5", "" }, "\n")

describe("suppressions", function()
  local folder, path

  setup(function()
    folder = helper.folder()
    path = helper.write(folder .. "/stacks.txt", STACKS)
  end)
  teardown(helper.tidy)

  local function left(...)
    local rows, meta = helper.rows("top", "top", path, ...)
    local out = {}
    for _, row in ipairs(rows) do if row.flat > 0 then out[row.name] = row.flat end end
    return out, meta
  end

  it("match as LeakSanitizer's patterns do", function()
    for _, case in ipairs {
      { "foo", "a_foo_b", true }, { "foo", "fo", false }, { "^foo", "foobar", true }, { "^foo", "a_foo", false }, { "foo$", "a_foo", true },
      { "foo$", "foob", false }, { "^foo$", "foo", true }, { "^foo$", "foo2", false }, { "a*c", "xabbbcx", true }, { "a*c", "ca", false },
      { "^a*c$", "abc", true }, { "^a*c$", "abcd", false }, { "std::*vector<int>", "std::__1::vector<int>::push", true }, { "a.b", "axb", false },
      { "a+b", "aab", false }, { "a+b", "a+b", true }, { "*", "", true }, { "100%", "100%", true }, { "f(int)", "f(int)", true }, { "f[0]", "f0", false },
    } do
      assert.equal(case[3], suppressions.pattern(case[1])(case[2]), case[1] .. " on " .. case[2])
    end
  end)

  it("come from files of LeakSanitizer", function()
    local file = helper.write(folder .. "/lsan.supp", "# known\n\n  leak:^XCreate\nleak:*_read\r\nleak:never_there\n")
    local names, meta = left("--suppressions", file)
    assert.same({ cache_put = 7, strdup = 5 }, names)
    assert.equal(12, meta.total)
    assert.same({ "leak:^XCreate", "leak:*_read", "leak:never_there" }, { meta.suppressed[1].rule, meta.suppressed[2].rule, meta.suppressed[3].rule })
    assert.same({ 1, 2, 0 }, { meta.suppressed[1].sites, meta.suppressed[2].sites, meta.suppressed[3].sites })
    local shown = helper.tidemark("top", path, "--suppressions", file)
    assert.matches("suppressed: 3 sites, by leak:%^XCreate, leak:%*_read; unused: leak:never_there", shown.err)
  end)

  it("are predicates in Lua, in a file or an option", function()
    local file = helper.write(folder .. "/known.lua", [[
      return {
        { name = "images", match = function(site) return site:has "^png_" or site.has "jpeg" end },
        function(site) return site.leaf == "strdup" and #site.frames == 2 end,
      }
    ]])
    local names, meta = left("--suppressions", file, "--suppress", 'has "cache" and values.samples < 10')
    assert.same({ XCreatePixmap = 100 }, names)
    assert.same({ "images", "known.lua #2", 'has "cache" and values.samples < 10' },
      { meta.suppressed[1].rule, meta.suppressed[2].rule, meta.suppressed[3].rule })
  end)

  it("hold on both sides of a difference", function()
    local later = helper.write(folder .. "/later.txt", (STACKS:gsub("XCreatePixmap 100", "XCreatePixmap 900"):gsub("strdup 5", "strdup 9")))
    local rows = helper.rows("top", "top", later, "--diff-base", path, "--suppress", 'has "^XCreate"')
    local grew = {}
    for _, row in ipairs(rows) do if row.flat ~= 0 then grew[row.name] = row.flat end end
    assert.same({ strdup = 4 }, grew)
  end)

  it("hold for growth, and for a gate", function()
    local runs = folder .. "/runs"
    assert(os.execute("mkdir " .. runs))
    for i = 1, 12 do
      helper.write(("%s/%02d.txt"):format(runs, i), STACKS:gsub("XCreatePixmap 100", "XCreatePixmap " .. 100000 * i))
    end
    assert.equal(1, helper.tidemark("gate", runs, "--group", "4", "--min-count", "10").code)
    local r = helper.tidemark("gate", runs, "--group", "4", "--min-count", "10", "--suppress", 'has "^XCreate"')
    assert.equal(0, r.code, r.err)
    assert.matches("suppressed: 12 sites", r.err)
    local rows, meta = helper.rows("growth", "growth", runs, "--suppress", 'has "^XCreate"', "--suppress", 'leaf == "none"')
    for _, row in ipairs(rows) do assert.equal(0, row.delta, row.key) end
    assert.same({ 12, 0 }, { meta.suppressed[1].sites, meta.suppressed[2].sites })
    assert.is_true(helper.rows("growth", "growth", runs)[1].delta > 0)
  end)

  it("say where a line or an expression is wrong", function()
    local file = helper.write(folder .. "/bad.supp", "leak:fine\nrace:other\n")
    local r = helper.tidemark("top", path, "--suppressions", file)
    assert.equal(2, r.code)
    assert.matches("bad.supp:2: 'race:other'", r.err)
    assert.equal(2, helper.tidemark("top", path, "--suppress", "bytes <").code)
    r = helper.tidemark("top", path, "--suppress", "frames[99].name == 'x'")
    assert.equal(2, r.code)
    assert.matches("attempt to index a nil value", r.err)
    r = helper.tidemark("top", path, "--suppress", "os.exit(0)")
    assert.equal(2, r.code)
    assert.is_true(helper.tidemark("top", path, "--suppressions", folder .. "/none").code > 0)
    file = helper.write(folder .. "/bad.lua", "return { 7 }")
    assert.matches("entry 1 is no function", helper.tidemark("top", path, "--suppressions", file).err)
  end)

  it("stand in the library", function()
    local script = helper.write(folder .. "/s.lua", ([[
      p, rows = tm.suppress(%q, { "leak:png_*", function(site) return site.count == 0 and site.leaf == "strdup" end })
      print(rows[1].rule, rows[1].sites, rows[2].sites)
      print(p:info().samples)
    ]]):format(path))
    local r = helper.shell(helper.command "repl" .. " < " .. script)
    assert.equal("leak:png_*\t1\t1\n3\n", r.out, r.err)
    local p = assert(core.read(path))
    local same, count = p:without(function() return false end)
    assert.equal(0, count)
    assert.equal(p:write "pprof", same:write "pprof")
    assert.has_error(function() p:without(function() error "stop" end) end)
    assert.has_error(function() p:without(function() p:close() end) end)
  end)
end)
