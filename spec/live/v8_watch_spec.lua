-- V8's own numbers of a watched program, over one inspector session: series, the accounting, rules; and inspectors that misbehave.
local core = require "tidemark.core"
local helper = require "spec.support.helper"
local quote = helper.quote

local function has(command) return helper.shell("command -v " .. command .. " >/dev/null").code == 0 end

-- Starts a command in the background, in a folder; waits for found(folder), which answers what is waited for.
local function start(dir, command, found)
  assert(os.execute(("cd %s && { %s >out 2>err </dev/null & echo $! >pid; }"):format(quote(dir), command)))
  local pid, value = math.tointeger(tonumber(helper.read(dir .. "/pid"))), nil
  for _ = 1, 200 do
    value = found(dir)
    if value then break end
    core.pause(50000000)
  end
  assert(value, "it never began: " .. command)
  return { pid = pid, dir = dir, value = value, stop = function() os.execute(("kill %d 2>/dev/null"):format(pid)) end }
end

-- The last status of a watch, and its whole output.
local function watch(...)
  local result = helper.tidemark("watch", ...)
  local last
  for line in result.out:gmatch("[^\n]+") do
    local object = core.json_decode(line)
    if object and object.type == "status" then last = object end
  end
  return last, result
end

describe("V8 of a watched program", function()
  local running = {}
  local function begin(...)
    running[#running + 1] = start(...)
    return running[#running]
  end
  teardown(function()
    for _, one in ipairs(running) do one.stop() end
    helper.tidy()
  end)

  local function node(script)
    if not has "node" then return nil end
    local dir = helper.folder()
    helper.write(dir .. "/app.js", script)
    return begin(dir, "node --inspect=127.0.0.1:0 app.js", function()
      return core.stat(dir .. "/err") and helper.read(dir .. "/err"):match "ws://127.0.0.1:(%d+)/"
    end)
  end

  local function fake(mode)
    if not has "python3" then return nil end
    local script = core.realpath("spec/support/inspector_fake.py")
    return begin(helper.folder(), ("python3 %s %s port"):format(quote(script), mode),
      function(dir) return core.stat(dir .. "/port") and helper.read(dir .. "/port") end)
  end

  it("is told as series and in the accounting of RSS", function()
    local app = node "globalThis.kept = Buffer.alloc(64 << 20, 1); setInterval(() => {}, 1000);"
    if not app then return pending "no Node here" end
    local status, result = watch("node:" .. app.value, "--for", "8s", "--status", "1s", "--jsonl", "--every", "1s", "--show", "account.v8_array_buffers",
      "--show", "account.v8_heap")
    assert.equal(0, result.code, result.err)
    local row = status.targets[1]
    assert.equal(app.pid, row.pid)
    assert.is_true(row.node_array_buffers_bytes >= 64 << 20 and row.node_array_buffers_bytes < 68 << 20)
    assert.equal(row.node_array_buffers_bytes, row.account_v8_array_buffers_bytes)
    assert.is_true(row.v8_heap_used_bytes > 1000000 and row.v8_heap_used_bytes <= row.v8_heap_total_bytes)
    assert.is_true(row.account_v8_heap_bytes > 0)
    assert.equal(1, select(2, helper.read(app.dir .. "/err"):gsub("Debugger attached", "")))
  end)

  it("does not hold up the end of Node, which waits for debuggers", function()
    local app = node "setTimeout(() => {}, 4000);"
    if not app then return pending "no Node here" end
    local _, result = watch("node:" .. app.value, "--for", "60s", "--jsonl")
    assert.equal(0, result.code, result.err)
    assert.matches('"type":"target_gone"', result.out)
    assert.is_nil(core.describe(app.pid))
  end)

  it("feeds rules", function()
    local page = fake "good"
    if not page then return pending "no Python here" end
    local rule = helper.write(helper.folder() .. "/nodes.lua", [[
      tm.rule {
        id = "my.nodes", doc = "a page piles up nodes", every = "1s",
        inputs = { n = tm.series("dom.nodes", { every = "5s", window = "1m" }), heap = tm.series("v8.heap_used", { every = "5s", window = "1m" }) },
        check = function(c)
          if (c.n.last or 0) >= 2000 then return c:finding { value = c.n.last, heap = c.heap.last } end
        end,
        say = "{target} has {value} nodes and {heap:bytes} of JS",
      }]])
    local _, result = watch("chrome:" .. page.value, "--for", "9s", "--json", "--rules", rule)
    local rows = assert(core.json_decode(result.out), result.err).rows
    local found
    for _, row in ipairs(rows) do found = found or row.rule == "my.nodes" and row end
    assert.matches("has %d000 nodes and 1 MiB of JS", found.text)
  end)

  it("has short traces of pages taken, for the rules that want some", function()
    local page = fake "good"
    if not page then return pending "no Python here" end
    local _, result = watch("chrome:" .. page.value, "--for", "22s", "--plain")
    assert.equal(0, result.code, result.err)
    assert.matches("HIGH ui.long_tasks: python3: 8 tasks over 50 ms in draw http://x/app.js:9, 960 ms of 2.22 s", result.out)
    assert.matches("1 trace of pages, 3 s each: traced for %d+%.?%d* %% of the time, 2", result.out)
    assert.is_nil(result.out:find("no trace of the page", 1, true))
  end)

  it("says once that a page gives no trace", function()
    local page = fake "untraced"
    if not page then return pending "no Python here" end
    local _, result = watch("chrome:" .. page.value, "--for", "20s", "--plain")
    assert.equal(0, result.code, result.err)
    assert.equal(1, select(2, result.out:gsub("no trace of the page: ", "")))
    assert.is_nil(result.out:find("of pages", 1, true))
  end)

  it("holds up nobody when it never answers", function()
    local page = fake "deaf"
    if not page then return pending "no Python here" end
    local status, result = watch("chrome:" .. page.value, "--for", "4s", "--status", "1s", "--jsonl", "--every", "1s")
    assert.equal(0, result.code, result.err)
    assert.is_true(status.targets[1].proc_rss_bytes > 0)
    assert.is_nil(status.targets[1].v8_heap_used_bytes)
    assert.is_true(select(2, result.out:gsub('"type":"status"', "")) >= 3)
  end)

  it("is said to be lost, and watched on without", function()
    local page = fake "leaves"
    if not page then return pending "no Python here" end
    local status, result = watch("chrome:" .. page.value, "--for", "4s", "--status", "1s", "--jsonl", "--every", "1s")
    assert.equal(0, result.code, result.err)
    assert.is_true(status.targets[1].v8_heap_used_bytes == 1 << 20)
    assert.matches("no numbers of V8: ", result.out)
  end)

  it("is refused where nothing answers", function()
    local result = helper.tidemark("watch", "node:1", "--for", "1s")
    assert.is_true(result.code ~= 0)
    assert.equal(1, select(2, result.err:gsub("tidemark: ", "")))
  end)
end)
