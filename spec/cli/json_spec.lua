-- The JSON contract: every document has its envelope, the names that never change, and no name that docs/json.md leaves out.
local core = require "tidemark.core"
local helper = require "spec.support.helper"

-- schema -> { rows, meta }: the words that the table of docs/json.md has for each.
local function documented()
  local out, first_rows = {}, nil
  for line in helper.read("docs/json.md"):gmatch("[^\n]+") do
    local schema, rows, meta = line:match("^| `([%w%-]+)`[^|]*|([^|]*)|([^|]*)|$")
    if schema and rows then
      first_rows = first_rows or rows
      local sets = { {}, {} }
      for i, cell in ipairs { rows, meta } do
        if cell:find("findings as above", 1, true) then cell = cell .. first_rows end
        for word in cell:gmatch("[%w_]+") do sets[i][word] = true end
      end
      out[schema] = sets
    end
  end
  return out
end

local docs = documented()

local function holds_to_the_contract(schema, names, document)
  local known = assert(docs[schema], schema .. " is not in docs/json.md")
  for i, row in ipairs(document.rows) do
    for _, name in ipairs(names) do
      assert.is_not_nil(row[name], ("row %d of %s has no %s"):format(i, schema, name))
    end
    for name in pairs(row) do assert.is_true(known[1][name], ("docs/json.md does not name %s of a row of %s"):format(name, schema)) end
  end
  for name in pairs(document.meta) do
    assert.is_true(known[2][name], ("docs/json.md does not name %s in the meta of %s"):format(name, schema))
  end
end

local finding = { "rule", "level", "state", "target", "key", "value", "text", "evidence" }

