-- Resources bound to sessions (R19): the book, a C program over the control socket, a Go program with the agent; what outlived its
-- session is reported with its bytes and age, and released where that is allowed.
local core = require "tidemark.core"
local helper = require "spec.support.helper"
local sessions = require "tidemark.sessions"

local SECOND <const> = 1000000000
local quote = helper.quote

describe("a book of sessions", function()
  it("tells what is left of sessions that are over", function()
    local b = sessions.book()
    for i = 1, 3 do assert(b:register({ session = "a", kind = "image", id = i, bytes = 10 * i }, i * SECOND)) end
    assert(b:register({ session = "a", kind = "buffer", id = "x" }, 5 * SECOND))
    assert(b:register({ session = "b", kind = "image", id = "x", bytes = 1000 }, 5 * SECOND))
    assert.same({}, b:left(6 * SECOND))
    b:finish("a", 6 * SECOND)
    b:finish("a", 9 * SECOND) -- it is over already
    assert.is_truthy(b:done("a", 2))
    assert.is_nil(b:done("a", 2))
    assert.is_nil(b:done("nobody", 2))
    assert.same({ { session = "a", kind = "image", count = 2, bytes = 40, over_ns = 4 * SECOND, age_ns = 9 * SECOND },
      { session = "a", kind = "buffer", count = 1, bytes = 0, over_ns = 4 * SECOND, age_ns = 5 * SECOND } }, b:left(10 * SECOND))
    assert.same({ image = { count = 3, bytes = 1040 }, buffer = { count = 1, bytes = 0 } }, b:kinds())
    assert.equal(4, b.count)
    for _, id in ipairs { "1", 3, "x" } do b:done("a", id) end
    assert.same({}, b:left(11 * SECOND))
    assert.equal(1, b.count)
  end)

  it("replaces what is registered again, and begins a session anew after its end", function()
    local b = sessions.book()
    b:register({ session = "s", kind = "k", id = "i", bytes = 1 }, 0)
    b:register({ session = "s", kind = "k2", id = "i", bytes = 2 }, 0)
    assert.same({ k2 = { count = 1, bytes = 2 } }, b:kinds())
    b:finish("s", 0)
    b:done("s", "i")
    b:register({ session = "s", kind = "k", id = "i" }, 0)
    assert.same({}, b:left(SECOND))
  end)

  it("refuses what is no message, and what is too much", function()
    local b = sessions.book()
    for _, message in ipairs { {}, { session = "s" }, { session = "s", kind = "k" }, { session = {}, kind = "k", id = 1 },
      { session = "s", kind = "k", id = "i", bytes = -1 }, { session = "s", kind = "k", id = "i", bytes = "many" },
      { session = "s", kind = "k", id = "i", bytes = 0 / 0 }, { session = "s", kind = true, id = "i" } } do
      local ok, problem = b:register(message, 0)
      assert.is_nil(ok)
      assert.is_string(problem)
    end
    assert.equal(0, b.count)
    for i = 1, 100000 do assert(b:register({ session = "s", kind = "k", id = i }, 0)) end
    assert.is_nil(b:register({ session = "s", kind = "k", id = "one more" }, 0))
    assert.is_true(b:register({ session = "s", kind = "k", id = 7 }, 0)) -- known
    b:finish(nil, 0)
    b:replace({ { session = "x", over_ns = 5, resources = { { kind = "k", id = "1", bytes = 3, age_ns = 9 }, 7 } }, { session = "y" } }, 100)
    assert.equal(1, b.count)
    assert.same({ { session = "x", kind = "k", count = 1, bytes = 3, over_ns = 5, age_ns = 9 } }, b:left(100))
  end)
end)

