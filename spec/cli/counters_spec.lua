-- expvar.* and metrics.* from a real app to the view, to programs and to rules.
local core = require "tidemark.core"
local helper = require "spec.support.helper"
local pprof_server = require "spec.support.pprof_server"

local rule = [[
tm.rule {
  id = "own.documents", every = "1s",
  inputs = { open = tm.series("expvar.documents", { every = "1s" }), bytes = tm.series("metrics.app_open_bytes", { every = "1s" }),
    heap = tm.series("expvar.memstats.HeapInuse", { every = "10s" }) },
  check = function(c)
    local n = c.open.last
    if n and n >= 7 and c.heap.last and c.heap.last > 1e5 then
      return c:finding { level = "high", value = n, text = "documents " .. n }
    end
  end,
}
]]

describe("an app's own numbers", function()
  local server
  setup(function() server = pprof_server.start() end)
  teardown(function()
    if server then server.stop() end
    helper.tidy()
  end)
  local function with_server(name, body)
    it(name, function()
      if not server then return pending("no Go here") end
      body()
    end)
  end

  with_server("are shown beside the process's", function()
    local result = helper.tidemark("watch", "--endpoint", server.url, "--show", "expvar.memstats.HeapInuse", "--show", "expvar.queue",
      "--show", "metrics.app_open_bytes", "--no-history", "--no-builtin", "--every", "1s", "--for", "1500ms", "--status", "1s", "--jsonl")
    assert.equal(0, result.code, result.err)
    local status
    for line in result.out:gmatch("[^\n]+") do
      local object = core.json_decode(line)
      if object.type == "status" then status = object end
    end
    assert.matches("expvar.memstats.HeapInuse [%d.]+ [KM]iB", status.text)
    assert.is_truthy(status.text:find("expvar.queue{waiting} 3", 1, true))
    assert.is_truthy(status.text:find('metrics.app_open_bytes{kind="a"} 4.88 KiB', 1, true))
    assert.is_true(status.targets[1].expvar_memstats_HeapInuse_bytes > 1e5)
    assert.equal(server.pid, status.targets[1].pid)
  end)

  with_server("are inputs of rules", function()
    local path = helper.write(helper.folder() .. "/own.lua", rule)
    local words = { "--rules", path, "--no-history", "--no-builtin", "--for", "4s", "--json", "--fail-on", "high" }
    local document, code = helper.document("watch", "watch", server.url, table.unpack(words))
    assert.equal(1, code)
    assert.equal("documents 7.0", document.rows[1].text)
    -- Without an endpoint there is nobody to ask: the rule does not apply.
    document, code = helper.document("watch", "watch", server.pid, table.unpack(words))
    assert.equal(0, code)
    assert.same({}, document.rows)
  end)

  with_server("are asked for only while somebody wants them, and once a period", function()
    local function requests()
      local answer = core.http { url = server.url .. "/debug/vars" }
      return core.json_decode(answer.body).requests
    end
    local before = requests()
    local words = { "--no-history", "--no-builtin", "--for", "2500ms", "--every", "1s", "--quiet" }
    assert.equal(0, helper.tidemark("watch", server.url, table.unpack(words)).code)
    assert.equal(before, requests())
    assert.equal(0, helper.tidemark("watch", server.url, "--show", "metrics.a", "--show", "metrics.b", table.unpack(words)).code)
    local asked = requests() - before
    assert.is_true(asked >= 1 and asked <= 3, asked)
  end)

  with_server("are missed in one line when the app has none", function()
    local result = helper.tidemark("watch", server.url .. "/none", "--show", "expvar.x", "--no-history", "--no-builtin", "--for", "1s", "--quiet")
    assert.equal(0, result.code)
    assert.matches("no expvar%.%* series from /debug/vars: the app answers HTTP 404\n$", result.err)
  end)

  it("must be named as they are", function()
    local result = helper.tidemark("watch", "1", "--show", "proc.rs")
    assert.equal(2, result.code)
    assert.matches("no signal is called 'proc.rs'; did you mean proc.rss", result.err)
  end)
end)
