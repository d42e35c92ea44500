-- Makes docs/lua-api.md and lua/meta/tidemark.lua of what is said at each definition: tidemark lua scripts/gen_lua_api.lua
local api = require "tidemark.api"
for path, text in pairs { ["docs/lua-api.md"] = api.markdown(), ["lua/meta/tidemark.lua"] = api.meta() } do
  local f = assert(io.open(path, "wb"))
  f:write(text)
  f:close()
  print("wrote " .. path)
end
