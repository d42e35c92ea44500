-- Exit codes, hints, help pages and completion scripts: what a shell and a hurried person see.
local core = require "tidemark.core"
local helper = require "spec.support.helper"
local cli = require "tidemark.cli"

local rule = [[tm.rule { id = "own.rule", every = "1s", inputs = { fds = tm.series("proc.fds") }, check = function(c) end }]]

describe("the exit code", function()
  teardown(helper.tidy)

  local function ends(code, words, ...)
    local result = helper.tidemark(...)
    assert.equal(code, result.code, result.err)
    assert.is_truthy(result.err:find(words, 1, true), result.err)
    if code ~= 0 then assert.equal("", result.out) end
    return result
  end

  it("is 2 for an unknown command, with the nearest", function() ends(2, "did you mean watch", "wacth", "1") end)
  it("is 2 for an unknown option, with the nearest", function() ends(2, "did you mean --jsonl or --json?", "watch", "1", "--jsnl") end)
  it("is 2 for no command, with the overview", function()
    local result = helper.tidemark()
    assert.equal(2, result.code)
    assert.matches("Usage: tidemark COMMAND", result.out)
  end)
  it("is 2 for a duration without a unit", function() ends(2, "--for", "watch", "1", "--for", "10") end)
  it("is 2 for a duration that is none", function() ends(2, "--every", "watch", "1", "--every", "soon") end)
  it("is 2 for a level that is none", function() ends(2, "none of info, warn, high, critical", "watch", "1", "--fail-on", "huge") end)
  it("is 2 for a missing word", function() ends(2, "TARGET is missing", "watch") end)
  it("is 2 for a missing value", function() ends(2, "--for needs a value", "watch", "1", "--for") end)
  it("is 2 for a shell nobody wrote for", function() ends(2, "bash, zsh or fish", "completion", "tcsh") end)
  it("is 2 for a rule nobody knows, with the nearest", function() ends(2, "did you mean pressure?", "rules", "explain", "presure") end)
  it("is 2 for a setting nobody knows", function()
    local path = helper.write(helper.folder() .. "/config.lua", "return { evry = '5s' }")
    local result = helper.shell("export TIDEMARK_CONFIG=" .. helper.quote(path) .. "\n"
      .. helper.command("watch", "1"):gsub("%-u TIDEMARK_CONFIG", ""))
    assert.equal(2, result.code)
    assert.matches("unknown setting 'evry'; did you mean every", result.err)
  end)
  it("is 3 for a recording that is not there", function() ends(3, "no-such.tmr", "replay", "/no-such.tmr") end)
  it("is 3 for a report of what is not there", function() ends(3, "no-such.tmr", "report", "/no-such.tmr") end)
  it("is 3 for rules that are not there", function() ends(3, "no-such", "rules", "test", "/no-such") end)
  it("is 3 for a file that is no recording", function()
    ends(3, "", "replay", helper.write(helper.folder() .. "/x.tmr", ("this is no recording "):rep(100)))
  end)
  it("is 4 for a process that is gone", function() ends(4, "4194399", "watch", "4194399", "--no-history") end)
  it("is 4 for a name that no process has", function() ends(4, "no process is called", "attach", "no-such-app-here") end)
  it("is 4 for a port where nobody listens", function() ends(4, "nothing on this machine listens", "attach", "http://127.0.0.1:1") end)
  it("is 1 for a rule file whose test fails, and 0 when it passes", function()
    local good = (rule:gsub("check =", [[tests = { { name = "t", feed = { ["proc.fds"] = "1s 1x9" }, never = true } }, check =]]))
    local path = helper.write(helper.folder() .. "/r.lua", good)
    assert.equal(0, helper.tidemark("rules", "test", path).code)
    helper.write(path, (good:gsub("never = true", "fires = 'warn'")))
    assert.equal(1, helper.tidemark("rules", "test", path).code)
    assert.equal(0, helper.tidemark("rules", "check", path).code)
    helper.write(path, "tm.rule {")
    assert.equal(1, helper.tidemark("rules", "check", path).code)
  end)

  it("is 5 for rules that nobody trusts, until they are trusted as they are", function()
    local dir = helper.folder()
    helper.write(dir .. "/a.lua", rule)
    local watch = { "run", "--no-history", "--quiet", "--rules", dir, "--for", "200ms", "--", "sleep", "9" }
    ends(5, "tidemark rules trust", table.unpack(watch))
    assert.equal(0, helper.tidemark("rules", "trust", dir).code)
    assert.equal(0, helper.tidemark(table.unpack(watch)).code)
    helper.write(dir .. "/a.lua", rule .. " -- edited")
    ends(5, dir .. "/a.lua", table.unpack(watch))
    assert.equal(0, helper.tidemark("rules", "trust", dir).code)
    helper.write(dir .. "/b.lua", "-- new")
    ends(5, dir .. "/b.lua", table.unpack(watch))
  end)

  it("is 5 for a rule file that others may write", function()
    local path = helper.write(helper.folder() .. "/r.lua", rule)
    os.execute("chmod 666 " .. path)
    ends(5, "trusted by nobody", "run", "--no-history", "--rules", path, "--for", "200ms", "--", "sleep", "9")
  end)

  it("is the command's own when it ends", function()
    assert.equal(7, helper.tidemark("run", "--no-history", "--quiet", "--", "sh", "-c", "sleep 0.3; exit 7").code)
  end)

  it("is 130 when interrupted, and the summary is still said", function()
    local out = helper.folder() .. "/out"
    local result = helper.shell(("exec 3>&1; %s >%s & pid=$!; sleep 1; pkill -INT -P $pid; wait $pid"):format(
      helper.command("run", "--no-history", "--json", "--", "sleep", "30"), out))
    assert.equal(130, result.code)
    assert.equal("interrupted", core.json_decode(helper.read(out)).meta.ended)
  end)
end)

describe("help", function()
  teardown(helper.tidy)

  for _, name in ipairs(cli.names) do
    it("on " .. name .. " fits a screen, and --help says the same", function()
      local page = helper.tidemark("help", name)
      assert.equal(0, page.code)
      local lines = select(2, page.out:gsub("\n", ""))
      assert.is_true(lines >= 5 and lines <= 60, lines .. " lines")
      if name ~= "rules" then assert.equal(page.out, helper.tidemark(name, "--help").out) end
    end)
  end

  for _, topic in ipairs { "signals", "units", "targets", "exit-codes", "env", "topics" } do
    it("knows " .. topic, function() assert.is_true(#helper.tidemark("help", topic).out > 20) end)
  end
end)

describe("completion", function()
  teardown(helper.tidy)

  it("for bash is a script that bash reads, and it completes commands", function()
    local path = helper.write(helper.folder() .. "/tidemark.bash", helper.tidemark("completion", "bash").out)
    assert.equal("", helper.shell("bash -n " .. path).err)
    local result = helper.shell(("bash -c '. %s; COMP_WORDS=(tidemark rep); COMP_CWORD=1; _tidemark; echo ${COMPREPLY[@]}'"):format(path))
    assert.matches("replay report", result.out)
  end)

  for _, shell in ipairs { "zsh", "fish" } do
    it("for " .. shell .. " names every command", function()
      local script = helper.tidemark("completion", shell).out
      for _, name in ipairs(cli.names) do assert.is_truthy(script:find(name, 1, true), name) end
    end)
  end
end)
