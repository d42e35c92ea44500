-- snap and attach against a real net/http/pprof, and against apps that hang, refuse, lie and flood.
local core = require "tidemark.core"
local fetch = require "tidemark.fetch"
local helper = require "spec.support.helper"
local pprof_server = require "spec.support.pprof_server"

describe("an address", function()
  it("is completed to the place of the profiles", function()
    local cases = {
      ["localhost:6060"] = "http://localhost:6060/debug/pprof/",
      ["http://h:1"] = "http://h:1/debug/pprof/",
      ["http://h:1/"] = "http://h:1/debug/pprof/",
      ["https://h/app"] = "https://h/app/debug/pprof/",
      ["http://h:1/app/debug/pprof"] = "http://h:1/app/debug/pprof/",
      ["http://h:1/app/debug/pprof/heap"] = "http://h:1/app/debug/pprof/",
      ["http://h:1/pprof/"] = "http://h:1/pprof/",
      ["http://[::1]:1"] = "http://[::1]:1/debug/pprof/",
      ["unix:/run/x.sock"] = "unix:/run/x.sock:/debug/pprof/",
      ["unix:/run/x.sock:/app/debug/pprof"] = "unix:/run/x.sock:/app/debug/pprof/",
    }
    for word, base in pairs(cases) do assert.equal(base, (fetch.base(word)), word) end
    assert.same({ "http://h:1/debug/pprof/", "?token=x" }, { fetch.base "http://h:1?token=x" })
  end)

  it("names one profile, or a whole app", function()
    for _, word in ipairs { "http://h:1/debug/pprof/heap", "unix:/s:/debug/pprof/heap?gc=1", "http://h/files/heap.pb.gz" } do
      assert.is_true(fetch.is_one(word), word)
    end
    for _, word in ipairs { "http://h:1", "h:1", "unix:/s", "http://h:1/x/debug/pprof/", "unix:/s:/debug/pprof" } do
      assert.is_false(fetch.is_one(word), word)
    end
  end)

  it("has counters and metrics beside it", function()
    assert.equal("http://h:1/app/debug/vars", fetch.sibling("http://h:1/app", "vars"))
    assert.equal("http://h:1/app/metrics?token=x", fetch.sibling("http://h:1/app/debug/pprof/?token=x", "metrics"))
    assert.equal("unix:/s:/metrics", fetch.sibling("unix:/s", "metrics"))
  end)

  it("has an index in the words of new and old Go", function()
    assert.same({ { name = "a<b", count = 3 } }, fetch.read_index "<tr><td>3</td><td><a href='a%3Cb?debug=1'>a&lt;b</a></td></tr>")
    assert.same({ { name = "heap", count = 12 } }, fetch.read_index '<tr><td align=right>12<td><a href="heap?debug=1">heap</a>')
    assert.same({}, fetch.read_index "<html><td>1</td> no links </html>")
  end)
end)

