-- Recordings that are cut, whose tidemark was killed, or that hold hostile names.
local core = require "tidemark.core"
local helper = require "spec.support.helper"

local q = helper.quote

describe("a recording", function()
  local folder
  setup(function() folder = helper.folder() end)
  teardown(helper.tidy)

  it("is not written over unless one says so", function()
    local path = folder .. "/kept.tmr"
    local function record(...)
      return helper.tidemark("record", "-o", path, "--no-history", "--quiet", "--every", "200ms", "--for", "500ms", ..., "--", "sleep", "9")
    end
    assert.equal(0, record("--quiet").code)
    local text = helper.read(path)
    assert.not_equal(0, record("--quiet").code)
    assert.equal(text, helper.read(path))
    assert.equal(0, record("--overwrite").code)
  end)

  it("holds the text of every rule file that ran: built in, named, and in a folder", function()
    local path, dir = folder .. "/rules.tmr", helper.folder()
    local one = helper.write(folder .. "/one.lua", "-- named")
    helper.write(dir .. "/two.lua", "-- watched")
    assert.equal(0, helper.tidemark("rules", "trust", dir, "--quiet").code)
    assert.equal(0, helper.tidemark("record", "-o", path, "--no-history", "--quiet", "--rules", one, "--rules", dir, "--for", "500ms", "--",
      "sleep", "9").code)
    local texts = {}
    assert(core.read_recording(path, { rules = function(name, text) texts[name] = text end }))
    assert.equal("-- named", texts["one.lua"])
    assert.equal("-- watched", texts["two.lua"])
    assert.equal(core.embedded("rules/pressure.lua"), texts["pressure.lua"])
  end)

  it("that is cut anywhere is read up to there, and says so", function()
    local path, cut = folder .. "/whole.tmr", folder .. "/cut.tmr"
    assert.equal(0, helper.tidemark("record", "-o", path, "--no-history", "--quiet", "--every", "100ms", "--for", "1500ms", "--",
      "sleep", "9").code)
    local whole = helper.read(path)
    local all = helper.document("replay", "replay", path, "--json").meta.samples
    local fewer = 0
    for i = 1, 6 do
      helper.write(cut, whole:sub(1, #whole * i // 7))
      local result = helper.tidemark("replay", cut, "--json")
      if result.code == 0 then
        local document = core.json_decode(result.out)
        assert.is_true(document.meta.partial)
        assert.is_true(#document.meta.problems >= 1)
        assert.is_true(document.meta.samples <= all)
        fewer = fewer + 1
      else
        assert.equal(3, result.code)
        assert.matches("cut.tmr", result.err)
      end
    end
    assert.is_true(fewer >= 1)
  end)

  it("of a tidemark that is killed has all but the last five seconds", function()
    local path = folder .. "/killed.tmr"
    local app = "sleep 30 & app=$!; "
    local result = helper.shell(app .. helper.command("record", "PID", "-o", path, "--no-history", "--quiet", "--every", "100ms")
      :gsub("'timeout' '%-k' '5' '60' ", ""):gsub("'PID'", "$app") .. " & tm=$!; sleep 6; kill -9 $tm; date +%s%N; kill $app")
    local killed_ns = assert(math.tointeger(tonumber(result.out:match("%d+"))), result.err)
    local document = helper.document("replay", "replay", path, "--json")
    assert.is_true(document.meta.samples > 20)
    assert.is_true(killed_ns - document.meta.to_ns <= 5000000000, ("%.1f s were lost"):format((killed_ns - document.meta.to_ns) / 1e9))
  end)
end)

describe("a hostile name", function()
  teardown(helper.tidy)

  it("is text wherever it is shown", function()
    local folder = helper.folder()
    local binary, path = folder .. "/<b onerror=1>", folder .. "/a.tmr"
    assert(os.execute(("ln -s /bin/sleep %s"):format(q(binary))))
    local line = ("bash -c %s & app=$!; sleep 0.5; %s; kill $app"):format(
      q("exec -a $'</script><img onerror>\\033[31m' " .. q(binary) .. " 20"),
      (helper.command("record", "PID", "-o", path, "--no-history", "--plain", "--every", "200ms", "--status", "500ms", "--for", "2s")
        :gsub("'PID'", "$app")))
    local result = helper.shell(line)
    assert.equal("", result.err)
    assert.is_nil(result.out:find("\27", 1, true), "an escape reached the terminal")
    local html = helper.tidemark("report", path, "--format", "html").out
    assert.is_truthy(html:find("&lt;b onerror=1&gt;", 1, true), "the name is missing")
    assert.is_nil(html:find("<b onerror", 1, true))
    assert.is_nil(html:find("<img onerror", 1, true))
    assert.equal(select(2, html:gsub("<script", "")), select(2, html:gsub("</script", "")))
    for _, format in ipairs { "text", "md" } do
      assert.is_nil(helper.tidemark("report", path, "--format", format).out:find("\27", 1, true), format)
    end
    local document = helper.document("report", "report", path, "--json")
    assert.matches("^<b onerror=1>", document.rows[1].target)
  end)
end)
