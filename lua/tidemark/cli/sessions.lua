-- sessions: what a program's sessions hold, by its own word, and what outlived them; releases it on demand.
local args = require "tidemark.cli.args"
local capture = require "tidemark.capture"
local core = require "tidemark.core"
local fetch = require "tidemark.fetch"
local sessions = require "tidemark.sessions"
local target = require "tidemark.cli.target"
local text = require "tidemark.show.text"

local SECOND <const> = 1000000000

local columns = { { key = "session", title = "SESSION" }, { key = "kind", title = "KIND" }, { key = "id", title = "ID" },
  { key = "bytes", title = "BYTES", unit = "bytes", right = true }, { key = "age_ns", title = "AGE", unit = "ns", right = true },
  { key = "over_ns", title = "OVER SINCE", unit = "ns", right = true } }

-- The address of the list: that of the program's agent, or what was given.
local function list_of(word)
  if word:match("^https?://[^/]+/.") then return word end
  if target.is_address(word) then
    local socket = word:match("^unix:[^:]+")
    return (socket and socket .. ":" or word:match("^https?://[^/]+") or "http://" .. word:match("^[^/]+")) .. "/sessions"
  end
  local pid = target.resolve(word)
  if not core.describe(pid) then error({ message = ("process %d does not exist"):format(pid), code = "gone" }, 0) end
  local found = capture.of(pid)
  if found and found.runtime == "go" then return found.base .. "/sessions" end
  error({ message = word .. " has no tidemark agent that can be seen", code = "unsupported",
    advice = "import the package agent/go and call agent.Serve, or give the address of the list; of programs that talk to the control socket, ask it: "
      .. '{"cmd":"sessions"}' }, 0)
end

local function ask(url, method, options)
  local how = fetch.from_options(options)
  local answer, err = core.http { url = url, method = method, timeout_ns = how.timeout_ns or 30 * SECOND, max_body_bytes = 64 << 20,
    headers = how.headers, host_header = how.host_header, ca_file = how.ca_file }
  if not answer then error(err, 0) end
  if answer.status ~= 200 then
    error({ message = ("%s is answered with HTTP %d: %s"):format(url, answer.status, (answer.body:match("^[^\r\n]*") or ""):sub(1, 100)), code = "io" }, 0)
  end
  local said, problem = core.json_decode(answer.body)
  if type(said) ~= "table" then error({ message = url .. " answers no JSON: " .. (problem and problem.message or ""), code = "format" }, 0) end
  return said
end

local function release(url, word, options)
  local session, id = word:match("^(.-)/([^/]+)$")
  local query = "?session=" .. fetch.escape(session or word) .. (id and "&id=" .. fetch.escape(id) or "")
  local said = ask(url:gsub("/*$", "") .. "/release" .. query, "POST", options)
  return { session = session or word, id = id, released = said.released, bytes = said.bytes }
end

local options = {
  { "left", "only what outlived its session" },
  { "release", "SESSION[/ID]", "have the program release what the session still holds, or one resource of it" },
}

return {
  name = "sessions", summary = "what a program's sessions hold, and what outlived them", usage = "sessions TARGET [OPTIONS]",
  examples = { "tidemark sessions myapp --left", "tidemark sessions 4711 --release doc-7", "tidemark sessions http://127.0.0.1:8080/sessions --json" },
  doc = "A Go program registers resources by tidemark's package agent/go; others serve the same list over HTTP. Programs that talk to the\n"
    .. "control socket (agent/tidemark_session.h) are seen by `watch` and `run` with --control.",
  options = table.move(fetch.options, 1, #fetch.options, #options + 1, options),
  run = function(opts, words)
    if #words ~= 1 then args.usage("one program is needed") end
    local url = list_of(words[1])
    if opts.release then
      local done = release(url, opts.release, opts)
      if opts.json then io.write(text.document("sessions", { target = words[1], released = true }, { done }))
      else io.write(("released %d, %s\n"):format(done.released, core.format(done.bytes, "bytes"))) end
      return
    end
    local book, now = sessions.book(), (core.now())
    book:replace(ask(url, "GET", opts), now)
    local rows, left_bytes = {}, 0
    for _, r in ipairs(book:rows(now)) do
      if r.over_ns then left_bytes = left_bytes + r.bytes end
      if r.over_ns or not opts.left then rows[#rows + 1] = r end
    end
    if opts.json then
      io.write(text.document("sessions", { target = words[1], registered = book.count, left_bytes = left_bytes, unit = "bytes" }, rows))
    else
      io.write(("%d resources registered; %s outlived their session\n"):format(book.count, core.format(left_bytes, "bytes")))
      if #rows > 0 then io.write(text.table(columns, rows)) end
    end
  end,
}