describe("an app with pprof", function()
  local server
  setup(function() server = pprof_server.start() end)
  teardown(function()
    if server then server.stop() end
    helper.tidy()
  end)
  local function with_server(name, body)
    it(name, function()
      if not server then return pending("no Go here") end
      body()
    end)
  end

  -- snap into a folder of its own: code, out, err and the files.
  local function snap(address, ...)
    local dir = helper.folder()
    local result = helper.shell("cd " .. dir .. "\n" .. helper.command("snap", address, ...):gsub(helper.quote(helper.bin),
      helper.quote(core.realpath(helper.bin))))
    result.dir, result.files = dir, core.list(dir)
    return result
  end

  with_server("gives every kind, over TCP and a unix socket, behind any prefix", function()
    local addresses = { server.url, server.url .. "/app", "unix:" .. server.socket, "unix:" .. server.socket .. ":/app/debug/pprof/" }
    for _, address in ipairs(addresses) do
      local result = snap(address, "heap", "allocs", "goroutine", "mutex", "block", "threadcreate", "example.com/app.documents")
      assert.equal(0, result.code, result.err)
      assert.equal(7, #result.files)
    end
    local result = snap(server.url, "cpu", "trace", "--seconds", "1")
    assert.equal(0, result.code, result.err)
    assert.equal(2, #result.files)
    assert.matches("cpu 0? ?", result.out)
  end)

  with_server("names files by the process, and keeps them to their owner", function()
    local result = snap(server.url, "heap", "--gc")
    assert.matches("^server%-heap%-%d+T%d+Z%.pb%.gz: .* samples, inuse_space ", result.out)
    assert.equal(1, #result.files)
    local mode = helper.shell("stat -c %a " .. helper.quote(result.dir .. "/" .. result.files[1])).out
    assert.equal("600\n", mode)
  end)

  with_server("tells programs what was taken", function()
    local path = helper.folder() .. "/h.pb.gz"
    local document, code = helper.document("snap", "snap", server.url, "example.com/app.documents", "-o", path, "--json")
    assert.equal(0, code)
    local row = document.rows[1]
    assert.equal(1, row.total)
    assert.equal(1, row.samples)
    assert.equal(path, row.file)
    assert.equal(core.stat(path).size_bytes, row.bytes)
  end)

  with_server("gives text with --debug and to standard output", function()
    local result = snap(server.url, "goroutine", "--debug", "2", "-o", "-")
    assert.equal(0, result.code, result.err)
    assert.matches("^goroutine %d+ %[running%]:", result.out)
    assert.same({}, result.files)
  end)

  -- code, words of the error, and no file is left
  local function refuses(code, words, ...)
    local result = snap(...)
    assert.equal(code, result.code, words .. "\n" .. result.err)
    assert.is_truthy(result.err:find(words, 1, true), result.err)
    assert.same({}, result.files)
  end

  with_server("refuses in one sentence, with what to do", function()
    refuses(6, "the app has no profile called nope", server.url, "nope")
    refuses(6, "it has allocs, ", server.url, "nope")
    refuses(4, "is not there", server.url .. "/none", "heap")
    refuses(4, "import net/http/pprof", server.url .. "/none", "heap")
    refuses(3, "a CPU profile is running already", server.url .. "/busy", "cpu", "--seconds", "1")
    refuses(3, "answers a web page", server.url .. "/page", "heap")
    refuses(3, "garbage instead of HTTP", server.url .. "/noise", "heap")
    refuses(4, "timed out after 300 ms", server.url .. "/hang", "heap", "--timeout", "300ms")
    refuses(4, "at body byte 4", server.url .. "/stall", "heap", "--timeout", "300ms")
    refuses(4, "nothing listens there", "unix:/nowhere/x.sock", "heap")
    refuses(2, "--gc belongs to the heap", server.url, "goroutine", "--gc")
    refuses(2, "exclude each other", server.url, "heap", "--debug", "1", "--seconds", "1")
    refuses(2, "--seconds", server.url, "cpu", "--seconds", "soon")
  end)

  with_server("is found where its process listens, and not where that is no pprof", function()
    local document = helper.document("snap", "snap", server.pid, "goroutine", "-o", helper.folder() .. "/g.pb.gz", "--json")
    assert.equal(server.url .. "/debug/pprof/goroutine", document.rows[1].url)
    assert.matches("^%d+$", tostring(document.rows[1].samples))
    local port = server.url:match("%d+$")
    local own = core.listeners(server.pid)
    assert.same({ server.url, "unix:" .. server.socket }, own)
    local found, err = require("tidemark.endpoint").find(server.pid, { host_header = "" })
    assert.equal(server.url, found, err and err.message)

    -- A program that listens on two ports and a socket, and serves no pprof on the first.
    local other = pprof_server.start("plain")
    local result = snap(other.pid, "heap")
    other.stop()
    assert.equal(6, result.code, result.err)
    assert.is_truthy(result.err:find("no /debug/pprof/ where it listens: 127.0.0.1:", 1, true), result.err)
    assert.matches("HTTP 404", result.err)
    assert.matches("%-%-endpoint", result.err)
    assert.is_nil(result.err:find(port, 1, true))

    local silent = pprof_server.start("silent")
    document = helper.document("snap", "snap", silent.pid, "heap", "-o", helper.folder() .. "/h.pb.gz", "--json")
    silent.stop()
    assert.equal("unix:" .. silent.socket .. ":/debug/pprof/heap", document.rows[1].url) -- its TCP port never answers

    local sleeper = helper.shell("sleep 20 >/dev/null 2>&1 & echo $!").out:match("%d+")
    refuses(6, "listens on nothing that loopback reaches", sleeper, "heap")
    os.execute("kill " .. sleeper)
  end)

  with_server("stops at the cap, whether the size was said or not", function()
    refuses(3, "over the body cap of 256 MiB", server.url .. "/huge", "heap")
    refuses(3, "exceeds the cap of 4 MiB", server.url .. "/endless", "heap", "--max-size", "4MiB")
    refuses(3, "--max-size", server.url .. "/endless", "heap", "--max-size", "1MiB")
  end)

  with_server("asks for the address when it leads in circles", function()
    refuses(3, "redirected more than 5 times\n  is this the app's pprof address?", server.url .. "/circle", "heap")
  end)

  with_server("is asked with the Host header and the password it wants", function()
    refuses(5, "--host-header ''", server.url .. "/host", "heap")
    assert.equal(0, snap(server.url .. "/host", "heap", "--host-header", "").code)
    assert.equal(0, snap("unix:" .. server.socket .. ":/host/debug/pprof", "heap").code) -- sockets have no name: tried by itself
    refuses(5, "--header", server.url .. "/token", "heap")
    assert.equal(0, snap(server.url .. "/token", "heap", "--header", "Authorization: Bearer secret").code)
  end)

  with_server("is read by the profile commands without a file", function()
    for _, words in ipairs { { server.url .. "/debug/pprof/heap?gc=1" }, { "unix:" .. server.socket .. ":/debug/pprof/heap" },
      { server.url .. "/token/debug/pprof/heap", "--header", "Authorization: Bearer secret" } } do
      local result = helper.tidemark("top", table.unpack(words))
      assert.equal(0, result.code, result.err)
      assert.matches("Type: inuse_space", result.out)
    end
    assert.equal(5, helper.tidemark("top", server.url .. "/token/debug/pprof/heap").code)
  end)

  with_server("keeps garbage that came as a profile, and says so", function()
    local result = snap(server.url .. "/garbage", "heap")
    assert.equal(3, result.code)
    assert.matches("cannot be read as a profile", result.out)
    assert.equal(1, #result.files)
  end)

  with_server("leaves no file when it is interrupted", function()
    local dir = helper.folder()
    local bin = helper.quote(core.realpath(helper.bin))
    local result = helper.shell(("cd %s\ntimeout -s INT 3 %s snap %s cpu --seconds 20"):format(dir, bin, server.url))
    assert.equal(124, result.code) -- of timeout: it had to send the signal
    assert.matches("interrupted", result.err)
    assert.same({}, core.list(dir))
  end)

  with_server("is described by attach: profiles with counts, its own too, counters and metrics", function()
    local document = helper.document("attach", "attach", server.url, "--json")
    local by = {}
    for _, row in ipairs(document.rows) do by[row.capability] = row end
    assert.matches("^go %(go1%.", by.runtime.detail)
    for _, kind in ipairs { "heap", "allocs", "goroutine", "cpu", "mutex", "block", "threadcreate", "trace" } do
      assert.is_table(by["pprof." .. kind], kind)
    end
    assert.equal(1, by["pprof.example.com/app.documents"].value)
    assert.matches("own: documents, queue, requests", by.expvar.detail)
    assert.equal(3, by.metrics.value)
    assert.equal(server.pid, document.meta.pid)
  end)

  with_server("is described by attach in few words when it has nothing", function()
    for _, place in ipairs { "/none", "/page", "/noise", "/hang", "/huge", "/garbage" } do
      local document = helper.document("attach", "attach", server.url .. place, "--timeout", "500ms", "--json")
      local about = {}
      for _, row in ipairs(document.rows) do
        assert.is_nil(row.capability:match("^pprof%."), place .. row.capability)
        if row.capability:match("^no ") then about[#about + 1] = row.capability end
      end
      assert.is_true(#about >= 1 and #about <= 4, place .. ": " .. table.concat(about, ", "))
    end
  end)
end)
