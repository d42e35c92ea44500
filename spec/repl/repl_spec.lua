local helper = require "spec.support.helper"
local complete = require "tidemark.repl.complete"
local docs = require "tidemark.docs"
local eval = require "tidemark.repl.eval"
local help = require "tidemark.repl.help"
local print_value = require "tidemark.repl.print"
local plot = require "tidemark.show.plot"
local repl = require "tidemark.repl"
local save = require "tidemark.repl.save"
local text = require "tidemark.show.text"
local core = require "tidemark.core"

text.utf8 = true

-- Runs lines as a script: { code, out, err }.
local function run(...)
  local path = helper.write(helper.folder() .. "/script", table.concat({ ... }, "\n") .. "\n")
  return helper.shell("LC_ALL=C.UTF-8 " .. helper.command("repl", "--no-history") .. " <" .. helper.quote(path))
end

local function names(list)
  local out = {}
  for i, c in ipairs(list) do out[i] = c[1] end
  return out
end

describe("repl", function()
  teardown(helper.tidy)

  it("edits a line in $EDITOR and runs it; shows a long value in $PAGER", function()
    local folder = helper.folder()
    local script = helper.write(folder .. "/script", "x = 41\nx + 1\n:edit\n:edit 1\nx\n:page { 1, 2, 'three' }\n:edit 99\n")
    local editor = helper.write(folder .. "/editor", "#!/bin/sh\nsed -i -e 's/x + 1/x + 59/' -e 's/41/7/' \"$1\"\n")
    os.execute("chmod +x " .. editor)
    local line = "VISUAL= EDITOR=%s PAGER='sed s/^/paged:/' LC_ALL=C.UTF-8 %s <%s"
    local result = helper.shell(line:format(editor, helper.command("repl", "--no-history"), script))
    assert.matches("\n100\n", result.out, 1, true)
    assert.matches("\n7\n", result.out, 1, true)
    assert.matches("paged:.*three", result.out)
    assert.matches("nothing is left to run", result.err .. result.out, 1, true)
  end)

  describe("script mode", function()
    it("echoes values and numbers them", function()
      local r = run("1+1", "_ + 1", "_1 * 10 + _2", "x = 5", "'text', nil", "print 'said'")
      assert.same({ 0, "2\n3\n23\n\"text\"\nnil\nsaid\n", "" }, { r.code, r.out, r.err })
    end)
    it("joins lines until a statement is whole, and keeps locals", function()
      local r = run("local a, b = 3, 4", "local function f(x)", "  return x * a", "end", "f(b)", "{", "1,", "}")
      assert.equal("12\n{ 1 }\n", r.out)
    end)
    it("exits with 1 when a line fails, and goes on with the next", function()
      local r = run("error 'boom'", "'next'", "nonsense nonsense")
      assert.equal(1, r.code)
      assert.equal('"next"\n', r.out)
      assert.matches("boom", r.err)
      assert.matches("syntax error", r.err)
    end)
    it("says when the input ends too early", function()
      local r = run("for i = 1, 2 do")
      assert.equal(1, r.code)
      assert.matches("ends within a statement", r.err)
    end)
    it("waits for jobs", function()
      local r = run("sleep '5ms'", "await(job.all { job.sleep '2ms', job.sleep '1ms' })", "select(2, await(job.any { job.sleep '1h', job.sleep '1ms' }))")
      assert.same({ 0, "true\n{ true, true }\n2\n", "" }, { r.code, r.out, r.err })
    end)
    it("runs magics and hands lines to pprof's shell", function()
      local profile = helper.write(helper.folder() .. "/x.collapsed", "main;work 3\nmain;rest 1\n")
      local r = run(":nosuch", ":pprof " .. profile, "top1", "quit", "'back'")
      assert.equal(1, r.code)
      assert.matches("there is no command :nosuch", r.err)
      assert.matches("work", r.out)
      assert.matches('"back"\n$', r.out)
    end)
    it("reads profiles that are named on the command line", function()
      local profile = helper.write(helper.folder() .. "/y.collapsed", "main;work 3\nmain;rest 1\n")
      local r = helper.tidemark("repl", "--no-history", profile, "--execute", "tm.top(p, {nodecount=1})[1].flat")
      assert.same({ 0, "3\n", "" }, { r.code, r.out, r.err })
    end)
    it("ends at SIGINT with 130", function()
      local r = helper.tidemark("repl", "--no-history", "--execute", "io.popen('kill -INT $PPID'):close() while true do end", "--execute", "'next'")
      assert.equal(130, r.code)
      assert.same({ "", "interrupted\n" }, { r.out, r.err })
    end)
    it("says which names are near one that is nil", function()
      local r = run("tm.attch(1)", "x = 1; tmm.read 'x'",
        "p = tm.read { bytes = 'main;work 3\\n' }; p:repor 'top'", "for i = 1, 2 do", "  nosuch()", "end")
      assert.equal("attempt to call a nil value (field 'attch')\n  did you mean attach, watch or detach?\n"
        .. "attempt to index a nil value (global 'tmm')\n  did you mean tm?\n"
        .. "attempt to call a nil value (method 'repor')\n  did you mean report?\n"
        .. "line 2: attempt to call a nil value (global 'nosuch')\n", r.err)
    end)
    it("refuses magics with words that mean nothing", function()
      for line, problem in pairs { [":time"] = "which expression?", [":bench"] = "which expression?", [":time ("] = "^unexpected symbol",
        [":explain"] = "which rule?", [":explain proc.rss_slop"] = "did you mean proc.rss_slope%?",
        [":silence proc.rss_slop 1h"] = "did you mean proc.rss_slope%?",
        [":keep x"] = "how many lines?", [":save"] = "no line to save", [":plot"] = "which signal?", [":diff a"] = "two profiles", [":try"] = "which rule file",
        [":load /no/such"] = "cannot read rules", [":hlep"] = "did you mean help", [":attach nosuchprog"] = "no process is called" } do
        local r = run(line)
        assert.equal(1, r.code, line)
        assert.matches(problem, r.err, 1)
      end
    end)
    it("keeps commands that look at programs, and writes them as remarks into a script", function()
      local folder = helper.folder()
      local r = run("x = 1", ":time x + 1", ":keep 2", ":keep", ":save " .. folder .. "/out.lua", ":save " .. folder .. "/out.lua")
      assert.matches("2 lines kept\n2 lines kept\n", r.out, 1, true)
      assert.matches("exists already", r.err, 1, true)
      assert.equal('local tm = require "tidemark"\nx = 1\n-- :time x + 1\n', helper.read(folder .. "/out.lua"))
    end)
    it("reports errors of the world as one line with advice", function()
      local r = run("tm.read '/no/such/file'", "tm.top(1)", "tm.top('x', {fokus = 1})")
      assert.equal(1, r.code)
      assert.matches("cannot open /no/such/file", r.err)
      assert.matches("did you mean focus", r.err)
      assert.equal("", r.out)
    end)
  end)

  describe("printer", function()
    local function shown(v, o) return (print_value.render(v, o)) end
    it("shows values as Lua would read them, to a depth", function()
      assert.equal("{ 1, 2, a = { b = { c = {…} } } }\n", shown { 1, 2, a = { b = { c = { d = 1 } } } })
      assert.equal('"a\\"b\\0\\xFF"\n', shown 'a"b\0\xFF')
      assert.equal("1.0\n", shown(1.0))
      assert.equal("-9223372036854775808\n", shown(math.mininteger))
      assert.equal('{ ["end"] = 1, ["two words"] = 2, x = 3 }\n', shown { ["end"] = 1, ["two words"] = 2, x = 3 })
    end)
    it("marks cycles and what was left out", function()
      local t = { name = "t" }
      t.self = t
      assert.equal('{ name = "t", self = <the table at the top> }\n', shown(t))
      local many = {}
      for i = 1, 30 do many[i] = tostring(i) end
      local out, cut = print_value.render(many)
      assert.is_true(cut)
      assert.matches("%(%+10%)", out)
    end)
    it("aligns rows with their units", function()
      assert.equal("name   n  rss_bytes\na      1      2 KiB\nb     20      1 MiB\n",
        shown { { name = "a", n = 1, rss_bytes = 2048 }, { name = "b", n = 20, rss_bytes = 1 << 20 } })
    end)
    it("keeps rows within the width, wide letters counted", function()
      local out = shown({ { name = ("日"):rep(60), n = 1 }, { name = "b", n = 2 } }, { width = 40 })
      for line in out:gmatch("[^\n]+") do assert.is_true(core.width(line) <= 40) end
    end)
    it("draws long lists of numbers as a line of bars", function()
      local list = {}
      for i = 1, 100 do list[i] = i end
      assert.matches("100 numbers  min 1  med 50.5  max 100  ▁", shown(list))
    end)
    it("survives values that raise when asked for their text", function()
      local bad = setmetatable({}, { __tostring = function() error "no" end, __index = function() error "no" end, __len = error, __pairs = error })
      assert.equal("{}\n", shown(bad))
    end)
  end)

  describe("plot", function()
    local times, values = {}, {}
    for i = 1, 60 do times[i], values[i] = i * 1000000000, i * 1048576 end
    it("draws braille under axes", function()
      local out = plot.render(times, values, { unit = "bytes", width = 40, height = 4 })
      local lines = {}
      for line in out:gmatch("[^\n]+") do lines[#lines + 1] = line end
      assert.equal(6, #lines)
      assert.matches("^60", lines[1])
      assert.matches("[⠀-⣿]", lines[1])
    end)
    it("draws stars where there is no UTF-8", function()
      text.utf8 = false
      local out = plot.render(times, values, { unit = "bytes", width = 40, height = 4 })
      text.utf8 = true
      assert.is_nil(out:find("[\128-\255]"))
      assert.matches("%*", out)
    end)
    it("says when there is nothing", function()
      assert.matches("no samples", plot.render({}, {}))
      assert.matches("no samples", plot.render({ 1 }, { 0 / 0 }))
    end)
  end)

  describe("lines", function()
    it("are incomplete only when more can help", function()
      for _, s in ipairs { "for i = 1, 2 do", "f(", "x = {", "[[long", "{", "1 +", "if a then b() else", "function f()" } do
        local chunk, _, incomplete = eval.compile(s, {})
        assert.same({ nil, true }, { chunk, incomplete }, s)
      end
      for _, s in ipairs { "1 +* 2", "end", ")", "x y", "'open" } do
        local chunk, problem, incomplete = eval.compile(s, {})
        assert.is_nil(chunk, s)
        assert.is_string(problem)
        assert.is_falsy(incomplete, s)
      end
    end)
    it("are indented by what is open", function()
      assert.equal(2, eval.indent "for i = 1, 2 do")
      assert.equal(4, eval.indent "function f() if x then")
      assert.equal(0, eval.indent "if x then y() end")
      assert.equal(2, eval.indent "t = { -- }")
    end)
  end)

  describe("completion", function()
    local r = repl.new(nil)
    local function at(line)
      local from, list = complete.candidates(r, line)
      return names(list), from, list
    end
    it("knows verbs with their docs", function()
      local list, from, rows = at "x = tm.med"
      assert.same({ "median" }, list)
      assert.equal(7, from)
      assert.equal("The median.", rows[1][2])
    end)
    it("runs nothing of the user's", function()
      r.env.trap = setmetatable({ safe_key = 1 }, { __index = function() error "ran" end, __pairs = function() error "ran" end })
      assert.same({ "safe_key" }, (at "trap.sa"))
      assert.same({}, (at "trap.other.x"))
    end)
    it("knows members of our types, methods behind a colon", function()
      r.env.p = core.read { bytes = "main;work 3\nmain;rest 1\n" }
      assert.same({ "report" }, (at "p:re"))
      assert.same({ "format" }, (at "p.fo"))
      r.env.t = r.env.p:report("top", {}, "table")
      assert.same({ "column" }, (at "t:col"))
      assert.same({ "columns" }, (at "t.col"))
    end)
    it("knows options of the verb that is called", function()
      assert.same({ "focus = " }, (at "tm.top(p, {foc"))
      assert.same({ "gc = " }, (at 'tm.snap("x", "heap", { g'))
    end)
    it("knows rules, signals, programs, paths and magics", function()
      assert.same({ "proc.rss_slope" }, (at ":explain proc.rss_s"))
      assert.same({ "proc.rss" }, (at 'tm.plot "proc.rss'))
      assert.same({ ":rules" }, (at ":ru"))
      assert.same({ "spec/repl/repl_spec.lua" }, (at 'tm.read("spec/repl/repl_'))
      assert.same({ "spec/repl/" }, (at "x = 'spec/repl"))
      assert.same({ "heap" }, (at ":snap he"))
    end)
  end)

  describe("help", function()
    local r = repl.new(nil)
    it("has a signature and a doc for each verb, and each is reached by name", function()
      assert.is_true(#docs.order > 30)
      for _, entry in ipairs(docs.order) do
        assert.matches("^tm%." .. entry.name, entry.signature)
        assert.matches("%.", entry.doc)
        assert.equal(entry.fn, r.env.tm[entry.name])
        assert.truthy(help.text(r, "tm." .. entry.name):find(entry.signature, 1, true))
      end
    end)
    it("knows every verb of tm", function()
      for name, value in pairs(r.env.tm) do
        if type(value) == "function" then assert.is_table(docs.of[value], name) end
      end
    end)
    it("knows signals, rules, magics, and says when it knows nothing", function()
      assert.matches("resident memory", help.text(r, "proc.rss"))
      assert.matches("hold 3m", help.text(r, "proc.rss_slope"))
      assert.matches(":plot SIGNAL", help.text(r, ":plot"))
      assert.matches("nothing is known", help.text(r, "no_such_thing"))
      assert.matches("tm.rule", help.source(r, "proc.rss_slope"))
    end)
  end)

  describe(":save rule", function()
    it("writes a rule whose own tests pass, by `tidemark rules test` too", function()
      local folder = helper.folder()
      os.execute("mkdir " .. folder .. "/rules")
      local script = helper.write(folder .. "/script", table.concat({ "target = { last = function() return 1 end }",
        'target:last("rss") > 500e6', ":keep", ":save rule my.big", 'tm.test_rules "rules/my_big.lua"' }, "\n") .. "\n")
      local command = helper.command("repl", "--no-history")
      local here = io.popen("pwd"):read()
      if not helper.bin:find("^/") then command = command:gsub(helper.quote(helper.bin):gsub("%p", "%%%0"), helper.quote(here .. "/" .. helper.bin)) end
      local r = helper.shell("cd " .. folder .. " && " .. command .. " <" .. script)
      assert.same({ 0, "" }, { r.code, r.err })
      assert.matches("wrote rules/my_big.lua, 1 test passed", r.out, 1, true)
      assert.matches("true  my.big  fires beyond the bound of rss", r.out, 1, true)
      assert.matches('say = "{target}: {key} is at {value:bytes}"', helper.read(folder .. "/rules/my_big.lua"), 1, true)
      assert.equal(0, helper.tidemark("rules", "test", folder .. "/rules/my_big.lua").code)
    end)
    it("makes a bound of a comparison, with tests that pass", function()
      local source = save.text("my.bound", { 't:last("rss") > 500000000', 'target:last "threads" >= 40' })
      assert.matches("rss > 500000000", source)
      local ok, tests = core.rules_test("my.lua", source)
      assert.is_true(ok, tests and tests[1] and tests[1].why)
      assert.equal(2, #tests)
    end)
    it("searches for growth of what was only looked at", function()
      local source = save.text("my.growth", { ":plot anon 10m" })
      assert.matches("proc%.anon", source)
      local ok, tests = core.rules_test("my.lua", source)
      assert.is_true(ok, tests and tests[1] and tests[1].why)
    end)
  end)
end)
