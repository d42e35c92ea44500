rockspec_format = "3.0"
package = "tidemark"
version = "scm-1"
source = { url = "git+file://." }
description = {
  summary = "Memory observability: reads profiles, heap dumps and traces, watches processes, runs rules",
  detailed = "The module `tidemark` for stock Lua 5.4 on Linux. Needs the C libraries that scripts/setup.sh lists.",
  license = "MIT",
}
dependencies = { "lua >= 5.4, < 5.5" }
build = {
  type = "command",
  build_command = "cmake -S . -B build/rock -G Ninja -DCMAKE_BUILD_TYPE=RelWithDebInfo -DTM_TESTS=OFF"
    .. " && cmake --build build/rock --target tidemark_lua",
  install = { lib = { ["tidemark"] = "build/rock/lua5.4/tidemark.so" } },
}
