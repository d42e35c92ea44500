-- Two traces of a browser compared, and the suspicious part of one written for Chrome's viewer.
local core = require "tidemark.core"
local helper = require "spec.support.helper"

local function page(port, draws, timers, nodes)
  local app = ("http://x:%d/app.js"):format(port)
  local out = { { ph = "M", name = "thread_name", pid = port, tid = 1, args = { name = "CrRendererMain" } } }
  local function add(ph, name, ts, data, dur)
    out[#out + 1] = { ph = ph, cat = "devtools.timeline", name = name, pid = port, tid = 1, ts = ts, dur = dur, args = { data = data } }
  end
  for i = 1, draws do
    add("X", "RunTask", i * 500000, nil, 70000)
    add("X", "FunctionCall", i * 500000 + 10, { functionName = "draw", url = app, lineNumber = 9 }, 60000)
    add("X", "Layout", i * 500000 + 20, nil, 5000)
  end
  add("X", "RunTask", 30000000, nil, 60000)
  add("X", "RunTask", 40000000, nil, 9000)
  add("X", "Layout", 40000001, nil, 900)
  for i = 1, timers do
    add("I", "TimerInstall", 100000 + i, { timerId = i, timeout = 50, singleShot = false,
      stackTrace = { { functionName = "poll", url = app, lineNumber = 2 } } })
  end
  add("I", "UpdateCounters", 1, { nodes = 1 })
  add("I", "UpdateCounters", 1000000, { nodes = nodes })
  return core.json(out)
end

describe("traces of browsers", function()
  local old, new
  setup(function()
    old = helper.write(helper.folder() .. "/old.json", page(4001, 2, 3, 500))
    new = helper.write(helper.folder() .. "/new.json", page(4002, 5, 9, 700))
  end)
  teardown(helper.tidy)

  it("are compared by what stays from run to run: not by port or process", function()
    local rows, meta = helper.rows("tasks_diff", "tasks", new, "--base", old, "--over", "50ms")
    assert.equal(old, meta.base)
    assert.same({ 2, 3, 5, 2, "draw http://x/app.js:9", 350000000, 140000000 },
      { #rows, rows[1].change, rows[1].count, rows[1].base_count, rows[1].work, rows[1].duration_ns, rows[1].base_duration_ns })
    assert.same({ 0, "(no script)" }, { rows[2].change, rows[2].work })
    local piles = helper.rows("asyncs_diff", "asyncs", new, "--base", old)
    assert.same({ 1, 6, 9, 3, "poll http://x/app.js:2", "every 50 ms" },
      { #piles, piles[1].change, piles[1].count, piles[1].base_count, piles[1].owner, piles[1].detail })
    local counters = helper.rows("counters_diff", "counters", new, "--base", old)
    assert.same({ 1, 200, 700, 500, "nodes" }, { #counters, counters[1].change, counters[1].last, counters[1].base_last, counters[1].name })
  end)

  it("say what is gone, and nothing of what is the same", function()
    local empty = helper.write(helper.folder() .. "/empty.json", page(4003, 0, 0, 500))
    local rows = helper.rows("asyncs_diff", "asyncs", empty, "--base", old)
    assert.same({ -3, 0, 3 }, { rows[1].change, rows[1].count, rows[1].base_count })
    local same = helper.tidemark("tasks", old, "--base", old)
    assert.same({ 0, "0 of 2 works of tasks over 16 ms changed\n" }, { same.code, same.out })
    local changed = helper.tidemark("asyncs", new, "--base", old)
    assert.truthy(changed.out:find("+6", 1, true))
    assert.equal(2, helper.tidemark("tasks", new, "--base", helper.write(helper.folder() .. "/p.txt", "main;work 3\n")).code)
  end)

  it("are written with long tasks and open operations only, and read again", function()
    local out = helper.folder() .. "/long.json"
    assert.equal(0, helper.tidemark("tasks", new, "--over", "50ms", "--chrome", "--output", out).code)
    local t = assert(core.read(out))
    assert.equal(5 * 3 + 1, t:info().slices) -- neither the short task nor what is in it
    local rows, again = helper.rows("tasks", "tasks", new, "--over", "50ms"), helper.rows("tasks", "tasks", out)
    assert.equal(#rows, #again)
    for i, row in ipairs(rows) do
      assert.same({ row.duration_ns, row.layout_ns, row.script_ns, row.forced_ns, row.thread, row.work },
        { again[i].duration_ns, again[i].layout_ns, again[i].script_ns, again[i].forced_ns, again[i].thread, again[i].work })
    end
    local open = t:asyncs()
    assert.same({ 1, "TimerInstall" }, { #open, open[1].name })
    assert.matches("^begin_ns,", helper.tidemark("tasks", new, "--csv").out)
  end)
end)
