-- proc.thread_pile: threads that are made and never end. Each takes 8 MiB of address space and a malloc arena.
tm.rule {
  id = "proc.thread_pile",
  doc = "threads pile up: more in each of the last 10 s spans",
  every = "5s", warmup = "5s", hold = "0s", linger = "30s", level = "warn",
  inputs = { threads = tm.series("proc.threads", { every = "2s", window = "5m" }) },
  params = { steps = 4, least = 20, high = 500 },
  check = function(c)
    local steps, delta = c.threads:rising { span = "10s", steps = c.p.steps }
    if steps < c.p.steps or delta < c.p.least then return end
    return c:finding { level = c.threads.last > c.p.high and "high" or "warn", value = delta, unit = "count", span = steps * 10,
      threads = c.threads.last }
  end,
  on = { warn = function(c) c:attach(c:await(c.take.mapping_table { kind = "stack" }), "thread stacks") end },
  caps = { "take:mapping_table" },
  say = "{target} made {value:count} threads in {span:num} s that did not end ({threads:count} now)",
  tests = {
    { name = "sees a pile within a minute", feed = { ["proc.threads"] = "2s 10+4x40" },
      expect = { { at = "30s", is = "inactive" }, { at = "62s", is = "firing", level = "warn" } } },
    { name = "is quiet about a pool that fills at the start", feed = { ["proc.threads"] = "2s 4+4x12 52x120" }, never = true },
    { name = "is quiet about a pool that breathes",
      feed = { ["proc.threads"] = "2s 10+8x10 10+8x10 10+8x10 10+8x10 10+8x10 10+8x10" }, never = true },
    { name = "is high above 500", feed = { ["proc.threads"] = "2s 450+4x60" },
      expect = { { at = "100s", is = "firing", level = "high" } } },
  },
}
