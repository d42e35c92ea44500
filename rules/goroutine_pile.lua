-- go.goroutine_pile: goroutines that wait and never end, by who started them and what they wait for (R5).
--
-- A dump of all goroutines tells state and creator of each. One creation site is named when its waiting goroutines became
-- more in each of the last snapshots, or when there are very many of them.
tm.list("go.quiet_sites", { "net/http.(*Server).Serve, *", "os/signal.*", "runtime.*",
  -- go.unread_bodies, go.uncancelled_contexts and go.lock_waiters name these
  "net/http.(*Transport).dialConn, *", "context.*", "*, sync.*", "*, semacquire*",
  -- the same in traces, where those older than the first have no creator
  "*, sync", "net/http.(*persistConn).readLoop, *" })

local function advice(reason)
  if reason:find("nil chan", 1, true) or reason:find("no cases", 1, true) or reason == "forever" then return "such a wait never ends: look at the place" end
  if reason:find("^chan") or reason:find("^select") then return "close the channel when its other side ends, or wait with a context" end
  if reason == "IO wait" or reason == "network" then return "give the connection a deadline" end
  return "look at the stack"
end

local function split(key)
  local site, reason = key:match("^(.*), (.-)$")
  return site or key, reason or "?"
end

tm.rule {
  id = "go.goroutine_pile",
  doc = "waiting goroutines pile up at one creation site: names the site and the wait",
  every = "60s", linger = "5m", level = "warn",
  inputs = { goroutines = tm.snapshots("go.goroutines", { every = "60s", keep = 6 }) },
  params = { steps = 5, delta = 50, high = 10000, most = 5 },
  check = function(c)
    local sites = c.goroutines:where { blocked = true }:pivot({ "created_by", "state" }, "count"):reject(c.lists["go.quiet_sites"])
    local piles = sites.snapshots > c.p.steps and sites:monotonic { steps = c.p.steps, min_delta = c.p.delta } or sites:only {}
    local seen, list = {}, {}
    local function add(of, level)
      for i = 1, math.min(#of, c.p.most) do
        local row = of[i]
        local site, reason = split(row.key)
        if not seen[row.key] then
          list[#list + 1] = c:finding { level = level, key = row.key, value = row.last, unit = "count", delta = row.delta, steps = row.steps,
            per_hour = row.per_hour, site = site, reason = reason, advice = advice(reason), trace = of:stack(i) }
        end
        seen[row.key] = true
      end
    end
    add(sites:over("last", c.p.high):top(c.p.most, "last"), "high")
    add(piles, "warn")
    return list
  end,
  on = {
    warn = function(c) c:attach(c:await(c.take.goroutine_profile { timeout = "30s" }), "goroutine profile") end,
    high = function(c) c:attach(c:await(c.take.goroutine_profile { timeout = "30s" }), "goroutine profile") end,
  },
  caps = { "take:goroutine_profile" },
  say = "{target} leaks goroutines: {value:count} started by {site} wait in {reason}, {delta:count} more in {steps} snapshots; {advice}",
  tests = (function()
    local function row(site, state, n)
      return { stack = "main.worker;runtime.gopark", value = n, created_by = site, state = state }
    end
    local function dumps(counts, site, state)
      local list = { every = "60s" }
      for i, n in ipairs(counts) do
        list[i] = { row(site or "main.leak", state or "chan receive", n), row("main.pool", "select", 30), row("main.busy", "running", 5 * i) }
      end
      return { goroutines = list }
    end
    return {
      { name = "names the site and the wait", snapshots = dumps { 10, 60, 110, 160, 210, 260 },
        expect = { { at = "4m", is = "inactive" }, { at = "5m30s", is = "firing", level = "warn", text = "started by main.leak wait in chan receive" } } },
      { name = "is high when there are ten thousand", snapshots = dumps { 12000, 12000 },
        expect = { { at = "90s", is = "firing", level = "high" } } },
      { name = "is quiet about a warm-up that ends", never = true, snapshots = dumps { 10, 200, 400, 400, 400, 400, 400, 400 } },
      { name = "is quiet about a sawtooth of requests", never = true, snapshots = dumps { 10, 200, 20, 250, 10, 300, 15, 350 } },
      { name = "is quiet about goroutines that run", never = true, snapshots = dumps({ 10, 100, 200, 300, 400, 500, 600 }, "main.load", "running") },
      { name = "is quiet about the server's connections", never = true,
        snapshots = dumps({ 10, 100, 200, 300, 400, 500, 600 }, "net/http.(*Server).Serve", "IO wait") },
    }
  end)(),
}
