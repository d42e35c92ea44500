local core = require "tidemark.core"
local text = require "tidemark.show.text"
return {
  name = "version", summary = "print the version", usage = "version [--json]", examples = { "tidemark version" },
  run = function(options)
    if options.json then
      io.write(text.document("version", {}, { { version = core.version, lua = _VERSION } }))
    else
      io.write("tidemark ", core.version, " (", _VERSION, ")\n")
    end
  end,
}