describe("--json", function()
  local folder, recording, rule
  -- A rule that fires at once, so that there is a finding to look at.
  setup(function()
    folder = helper.folder()
    recording = folder .. "/a.tmr"
    rule = helper.write(folder .. "/r.lua", [[tm.rule { id = "own.rule", every = "200ms", level = "high",
      inputs = { fds = tm.series("proc.fds", { every = "200ms" }) }, say = "{value:count} open",
      check = function(c) if c.fds.last then return c:finding { value = c.fds.last, unit = "count", more = 1 } end end }]])
  end)
  teardown(helper.tidy)

  it("of run, and of a recording of it", function()
    local document, code = helper.document("watch", "run", "--no-history", "--rules", rule, "--record", recording, "--every", "200ms",
      "--fail-on", "high", "--for", "2s", "--json", "--", "sleep", "30")
    holds_to_the_contract("watch", finding, document)
    assert.equal(1, #document.rows)
    assert.equal("own.rule", document.rows[1].rule)
    assert.equal(1, core.json_decode(document.rows[1].evidence).more)
    assert.equal("time", document.meta.ended)
    assert.equal("sleep", document.meta.targets[1].name)
    assert.equal(0, document.meta.self.missed)
    assert.equal(1, code)
  end)

  it("of replay", function()
    local document = helper.document("replay", "replay", recording, "--rules", rule, "--no-builtin", "--json")
    holds_to_the_contract("replay", finding, document)
    assert.equal(1, #document.rows)
    assert.is_false(document.meta.partial)
    assert.is_true(document.meta.samples > 10)
  end)

  it("of report", function()
    local document = helper.document("report", "report", recording, "--json")
    holds_to_the_contract("report", { "target", "samples", "duration_ns", "verdict", "findings" }, document)
    assert.equal(1, #document.rows)
    assert.equal(1, #document.rows[1].findings)
  end)

  it("of watch and attach, on a process that runs", function()
    local app <close> = assert(io.popen("sleep 20 >/dev/null & echo $!"))
    local pid = app:read("l")
    local watched = helper.document("watch", "watch", pid, "--no-history", "--every", "200ms", "--for", "600ms", "--json")
    holds_to_the_contract("watch", finding, watched)
    assert.equal(math.tointeger(tonumber(pid)), watched.meta.targets[1].pid)
    local attached = helper.document("attach", "attach", pid, "--json")
    holds_to_the_contract("attach", { "capability", "detail" }, attached)
    local names = {}
    for _, row in ipairs(attached.rows) do names[row.capability] = row.value or true end
    assert.is_true(names["proc.rss"] > 0)
    assert.is_true(names["proc.fds"] >= 0)
    os.execute("kill " .. pid)
  end)

  it("of run keeps the app's own output off the document", function()
    local result = helper.tidemark("run", "--no-history", "--json", "--", "sh", "-c", "echo from the app >&2; sleep 0.5")
    assert.equal("tidemark/watch/1", core.json_decode(result.out).schema)
  end)

  local others = {
    { "rules", { "rule", "state", "every_ns", "tests", "origin", "doc", "caps" }, "rules", "list" },
    { "rules-check", { "file", "ok", "code", "problem" }, "rules", "check" },
    { "rules-test", { "rule", "test", "ok", "why" }, "rules", "test" },
    { "rules-explain", { "input", "metric", "kind", "every_ns", "keep", "core_ratio" }, "rules", "explain", "pressure" },
    { "doctor", { "what", "works", "detail" }, "doctor" },
    { "config", { "name", "value", "origin" }, "config", "show" },
    { "version", { "version" }, "version" },
  }
  for _, case in ipairs(others) do
    it("of " .. table.concat(case, " ", 3), function()
      local words = table.move(case, 3, #case, 1, {})
      words[#words + 1] = "--json"
      local document, code = helper.document(case[1], table.unpack(words))
      assert.equal(0, code)
      assert.is_true(#document.rows >= 1)
      holds_to_the_contract(case[1], case[2], document)
    end)
  end

  it("of rules check with a broken file and of rules trust", function()
    local dir = helper.folder()
    helper.write(dir .. "/bad.lua", "tm.rule {")
    local document, code = helper.document("rules-check", "rules", "check", dir, "--json")
    holds_to_the_contract("rules-check", { "file", "ok", "code", "problem" }, document)
    assert.equal("LOAD_SYNTAX", document.rows[1].code)
    assert.equal(1, code)
    holds_to_the_contract("rules-trust", { "files" }, helper.document("rules-trust", "rules", "trust", dir, "--json"))
  end)

  it("of the profile commands", function()
    local a = helper.write(folder .. "/a.folded", "main;serve;log 5\nmain;idle 30\n")
    local b = helper.write(folder .. "/b.folded", "main;serve;log 9\nmain;idle 20\n")
    for verb, names in pairs { top = { "name", "flat", "cum" }, tree = { "name", "flat", "cum" }, traces = { "value" }, tags = {},
      raw = { "section", "line" }, comments = {}, inspect = { "file", "format", "kind", "bytes", "summary" } } do
      holds_to_the_contract(verb, names, (helper.document(verb, verb, "--json", a)))
    end
    holds_to_the_contract("peek", { "name", "flat", "cum" }, (helper.document("peek", "peek", "--json", "log", a)))
    holds_to_the_contract("diff", { "name", "flat", "cum" }, (helper.document("diff", "diff", "--json", a, b)))
    holds_to_the_contract("growth", { "key", "first", "last", "delta", "steps" }, (helper.document("growth", "growth", "--json", a, b)))
  end)
end)

describe("--json of questions to heap dumps", function()
  teardown(helper.tidy)

  it("names what docs/json.md names", function()
    local leaks, dir = require "spec.support.leaks", helper.folder()
    local dumps = { helper.write(dir .. "/a.hprof", leaks.jvm()), helper.write(dir .. "/a.heapsnapshot", leaks.v8()),
      helper.write(dir .. "/a.goheap", leaks.go()) }
    for _, dump in ipairs(dumps) do
      for verb, names in pairs { suspects = { "kind", "text", "retained_bytes" }, consumers = { "name", "retained_bytes" },
        garbage = { "type", "count", "retained_bytes" }, lint = { "check", "type", "count", "waste_bytes" }, topology = { "kind" } } do
        holds_to_the_contract(verb, names, (helper.document(verb, verb, "--json", dump)))
      end
      holds_to_the_contract("references", { "edge", "node", "type" }, (helper.document("references", "references", "--json", dump, "#3")))
      holds_to_the_contract("object", { "name", "type", "value", "node" }, (helper.document("object", "object", "--json", dump, "#3")))
      holds_to_the_contract("path", { "type", "count" }, (helper.document("path", "path", "--json", dump, "--type", "*")))
      holds_to_the_contract("query", { "node", "type" }, (helper.document("query", "query", "--json", dump, "g:where{}")))
    end
  end)
end)

describe("--jsonl", function()
  teardown(helper.tidy)

  it("is a line of JSON per event, each with a type and a time", function()
    local rule = helper.write(helper.folder() .. "/r.lua", [[tm.rule { id = "own.rule", every = "200ms",
      inputs = { fds = tm.series("proc.fds", { every = "200ms" }) },
      check = function(c) if c.fds.last then return c:finding { value = c.fds.last } end end }]])
    local result = helper.tidemark("run", "--no-history", "--no-builtin", "--rules", rule, "--every", "200ms", "--status", "500ms",
      "--for", "1500ms", "--jsonl", "--", "sleep", "30")
    local types = {}
    for line in result.out:gmatch("[^\n]+") do
      local object, err = core.json_decode(line)
      assert(object, err and err.message .. ": " .. line)
      assert.is_true(object.time_ns > 1600000000000000000)
      types[object.type] = (types[object.type] or 0) + 1
    end
    assert.is_true(types.status >= 2)
    assert.is_true(types.alert >= 1)
  end)
end)
