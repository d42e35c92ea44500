-- Types of a Go heap dump's objects from the program that wrote it, by every Go that is here: as many of each as the program made.
local core = require "tidemark.core"
local goheap = require "spec.support.goheap_writer"
local helper = require "spec.support.helper"

local folder = helper.folder()

-- Builds and runs gotypes: the program and its dump.
local function make(go, flags)
  helper.write(folder .. "/gotypes.go", helper.read("spec/support/gotypes.go"))
  local env = helper.go(folder)
  local made = helper.shell(("%s %s build %s -o gotypes gotypes.go && ./gotypes dump"):format(env, go, flags))
  assert.equal(0, made.code, made.err)
  return folder .. "/gotypes", folder .. "/dump"
end

local function counts(rows)
  local out = {}
  for _, row in ipairs(rows) do out[row.type] = row.count end
  return out
end

describe("types of a Go heap dump", function()
  teardown(helper.tidy)

  for _, case in ipairs { { "go", "" }, { "go", "-buildmode=pie" }, { "/usr/lib/go-1.19/bin/go", "" } } do
    it(("are those of the program, built by %s %s"):format(case[1], case[2]), function()
      if helper.shell(case[1] .. " version").code ~= 0 then pending("no such Go here") return end
      local exe, dump = make(case[1], case[2])
      local found = counts((helper.rows("objects", "objects", dump, "--exe", exe)))
      -- 100 sessions; attributes: in a map, three in an array, in a channel of each, in every second interface, behind the inner of every
      -- other, and one shown
      assert.same({ 100, 601, 50, 100 }, { found["main.session"], found["main.attr"], found["main.inner"], found["hchan<*main.attr>"] })
      assert.equal(100, found["map<string,*main.attr>"] or found["hash<string,*main.attr>"])
      assert.equal(1, found["[]*main.session"])
      local g <close> = assert(core.read(dump))
      assert(g:use_exe(exe))
      local inner = g:where { type = "main.inner" }:rows { nodecount = 1 }[1].node
      local way = {}
      for i, row in g:path(inner):rows() do way[i] = row.edge .. " " .. row.type end
      assert.matches("^static main%.%a+", way[1])
      assert.equal(".any main.inner", way[#way])
      local names = {}
      for _, row in g:fields(inner):rows() do names[#names + 1] = row.name end
      assert.same({ ".a", ".b", ".p" }, names)
    end)
  end

  it("have their fields where they are when pointers have four bytes, too", function()
    if helper.shell("GOARCH=386 go version").code ~= 0 then pending("no Go here") return end
    local built, exe, dump = pcall(make, "GOARCH=386 CGO_ENABLED=0 go", "")
    if not built then pending("programs of 32 bits do not run here") return end
    local g <close> = assert(core.read(dump))
    assert(g:use_exe(exe))
    local sessions = g:where { type = "main.session" }:nodes()
    assert.equal(100, #sessions)
    for _, node in ipairs(sessions) do
      local in_map = false
      for _, row in g:incoming(node, {}):rows() do in_map = in_map or row.edge:find("%.slots%[%d%]%.elem$") ~= nil end
      assert.is_true(in_map)
    end
  end)

  it("are refused from a program that is another one, or has none", function()
    local dump = helper.write(folder .. "/small", goheap(function(w)
      w:object(0xc000000000, 32, {})
      w:data(0x500000, { [0] = 0xc000000000 })
    end))
    local result = helper.tidemark("objects", dump, "--exe", "/bin/sh")
    assert.equal(3, result.code)
    assert.matches("/bin/sh", result.err, 1, true)
    result = helper.tidemark("objects", "--exe", "/bin/sh", helper.write(folder .. "/x.heapsnapshot",
      '{"snapshot":{"meta":{"node_fields":["type","name","id","self_size","edge_count"],"node_types":[["hidden"]],'
      .. '"edge_fields":["type","name_or_index","to_node"],"edge_types":[["context"]]},"node_count":1,"edge_count":0},"nodes":[0,0,1,8,0],"edges":[],'
      .. '"strings":[""]}'))
    assert.equal(2, result.code)
  end)

  it("are refused from another build", function()
    if helper.shell("go version").code ~= 0 then pending("no Go here") return end
    local exe, dump = make("go", "")
    helper.shell(("mv %s %s/first"):format(dump, folder))
    helper.shell(("sed -i 's/%s/%s/' %s/gotypes.go"):format("return s$", "println(s.id);println(s.name);return s", folder))
    local env = helper.go(folder)
    assert.equal(0, helper.shell(env .. "go build -gcflags=-N -o gotypes gotypes.go").code)
    local result = helper.tidemark("objects", folder .. "/first", "--exe", exe)
    assert.equal(2, result.code)
    assert.matches("another build", result.err, 1, true)
  end)
end)
