-- Frames of rules over snapshots: numbers against figures kept by hand, options that do not exist, and the cost between two
-- snapshots.
local core = require "tidemark.core"
local helper = require "spec.support.helper"

local SECOND, T0 = 1000000000, 1700000000 * 1000000000

-- Runs check(c) of one rule over snapshots (collapsed texts, a minute apart), and what it logged.
local function over(inputs, check, shots, metric)
  local engine <close> = assert(core.engine { virtual = true, quiet = true, skip_self_tests = true })
  local lines, problem = {}, nil
  engine:on(function(e)
    if e.kind == "rule_error" then problem = e.text end
  end)
  engine:advance(T0)
  local source = ([[
    tm.rule { id = "t.frames", every = "10s", inputs = { %s }, check = function(c) %s end, say = "{key} {value} {delta} {steps}" }
  ]]):format(inputs, check)
  engine:load_rules("t.lua", "t.lua", source, function(report)
    if not report.ok then problem = report.problem end
  end)
  local target = engine:add_target { id = "1:1", name = "app", start_time_ns = T0 }
  for i, text in ipairs(shots) do
    engine:advance(T0 + i * 60 * SECOND)
    assert(engine:feed_snapshot(target.id, metric or "pprof.heap", T0 + i * 60 * SECOND, text))
  end
  for _, a in ipairs(engine:alerts()) do
    if a.state == "firing" then lines[#lines + 1] = a.text end
  end
  table.sort(lines)
  return lines, problem
end

local heap = 'h = tm.snapshots("pprof.heap", { every = "60s", keep = 4 })'
local growing = { "main;leak 100\nmain;flat 50\n", "main;leak 200\nmain;flat 50\n", "main;leak 300\nmain;flat 50\nmain;a;late 7\n" }

describe("frames of rules", function()
  it("count first, last, steps and delta per key", function()
    assert.same({ "main;a;late 7 7 1", "main;flat 0 0 0", "main;leak 200 200 2" }, (over(heap, 'return c.h:pivot("path"):findings {}', growing)))
    assert.same({ "leak 300 200 2" }, (over(heap, 'return c.h:pivot("function"):monotonic { steps = 2 }:findings { value = "last" }', growing)))
  end)

  it("see only as many snapshots as the input keeps", function()
    local texts = {}
    for i = 1, 9 do texts[i] = ("main;leak %d\n"):format(100 * i) end
    assert.same({ "leak 300 300 3" }, (over(heap, 'return c.h:pivot("function"):findings {}', texts)))
  end)

  it("leave out what fell, what is rejected, and all but the first", function()
    local texts = { "a;x 10\na;y 10\na;z 10\n", "a;x 30\na;y 20\na;z 90\n", "a;x 20\na;y 30\na;z 95\n" }
    assert.same({ "y 20 20 2", "z 85 85 2" }, (over(heap, 'return c.h:pivot("function"):monotonic {}:findings {}', texts)))
    assert.same({ "y 20 20 2" }, (over(heap, 'return c.h:pivot("function"):monotonic {}:reject({ "z*" }):findings {}', texts)))
    assert.same({ "z 85 85 2" }, (over(heap, 'return c.h:pivot("function"):only({ "y", "z" }):top(1, "delta"):findings {}', texts)))
    assert.same({}, (over(heap, 'return c.h:pivot("function"):monotonic { min_delta = 86 }:findings {}', texts)))
    assert.same({ "z 85 85 2" }, (over(heap, 'return c.h:pivot("function"):over("last", 90):findings {}', texts)))
  end)

  it("add up", function()
    local lines = over(heap, [[
      local f = c.h:pivot("function")
      return c:finding { key = "sum", value = f:sum("last"), delta = f.last_total, steps = #f }]], growing)
    assert.same({ "sum 357 357 3" }, lines)
  end)

  -- What the body of a check says with `say(...)`: its values, joined.
  local function said(body)
    local lines, problem = over(heap, "local out = {} local function say(...) for _, v in ipairs { ... } do out[#out + 1] = tostring(v) end end\n" .. body
      .. '\nreturn c:finding { key = table.concat(out, " "), value = 0, delta = 0, steps = 0 }', growing)
    assert.is_nil(problem)
    assert.equal(1, #lines)
    return lines[1]:match("^(.*) 0 0 0$")
  end
  local frame = 'local f = c.h:pivot("function"):over("last", 40):top(2, "last")\n'

  describe("give rows one by one", function()
    it("as a row whose fields are read when asked for", function()
      assert.equal("leak 300 200 flat 50 0", said(frame .. "f:each(function(row) say(row.key, math.tointeger(row.last), math.tointeger(row.delta)) end)"))
      assert.equal("leak leak", said(frame .. 'f:top(1):each(function(row) say(row["function"], row.key) end)'))
    end)

    it("as the columns that are named", function()
      assert.equal("300 leak 50 flat", said(frame .. 'f:each({ "last", "key" }, function(last, key) say(math.tointeger(last), key) end)'))
      assert.equal("main flat", said('say(table.unpack(c.h:pivot("path"):top(2, "last"):each({ "path" }, function(path) '
        .. 'return path:match("leak") and "main" or path:match("%a+$") end)))'))
    end)

    it("and keep what the function returns, a row as a table of its own", function()
      assert.equal("2 50 table", said(frame .. "local all = f:each(function(row) return row end)\n"
        .. "if #all == 2 then say(#all, math.tointeger(all[2].last), type(all[1])) end"))
      assert.equal("1 flat", said(frame .. "local some = f:each(function(row) if row.last < 100 then return row:copy() end end)\n"
        .. "say(#some, some[1] and some[1].key)"))
    end)

    it("of which none turns into another", function()
      assert.equal("leak true false", said(frame .. [[
        local first, same, other
        f:each(function(row)
          if not first then first = row same = row == first return end
          say(first.key) other = row == first
        end)
        say(same, other)]]))
    end)

    it("and answer an error for a row whose each has ended", function()
      local stale = "the row was read too late"
      assert.equal(stale, said(frame .. [[
        local kept
        f:each(function(row) kept = kept or row end)
        f:each(function() local ok, why = pcall(function() return kept.key end)
          if not ok and why:find("its each%(%) had ended") then out[1] = "the row was read too late" end end)]]))
    end)

    it("within one another, of the same frame and of others", function()
      assert.equal("leak leak leak, leak flat leak, leak; flat leak leak, flat flat leak, flat;", said(frame .. [[
        f:each(function(a)
          f:each(function(b) f:top(1, "last"):each(function(d) say(a.key, b.key, d.key .. ",") end) end)
          say(a.key .. ";")
        end)]]))
    end)

    it("until one raises, which leaves no row behind", function()
      assert.equal("no more true leak", said(frame .. [[
        local kept
        local ok, why = pcall(f.each, f, function(row) kept = row error("no more", 0) end)
        say(why, not pcall(function() return kept.key end))
        f:top(1, "last"):each(function(row) say(row.key) end)]]))
    end)

    it("as what cannot be changed, but counted through", function()
      assert.equal("true 8 row 1 of a frame", said(frame .. [[
        f:top(1, "last"):each(function(row)
          local ok, why = pcall(function() row.last = 1 end)
          local n = 0
          for name, value in pairs(row) do if row[name] == value then n = n + 1 end end
          say(not ok and why:find("row:copy()", 1, true) ~= nil, n, row)
        end)]]))
    end)

    it("in a finding as tables", function()
      assert.equal("table 300", said(frame .. [[
        f:top(1, "last"):each(function(row)
          local kept = c:finding { key = row.key, value = 0, row = row }.evidence.row
          say(type(kept), math.tointeger(kept.last))
        end)]]))
    end)

    for what, case in pairs {
      ["a column of a row"] = { 'c.h:pivot("path"):each(function(row) return row.lst end)', "unknown column 'lst'; did you mean 'last'%?" },
      ["a named column"] = { 'c.h:pivot("path"):each({ "kye" }, print)', "unknown column 'kye'; did you mean 'key'%?" },
      ["no column"] = { 'c.h:pivot("path"):each({}, print)', "each%(%) takes 1 to 16 names of columns, not 0" },
      ["no function"] = { 'c.h:pivot("path"):each({ "key" })', "function expected" },
    } do
      it("and refuse " .. what, function()
        local _, problem = over(heap, case[1], growing)
        assert.matches(case[2], problem or "no error")
      end)
    end
  end)

  local dump = "goroutine 1 [running]:\nmain.main()\n\t/a/main.go:3 +0x1\n\n" .. ("goroutine 7 [chan receive, 3 minutes]:\nmain.wait()\n\t/a/main.go:9 +0x1\n"
    .. "created by main.start in goroutine 1\n\t/a/main.go:5 +0x1\n\n"):rep(4) .. "goroutine 9 [select]:\nmain.loop()\n\t/a/main.go:12 +0x1\n"
    .. "created by main.start in goroutine 1\n\t/a/main.go:6 +0x1\n"
  local dumps = 'g = tm.snapshots("go.goroutines", { keep = 3 })'

  it("know state and creator of goroutines", function()
    local check = 'return c.g:where { blocked = true }:pivot({ "created_by", "state" }, "count"):findings { value = "last" }'
    assert.same({ "main.start, chan receive 4 0 0", "main.start, select 1 0 0" }, (over(dumps, check, { dump }, "go.goroutines")))
    assert.same({ "main.wait 4 0 0" },
      (over(dumps, 'return c.g:where { state = "chan*" }:pivot("function", "count"):findings { value = "last" }', { dump }, "go.goroutines")))
  end)

  it("bring the stack of a sample", function()
    local lines = over(dumps, 'return c:finding { key = "s", value = 0, delta = 0, steps = c.g:where { state = "select" }:pivot("site"):stack(1) }',
      { dump }, "go.goroutines")
    assert.same({ "s 0 0 main.loop /a/main.go:12" }, lines)
  end)

  it("tell of the newest snapshot", function()
    assert.same({ "last 357 3 0" },
      (over(heap, 'local l = c.h.last return c:finding { key = "last", value = l.total, delta = c.h.n, steps = math.tointeger(l.age) }', growing)))
  end)

  for what, case in pairs {
    ["an option"] = { 'c.h:pivot("path"):monotonic { step = 2 }', "unknown option 'step'; did you mean 'steps'%?" },
    ["a filter"] = { "c.h:where { blockd = true }", "did you mean 'blocked'" },
    ["a column"] = { 'c.h:pivot("path"):sum("lst")', "unknown column 'lst'; did you mean 'last'%?" },
    ["a value"] = { 'c.h:pivot("path", "inuse_spce")', "inuse_spce" },
    ["a field"] = { "local x = c.h.lasst", "no field or method 'lasst'" },
  } do
    it("refuse " .. what .. " that does not exist", function()
      local _, problem = over(heap, case[1], { "main;a 1\n" })
      assert.matches(case[2], problem or "no error")
    end)
  end

  it("refuse a profile that does not exist", function()
    local _, problem = over('h = tm.snapshots("pprof.hep")', "", {})
    assert.matches("did you mean 'pprof.heap'", problem)
    _, problem = over('h = tm.snapshots("pprof.mutex", { gc = true })', "", {})
    assert.matches("gc is for pprof.heap", problem)
  end)
end)

describe("the gate's runs", function()
  local write = require "spec.support.pprof_writer"
  teardown(helper.tidy)

  it("name what grew between the first and the last", function()
    local dir, rules = helper.folder(), helper.folder()
    for i = 1, 12 do
      local f <close> = assert(io.open(("%s/run-%02d.pb"):format(dir, i), "wb"))
      f:write(write { types = { "inuse_space/bytes" }, { "main;flat", 5000 }, { "main;leak", 1000 * i } })
    end
    local rule <close> = assert(io.open(rules .. "/gate.lua", "wb"))
    rule:write [[
      tm.gate { id = "t.diff", every = "1s", inputs = { r = tm.runs("pprof.heap", { n = 12, keep = 64, every = "1s" }) },
        check = function(c)
          if c.r.n < 8 then return end
          local top = c.r:diff("function"):top(1)
          if #top > 0 then return c:finding { key = top[1].key, value = top[1].delta, top = top } end
        end, say = "{key} grew by {value}" }
    ]]
    rule:close()
    local out = helper.tidemark("gate", dir, "--rules", rules .. "/gate.lua", "--json")
    assert.matches("leak grew by 1%d000", out.out .. out.err)
  end)
end)
