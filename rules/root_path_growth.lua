-- heap.root_path_growth: objects of one type path that become more in every heap dump (R16), for JVM, V8 and Go.
--
-- Dumps come from policies (--snap dump=30m), marks, or files (`tidemark replay --snapshots dump.jvm.hprof t1 t2 t3`). Paths are those of
-- `tidemark growth`: from a root, by field and type. Of paths below each other only the topmost is told.
tm.list("heap.quiet_paths", { "*java.lang.ref.Finalizer*", "*(compiled code)*", "*system / *", "*(object shape)*" })

local function leaf_of(path) return path:match("([^;]+)$") or path end
local function parent_of(path) return path:match("^(.*);[^;]*$") end

-- The step that holds the pile: above it, past tables and arrays.
local function holder_of(path)
  local up = parent_of(path)
  while up and (leaf_of(up):find("%[%]$") or leaf_of(up):find("^%[x%]") or leaf_of(up):find("%(array%)$")) and parent_of(up) do
    up = parent_of(up)
  end
  return up and leaf_of(up) or path
end

local function depth_of(path) return select(2, path:gsub(";", ";")) + 1 end

local function declare(runtime, kind)
  tm.rule {
    id = "heap.root_path_growth." .. runtime,
    doc = "objects held on one path from a root become more in every heap dump: names the path, its root and its holder",
    every = "30m", linger = "2h", level = "warn",
    inputs = { dumps = tm.dumps(kind, { every = "30m", keep = 6 }) },
    params = { steps = 2, delta = 500, high = 100000, most = 5 },
    check = function(c)
      local frame = c.dumps:chains { weight = "instances" }
      if frame.snapshots <= c.p.steps then return c:skip(("%d of %d dumps"):format(frame.snapshots, c.p.steps + 1)) end
      local growing = frame:monotonic { strict = true, min_delta = c.p.delta * (frame.snapshots - 1) }:reject(c.lists["heap.quiet_paths"])
      local known, list = {}, {}
      for i = 1, math.min(#growing, 200) do known[growing[i].key] = true end
      for i = 1, math.min(#growing, 200) do
        local row = growing[i]
        local up = parent_of(row.key)
        while up and not known[up] do up = parent_of(up) end
        if not up and #list < c.p.most then
          list[#list + 1] = c:finding { level = row.delta > c.p.high and "high" or "warn", key = row.key, value = row.last, unit = "count",
            delta = row.delta, steps = row.steps, what = leaf_of(row.key), holder = holder_of(row.key), root = row.key:match("^[^;]*"),
            depth = depth_of(row.key) }
        end
      end
      return list
    end,
    say = "{target} keeps {value:count} objects of {what}, {delta:count} more over {steps} dumps; held by {holder}, from {root} ({depth} steps)",
    tests = (function()
      local path = "static app.Cache;map java.util.HashMap;table java.util.HashMap$Node[];[x] java.util.HashMap$Node"
      local function series(counts, other)
        local out = { every = "30m", type = "objects", unit = "count" }
        for i, n in ipairs(counts) do
          out[i] = { ["static app.Cache;map java.util.HashMap"] = 1, [other or path] = n, [(other or path) .. ";value app.Session"] = n,
            ["thread java.lang.Thread;locals java.lang.Object[]"] = 40 }
        end
        return { dumps = out }
      end
      return {
        { name = "names the topmost path that grows in every dump", snapshots = series { 1000, 2000, 3000, 4000 },
          expect = { { at = "45m", is = "inactive" },
            { at = "70m", is = "firing", level = "warn", text = "held by map java.util.HashMap, from static app.Cache" } } },
        { name = "is high when very many are kept", snapshots = series { 1000, 101000, 301000 }, fires = "high" },
        { name = "is quiet about a warm-up: a cache that fills once", never = true, snapshots = series { 1000, 9000, 9000, 9000, 9000, 9000 } },
        { name = "is quiet about a sawtooth", never = true, snapshots = series { 1000, 5000, 900, 6000, 800, 7000 } },
        { name = "is quiet about less than the bar", never = true, snapshots = series { 1000, 1200, 1400, 1600, 1640 } },
        { name = "is quiet about the engine's own", never = true,
          snapshots = series({ 1000, 2000, 3000, 4000 }, "vm (synthetic);[x] (compiled code)") },
      }
    end)(),
  }
end

declare("jvm", "jvm.hprof")
declare("v8", "v8.heapsnapshot")
declare("go", "go.heapdump")
