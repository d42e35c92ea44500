-- Call paths: frames, sites and owners.
local core = require "tidemark.core"
local sites = require "tidemark.report.sites"

local function frames(...)
  local out = {}
  for i, name in ipairs { ... } do out[i] = { name = name, runtime = sites.is_runtime(name), standard = sites.is_standard(name) } end
  return out
end

describe("sites", function()
  it("take a label apart", function()
    assert.same({ "main.f", "/src/f.go", 12 }, { sites.split "main.f /src/f.go:12" })
    assert.same({ "main.f", "f.go", 12 }, { sites.split "main.f f.go:12" })
    assert.same({ "operator new(unsigned long)", "/my dir/new.cc", 7 }, { sites.split "operator new(unsigned long) /my dir/new.cc:7" })
    assert.same({ "f", "C:\\a b\\f.go", 3 }, { sites.split "f C:\\a b\\f.go:3" })
    assert.same({ "main.f" }, { sites.split "main.f" })
    assert.same({ "main.f", "/src/f.go" }, { sites.split "main.f /src/f.go" })
  end)

  it("know the standard library from modules that look like it", function()
    for _, name in ipairs { "encoding/json.Marshal", "sync.(*Pool).Get", "runtime.mallocgc", "slices.Clone[go.shape.[]int]",
      "vendor/golang.org/x/net/http2/hpack.init", "sync.OnceFunc[github.com/a/b.T]" } do
      assert.is_true(sites.is_standard(name), name)
    end
    for _, name in ipairs { "main.main", "go.uber.org/zap.New", "github.com/a/b.f", "time.example/x.f", "mymod/json.Do" } do
      assert.is_false(sites.is_standard(name), name)
    end
  end)

  it("know the runtime's assembly by its file", function()
    assert.is_true(sites.is_runtime("gcWriteBarrier", "/usr/lib/go/src/runtime/asm_amd64.s"))
    assert.is_true(sites.is_runtime("memmove", "runtime/memmove_amd64.s"))
    assert.is_true(sites.is_runtime("indexbytebody", "/go/src/internal/bytealg/indexbyte_amd64.s"))
    assert.is_false(sites.is_runtime("gcWriteBarrier", "/home/me/runtime/gc.c"))
    assert.is_false(sites.is_runtime("run", "/home/me/myruntime/run.s"))
    assert.is_false(sites.is_runtime("run", ".s"))
    assert.is_true(sites.is_runtime "malloc")
    assert.same({ 3, 4 }, { sites.place(frames("malloc", "operator new(unsigned long)", "std::vector<int>::push_back", "Cache::put")) })
  end)

  it("find who asked the runtime, and whose code it is", function()
    local path = frames("runtime.mallocgc", "runtime.growslice", "encoding/json.(*encodeState).string", "encoding/json.Marshal", "main.save", "main.main")
    assert.same({ 3, 5 }, { sites.place(path) })
    assert.same({ 0, 0 }, { sites.place(frames("runtime.scanobject", "runtime.gcBgMarkWorker")) })
    assert.same({ 1, 1 }, { sites.place(frames("net/http.(*conn).serve")) })
    assert.equal("encoding/json.Marshal\0main.save", sites.chain(path, 4, 5))
  end)

  it("are read from a profile", function()
    local p = assert(core.read { bytes = "main.main;main.f 3\nmain.main;main.g 4\n" })
    local seen = {}
    assert.is_true(sites.each(p, {}, function(path, value) seen[#seen + 1] = path[1].name .. "<" .. path[2].name .. " " .. value end))
    table.sort(seen)
    assert.same({ "main.f<main.main 3", "main.g<main.main 4" }, seen)
    local ok, err = sites.each(p, { focus = "(" }, function() end)
    assert.is_nil(ok)
    assert.is_string(err.message)
  end)
end)
