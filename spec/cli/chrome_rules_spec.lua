-- Rules with tm.trace("chrome") over traces in files: of a page with faults, and of the same without.
local core = require "tidemark.core"
local helper = require "spec.support.helper"

-- A page of 6 s; options: tasks (long ones), timers (not cleared), nodes (f(ms) -> count), app (where its script is from).
local function page(options)
  local app = options.app or "http://x/app.js"
  local out = { { ph = "M", name = "thread_name", pid = 7, tid = 1, args = { name = "CrRendererMain" } } }
  local function event(ph, name, ts, data, dur)
    out[#out + 1] = { ph = ph, cat = "devtools.timeline", name = name, pid = 7, tid = 1, ts = ts, dur = dur, args = { data = data } }
  end
  local place = { functionName = "draw", url = app, lineNumber = 9 }
  for i = 1, options.tasks or 0 do
    event("X", "RunTask", i * 500000, nil, 70000)
    event("X", "FunctionCall", i * 500000 + 10, place, 60000)
  end
  for i = 1, options.timers or 0 do
    event("I", "TimerInstall", 100000 + i, { timerId = i, timeout = 50, singleShot = false,
      stackTrace = { { functionName = "poll", url = app, lineNumber = 2 } } })
  end
  for ms = 0, 6000, 50 do event("I", "UpdateCounters", ms * 1000, { nodes = options.nodes and options.nodes(ms) or 500, jsEventListeners = 3 }) end
  return core.json(out)
end

local function replay(...)
  local words, folder = { "replay", "--snapshots", "trace.chrome", "--json" }, helper.folder()
  for i, text in ipairs { ... } do words[#words + 1] = helper.write(("%s/%d.json"):format(folder, i), text) end
  local found = {}
  local document, code = helper.document("replay", table.unpack(words))
  assert.equal(0, code)
  for _, row in ipairs(document.rows) do
    if row.state == "firing" then found[#found + 1] = row.rule .. " " .. row.key .. " " .. row.value end
  end
  table.sort(found)
  return found, document
end

describe("rules over a browser's traces", function()
  teardown(helper.tidy)

  it("name a script that blocks, timers that pile up, and nodes that only become more", function()
    local found, document = replay(page { tasks = 9, timers = 8, nodes = function(ms) return 10 + 2 * ms end })
    assert.same({ "dom.node_growth 7 12010", "ui.long_tasks draw http://x/app.js:9 9",
      "ui.orphaned_async timer, TimerInstall, poll http://x/app.js:2 8" }, found)
    for _, row in ipairs(document.rows) do
      if row.rule == "ui.long_tasks" then assert.matches("9 tasks over 50 ms in draw http://x/app.js:9, 630 ms of 6 s", row.text) end
    end
  end)

  it("see growth that pauses once, but none that has ended", function()
    local function paused(ms) return ms < 2500 and ms * 2 or ms < 4500 and 5000 or 5000 + (ms - 4500) * 2 end
    assert.same({ "dom.node_growth 7 8000" }, (replay(page { nodes = paused })))
    assert.same({}, (replay(page { nodes = function(ms) return math.min(ms * 2, 8000) end })))
  end)

  it("are quiet about a page that loads and stands still", function()
    assert.same({}, (replay(page { tasks = 1, timers = 2, nodes = function(ms) return ms < 900 and 20 * ms or 18000 end })))
    assert.same({}, (replay(page { nodes = function(ms) return 500 + ms * 2 % 4000 end })))
  end)

  it("are quiet about the browser's own pages", function()
    assert.same({}, (replay(page { tasks = 9, timers = 8, app = "chrome://resources/lit.js" })))
  end)

  it("see growth from trace to trace", function()
    local function still(n) return page { nodes = function() return n end } end
    assert.same({}, (replay(still(1000), still(9000))))
    assert.same({ "dom.node_growth 7 17000" }, (replay(still(1000), still(9000), still(17000))))
    assert.same({}, (replay(still(1000), still(9000), still(9000))))
  end)

  it("see the same of what was kept of a trace", function()
    local t = assert(core.read { bytes = page { tasks = 9 } })
    local found, document = replay(t:snapshot():write("pprof"))
    assert.equal(1, #document.rows)
    assert.matches("^ui.long_tasks draw", found[1])
  end)

  it("are explained as what costs no app a trace", function()
    local explained = helper.tidemark("rules", "explain", "ui.long_tasks")
    assert.equal(0, explained.code)
    assert.truthy(explained.out:find("trace.chrome", 1, true))
    assert.is_nil(explained.out:find("of the time", 1, true))
  end)

  it("refuse other traces, and lengths that nobody takes", function()
    local folder = helper.folder()
    local other = helper.write(folder .. "/a.txt", "main;work 3\n")
    assert.equal(3, helper.tidemark("replay", "--snapshots", "trace.go", helper.write(folder .. "/p.json", page {})).code)
    assert.truthy(helper.tidemark("replay", "--snapshots", "trace.chrome", other).out:find("no trace of a browser", 1, true)
      or helper.tidemark("replay", "--snapshots", "trace.chrome", other).err:find("no trace of a browser", 1, true))
    local rule = helper.write(folder .. "/r.lua",
      'tm.rule { id = "x.y", inputs = { t = tm.trace("chrome", { seconds = 1 }) }, check = function() end, say = "" }')
    local result = helper.tidemark("rules", "check", rule)
    assert.truthy((result.out .. result.err):find("these come from files", 1, true))
  end)
end)
