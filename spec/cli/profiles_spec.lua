-- The profile commands on small profiles whose figures were counted by hand.
local core = require "tidemark.core"
local helper = require "spec.support.helper"
local writer = require "spec.support.pprof_writer"

local stacks = "main;serve;json.Marshal 60\nmain;serve;log 5\nmain;idle 30\nmain;serve 4\nmain;rare 1\n"

describe("a profile command", function()
  local dir, collapsed, packed
  setup(function()
    dir = helper.folder()
    collapsed = helper.write(dir .. "/a.folded", stacks)
    packed = helper.write(dir .. "/a.pb.gz", assert(core.read(collapsed)):write("pprof"))
  end)
  teardown(helper.tidy)

  local function row(rows, name)
    for _, r in ipairs(rows) do
      if r.name == name then return r end
    end
  end

  it("gives flat and cum of each function, none cut", function()
    local rows, meta = helper.rows("top", "top", packed)
    assert.equal(6, #rows)
    assert.equal(100, meta.total)
    assert.same({ name = "json.Marshal", flat = 60, cum = 60, inline = "" }, rows[1])
    assert.equal(4, row(rows, "serve").flat)
    assert.equal(69, row(rows, "serve").cum)
    assert.equal(100, row(rows, "main").cum)
  end)

  it("reads collapsed stacks and pprof files alike", function()
    assert.same(helper.rows("top", "top", packed), helper.rows("top", "top", collapsed))
  end)

  it("takes its options as pprof writes them and as GNU does", function()
    local one = helper.tidemark("top", "-cum", "-focus=serve", "-nodecount=2", packed)
    local two = helper.tidemark("top", "--cum", "--focus", "serve", "--nodecount", "2", packed)
    assert.equal(0, one.code, one.err)
    assert.equal(one.out, two.out)
    assert.matches("Active filters:\n   focus=serve", one.out)
    assert.matches("Showing nodes accounting for 4, 4.00%% of 100 total", one.out)
  end)

  it("cuts rows with --json only when asked", function()
    assert.equal(2, #helper.rows("top", "top", packed, "--nodecount", "2"))
    assert.equal(6, #helper.rows("top", "top", packed, "--nodecount", "0"))
  end)

  it("gives CSV with a head line", function()
    local out = helper.tidemark("top", "--csv", "--nodecount", "1", packed).out
    assert.equal("name,flat,cum,inline\njson.Marshal,60,60,\n", out)
  end)

  it("answers peek with callers and callees, and says when nothing matches", function()
    local rows = helper.rows("peek", "peek", "^serve$", packed)
    local callees = {}
    for _, r in ipairs(rows) do
      if r.relation == "callee" then callees[r.name] = r.weight end
    end
    assert.same({ ["json.Marshal"] = 60, log = 5 }, callees)
    local none = helper.tidemark("peek", "nowhere", packed)
    assert.equal(2, none.code)
    assert.matches("nowhere", none.err)
  end)

  it("merges several files and subtracts a base", function()
    local _, meta = helper.rows("top", "top", packed, collapsed)
    assert.equal(200, meta.total)
    local rows = helper.rows("top", "top", "--base", collapsed, packed)
    assert.equal(0, #rows)
  end)

  it("refuses --base beside --diff-base", function()
    assert.equal(2, helper.tidemark("top", "--base", packed, "--diff-base", packed, packed).code)
  end)

  it("shows with diff what changed, shrinkage with a minus", function()
    local after = helper.write(dir .. "/b.folded", "main;serve;json.Marshal 90\nmain;idle 20\n")
    local rows, meta = helper.rows("diff", "diff", collapsed, after)
    assert.equal(30, row(rows, "json.Marshal").flat)
    assert.equal(-10, row(rows, "idle").flat)
    assert.same({ collapsed, after }, meta.files)
  end)

  it("ranks what rises in every profile before what jumps about", function()
    local files = {}
    for i = 1, 5 do
      files[i] = helper.write(("%s/g%d.folded"):format(dir, i), ("main;leak %d\nmain;saw %d\nmain;flat 70\n"):format(i * 100, i % 2 == 1 and 500 or 20))
    end
    local rows, meta = helper.rows("growth", "growth", table.unpack(files))
    assert.equal("main;leak", rows[1].key)
    assert.same({ 100, 500, 400, 4, 0 }, { rows[1].first, rows[1].last, rows[1].delta, rows[1].steps, rows[1].falls })
    assert.equal(5, meta.snapshots)
    local rising = helper.rows("growth", "growth", "--rising", "--by", "function", table.unpack(files))
    assert.equal(1, #rising)
    assert.equal("leak", rising[1].key)
    local people = helper.tidemark("growth", table.unpack(files))
    assert.matches("leak < main", people.out)
  end)

  it("takes a folder's files in natural order", function()
    local folder = helper.folder()
    for _, i in ipairs { 10, 9, 1 } do helper.write(("%s/s%d.folded"):format(folder, i), ("main;leak %d\n"):format(i)) end
    local rows = helper.rows("growth", "growth", folder)
    assert.same({ 1, 10, 2 }, { rows[1].first, rows[1].last, rows[1].steps })
  end)

  describe("about allocations", function()
    local types = { "alloc_objects/count", "alloc_space/bytes", "inuse_objects/count", "inuse_space/bytes" }
    local function heap(name, time_ns, ...)
      return helper.write(dir .. "/" .. name, writer { types = types, time_ns = time_ns, ... })
    end
    local t0 = 1700000000000000000

    it("gives bytes and objects per second between two profiles", function()
      local a = heap("r1.pb", t0, { "main;copy", 10, 1000, 0, 0 }, { "main;keep", 1, 50, 1, 50 })
      local b = heap("r2.pb", t0 + 4000000000, { "main;copy", 30, 9000, 0, 0 }, { "main;keep", 1, 50, 1, 50 })
      local rows, meta = helper.rows("rate", "rate", a, b)
      assert.same({ name = "copy", flat_bytes_per_second = 2000, cum_bytes_per_second = 2000, flat_per_second = 5, mean_bytes = 400,
        share_ratio = 1 }, rows[1])
      assert.equal(4000000000, meta.span_ns)
      assert.equal(2000, meta.bytes_per_second)
      assert.equal(2, helper.tidemark("rate", b, a).code)
    end)

    it("gives what survives of what was allocated", function()
      local rows, meta = helper.rows("survival", "survival",
        heap("s.pb", t0, { "main;copy", 40, 4000, 1, 100 }, { "main;keep", 2, 600, 2, 600 }))
      assert.same({ name = "keep", alloc_bytes = 600, inuse_bytes = 600, survival_ratio = 1, alloc_objects = 2, inuse_objects = 2 }, rows[1])
      assert.equal(0.025, rows[2].survival_ratio)
      assert.equal(4600, meta.alloc_bytes)
      assert.equal(2, helper.tidemark("survival", packed).code)
    end)

    it("ranks growth per hour by the profiles' own times", function()
      local files = {}
      for i = 0, 3 do files[i + 1] = heap(("h%d.pb"):format(i), t0 + i * 1800000000000, { "main;leak", 9, 999, i + 1, (i + 1) * 1000 }) end
      local rows, meta = helper.rows("growth", "growth", table.unpack(files))
      assert.equal("inuse_space", meta.type)
      assert.equal(1.5, meta.hours)
      assert.is_true(math.abs(rows[1].per_hour - 2000) < 1e-6)
    end)
  end)

  it("converts there and back without loss of a sample", function()
    local out = dir .. "/c.pb.gz"
    assert.equal(0, helper.tidemark("convert", collapsed, "-o", out).code)
    local back = helper.tidemark("convert", out, "--to", "collapsed").out
    local function sorted(s)
      local lines = {}
      for line in s:gmatch("[^\n]+") do lines[#lines + 1] = line end
      table.sort(lines)
      return lines
    end
    assert.same(sorted(stacks), sorted(back))
  end)

  it("writes what the filters leave, as pprof does", function()
    local source = helper.write(dir .. "/filters.folded", "main;a;b 60\nmain;c 30\nmain;a 10\n")
    local function left(...)
      local out = dir .. "/left.pb.gz"
      assert.equal(0, helper.tidemark("convert", source, "-o", out, ...).code)
      return helper.tidemark("convert", out, "--to", "collapsed").out
    end
    assert.equal("main;a;b 60\nmain;a 10\n", left("--focus", "^a$"))
    assert.equal("main;c 30\n", left("--ignore", "^a$"))
    assert.equal("main;b 60\nmain;c 30\nmain 10\n", left("--hide", "^a$"))
    assert.equal("main;c 15\n", left("--focus", "c", "--divide-by", "2"))
    assert.equal("main;c 30\n", helper.tidemark("convert", source, "--to", "collapsed", "--focus", "c").out)
    local top = dir .. "/top.pb.gz"
    assert.equal(0, helper.tidemark("convert", source, "--to", "topproto", "-o", top, "--nodecount", "2").code)
    local flat = helper.rows("top", "top", top, "--sample-index", "flat")
    assert.same({ "b", 60, "c", 30 }, { flat[1].name, flat[1].flat, flat[2].name, flat[2].flat })
    local _, cum = core.read(top):report("top", { sample_index = "cum" }, "text")
    assert.matches("60 66.67%% 66.67%%", cum)
  end)

  it("says which filters match nothing, as pprof does", function()
    local result = helper.tidemark("top", packed, "--focus", "nosuch", "--hide", "log", "--tagfocus", "k=v")
    assert.equal(0, result.code)
    assert.equal("tidemark: Focus expression matched no samples\ntidemark: TagFocus expression matched no samples\n", result.err)
    assert.equal("", helper.tidemark("top", packed, "--focus", "log").err)
    local script = helper.write(dir .. "/idle.pprof", "top nosuch\n")
    local shell = helper.shell(helper.command("pprof", packed) .. " < " .. helper.quote(script))
    assert.same({ 0, "Focus expression matched no samples\n" }, { shell.code, shell.err })
  end)

  it("scales nothing when the unit is empty", function()
    local heap = helper.write(dir .. "/unit.pb", writer { types = { "space/bytes" }, { "main", 4096 } })
    assert.matches("4096B   100%%", helper.tidemark("top", heap, "--unit=").out)
    local script = helper.write(dir .. "/unit.pprof", ("focus=main\nunit=\ntop >%s/unit.txt\nproto >%s/unit.pb.gz\n"):format(dir, dir))
    assert.equal(0, helper.shell(helper.command("pprof", heap) .. " < " .. helper.quote(script)).code)
    assert.matches("4096B   100%%", helper.read(dir .. "/unit.txt"))
    assert.equal(1, core.read(dir .. "/unit.pb.gz"):info().samples)
  end)

  it("says with inspect what a file is and how it is broken", function()
    local whole = helper.read(packed)
    local cut = helper.write(dir .. "/cut.pb.gz", whole:sub(1, #whole // 2))
    local result = helper.tidemark("inspect", "--json", packed, cut, "/no-such-file")
    assert.equal(3, result.code)
    local rows = core.json_decode(result.out).rows
    assert.equal("pprof", rows[1].format)
    assert.equal("profile", rows[1].kind)
    assert.equal(#whole, rows[1].bytes)
    assert.is_false(rows[2].ok)
    assert.is_truthy(#rows[2].summary > 0)
    assert.matches("no%-such%-file", rows[3].summary)
  end)

  it("says for a damaged file what and where, with code 3", function()
    local result = helper.tidemark("top", helper.write(dir .. "/junk", "\31\139junkjunkjunkjunk"))
    assert.equal(3, result.code)
    assert.matches("junk", result.err)
  end)

  it("draws flame graphs and call graphs as files that need nothing else", function()
    for _, case in ipairs { { "flame", "html", "<html" }, { "flame", "svg", "<svg" }, { "graph", "svg", "<svg" }, { "graph", "dot", "digraph" },
      { "graph", "callgrind", "events: samples" } } do
      local file = ("%s/p.%s"):format(dir, case[2])
      local result = helper.tidemark(case[1], packed, "-o", file)
      assert.equal(0, result.code, result.err)
      local out = helper.read(file)
      assert.is_truthy(out:find(case[3], 1, true), case[1] .. " as " .. case[2])
      assert.is_truthy(out:find("Marshal", 1, true))
      assert.is_nil(out:find("https?://[^ \"]*%.js"))
    end
    local result = helper.tidemark("convert", packed, "--to", "flame-svg")
    assert.matches("<svg", result.out)
  end)

  it("gives the flame graph's tree and the call graph's edges as JSON", function()
    local rows = helper.rows("flame", "flame", packed)
    assert.equal(100, rows[1].total)
    assert.equal(100, rows[1].tree.cum)
    assert.equal("main", rows[1].tree.children[1].name)
    local names, weights = {}, {}
    for _, r in ipairs((helper.rows("graph", "graph", packed))) do
      if r.kind == "node" then names[r.node] = r.name
      else weights[names[r.from] .. ">" .. names[r.to]] = r.weight end
    end
    assert.equal(60, weights["serve>json.Marshal"])
    assert.equal(69, weights["main>serve"])
  end)

  describe("with the shell", function()
    local function session(lines)
      local script = helper.write(helper.folder() .. "/in", lines)
      return helper.shell(helper.command("pprof", packed) .. " < " .. helper.quote(script))
    end

    it("keeps assignments, forgets arguments, and clears with a colon", function()
      local out = session("top -cum 1\ntop 1 idle\nfocus=log\ntop 1\n:\ntop 1\nquit\ntop\n").out
      local firsts = {}
      for line in out:gmatch("[^\n]+") do
        local name = line:match("%%%s+(%S+)$")
        if name then firsts[#firsts + 1] = name end
      end
      assert.same({ "main", "idle", "log", "json.Marshal" }, firsts)
    end)

    it("splits the rows from the word, redirects and pipes", function()
      local file = helper.folder() .. "/out"
      local result = session("top2 > " .. file .. "\ntop 6 | grep -c json\n")
      assert.matches("Showing top 2 nodes", helper.read(file))
      assert.matches("Generating report in ", result.out)
      assert.matches("\n1\n$", result.out)
      assert.matches("^1\n$", session("top 6 |grep -c json\n").out:match("[^\n]*\n$"))
    end)

    it("names the nearest of an unknown word and what an option lacks, with code 1", function()
      local result = session("tpo\nfocus\nnodecount=x\npeek\n")
      assert.equal(1, result.code)
      assert.matches('unrecognized command: "tpo"; did you mean top', result.err)
      assert.matches("please specify a value, e.g. focus=<val>", result.err)
      assert.matches("nodecount: 'x' is no whole number", result.err)
      assert.matches("command peek requires an argument", result.err)
    end)

    it("completes commands, options and functions", function()
      local s = require("tidemark.pprof.shell").new(assert(core.read(packed)), { write = print, complain = print })
      local function words(line)
        local out = {}
        for i, c in ipairs(s:complete(line)) do out[i] = c[1] end
        return out
      end
      assert.same({ "tree" }, words("tre"))
      assert.same({ "tagfocus=" }, words("tagf"))
      assert.same({ "json.Marshal" }, words("peek Mars"))
      assert.same({ "-json.Marshal" }, words("top -Mars"))
    end)
  end)
end)
