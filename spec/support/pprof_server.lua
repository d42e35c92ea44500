-- Starts spec/support/pprof_server.go: a real net/http/pprof, and one that misbehaves.
local helper = require "spec.support.helper"

local M = {}

--- { url, socket, pid, binary, stop() }, or nil when there is no Go here. mode: nil, "plain" (no pprof at all) or "silent" (the TCP
--- port never answers).
function M.start(mode)
  if not os.execute("command -v go >/dev/null 2>&1") then return nil end
  local dir = helper.folder()
  local binary, socket, port = dir .. "/server", dir .. "/s.sock", dir .. "/port"
  assert(os.execute("cd spec/support && GOFLAGS= go build -o " .. helper.quote(binary) .. " pprof_server.go"))
  os.execute(("%s %s %s %s 2>%s/err & echo $! >%s/pid"):format(binary, socket, port, mode or "", dir, dir))
  for _ = 1, 100 do
    local f = io.open(port)
    if f then
      f:close()
      local url, pid = "http://127.0.0.1:" .. helper.read(port), helper.read(dir .. "/pid"):match("%d+")
      return { url = url, socket = socket, binary = binary, pid = math.tointeger(tonumber(pid)), stop = function() os.execute("kill " .. pid) end }
    end
    os.execute("sleep 0.05")
  end
  error("the server did not start: " .. helper.read(dir .. "/err"))
end

return M
