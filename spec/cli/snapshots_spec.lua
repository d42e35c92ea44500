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
