-- What a program holds in its X server: a leak of pixmaps is named within a minute, with exact numbers, though no RSS grows.
local core = require "tidemark.core"
local helper = require "spec.support.helper"

local PIXMAP_BYTES <const> = 64 * 64 * 4 -- as leaky makes them: depth 24 takes four bytes a point

describe("an X client", function()
  local display, server
  setup(function()
    if helper.shell("command -v Xvfb").code ~= 0 then return end
    for number = 90, 99 do
      if not core.stat(("/tmp/.X11-unix/X%d"):format(number)) then
        display = ":" .. number
        break
      end
    end
    local folder = helper.folder()
    os.execute(("Xvfb %s -screen 0 320x240x24 -nolisten tcp >%s/log 2>&1 & echo $! >%s/pid"):format(display, folder, folder))
    server = helper.read(folder .. "/pid"):match("%d+")
    for _ = 1, 100 do
      if core.stat("/tmp/.X11-unix/X" .. display:sub(2)) then break end
      core.sleep(50000000)
    end
  end)
  teardown(function()
    if server then os.execute("kill " .. server) end
    helper.tidy()
  end)

  local leaky = os.getenv("TM_BUILD") .. "/examples/leaky/leaky"

  it("that leaks pixmaps is named, with their count and bytes", function()
    if not server then return pending "no Xvfb here" end
    local result = helper.shell(("DISPLAY=%s %s"):format(display,
      helper.command("run", "--jsonl", "--no-history", "--for", "42s", "--", leaky, "--pixmaps", "60/s", "--quiet")))
    local found, evidence
    for line in result.out:gmatch("[^\n]+") do
      local e = line:match("^{") and core.json_decode(line)
      if e and e.type == "alert" and e.state == "firing" then
        assert.is_nil(found, "no other rule finds anything: " .. line)
        found = e
      end
      if e and e.type == "evidence" then evidence = e end
    end
    assert.is_truthy(found, result.out:sub(-2000) .. result.err)
    assert.equal("gui.pixmap_growth", found.rule)
    local told = core.json_decode(found.evidence)
    assert.equal("PIXMAP", told.kind)
    assert.equal(0, found.value % PIXMAP_BYTES)
    assert.is_true(math.abs(told.count - found.value / PIXMAP_BYTES) <= 4, "some windows and GCs beside the pixmaps")
    assert.is_true(found.value / PIXMAP_BYTES > 20 * 60)
    assert.equal("X resources by type", evidence.text)
  end)

  it("that has no display has no such series, and none is asked", function()
    local folder = helper.folder()
    os.execute(("env -u DISPLAY sleep 5 & echo $! >%s/pid"):format(folder))
    local result = helper.tidemark("attach", helper.read(folder .. "/pid"):match("%d+"), "--json")
    assert.equal(0, result.code)
    assert.is_nil(result.out:find("x.bytes", 1, true))
    assert.is_nil(result.out:find("gpu.resident", 1, true))
  end)
end)
