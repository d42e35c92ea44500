-- luacheck's rules for every Lua file of the tree. Rule files see one global, `tm`, and set none.
std = "lua54"
self = false
max_line_length = 160
ignore = { "212/_.*", "213/_.*" }
files["rules/**"].read_globals = { "tm" }
files["examples/rules/**"].read_globals = { "tm" }
files["lua/tidemark/report/hotspots_table.lua"].read_globals = { "tm" }
files["lua/meta/**"].ignore = { "111", "112", "113", "212", "241", "631" } -- for editors: nothing is run
files["spec/**"].std = "+busted"
