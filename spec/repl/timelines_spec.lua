-- A browser's trace at the prompt: the same answers as the commands give.
local core = require "tidemark.core"
local helper = require "spec.support.helper"

local function run(...)
  local path = helper.write(helper.folder() .. "/script", table.concat({ ... }, "\n") .. "\n")
  return helper.shell("LC_ALL=C.UTF-8 " .. helper.command("repl", "--no-history") .. " <" .. helper.quote(path))
end

local function event(ph, name, ts, more)
  local out = { ph = ph, cat = "devtools.timeline", name = name, pid = 7, tid = 1, ts = ts }
  for key, value in pairs(more or {}) do out[key] = value end
  return out
end

describe("the prompt over a browser's trace", function()
  local file

  setup(function()
    local hex = { attrs = { size = { value = "400" } } }
    file = helper.write(helper.folder() .. "/page.json", core.json {
      event("M", "thread_name", nil, { args = { name = "CrRendererMain" } }), event("X", "RunTask", 0, { dur = 70000 }),
      event("X", "RunTask", 90000, { dur = 20000 }),
      event("I", "WebSocketCreate", 10, { args = { data = { identifier = 1, url = "ws://x/y" } } }),
      event("I", "UpdateCounters", 100, { args = { data = { nodes = 3 } } }), event("I", "UpdateCounters", 50000, { args = { data = { nodes = 30 } } }),
      event("I", "UpdateCounters", 100000, { args = { data = { nodes = 50 } } }),
      event("R", "opened", 40000, { cat = "blink.user_timing" }),
      event("b", "PipelineReporter", 5, { id = "1", args = { frame_reporter = { state = "STATE_DROPPED" } } }), event("e", "PipelineReporter", 6, { id = "1" }),
      event("v", "periodic_interval", 7, { id = "2", args = { dumps = { allocators = { malloc = hex } } } }) })
  end)
  teardown(helper.tidy)

  it("tells tasks, operations, counters, frames and memory", function()
    local r = run(("t = tm.read '%s'"):format(file), "tm.tasks(t)[1].duration_ns", "#tm.tasks(t)", "#tm.tasks(t, {over='50ms'})", "tm.asyncs(t)[1].detail",
      "tm.counters(t)[1].delta", "tm.counters(t, {from='opened'})[1].delta", "tm.frames(t).notes.dropped", "tm.memory(t)[1].last_bytes")
    assert.same({ 0, "" }, { r.code, r.err })
    local found = {}
    for line in r.out:gmatch "[^\n]+" do found[#found + 1] = line:match "^%s*(.-)%s*$" end
    assert.same({ "70000000", "2", "1", '"ws://x/y"', "47.0", "20.0", "1", "1024" }, found)
  end)

  it("says what it needs", function()
    local r = run(("t = tm.read '%s'"):format(file), "tm.counters(t, {from='nowhere'})", "tm.tasks(t, {ovr=1})", "tm.objects(t)", "tm.asyncs(3)")
    local said = r.out .. r.err
    for _, text in ipairs { "performance.mark", "over", "heap dump is needed", "profile is needed" } do assert.truthy(said:find(text, 1, true), text) end
  end)
end)
