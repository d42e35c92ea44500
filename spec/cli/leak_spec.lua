-- A leak of descriptors is found live, recorded, found again by a replay, and reported.
local core = require "tidemark.core"
local helper = require "spec.support.helper"

-- Quicker than what ships: a climb counts after one span of ten seconds.
local quick = [[tm.override { rule = "proc.handle_spike", hold = "0s", params = { steps = 1, climb = 100, floor = 4000 } }]]

describe("a descriptor leak", function()
  local folder, recording
  setup(function()
    folder = helper.folder()
    recording = folder .. "/fds.tmr"
  end)
  teardown(helper.tidy)

  it("is found while it happens, and --fail-on says so", function()
    local config = helper.write(folder .. "/quick.lua", quick)
    local document, code = helper.document("watch", "run", "--no-history", "--json", "--record", recording, "--rules", config,
      "--fail-on", "high", "--for", "13500ms", "--", helper.leaky, "--fds", "40/s", "--quiet")
    assert.equal(1, #document.rows)
    local row = document.rows[1]
    assert.equal("proc.handle_spike", row.rule)
    assert.equal("high", row.level)
    assert.equal("fd", row.key)
    assert.is_true(row.value >= 100 and row.value <= 700, "value " .. row.value)
    assert.equal("file", core.json_decode(row.evidence).kind)
    assert.equal(1, code)
  end)

  it("is found again in the recording by the rules that stand in it", function()
    local document, code = helper.document("replay", "replay", recording, "--recorded-rules", "--expect", "1", "--json")
    assert.same({}, document.meta.problems)
    assert.equal("proc.handle_spike", document.rows[1].rule)
    assert.equal(0, code)
    assert.equal(1, helper.tidemark("replay", recording, "--recorded-rules", "--expect", "2").code)
  end)

  it("stands in the report, in every format", function()
    local document = helper.document("report", "report", recording, "--json")
    assert.equal("proc.handle_spike", document.rows[1].findings[1].rule)
    for format, words in pairs { text = "proc.handle_spike", md = "proc.handle\\_spike", html = "proc.handle_spike" } do
      assert.is_truthy(helper.tidemark("report", recording, "--format", format).out:find(words, 1, true), format)
    end
  end)

  it("near its limit is critical", function()
    -- The limit is inherited; it is read when the watch begins.
    local result = helper.shell("ulimit -n 300; " .. helper.command("run", "--no-history", "--json", "--fail-on", "critical", "--rules", folder .. "/quick.lua",
      "--for", "4s", "--", helper.leaky, "--burst", "fds=255@500ms", "--quiet"))
    local document = core.json_decode(result.out)
    assert.equal("critical", document.rows[1] and document.rows[1].level)
    assert.equal(1, result.code)
  end)
end)
