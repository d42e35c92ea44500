-- The library and what is said of it: every verb and method is documented, every documented one is there, every example runs, unknown
-- options are named, and the generated files are what the definitions say.
local api = require "tidemark.api"
local core = require "tidemark.core"
local docs = require "tidemark.docs"
local examples = require "tidemark.examples"
local gotrace = require "spec.support.gotrace_writer"
local helper = require "spec.support.helper"
local hprof = require "spec.support.hprof_writer"
local pprof = require "spec.support.pprof_writer"
local tm = require "tidemark"
local v8heap = require "spec.support.v8heap_writer"

-- Names that are methods of a type of core, from its metatable.
local function methods_of(value)
  local index = debug.getmetatable(value).__index
  if type(index) == "function" then
    for i = 1, 8 do
      local _, upvalue = debug.getupvalue(index, i)
      if type(upvalue) == "table" then
        index = upvalue
        break
      end
    end
  end
  local out = {}
  for name in pairs(index) do
    if not name:find("^__") then out[name] = true end
  end
  return out
end

local function write_files(folder)
  local function write(name, bytes) return helper.write(folder .. "/" .. name, bytes) end
  local stacks = { types = { "inuse_objects/count", "inuse_space/bytes" }, time_ns = 1700000000000000000 }
  local function heap(n)
    return pprof { types = stacks.types, time_ns = stacks.time_ns + n, { "main.main;main.cache", n, n * 1000 },
      { "main.main;main.serve", 1, 50, labels = { k = "v" } } }
  end
  write("heap.pb.gz", heap(9))
  write("before.pb.gz", heap(2))
  write("app.hprof", hprof(function(w)
    local item = w:class("app.Item", { fields = { { "bytes", "object" } } })
    local items = {}
    for i = 1, 60 do items[i] = w:new(item, { bytes = w:primitive_array("byte", { 1, 2, 3 }) }) end
    w:root("sticky", w:class("app.App", { statics = { { "cache", "object", w:object_array(w:class "[Lapp.Item;", items) } } }))
  end))
  local v8 = v8heap {}
  v8:root("object", "Session", 100)
  write("app.heapsnapshot", v8:text())
  write("trace.out", gotrace(26, function(w)
    w:generation(1, function(gen) gen:thread(7, 100, { { "GoStatus", 1, 7, 2 }, { "GoCreate", 2, gen:stack { "main.f", "f.go", 3 }, 0 } }) end)
  end))
  write("page.json", core.json { { ph = "X", cat = "devtools.timeline", name = "RunTask", pid = 7, tid = 1, ts = 1, dur = 70000 } })
  local engine <close> = assert(core.engine { virtual = true })
  assert(engine:record(folder .. "/recording.tmr", "{}", true))
  engine:advance(1700000000000000000)
  local target = engine:add_target { id = "1:1", name = "app", start_time_ns = 1 }
  assert(engine:feed(target.id, "proc.rss", "", 1700000001000000000, 5e6))
  engine:advance(1700000002000000000)
end

describe("the Lua library", function()
  local folder
  setup(function()
    folder = helper.folder()
    write_files(folder)
  end)
  teardown(helper.tidy)

  it("has every verb documented, and documents no other", function()
    for name, value in pairs(tm) do
      if type(value) == "function" then assert.is_truthy(docs.of[value], "tm." .. name .. " is not documented") end
    end
    for _, entry in ipairs(docs.order) do
      assert.equal(entry.fn, tm[entry.name], entry.name)
      assert.equal("tm." .. entry.name, api.parse(entry.signature).name)
      assert.is_true(#docs.summary(entry) > 8)
    end
  end)

  it("has every method documented, and documents no other", function()
    local p, g, t = tm.read(folder .. "/heap.pb.gz"), tm.read(folder .. "/app.hprof"), tm.read(folder .. "/trace.out")
    local line = tm.read(folder .. "/page.json")
    local growth = core.growth {}
    for name, value in pairs { Profile = p, Table = tm.top(p), Graph = g, Set = g:where {}, Growth = growth, Trace = t, Timeline = line } do
      local entry = assert(docs.types["tidemark." .. name], name)
      local there = methods_of(value)
      for method in pairs(there) do assert.is_truthy(entry.members[method], name .. ":" .. method .. " is not documented") end
      for method, m in pairs(entry.members) do
        if m.signature:find("[({]") and not m.signature:find("^for ") then assert.is_truthy(there[method], name .. ":" .. method .. " is not there") end
      end
    end
  end)

  it("is described in docs/lua-api.md and lua/meta/tidemark.lua as it is: tidemark lua scripts/gen_lua_api.lua", function()
    assert.equal(api.markdown(), helper.read("docs/lua-api.md"))
    assert.equal(api.meta(), helper.read("lua/meta/tidemark.lua"))
    assert.is_function(load(api.meta()))
  end)

  for name, text in pairs(examples) do
    it("runs the example of " .. name, function()
      assert.is_function(tm[name])
      local said = {}
      local env = setmetatable({ tm = tm, pid = math.tointeger(tonumber(helper.read("/proc/self/stat"):match("%d+"))),
        print = function(first) said[#said + 1] = tostring(first) end }, { __index = _G })
      local code = text:gsub('"([%w]+%.[%w.]+)"', function(file)
        local known = core.stat(folder .. "/" .. file) or file == "copy.folded"
        return known and ("%q"):format(folder .. "/" .. file) or nil
      end)
      local run = assert(load(code, name, "t", env))
      run()
      for comment in text:gmatch("print%([^\n]*%-%- ([^\n]+)") do assert.equal(comment, said[#said]) end
    end)
  end

  it("names the option that was meant", function()
    local calls = { top = { "nodecont" }, tree = { "focsu" }, traces = { "ignroe" }, objects = { "ordr" }, suspects = { "shar" },
      consumers = { "nodecont", "type" }, garbage = { "nodecont" }, lint = { "nodecont" }, topology = { "nodecont" },
      detached = { "nodecont" }, paths = { "folow" }, read = { "fromat" },
      goroutines = { "stack" }, tasks = { "ovre" }, counters = { "form" } }
    for name, call in pairs(calls) do
      local ok, message
      if call[2] then ok, message = pcall(tm[name], folder .. "/app.hprof", call[2], { [call[1]] = 1 })
      else ok, message = pcall(tm[name], folder .. "/heap.pb.gz", { [call[1]] = 1 }) end
      assert.is_false(ok, name)
      assert.matches(("tm.%s: unknown option '%s'"):format(name, call[1]), message, 1, true)
      assert.matches("did you mean", message, 1, true)
    end
  end)
end)
