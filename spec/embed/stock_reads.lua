-- In a stock Lua: profiles, heap dumps and a soak report, read by the module alone.
--   lua5.4 stock_reads.lua SEEDS
local tm = require "tidemark"
local core = require "tidemark.core"
local seeds = arg[1]

local p = assert(core.read(seeds .. "/fuzz_pprof/block.pb.gz"))
assert(p.kind == "profile" and #tm.top(p) > 0)
local jvm = assert(core.read(seeds .. "/fuzz_redact/small.hprof"))
assert(jvm.kind == "graph" and #jvm:objects() > 0)
local v8 = assert(core.read(seeds .. "/fuzz_v8heap/five.heapsnapshot"))
assert(v8.kind == "graph" and #v8:objects() > 0)
local missing, err = core.read("/no/such/file")
assert(missing == nil and err.code == "io" and err.message:find("/no/such/file", 1, true))
assert(not pcall(require, "tidemark.nothing_of_this_name"))
print("read: " .. p.format, jvm.format, v8.format)
