-- Each leak of the leaking apps is named by the default rules within a minute, by its kind, with a first line that helps; what is
-- healthy is not accused. All apps run side by side. That it takes no longer than a minute is what scripts/leak_table.sh shows on a
-- quiet machine: TM_LEAK_TABLE=FILE writes what was found there, as docs/leaks.md has it, and asserts the minute; TM_LEAK_CLEAN=10m says
-- how long the healthy ones run. In a loaded CI a round of looks may come late: there it is 80 s, and who was missed is tried once more.
local core = require "tidemark.core"
local helper = require "spec.support.helper"

local BUILD <const> = os.getenv("TM_BUILD")
local LEAKY <const>, LEAKY_GO <const> = BUILD .. "/examples/leaky/leaky", BUILD .. "/examples/leaky/leaky-go"
local TABLE <const> = os.getenv("TM_LEAK_TABLE")

-- What leaks, how it is started, the rule that names it and words of its first line. None: it is healthy.
local leaks = {
  { "C heap", "--heap", "proc.rss_climb", "in the C heap" },
  { "descriptors: files", "--fds 20/s --fd-kind file", "proc.handle_spike", "kind file" },
  { "descriptors: sockets", "--fds 20/s --fd-kind socket", "proc.handle_spike", "kind socket" },
  { "descriptors: pipes", "--fds 20/s --fd-kind pipe", "proc.handle_spike", "kind pipe" },
  { "descriptors: eventfds", "--fds 20/s --fd-kind eventfd", "proc.handle_spike", "kind eventfd" },
  { "threads", "--threads", "proc.thread_pile", "threads" },
  { "mappings", "--maps", "proc.mapping_growth", "kind anon" },
  { "memory files", "--memfd", "proc.hidden_growth", "memfd" },
  { "deleted files", "--deleted", "proc.hidden_growth", "deleted" },
  { "pixmaps", "--pixmaps", "gui.pixmap_growth", "PIXMAP", display = true },
  { "Go heap", "-heap 1MB/s", "go.suspect", "the Go heap grows: main.(*app).leakHeap", go = true },
  { "Go: cgo", "-cgo 1MB/s", "go.suspect", "C memory grows", go = true },
  { "goroutines", "-goroutines 5/s", "go.suspect", "started by main.(*app).leakGoroutine", go = true },
  { "tickers", "-tickers 3000/s", "go.suspect", "time.NewTicker", go = true },
  { "healthy: nothing at all", "" },
  { "healthy: a warm-up", "--warmup 60MB/20s" },
  { "healthy: a sawtooth", "--sawtooth 40MB/8s" },
  { "healthy: churn", "--churn" },
  { "healthy: Go's garbage", "-gc-churn 20MB/s", go = true },
}

local function display_of(folder)
  if helper.shell("command -v Xvfb").code ~= 0 then return nil end
  for number = 80, 89 do
    if not core.stat(("/tmp/.X11-unix/X%d"):format(number)) then
      os.execute(("Xvfb :%d -screen 0 320x240x24 -nolisten tcp >%s/xvfb 2>&1 & echo $! >%s/xvfb.pid"):format(number, folder, folder))
      for _ = 1, 100 do
        if core.stat(("/tmp/.X11-unix/X%d"):format(number)) then break end
        core.sleep(50000000)
      end
      return ":" .. number, helper.read(folder .. "/xvfb.pid"):match("%d+")
    end
  end
end

-- The findings of one run, in order: { rule, level, text, after_s }.
local function findings(path)
  local out, began = {}, nil
  for line in io.lines(path) do
    local e = line:match("^{") and core.json_decode(line)
    if e and e.type == "target_added" then began = e.time_ns end
    if e and e.type == "alert" and e.state == "firing" then
      out[#out + 1] = { rule = e.rule, level = e.level, text = e.text, after_s = (e.time_ns - began) / 1e9 }
    end
  end
  return out
end

-- The finding that names a leak, or nil.
local function named(leak)
  for _, f in ipairs(leak.found or {}) do
    if f.rule == leak[3] and f.text:find(leak[4], 1, true) then return f end
  end
end

-- Starts those that are wanted, each watched by its own tidemark, and waits for them.
local function run_all(folder, display, wanted)
  local has_go, lines = core.stat(LEAKY_GO) ~= nil, {}
  for i, leak in ipairs(leaks) do
    if wanted(leak) and (not leak.go or has_go) and (not leak.display or display) then
      local healthy = not leak[3]
      local length = healthy and os.getenv("TM_LEAK_CLEAN") or TABLE and "62s" or "80s"
      local socket = ("unix:%s/%d.sock"):format(folder, i)
      local words = { "run", "--jsonl", "--no-history", "--for", length }
      if leak.go then table.move({ "--endpoint", socket }, 1, 2, #words + 1, words) end
      local app = leak.go and ("%s %s -quiet -listen %s"):format(LEAKY_GO, leak[2], socket) or ("%s %s --quiet"):format(LEAKY, leak[2])
      leak.out = ("%s/%d.out"):format(folder, i)
      local environment = leak.display and "DISPLAY=" .. display .. " " or ""
      lines[#lines + 1] = ("%s%s -- %s >%s 2>&1 &"):format(environment, helper.command(table.unpack(words)), app, leak.out)
    end
  end
  lines[#lines + 1] = "wait"
  helper.shell(table.concat(lines, "\n"))
end

describe("the default rules", function()
  local server
  setup(function()
    local folder = helper.folder()
    local display
    helper.patience_s = 900
    display, server = display_of(folder)
    run_all(folder, display, function() return true end)
    for _, leak in ipairs(leaks) do leak.found = leak.out and findings(leak.out) end
    local function missed(leak) return not TABLE and leak[3] and leak.found and not named(leak) end
    run_all(folder, display, missed)
    for _, leak in ipairs(leaks) do
      if missed(leak) then leak.found = findings(leak.out) end
    end
  end)
  teardown(function()
    if server then os.execute("kill " .. server) end
    if TABLE then
      local lines = { "| what leaks | started as | named after | by | first line |", "|---|---|---|---|---|" }
      for _, leak in ipairs(leaks) do
        local first = leak.found and leak.found[1]
        lines[#lines + 1] = ("| %s | `%s %s` | %s | %s | %s |"):format(leak[1], leak.go and "leaky-go" or "leaky", leak[2],
          first and ("%.0f s"):format(first.after_s) or not leak.found and "not run" or "never", first and "`" .. first.rule .. "`" or "-",
          first and first.text:gsub("|", "\\|") or "-")
      end
      helper.write(TABLE, table.concat(lines, "\n") .. "\n")
    end
    helper.patience_s = nil
    helper.tidy()
  end)

  for _, leak in ipairs(leaks) do
    it((leak[3] and "name a leak of " or "are quiet: ") .. leak[1], function()
      if not leak.found then return pending "cannot run here" end
      if not leak[3] then return assert.same({}, leak.found) end
      local found = named(leak)
      assert.is_truthy(found, core.json(leak.found))
      assert.is_true(not TABLE or found.after_s <= 60, "after " .. found.after_s .. " s")
    end)
  end
end)
