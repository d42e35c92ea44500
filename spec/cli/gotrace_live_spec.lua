-- Go traces that are still written, and traces that the runtime wrote wrongly.
local core = require "tidemark.core"
local gotrace = require "spec.support.gotrace_writer"
local helper = require "spec.support.helper"
local pprof_server = require "spec.support.pprof_server"

-- Each generation starts four goroutines, of which one ends.
local function growing(version, generations)
  return gotrace(version, function(w)
    for number = 1, generations do
      w:generation(number, function(gen)
        local worker, go = gen:stack { "main.worker", "w.go", 9 }, gen:stack { "main.main", "main.go", 20 }
        local why = gen:string "select"
        local first = number * 10
        local events = { { "ProcStatus", 0, 1 }, { "GoStatus", 1, 7, 2 } }
        for id = first, first + 3 do events[#events + 1] = { "GoCreate", id, worker, go } end
        gen:thread(7, number * 1000, events)
        gen:thread(8, number * 1000 + 50, { { "ProcStatus", 1, 2 }, { "ProcStart", 1, 1 }, { "GoStart", first, 1 }, { "GoBlock", why, worker },
          { "GoStart", first + 1, 1 }, { "GoDestroy" }, { "GoStart", first + 2, 1 }, { "GoBlock", why, worker }, { "ProcStop" } })
      end)
    end
  end)
end

local function alive(t)
  local out = {}
  for i = 1, t:info().goroutines do
    local g = t:goroutine(i)
    out[i] = ("%d %s %d %d"):format(g.id, g.state, g.created_ns, g.waiting_ns)
  end
  return out
end

describe("a Go trace that is still written", function()
  teardown(helper.tidy)

  for _, version in ipairs { 22, 25, 26 } do
    it("is read generation by generation, however its bytes come (1." .. version .. ")", function()
      local bytes = growing(version, 4)
      local whole = core.read { bytes = bytes }
      for _, step in ipairs { 1, 7, 100, #bytes } do
        local stream, seen = assert(core.trace_stream()), {}
        for at = 1, #bytes, step do
          local count, err = stream:feed(bytes:sub(at, at + step - 1))
          assert.is_nil(err)
          if count > #seen then
            local info = stream:trace():info()
            for g = #seen + 1, count do seen[g] = info.generations == g and info.goroutines or false end
          end
        end
        assert.equal(4, (assert(stream:finish())))
        assert.same(alive(whole), alive(stream:trace()))
        assert.equal(whole:info().events, stream:trace():info().events)
        if step == 1 then assert.same({ 4, 7, 10 }, { seen[1], seen[2], seen[3] }) end -- main and three more of each
        local a, b = whole:goroutines({ gone = true }), stream:trace():goroutines({ gone = true })
        assert.equal(a:json(), b:json())
      end
    end)
  end

  it("keeps what is whole of one that breaks off, and says where", function()
    local bytes = growing(26, 3)
    for size = 1, #bytes - 1 do
      local stream = assert(core.trace_stream())
      local count, err = stream:feed(bytes:sub(1, size))
      assert.is_nil(err)
      local last, problem = stream:finish()
      assert.equal(count, last)
      if problem then assert.is_true(problem.offset <= size) else assert.is_true(size == 16 or bytes:byte(size) == 52) end
    end
    local stream = assert(core.trace_stream())
    assert(stream:feed(bytes))
    local count, err = stream:feed "damage"
    assert.equal(3, count)
    assert.equal("format", err.code)
    assert.equal(#bytes, err.offset)
    assert.equal(10, stream:trace():info().goroutines)
    assert.equal("unsupported", select(2, assert(core.trace_stream()):feed "go 1.19 trace\0\0\0").code)
    assert.equal("format", select(2, assert(core.trace_stream()):feed(("no trace"):rep(9))).code)
  end)

  it("outlives its stream", function()
    local t
    do
      local stream = assert(core.trace_stream())
      stream:feed(growing(26, 2))
      t = stream:trace()
    end
    collectgarbage()
    collectgarbage()
    assert.equal(7, #alive(t))
  end)

  it("is followed while the file grows", function()
    local bytes, path = growing(26, 3), helper.folder() .. "/live.trace"
    local cut = #bytes // 2
    helper.write(path, bytes:sub(1, cut))
    local rest = helper.write(helper.folder() .. "/rest", bytes:sub(cut + 1))
    os.execute(("(sleep 0.5; cat '%s' >> '%s') &"):format(rest, path))
    local result = helper.tidemark("goroutines", "--follow", "--idle", "1.5", path)
    assert.equal(0, result.code)
    for number, count in pairs { [1] = 4, [3] = 10 } do assert.matches(("generation %d: %d goroutines alive"):format(number, count), result.out, 1, true) end
  end)

  describe("by an app that sends it", function()
    local server
    setup(function() server = pprof_server.start() end)
    teardown(function() if server then server.stop() end end)

    it("is shown second by second, over TCP and unix sockets", function()
      if not server then return pending "there is no Go here" end
      for _, address in ipairs { server.url, "unix:" .. server.socket .. ":/app/debug/pprof", server.url .. "/debug/pprof/trace?seconds=2" } do
        local result = helper.tidemark("goroutines", address, "--follow", "--seconds", "2", "--json")
        assert.equal(0, result.code, result.err)
        local documents = {}
        for line in result.out:gmatch("[^\n]+") do documents[#documents + 1] = core.json_decode(line) end
        assert.is_true(#documents >= 2, result.out)
        assert.equal("gotrace", documents[1].meta.format)
        local first, last = documents[1].meta.duration_ns, documents[#documents].meta.duration_ns
        assert.is_true(first < 1.9e9 and last > 1.9e9, first .. " " .. last)
      end
    end)

    it("is refused when it is none", function()
      if not server then return pending "there is no Go here" end
      for path, said in pairs { ["/debug/pprof/heap"] = "no header of a Go execution trace", ["/none/x"] = "is not there", ["/page/x"] = "web page" } do
        local result = helper.tidemark("goroutines", server.url .. path, "--follow", "--seconds", "1")
        assert.not_equal(0, result.code)
        assert.matches(said, result.err, 1, true)
        assert.equal("", result.out)
      end
    end)

    it("hands its pieces to a function, whose errors end the request", function()
      if not server then return pending "there is no Go here" end
      local pieces, calls = {}, 0
      local answer = assert(core.http { url = server.url .. "/debug/pprof/trace?seconds=1", sink = function(bytes) pieces[#pieces + 1] = bytes end })
      assert.equal("", answer.body)
      assert.equal(answer.bytes, #table.concat(pieces))
      local ok, problem = pcall(core.http, { url = server.url .. "/debug/pprof/trace?seconds=9", sink = function()
        calls = calls + 1
        error("enough", 0)
      end })
      assert.same({ false, "enough", 1 }, { ok, problem, calls })
      answer = assert(core.http { url = server.url .. "/none/x", sink = function() calls = 9 end }) -- a refusal is no body
      assert.same({ 404, 1 }, { answer.status, calls })
    end)

    it("is not needed for the goroutines of now", function()
      if not server then return pending "there is no Go here" end
      local rows = helper.rows("goroutines", "goroutines", server.url, "--json")
      assert.is_true(rows[1].count >= 1)
      assert.equal(2, helper.tidemark("goroutines", server.url, "--seconds", "1").code)
    end)
  end)
end)

describe("repair of a Go trace", function()
  teardown(helper.tidy)

  -- The batches of a trace as pieces: header, then each batch, then marks.
  local function pieces(version)
    local out
    gotrace(version, function(w)
      for number = 1, 2 do
        w:generation(number, function(gen)
          local events = number == 1 and { { "ProcStatus", 0, 1 }, { "GoStatus", 1, 7, 2 }, { "GoCreate", 2, 0, 0 } }
            or { { "ProcStatus", 0, 1 }, { "GoStatus", 1, 7, 2 }, { "HeapAlloc", 9 } }
          gen:thread(7, number * 1000, events)
          gen:thread(7, number * 1000 + 100, { { "GoStop", 0, 0 } })
          gen:thread(7, number * 1000 + 200, { { "GoStart", 1, 1 } })
          out = gen.out
        end)
      end
    end)
    return out -- [1] header, 2 sync, 3 to 5 batches of thread 7, 6 mark, 7 sync, 8 to 10, 11 mark
  end

  for _, version in ipairs { 25, 26 } do
    it("drops what stands there twice, and brings home what came late (1." .. version .. ")", function()
      local p = pieces(version)
      local clean = table.concat(p)
      local second = version == 26 and 8 or 7 -- the first batch of thread 7 in generation 2
      local broken = { table.unpack(p) }
      table.insert(broken, second + 1, p[4]) -- of generation 1, within generation 2
      table.insert(broken, 4, p[3])
      broken[#broken + 1] = version == 25 and p[second] or nil
      local fixed, done = core.repair_trace { bytes = table.concat(broken) }
      assert.equal(clean, fixed)
      assert.equal(version == 25 and 3 or 2, done.dropped)
      assert.equal(8, done.batches)
      -- a batch that stands only behind its generation's end is moved
      broken = { table.unpack(p) }
      table.insert(broken, second, table.remove(broken, 5))
      fixed, done = core.repair_trace { bytes = table.concat(broken) }
      assert.equal(clean, fixed)
      assert.equal(1, done.moved)
      assert.is_false(core.check_trace({ bytes = table.concat(broken) }).valid)
      assert.is_true(core.check_trace({ bytes = fixed }).valid)
    end)
  end

  it("is an option of check", function()
    local p = pieces(26)
    table.insert(p, 4, p[3])
    local file, out = helper.write(helper.folder() .. "/twice.trace", table.concat(p)), helper.folder() .. "/once.trace"
    assert.equal(1, helper.rows("check", "check", file)[1].duplicates)
    local rows = helper.rows("check", "check", file, "--repair", out)
    assert.same({ 1, 0, true }, { rows[1].repaired.dropped, rows[1].duplicates, rows[1].valid })
    local f = assert(io.open(out, "rb"))
    assert.equal(table.concat(pieces(26)), f:read "a")
    f:close()
    assert.equal(6, helper.tidemark("check", helper.write(helper.folder() .. "/v1", "go 1.19 trace\0\0\0"), "--repair", out).code)
  end)
end)
