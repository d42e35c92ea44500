-- `tidemark gate` over files and commands: verdicts, exit codes, and what CI systems are handed.
local core = require "tidemark.core"
local helper = require "spec.support.helper"

-- A heap profile as text: a leak of so many bytes and something steady. frame: what the leaking function is called.
local function heap(leaked, frame)
  local lines = { "heap profile: 2: 100 [4: 200] @ heap/1048576" }
  lines[1] = ("heap profile: 2: %d [4: %d] @ heapprofile"):format(leaked + 40000000, leaked * 3 + 40000000)
  lines[2] = ("1: %d [3: %d] @ 0x1000 0x3000"):format(leaked, leaked * 3)
  lines[3] = ("#\t0xfff\t%s+0x10\t/repo/src/cache.go:42"):format(frame or "main.(*Cache).put")
  lines[4] = "#\t0x2fff\tmain.main+0x10\t/repo/src/main.go:7"
  lines[5] = ""
  lines[6] = "1: 40000000 [1: 40000000] @ 0x2000 0x3000"
  lines[7] = "#\t0x1fff\tmain.steady+0x10\t/repo/src/steady.go:9"
  lines[8] = "#\t0x2fff\tmain.main+0x10\t/repo/src/main.go:7"
  return table.concat(lines, "\n") .. "\n"
end