-- Alerts and actions of `tidemark ... --jsonl`, and lines of the program.
local function events(out)
  local list, said = {}, {}
  for line in out:gmatch("[^\n]+") do
    local object = line:match("^{") and core.json_decode(line)
    if object then list[#list + 1] = object else said[#said + 1] = line end
  end
  return list, said
end

local function one(list, kind, state)
  for _, e in ipairs(list) do
    if e.type == kind and (e.state or e.outcome) == state then return e end
  end
  return nil
end

local function quick_rules(folder) return helper.write(folder .. "/quick.lua", 'tm.override { rule = "session.leak", params = { grace = "1s" } }\n') end

describe("a C program with sessions", function()
  local folder, app
  setup(function()
    folder = helper.folder()
    app = folder .. "/app"
    assert(os.execute(("cc -std=c99 -D_GNU_SOURCE -Wall -Wextra -Wpedantic -Werror -I. -o %s spec/support/programs/session_app.c"):format(quote(app))))
  end)
  teardown(helper.tidy)

  it("is heard over the control socket, and asked to release what it left", function()
    local result = helper.tidemark("run", "--control", "unix:" .. folder .. "/c.sock", "--jsonl", "--no-history", "--rules", quick_rules(folder), "--allow",
      "act:session.release", "--every", "1s", "--for", "20s", "--", app, "11")
    local list, said = events(result.out)
    local firing = one(list, "alert", "firing")
    assert.is_truthy(firing, result.out .. result.err)
    assert.equal('visit "1"/buffer', firing.key)
    assert.equal(3000, firing.value)
    assert.matches('app: session visit "1" ended [%d.]+ s ago and still holds 3 of kind buffer, 2.93 KiB', firing.text)
    assert.matches("asked the app to release 3, 2.93 KiB", one(list, "action", "done").text, 1, true)
    assert.same({ 'released visit "1" buffer buffer 97', 'released visit "1" buffer buffer 98', 'released visit "1" buffer buffer 99', "dropped 0" }, said)
    assert.is_truthy(one(list, "alert", "resolved"), "what is released is reported no more")
  end)

  it("is reported and left alone where nothing is allowed", function()
    local result = helper.tidemark("run", "--control", "unix:" .. folder .. "/c.sock", "--jsonl", "--no-history", "--rules", quick_rules(folder),
      "--every", "1s", "--", app, "7")
    local list, said = events(result.out)
    assert.is_truthy(one(list, "alert", "firing"))
    assert.is_truthy(one(list, "action", "denied"))
    assert.same({ "dropped 0" }, said)
  end)

  it("goes on when nobody listens", function()
    local result = helper.shell(quote(app) .. " 0")
    assert.matches("nobody listens", result.out, 1, true)
  end)

  it("may be written in C++, too", function()
    local source = helper.write(folder .. "/x.cpp", '#include "agent/tidemark_session.h"\n'
      .. "int main() { tidemark_session s; return tidemark_session_open(&s, 0, 0, 0) == 0; }\n")
    assert(os.execute(("c++ -std=c++17 -Wall -Wextra -Wpedantic -Werror -I. -o %s/x %s"):format(quote(folder), quote(source))))
    assert.equal(0, helper.shell("env -u TIDEMARK_CONTROL " .. quote(folder .. "/x")).code)
  end)
end)

describe("a Go program with sessions", function()
  local dir, app
  setup(function()
    if not os.execute("command -v go >/dev/null 2>&1") then return end
    dir = helper.folder()
    helper.write(dir .. "/go.mod", "module app\n\ngo 1.19\n\nrequire example.org/tidemark/agent v0.0.0\n\nreplace example.org/tidemark/agent => "
      .. core.realpath("agent/go") .. "\n")
    helper.write(dir .. "/main.go", [[
      package main
      import ("fmt"; "os"; "time"; "example.org/tidemark/agent")
      func main() {
        stop, err := agent.Serve("")
        if err != nil { fmt.Println(err); os.Exit(1) }
        defer stop()
        s := agent.Session("doc 1")
        for i := 0; i < 4; i++ {
          i := i
          s.Register("image", fmt.Sprint("page ", i), 1<<20, func() { fmt.Println("released", i) })
        }
        agent.Session("doc 2").Register("callback", "open", 10, nil)
        s.Done("page 0")
        s.End()
        fmt.Println("ready")
        time.Sleep(40 * time.Second)
      }]])
    assert(os.execute("cd " .. quote(dir) .. " && GOFLAGS=-mod=mod GOPROXY=off CGO_ENABLED=0 go build -o app ."))
    os.execute(("cd %s && env XDG_RUNTIME_DIR=%s ./app >out 2>&1 & echo $! >%s/pid"):format(quote(dir), quote(dir), quote(dir)))
    app = helper.read(dir .. "/pid"):match("%d+")
    for _ = 1, 100 do
      local f = io.open(dir .. "/out")
      local text = f and f:read("a") or ""
      if f then f:close() end
      if text:find("ready", 1, true) then break end
      os.execute("sleep 0.05")
    end
  end)
  teardown(function()
    if app then os.execute("kill " .. app) end
    helper.tidy()
  end)

  local function command(...) return "XDG_RUNTIME_DIR=" .. quote(dir) .. " " .. helper.command(...) end

  it("is asked, watched, and has what it left released", function()
    if not app then return pending "there is no Go here" end
    local shown = helper.shell(command("sessions", app, "--json"))
    local document = core.json_decode(shown.out)
    assert.same({ 4, 3 << 20, 4 }, { document.meta.registered, document.meta.left_bytes, #document.rows })
    assert.same({ "doc 1", "image", "page 1", 1 << 20, true }, { document.rows[1].session, document.rows[1].kind, document.rows[1].id,
      document.rows[1].bytes, document.rows[1].releasable })
    local said = helper.shell(command("sessions", app, "--left"))
    assert.matches("4 resources registered; 3 MiB outlived their session", said.out, 1, true)
    assert.is_nil(said.out:find("doc 2", 1, true))
    local one_released = helper.shell(command("sessions", app, "--release", "doc 1/page 1"))
    assert.equal("released 1, 1 MiB\n", one_released.out)
    local watched = helper.shell(command("watch", app, "--jsonl", "--no-history", "--rules", quick_rules(dir), "--allow", "act:session.release",
      "--for", "13s"))
    local list = events(watched.out)
    assert.equal(2 << 20, one(list, "alert", "firing").value)
    assert.matches("released 2, 2 MiB", one(list, "action", "done").text, 1, true)
    assert.is_truthy(one(list, "alert", "resolved"))
    assert.equal("ready\nreleased 1\nreleased 2\nreleased 3\n", helper.read(dir .. "/out"))
    assert.equal(4, helper.shell(command("sessions", "2147483647")).code)
    assert.equal(2, helper.shell(command("sessions")).code)
  end)
end)
