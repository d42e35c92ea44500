-- What V8 tells of itself live (`watch node:PORT`, `watch chrome:PORT/WORDS`): heaps, buffers, nodes and listeners whose floor rises.
-- Collections come when they like, so a minute counts by its least value: most of what a collection could take is not in it.
local MINUTE <const> = 60

-- By how much the floors of the last `minutes` and the one before them rose, when each rose; nil otherwise.
local function rise(view, minutes)
  if view.n < 2 or view.span < MINUTE * minutes then return nil end
  local samples = math.max(1, math.floor(MINUTE * (view.n - 1) / view.span + 0.5))
  if view.n < samples * (minutes + 1) then return nil end
  local first, before
  for i = minutes, 0, -1 do
    local least = view:min { last = samples, skip = i * samples }
    if before and least <= before then return nil end
    first, before = first or least, least
  end
  return before - first
end

local function rule(spec)
  tm.rule {
    id = spec.id, doc = spec.doc, every = "15s", linger = "3m", level = "warn",
    inputs = spec.inputs,
    params = { minutes = 5, share = 0.05, high = 0.5 },
    check = function(c)
      local found = {}
      for _, one in ipairs(spec.counted) do
        local view = c[one.input]
        local grown = view.last and rise(view, c.p.minutes)
        if grown and grown >= one.least and grown >= c.p.share * view.last then
          found[#found + 1] = c:finding { level = grown >= c.p.high * view.last and "high" or "warn", key = one.input, value = view.last,
            unit = spec.unit, grown = grown, minutes = c.p.minutes, what = one.what, advice = one.advice }
        end
      end
      return found
    end,
    say = spec.say,
    tests = spec.tests,
  }
end

local function series(metric) return tm.series(metric, { every = "5s", window = "15m" }) end

-- Feeds of a test: a floor that rises by `step` a minute below a heap that is collected twice a minute.
local function sawtooth(first, step, minutes)
  local out = { "5s" }
  for i = 0, 2 * minutes - 1 do out[#out + 1] = ("%d+%dx6"):format(first + i * step // 2, first // 20) end
  return table.concat(out, " ")
end

rule {
  id = "js.growth", unit = "bytes",
  doc = "the heap or the array buffers of a page or a Node have a floor that rises minute after minute",
  inputs = { heap = series "v8.heap_used", buffers = series "v8.backing_stores", node_buffers = series "node.array_buffers" },
  counted = {
    { input = "heap", least = 4 << 20, what = "JS heap", advice = "two `tidemark snap ... heap` and `tidemark growth` name who holds it" },
    { input = "buffers", least = 8 << 20, what = "array buffers", advice = "let go of typed arrays, blobs and WebAssembly memory" },
    { input = "node_buffers", least = 8 << 20, what = "Buffers", advice = "a slice keeps its whole Buffer; streams that nobody reads keep theirs" },
  },
  say = "{target}: the floor of {what} rose in each of {minutes:num} minutes, by {grown:bytes} to {value:bytes}: {advice}",
  tests = {
    { name = "sees a floor rise through collections", feed = { ["v8.heap_used"] = sawtooth(80 << 20, 4 << 20, 20) },
      expect = { { at = "5m", is = "inactive" }, { at = "9m", is = "firing", level = "warn", key = "heap", text = "JS heap" } } },
    { name = "names buffers", feed = { ["node.array_buffers"] = "5s 10M+1Mx240" },
      expect = { { at = "8m", is = "firing", level = "high", key = "node_buffers", text = "a slice keeps" } } },
    { name = "is quiet about a sawtooth whose floor stands", never = true, feed = { ["v8.heap_used"] = sawtooth(80 << 20, 0, 20) } },
    { name = "is quiet about a warm-up that ends", never = true,
      feed = { ["v8.heap_used"] = "5s 20M+1Mx40 60Mx200", ["v8.backing_stores"] = "5s 1Mx12 90Mx200" } },
    { name = "is quiet about little", never = true, feed = { ["v8.heap_used"] = "5s 200M+0.01Mx240" } },
  },
}

rule {
  id = "page.growth", unit = "count",
  doc = "the nodes, listeners or documents of a page have a floor that rises minute after minute",
  inputs = { nodes = series "dom.nodes", listeners = series "dom.listeners", documents = series "dom.documents" },
  counted = {
    { input = "nodes", least = 500, what = "DOM nodes",
      advice = "remove what is not shown; `tidemark snap ... heap` and `tidemark detached` name who holds the others" },
    { input = "listeners", least = 100, what = "event listeners", advice = "remove them with their view, or give them an AbortSignal" },
    { input = "documents", least = 5, what = "documents", advice = "let go of frames and windows that were closed" },
  },
  say = "{target}: the floor of {what} rose in each of {minutes:num} minutes, by {grown:count} to {value:count}: {advice}",
  tests = {
    { name = "names nodes and listeners", feed = { ["dom.nodes"] = "5s 2000+40x240", ["dom.listeners"] = "5s 300+20x240", ["dom.documents"] = "5s 3x240" },
      expect = { { at = "5m", is = "inactive" }, { at = "8m", is = "firing", key = "nodes", text = "DOM nodes" },
        { at = "8m", is = "firing", key = "listeners", text = "AbortSignal" } } },
    { name = "is quiet about a sawtooth: a page that is left and entered", never = true, feed = { ["dom.nodes"] = sawtooth(4000, 0, 20) } },
    { name = "is quiet about a warm-up that ends", never = true, feed = { ["dom.nodes"] = "5s 200+100x40 4200x200" } },
    { name = "is quiet about few", never = true, feed = { ["dom.documents"] = "5s 3x60 4x60 5x60 6x60", ["dom.nodes"] = "5s 9000+1x240" } },
  },
}