describe("tidemark gate", function()
  local folder
  setup(function() folder = helper.folder() end)
  teardown(helper.tidy)

  -- A folder of so many runs; leak(i) is what leaks in the i-th.
  local function runs(name, count, leak, frame)
    local dir = folder .. "/" .. name
    core.mkdir(dir)
    for i = 1, count do helper.write(("%s/heap.%d.txt"):format(dir, i), heap(leak(i), frame)) end
    return dir
  end
  local function growing(i) return 1000000 + 200000 * i end
  local function still(i) return 1000000 + 1000 * (i * 7919 % 13) end

  it("fails a folder of runs that grow, and names the line", function()
    local dir = runs("grow", 100, growing)
    local document, code = helper.document("gate", "gate", dir, "--json", "--value", "inuse_space")
    assert.equal(1, code)
    local meta, row = document.meta, document.rows[1]
    assert.is_true(meta.failed and meta.tested)
    assert.equal("inuse_space", meta.value)
    assert.equal("bytes", meta.unit)
    -- In natural order run 2 comes before run 10: medians of runs 1..10 and 91..100.
    assert.equal(41000000 + 200000 * 5.5, meta.before)
    assert.equal(41000000 + 200000 * 95.5, meta.after)
    assert.equal("main.(*Cache).put", row.name)
    assert.equal("/repo/src/cache.go", row.file)
    assert.equal(42, row.line)
    assert.equal(1, row.share_ratio)
    assert.same({ "main.(*Cache).put", "main.main" }, row.path)
    local out = helper.tidemark("gate", dir)
    assert.equal(1, out.code)
    assert.is_truthy(out.out:find("^FAIL  inuse_space grew by"), out.out)
    assert.is_truthy(out.out:find("main.(*Cache).put < main.main", 1, true))
  end)

  it("names every field in docs/json.md", function()
    local row
    for line in helper.read("docs/json.md"):gmatch("[^\n]+") do row = line:match("^| `gate`.*") or row end
    local document = helper.document("gate", "gate", folder .. "/grow", "--json", "--max-growth-site", "5%")
    for _, set in ipairs { document.meta, document.meta.runs[1], document.rows[1] } do
      for name in pairs(set) do assert.is_truthy(row and row:find("%f[%w_]" .. name .. "%f[^%w_]"), name) end
    end
  end)

  it("passes runs that do not, and growth that a limit allows", function()
    local dir = runs("still", 30, still)
    local out = helper.tidemark("gate", dir)
    assert.equal(0, out.code, out.out .. out.err)
    assert.is_truthy(out.out:find("^ok    inuse_space"), out.out)
    local grow = folder .. "/grow"
    assert.equal(0, helper.tidemark("gate", grow, "--max-growth", "60%").code)
    assert.equal(0, helper.tidemark("gate", grow, "--min-bytes", "100MB").code)
    assert.equal(0, helper.tidemark("gate", grow, "--focus", "steady").code)
    assert.equal(1, helper.tidemark("gate", grow, "--max-growth", "60%", "--max-growth-site", "0.5").code)
  end)

  it("compares with a baseline, and says what few runs are worth", function()
    local old, new = runs("old", 10, still), runs("new", 10, function(i) return 20000000 + still(i) end)
    assert.equal(1, helper.tidemark("gate", "--baseline", old, new).code)
    assert.equal(0, helper.tidemark("gate", "--baseline", new, old).code)
    local document, code = helper.document("gate", "gate", "--json", "--baseline", old .. "/heap.1.txt", new .. "/heap.1.txt")
    assert.equal(1, code)
    assert.is_false(document.meta.tested)
    assert.is_truthy(document.meta.weak:find("a single odd run decides", 1, true))
    assert.equal(1, document.meta.baseline_runs)
  end)

  it("drops the warm-up", function()
    local dir = runs("warm", 25, function(i) return i <= 5 and 1000000 * i or 50000000 + i end)
    assert.equal(1, helper.tidemark("gate", dir).code)
    assert.equal(0, helper.tidemark("gate", dir, "--warm-up", "5").code)
  end)

  it("exits 3 at a run that cannot be read, 2 at a wrong call", function()
    local dir = runs("broken", 4, still)
    helper.write(dir .. "/heap.3.txt", "\31\139\8\0 this is no gzip")
    local out = helper.tidemark("gate", dir)
    assert.equal(3, out.code)
    assert.is_truthy(out.err:find("heap.3.txt", 1, true))
    local whole = require "spec.support.pprof_writer" { types = { "inuse_space/bytes" }, { "main.main m.go:1", 1000 }, { "main.f m.go:2", 2000 } }
    for i = 1, 4 do helper.write(("%s/heap.%d.txt"):format(dir, i), i == 2 and whole:sub(1, #whole * 2 // 3) or whole) end
    out = helper.tidemark("gate", dir)
    assert.equal(3, out.code, out.out)
    assert.is_truthy(out.err:find("heap.2.txt", 1, true))
    assert.equal(3, helper.tidemark("gate", folder .. "/nowhere").code)
    core.mkdir(folder .. "/empty")
    assert.equal(3, helper.tidemark("gate", folder .. "/empty").code)
    for _, wrong in ipairs { {}, { dir, "--max-growth", "15" }, { dir, "--max-growth", "x" }, { dir, "--p", "2" }, { dir, "--group", "0" },
      { "--spawn" }, { dir, "--", "true" }, { folder .. "/still", "--value", "nonsense" }, { folder .. "/still", "--warm-up", "29" } } do
      assert.equal(2, helper.tidemark("gate", table.unpack(wrong)).code, table.concat(wrong, " "))
    end
  end)

  it("runs a command that writes its own profiles", function()
    local script = helper.write(folder .. "/app.sh", ([[
n=$(cat %s/n 2>/dev/null || echo 0); n=$((n + 1)); echo $n > %s/n; echo noise
echo "main;leak $((1000 + $1 * n))" > $TIDEMARK_PROFILE
]]):format(folder, folder))
    local document, code = helper.document("gate", "gate", "--json", "--spawn", "--runs", "20", "--warm-up", "2", "--group", "5",
      "--keep", folder .. "/kept", "--", "sh", script, "100")
    assert.equal(1, code)
    assert.equal(22, #document.meta.runs)
    assert.equal(22, #core.list(folder .. "/kept"))
    assert.equal("leak", document.rows[1].name)
    assert.equal(0, helper.tidemark("gate", "--spawn", "--runs", "10", "--", "sh", script, "0").code)
    local failed = helper.tidemark("gate", "--spawn", "--runs", "3", "--", "sh", "-c", "exit 7")
    assert.equal(4, failed.code)
    assert.is_truthy(failed.err:find("exit code 7", 1, true))
    local silent = helper.tidemark("gate", "--spawn", "--runs", "3", "--", "true")
    assert.equal(3, silent.code)
    assert.is_truthy(silent.err:find("without a profile", 1, true))
  end)

  describe("on a live endpoint", function()
    local server
    setup(function() server = require("spec.support.pprof_server").start() end)
    teardown(function() if server then server.stop() end end)

    it("takes a profile after each run of a command, on TCP and unix sockets", function()
      if not server then return pending("needs go") end
      local counted = folder .. "/count"
      local document, code = helper.document("gate", "gate", "--json", "--endpoint", server.url, "--runs", "6", "--warm-up", "2", "--max-growth", "500%",
        "--keep", folder .. "/live", "--", "sh", "-c", "echo run >> " .. counted)
      assert.equal(0, code)
      assert.equal("inuse_space", document.meta.value)
      assert.equal(8, #document.meta.runs)
      assert.equal(8, #core.list(folder .. "/live"))
      assert.equal(("run\n"):rep(8), helper.read(counted))
      document, code = helper.document("gate", "gate", "--json", "--endpoint", "unix:" .. server.socket, "--profile", "goroutine", "--runs", "3",
        "--every", "10ms")
      assert.equal(0, code)
      assert.equal("goroutine", document.meta.value)
    end)

    it("exits 4 when it is gone or the command fails, 3 when it sends no profile", function()
      if not server then return pending("needs go") end
      local function code(...) return helper.tidemark("gate", "--runs", "2", "--every", "10ms", "--endpoint", ...).code end
      assert.equal(4, code("127.0.0.1:1"))
      assert.equal(4, code("unix:" .. folder .. "/no.sock"))
      assert.equal(4, code(server.url .. "/hang/debug/pprof/", "--timeout", "300ms"))
      assert.equal(3, code(server.url .. "/garbage/debug/pprof/heap"))
      assert.equal(4, code(server.url, "--", "false"))
    end)
  end)

  it("ends with its workload at Ctrl-C, and leaves nothing behind", function()
    local script = helper.write(folder .. "/slow.sh", ("echo $TIDEMARK_PROFILE > %s/where; echo 'a;b 1' > $TIDEMARK_PROFILE; sleep 20"):format(folder))
    local line = helper.command("gate", "--spawn", "--runs", "5", "--", "sh", script):gsub("'timeout' '%-k' '5' '60'", "'timeout' '--foreground' '60'")
    local result = helper.shell("setsid sh -c " .. helper.quote("trap '' INT; (trap - INT; " .. line .. "; echo code $?) & wait") .. " & session=$!; "
      .. "for i in $(seq 100); do [ -s " .. folder .. "/where ] && break; sleep 0.05; done; kill -INT -$session; wait")
    assert.is_truthy(result.out:find("code 130", 1, true), result.out .. result.err)
    assert.is_nil(core.stat((helper.read(folder .. "/where"):match("^(.*)/"))))
  end)

  it("evaluates tm.gate rules on the same runs", function()
    local rules = helper.write(folder .. "/objects.lua", [[
tm.gate { id = "ci.objects", every = "1s",
  inputs = { space = tm.runs("pprof.heap", { n = 50, every = "1s" }), objects = tm.runs("pprof.heap", { value = "inuse_objects", every = "1s" }) },
  check = function(c)
    if c.space.n < 50 then return c:skip "too few" end
    return c:finding { level = c.objects.last == 2 and "fail" or "warn", value = c.space.last }
  end,
  say = "{value} bytes", }
]])
    local document, code = helper.document("gate", "gate", folder .. "/grow", "--json", "--max-growth", "90%", "--rules", rules)
    assert.equal(1, code)
    assert.equal("ci.objects", document.meta.rules[1].rule)
    assert.equal("61000000 bytes", document.meta.rules[1].text)
    assert.equal(0, helper.tidemark("gate", folder .. "/still", "--rules", rules).code)
    local broken = helper.write(folder .. "/broken.lua", "tm.gate {")
    assert.equal(3, helper.tidemark("gate", folder .. "/still", "--rules", broken).code)
  end)

  describe("for CI systems", function()
    local hostile = "main.<b>&\"'|`]]>\27[31m::error::%0A"
    local dir
    setup(function() dir = runs("hostile", 20, growing, hostile) end)

    it("writes SARIF with what the schema requires", function()
      local path = folder .. "/out.sarif"
      assert.equal(1, helper.tidemark("gate", dir, "--sarif", path, "--trim-path", "/repo", "--max-growth", "4%").code)
      local sarif = assert(core.json_decode(helper.read(path)))
      assert.equal("2.1.0", sarif.version)
      local run = sarif.runs[1]
      assert.equal("tidemark", run.tool.driver.name)
      local known = {}
      for _, rule in ipairs(run.tool.driver.rules) do known[rule.id] = true end
      assert.is_true(#run.results >= 1)
      for _, result in ipairs(run.results) do
        assert.is_true(known[result.ruleId])
        assert.is_string(result.message.text)
        assert.is_nil(result.message.text:find "\27")
      end
      local place = run.results[1].locations[1].physicalLocation
      assert.equal("src/cache.go", place.artifactLocation.uri)
      assert.equal(42, place.region.startLine)
      -- A passed gate has no results, and the array is there.
      assert.equal(0, helper.tidemark("gate", folder .. "/still", "--sarif", path).code)
      assert.is_truthy(helper.read(path):find('"results":[]', 1, true))
    end)

    it("keeps line breaks of names inside their line", function()
      local nasty = folder .. "/nasty"
      core.mkdir(nasty)
      local pprof = require "spec.support.pprof_writer"
      for i = 1, 20 do
        helper.write(("%s/%d.pb"):format(nasty, i), pprof { types = { "inuse_space/bytes" },
          { "main.main m.go:1;main.x\n::stop-commands::t\r\n#title\n|cell /repo/a,b:c\n.go:7", 1000000 * i } })
      end
      local files = { md = folder .. "/nasty.md", xml = folder .. "/nasty.xml", sarif = folder .. "/nasty.sarif" }
      local out = helper.tidemark("gate", nasty, "--trim-path", "/repo", "--github", "--markdown", files.md, "--junit", files.xml, "--sarif", files.sarif)
      assert.equal(1, out.code)
      assert.is_truthy(out.out:find("\n::error file=a%2Cb%3Ac%0A.go,line=7,", 1, true), out.out)
      for _, text in ipairs { out.out, helper.read(files.md) } do
        assert.is_nil(("\n" .. text):find("\n%s*::stop", 1), text)
        assert.is_nil(text:find("\n#title", 1, true))
      end
      assert.equal(0, helper.shell("python3 -c 'import sys, xml.dom.minidom as m; m.parse(sys.argv[1])' " .. helper.quote(files.xml)).code)
      assert.is_truthy(core.json_decode(helper.read(files.sarif)))
    end)

    it("points at the caller in the repository when a library grew", function()
      local library = folder .. "/library"
      core.mkdir(library)
      local pprof = require "spec.support.pprof_writer"
      for i = 1, 20 do
        helper.write(("%s/%d.pb"):format(library, i), pprof { types = { "inuse_space/bytes" },
          { "main.main /repo/my app/main.go:3;github.com/x/lib.Put /go/pkg/mod/github.com/x/lib@v1/put.go:77", 1000000 * i } })
      end
      local path = folder .. "/library.sarif"
      local out = helper.tidemark("gate", library, "--sarif", path, "--trim-path", "/repo", "--github").out
      assert.is_truthy(out:find("::error file=my app/main.go,line=3,title=memory growth::github.com/x/lib.Put grew", 1, true), out)
      local place = core.json_decode(helper.read(path)).runs[1].results[1].locations[1].physicalLocation
      assert.same({ uri = "my%20app/main.go", uriBaseId = "%SRCROOT%" }, place.artifactLocation)
      out = helper.tidemark("gate", library, "--sarif", path, "--github").out
      assert.is_truthy(out:find("::error title=memory growth::", 1, true), out)
      place = core.json_decode(helper.read(path)).runs[1].results[1].locations[1].physicalLocation
      assert.same({ uri = "file:///go/pkg/mod/github.com/x/lib%40v1/put.go" }, place.artifactLocation)
    end)

    it("writes JUnit XML that a parser takes, whatever the names", function()
      local path = folder .. "/out.xml"
      assert.equal(1, helper.tidemark("gate", dir, "--junit", path, "--max-growth", "4%").code)
      local check = helper.shell("python3 -c 'import sys, xml.dom.minidom as m; d = m.parse(sys.argv[1]); print(len(d.getElementsByTagName(\"failure\")), "
        .. "d.getElementsByTagName(\"testsuite\")[0].getAttribute(\"failures\"))' " .. helper.quote(path))
      assert.equal("1 1\n", check.out, check.err)
      assert.is_nil(helper.read(path):find "\27")
    end)

    it("writes annotations that a name cannot break out of", function()
      local out = helper.tidemark("gate", dir, "--github", "--trim-path", "/repo", "--max-growth", "4%", "--json")
      local lines = 0
      for line in out.err:gmatch("[^\n]+") do
        lines = lines + 1
        assert.is_truthy(line:find("^::error file=src/cache.go,line=42,title=memory growth::"), line)
      end
      assert.equal(1, lines)
      assert.is_truthy(out.err:find("%250A", 1, true))
      assert.is_truthy(helper.tidemark("gate", folder .. "/still", "--github").out:find("::notice title=memory gate::", 1, true))
    end)

    it("writes Markdown, and appends it to the job's summary", function()
      local path, summary = folder .. "/out.md", helper.write(folder .. "/summary.md", "before\n")
      local result = helper.shell("export GITHUB_STEP_SUMMARY=" .. helper.quote(summary) .. "; "
        .. helper.command("gate", dir, "--markdown", path, "--max-growth", "4%"))
      assert.equal(1, result.code)
      local md = helper.read(path)
      assert.equal("before\n" .. md, helper.read(summary))
      assert.is_nil(md:find("<b>", 1, true))
      for line in md:gmatch("[^\n]+") do
        if line:find("^| main") then
          local _, bars = line:gsub("%f[\\|]|", "")
          assert.equal(7, bars, line)
        end
      end
    end)
  end)
end)
