-- The live reference graph of a heap dump's biggest holders, drawn.
local args = require "tidemark.cli.args"
local core = require "tidemark.core"
local dumps = require "tidemark.cli.dumps"
local profiles = require "tidemark.cli.profiles"
local text = require "tidemark.show.text"
local topology = require "tidemark.report.topology"

local function time_of(path)
  local stat = core.stat(path)
  return stat and stat.mtime_ns or 0
end

-- The earlier dumps that are old enough, each with how much older than the dump at hand.
local function open_earlier(options, path)
  local list, least = {}, options["min-age"]
  for i, word in ipairs(options.dump or {}) do
    local age_ns = time_of(path) - time_of(word)
    if age_ns < least then
      args.usage(("--dump %s is only %s older than %s; --min-age says how much is needed"):format(word,
        core.format(math.max(age_ns, 0), "ns"), path))
    end
    list[i] = { graph = dumps.open({ word }, options), age_ns = age_ns }
  end
  return list
end

local function archive(options, g, objects)
  local folder = options["archive-to"]
  local ok, err = core.mkdir(folder)
  if not ok and (core.stat(folder) or {}).kind ~= "directory" then error(err, 0) end
  for _, word in ipairs(objects) do
    local node = dumps.node(g, word)
    local bytes, ending = topology.archive(g, node)
    local file = ("%s/%s-%d.%s.gz"):format(folder, g.format, g:node(node).id, ending)
    local packed = assert(core.gzip(bytes))
    local written, problem = core.write_private(file, packed)
    if not written then error(problem, 0) end
    io.stderr:write(("wrote %s (%d of %d bytes)\n"):format(file, #packed, #bytes))
  end
end

local function form_of(options)
  if options.form then return options.form end
  local ending = (options.output or ""):match("%.(%w+)$")
  return ({ dot = "dot", gv = "dot", json = "json" })[ending] or "mermaid"
end

return {
  name = "topology", summary = "the reference graph of a heap dump's biggest holders, as Mermaid, DOT or JSON",
  usage = "topology DUMP [--dump EARLIER]... [OPTIONS]",
  examples = { "tidemark topology app.hprof > heap.mmd", "tidemark topology app.hprof --output heap.dot --nodecount 40",
    "tidemark topology now.hprof --dump morning.hprof --output heap.mmd", "tidemark topology app.hprof --archive 0x7f004512 --archive-to kept" },
  doc = "Arrows are references, dotted ones lead over objects that are not shown. With --dump, what was there in a dump at least --min-age\n"
    .. "older (by the files' times) and no stack reaches is marked: V8 and Go objects are known again by id, Java's by type and place.\n"
    .. "--archive keeps an object compressed: bytes of strings and arrays, else its fields and the texts it retains as JSON.",
  options = dumps.options_with({ "dump", "EARLIER", "an earlier dump of the same program (repeatable)", kind = "list" },
    { "min-age", "SPAN", "that an earlier dump must be older", kind = "duration", default = "30m" },
    { "form", "FORM", "mermaid, dot or json; else by the ending of --output", choices = { "mermaid", "dot", "json" } },
    { "archive", "OBJECT", "keep this object's bytes or strings (repeatable)", kind = "list" },
    { "archive-to", "DIR", "where archived objects go", default = "archive" }),
  run = function(options, words)
    local g, problems = dumps.open(words, options)
    local t = topology.of(g, { nodecount = options.nodecount, follow = options.follow, earlier = open_earlier(options, words[1]) })
    local form = form_of(options)
    local out
    if options.json or form == "json" then
      out = text.document("topology", { files = text.array(words), format = g.format, partial = g.partial, problems = text.array(problems),
        earlier = text.array(options.dump or {}) }, text.array(topology.rows(t)))
    else
      profiles.warn(problems)
      out = topology[form](t)
    end
    profiles.output(options, out)
    if #(options.archive or {}) > 0 then archive(options, g, options.archive) end
  end,
}
