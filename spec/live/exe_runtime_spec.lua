-- core.exe_runtime: programs as Go's linker writes them, in both word sizes and byte orders, whole, stripped and cut.
local core = require "tidemark.core"
local helper = require "spec.support.helper"

local version = "go1.26.8"
local header = "\xff Go buildinf:" .. "\8\2" .. ("\0"):rep(16) .. string.char(#version) .. version

-- An ELF file whose data segment is `data`, at byte 512; with the section table when `sections`.
local function elf(bits, order, data, sections)
  local e, word = order == "big" and ">" or "<", bits == 64 and "I8" or "I4"
  local names = "\0.shstrtab\0.go.buildinfo\0"
  local head_bytes, segment_bytes, section_bytes = bits == 64 and 64 or 52, bits == 64 and 56 or 32, bits == 64 and 64 or 40
  local function segment(kind, flags, at, size)
    if bits == 64 then return (e .. "I4I4I8I8I8I8I8I8"):pack(kind, flags, at, 0, 0, size, size, 4096) end
    return (e .. "I4I4I4I4I4I4I4I4"):pack(kind, at, 0, 0, size, size, flags, 4096)
  end
  local function section(name, at, size)
    return (e .. "I4I4" .. word:rep(4) .. "I4I4" .. word:rep(2)):pack(name, 1, 0, 0, at, size, 0, 0, 1, 0)
  end
  local data_at = 512
  local names_at = data_at + #data
  local table_at = names_at + #names
  local count = sections and 3 or 0
  local head = "\127ELF" .. string.char(bits == 64 and 2 or 1, order == "big" and 2 or 1, 1) .. ("\0"):rep(9)
    .. (e .. "I2I2I4" .. word:rep(3) .. "I4I2I2I2I2I2I2"):pack(2, 62, 1, 0, head_bytes, sections and table_at or 0, 0,
      head_bytes, segment_bytes, 2, section_bytes, count, sections and 1 or 0)
  local file = head .. segment(1, 5, 0, 256) .. segment(1, 6, data_at, #data)
  file = file .. ("\0"):rep(data_at - #file) .. data .. names
  if sections then file = file .. section(0, 0, 0) .. section(1, names_at, #names) .. section(11, data_at, #data) end
  return file .. ("\0"):rep(80)
end

describe("exe_runtime", function()
  teardown(helper.tidy)
  local path
  setup(function() path = helper.folder() .. "/program" end)

  local function runtime(bytes)
    local found = assert(core.exe_runtime(helper.write(path, bytes)))
    return found.name, found.version
  end

  it("finds Go and its version in every word size and byte order, stripped or not", function()
    for _, bits in ipairs { 32, 64 } do
      for _, order in ipairs { "little", "big" } do
        for _, sections in ipairs { true, false } do
          local name, found = runtime(elf(bits, order, header, sections))
          assert.equal("go " .. version, name .. " " .. found, ("%d %s %s"):format(bits, order, sections))
        end
      end
    end
  end)

  it("finds it behind other data, on 16-byte places only", function()
    assert.equal("go", (runtime(elf(64, "little", ("x"):rep(8192) .. header, false))))
    assert.equal("native", (runtime(elf(64, "little", "x" .. header, false))))
    assert.equal("native", (runtime(elf(64, "little", ("x"):rep((1 << 20) + 16) .. header, false))))
  end)

  it("takes what is no Go program for native, and survives every cut and every odd byte", function()
    assert.equal("native", (runtime("")))
    assert.equal("native", (runtime("#!/bin/sh\n")))
    local whole = elf(64, "little", header, true)
    for size = 0, #whole, 3 do
      local name = runtime(whole:sub(1, size))
      assert.is_true(name == "go" or name == "native")
    end
    for at = 1, 64 do assert.is_string((runtime(whole:sub(1, at - 1) .. "\xff" .. whole:sub(at + 1)))) end
  end)

  it("says when there is nothing to read", function()
    local none, err = core.exe_runtime("/nowhere/program")
    assert.is_nil(none)
    assert.equal("io", err.code)
  end)
end)
