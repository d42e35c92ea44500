-- Snapshots of a real app over its endpoint, compared by a rule while the watch runs; and an app that has none.
local core = require "tidemark.core"
local helper = require "spec.support.helper"
local pprof_server = require "spec.support.pprof_server"

local rule = [[
tm.rule {
  id = "own.snapshots", every = "1s",
  inputs = { heap = tm.snapshots("pprof.heap", { every = "1s", keep = 3, gc = true }), g = tm.snapshots("go.goroutines", { every = "1s", keep = 3 }) },
  check = function(c)
    if c.heap.n < 2 or c.g.n < 1 then return end
    local f = c.g:pivot("created_by", "count")
    return c:finding { level = "high", value = f:sum("last"), text = ("%s %d, %d goroutines"):format(c.heap.last.type, c.heap.n, f.last_total) }
  end,
}
]]

describe("snapshots of a live app", function()
  local server, path
  setup(function()
    server = pprof_server.start()
    path = helper.write(helper.folder() .. "/own.lua", rule)
  end)
  teardown(function()
    if server then server.stop() end
    helper.tidy()
  end)

  local function watch(endpoint, ...)
    return helper.tidemark("watch", server.pid, "--endpoint", endpoint, "--rules", path, "--no-history", "--no-builtin", "--for", "5s", ...)
  end

  it("are compared by a rule", function()
    if not server then return pending("no Go here") end
    for _, endpoint in ipairs { server.url, "unix:" .. server.socket } do
      local result = watch(endpoint, "--json", "--fail-on", "high")
      local document = assert(core.json_decode(result.out), result.err)
      assert.equal(1, result.code, result.err .. result.out)
      assert.matches("^inuse_space %d, %d+ goroutines$", document.rows[1].text)
    end
  end)

  -- What is noted about snapshots, and how often RSS was sampled.
  local function noted(result)
    local told, samples = {}, 0
    for line in result.out:gmatch("[^\n]+") do
      local object = core.json_decode(line)
      if object.type == "note" and object.text:find("snapshots", 1, true) then told[#told + 1] = object.text end
      if object.type == "status" and object.targets[1].proc_rss_bytes then samples = samples + 1 end
    end
    return told, samples
  end

  it("that hang are told of once, and the watch goes on", function()
    if not server then return pending("no Go here") end
    local path_of_one = helper.write(helper.folder() .. "/one.lua", (rule:gsub("g = tm.snapshots%b()", ""):gsub("c%.g%.n < 1", "false")))
    local result = helper.tidemark("watch", server.pid, "--endpoint", server.url .. "/hang", "--rules", path_of_one, "--no-history",
      "--no-builtin", "--for", "12s", "--jsonl", "--status", "1s", "--every", "1s")
    assert.equal(0, result.code, result.err)
    local told, samples = noted(result)
    assert.equal(1, #told, result.out)
    assert.matches("no snapshots pprof%.heap%?gc=1 of server: .*timed out after 5 s", told[1])
    assert.is_true(samples >= 10, samples)
  end)

  it("are tried by rules explain: what comes, and why it does not", function()
    if not server then return pending("no Go here") end
    local function explained(...)
      local document = helper.document("rules-explain", "rules", "explain", "own.snapshots", "--rules", path, "--json", "--timeout", "300ms", ...)
      local by = {}
      for _, row in ipairs(document.rows) do by[row.metric] = row end
      return by["pprof.heap?gc=1"], by["go.goroutines"], document.meta
    end
    local heap, goroutines, meta = explained(server.pid)
    assert.is_true(heap.fetched and goroutines.fetched)
    assert.equal(server.url, meta.endpoint)
    local why = { ["/hang"] = "timed out after 300 ms", ["/none"] = "is not there", ["/noise"] = "garbage instead of HTTP",
      ["/garbage"] = "no profile" }
    for place, words in pairs(why) do
      heap = explained(server.pid, "--endpoint", server.url .. place)
      assert.is_false(heap.fetched)
      assert.is_truthy(heap.fetch:find(words, 1, true), heap.fetch)
    end
    heap = explained("http://127.0.0.1:1")
    assert.is_truthy(heap.fetch:find("nothing listens there", 1, true), heap.fetch)
    local sleeper = helper.shell("sleep 20 >/dev/null 2>&1 & echo $!").out:match("%d+")
    local result = helper.tidemark("rules", "explain", "own.snapshots", sleeper, "--rules", path)
    os.execute("kill " .. sleeper)
    assert.matches("pprof%.heap%?gc=1: cannot be fetched: process %d+ listens on nothing", result.out)
  end)

  it("that do not exist are told of once, and the watch goes on", function()
    if not server then return pending("no Go here") end
    local result = watch(server.url .. "/nowhere", "--jsonl")
    assert.equal(0, result.code, result.err)
    local told = 0
    for line in result.out:gmatch("[^\n]+") do
      local object = core.json_decode(line)
      if object.type == "note" and object.text:find("no snapshots pprof.heap?gc=1 of", 1, true) then told = told + 1 end
    end
    assert.equal(1, told, result.out)
  end)
end)
