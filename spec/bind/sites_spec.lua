-- core.sites against a plain count in Lua over the traces of the same profiles.
local core = require "tidemark.core"
local pprof = require "spec.support.pprof_writer"
local sites = require "tidemark.report.sites"

-- Profiles of random stacks over few functions, so that paths repeat, recur and share prefixes.
local names = { "main.main main.go:%d", "main.a a.go:%d", "example.com/x.b b.go:%d", "fmt.Sprint fmt.go:%d", "encoding/json.Marshal json.go:%d",
  "runtime.mallocgc malloc.go:%d", "runtime.growslice slice.go:%d", "malloc m.c:%d" }
local function random_profile(seed, samples)
  math.randomseed(seed)
  local spec = { types = { "n/count", "space/bytes" } }
  for i = 1, samples do
    local stack = {}
    for d = 1, math.random(1, 6) do stack[d] = names[math.random(#names)]:format(math.random(2)) end
    spec[i] = { table.concat(stack, ";"), math.random(0, 3), math.random(3) == 1 and 0 or math.random(1000) }
  end
  return assert(core.read { bytes = pprof(spec) })
end

local function key_of(frames, from, to, by_line)
  return by_line and sites.line_chain(frames, from, to) or sites.chain(frames, from, to)
end

-- key -> values per profile, by the definition.
local function expected(profiles, by_line)
  local out = {}
  for column, p in ipairs(profiles) do
    assert(sites.each(p, { sample_index = "space" }, function(frames, value)
      local site, owner = sites.place(frames)
      local key = key_of(frames, 1, site == 0 and #frames or owner, by_line)
      out[key] = out[key] or {}
      out[key][column] = (out[key][column] or 0) + value
    end))
  end
  return out
end

describe("core.sites", function()
  for _, by in ipairs { "function", "line" } do
    it("counts as plain code does, by " .. by, function()
      for seed = 1, 12 do
        local profiles = { random_profile(seed, 200), random_profile(seed + 100, 150), random_profile(seed + 200, 1) }
        local s = core.sites { columns = 3, by = by, sample_index = "space" }
        for _, p in ipairs(profiles) do assert.is_true(s:add(p)) end
        local want, rows = expected(profiles, by == "line"), 0
        for i = 1, #s do
          local row = s:row(i)
          local key = key_of(row.frames, 1, #row.frames, by == "line")
          assert.is_table(want[key], key)
          for column = 1, 3 do assert.equal(want[key][column] or 0, row.values[column]) end
          local site, owner = sites.place(row.frames)
          assert.equal(site, row.site)
          if site > 0 then assert.equal(#row.frames, owner) end
        end
        for _ in pairs(want) do rows = rows + 1 end
        assert.equal(rows, #s)
      end
    end)
  end

  it("gives the stack that grew most, and the line of the newest profile", function()
    local s = core.sites { columns = 2 }
    local function add(weight, ...) assert(s:add(core.read { bytes = pprof { types = { "space/bytes" }, ... } }, weight)) end
    add(-1, { "main.main m.go:1;main.f f.go:5", 90 }, { "main.serve m.go:2;main.f f.go:5", 1 })
    add(1, { "main.main m.go:1;main.f f.go:6", 95 }, { "main.serve m.go:2;main.f f.go:7", 50 })
    assert.equal(1, #s)
    local path = s:path(1)
    assert.same({ "main.f", "main.serve" }, { path[1].name, path[2].name })
    assert.equal(2, #path)
    assert.equal(6, s:row(1).frames[1].line)
    assert.equal("f.go", s:row(1).frames[1].file)
  end)

  it("takes the filters of reports, and refuses what does not fit", function()
    local p = core.read { bytes = "main.main;main.f 3\nmain.main;main.g 4\n" }
    local s = core.sites { columns = 1, focus = "main.f" }
    assert(s:add(p))
    assert.equal(1, #s)
    assert.equal(3, s:row(1).values[1])
    local ok, err = s:add(p)
    assert.is_nil(ok)
    assert.equal("argument", err.code)
    assert.is_nil((core.sites { columns = 1, focus = "(" }):add(p))
    assert.has_error(function() core.sites {} end)
    assert.has_error(function() core.sites { columns = 1, wrong = "x" } end)
    assert.has_error(function() s:row(2) end)
    s:close()
    assert.has_error(function() return #s end)
  end)
end)
