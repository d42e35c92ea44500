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

  -- The last status of a watch of a program that has no endpoint of its own.
  local function status_of(...)
    local sleeper = helper.shell("sleep 20 >/dev/null 2>&1 & echo $!").out:match("%d+")
    local result = helper.tidemark("watch", sleeper, "--show", "expvar.documents", "--show", "metrics.go_goroutines", "--no-history",
      "--no-builtin", "--every", "1s", "--for", "1500ms", "--status", "1s", "--jsonl", ...)
    os.execute("kill " .. sleeper)
    local status
    for line in result.out:gmatch("[^\n]+") do
      local object = core.json_decode(line)
      if object.type == "status" then status = object.targets[1] end
    end
    return status, result
  end

  with_server("may stand elsewhere: one address for both pages, or one each", function()
    local cases = { { { server.url }, 7, 11 }, { { "unix:" .. server.socket }, 7, 11 }, { { server.url .. "/app/metrics" }, nil, 11 },
      { { "unix:" .. server.socket .. ":/app/debug/vars" }, 7, nil },
      { { server.url .. "/app/debug/vars", "unix:" .. server.socket .. ":/metrics" }, 7, 11 } }
    for i, case in ipairs(cases) do
      local words = {}
      for _, address in ipairs(case[1]) do table.move({ "--metrics", address }, 1, 2, #words + 1, words) end
      local status, result = status_of(table.unpack(words))
      assert.equal(case[2], status.expvar_documents, i .. result.err)
      assert.equal(case[3], status.metrics_go_goroutines, i .. result.err)
    end
    local status, result = status_of("--metrics", server.url .. "/none/metrics", "--endpoint", server.url) -- the other page stays
    assert.equal(7, status.expvar_documents)
    assert.is_nil(status.metrics_go_goroutines)
    assert.matches("no metrics%.%* series", result.err)
  end)

  with_server("are asked with the headers and the Host that are given, also from the config file", function()
    local status, result = status_of("--endpoint", server.url .. "/token")
    assert.is_nil(status.expvar_documents)
    assert.matches("HTTP 401", result.err)
    status = status_of("--endpoint", server.url .. "/token", "--header", "Authorization: Bearer secret")
    assert.equal(7, status.expvar_documents)
    assert.equal(11, status.metrics_go_goroutines)
    status = status_of("--metrics", server.url .. "/host/debug/vars", "--host-header", "")
    assert.equal(7, status.expvar_documents)
    local config = helper.write(helper.folder() .. "/config.lua", ('return { metrics = { "%s/token/metrics" }, header = { "%s" } }')
      :format(server.url, "Authorization: Bearer secret"))
    local words = { "watch", server.pid, "--show", "metrics.go_goroutines", "--no-history", "--no-builtin", "--for", "1500ms", "--status", "1s", "--jsonl" }
    result = helper.shell("export TIDEMARK_CONFIG=" .. helper.quote(config) .. "\n"
      .. helper.command(table.unpack(words)):gsub("%-u TIDEMARK_CONFIG", ""))
    assert.matches('"metrics_go_goroutines":11', result.out, result.err)
    result = helper.tidemark("watch", "1", "--header", "nonsense")
    assert.equal(2, result.code)
    assert.matches("%-%-header is NAME:VALUE", result.err)
  end)

  with_server("are asked in the same way for a library call", function()
    local access = require "tidemark.cli.access"
    assert.same({ endpoint = "http://h:1/", headers = "Host: x\nA: 1\nB: 2\n", metrics = "unix:/m.sock:/metrics", vars = "http://h:2/debug/vars" },
      access.of_call({ headers = { B = "2", A = "1" }, host_header = "x", metrics = { "unix:/m.sock:/metrics", "http://h:2/debug/vars" } }, "http://h:1/"))
    local script = helper.write(helper.folder() .. "/a.lua", ([[
      local tm = require "tidemark"
      local targets = require "tidemark.targets"
      targets.options["no-history"] = true
      local t = assert(tm.attach(%d, { endpoint = "%s/token", headers = { Authorization = "Bearer secret" } }))
      local s = targets.session()
      s.engine:demand(t.id, "expvar.documents", 1000000000, 10)
      s.engine:run { for_ns = 1500000000 }
      print(t:last "expvar.documents")
      targets.close() ]]):format(server.pid, server.url))
    local result = helper.tidemark("lua", script)
    assert.matches("^7", result.out, result.err)
  end)

  it("are recorded without the passwords that they were asked with", function()
    local shown = require("tidemark.cli.access").command { "watch", "1", "--header", "Authorization: a", "--header=X-Key:b", "--for", "1s" }
    assert.equal("watch 1 --header Authorization:*** --header=X-Key:*** --for 1s", shown)
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
