-- doctor: what works on this machine, what does not, and what would help.
local core = require "tidemark.core"
local paths = require "tidemark.cli.paths"
local session = require "tidemark.cli.session"
local text = require "tidemark.show.text"

return {
  name = "doctor", summary = "check permissions, the kernel and this build", usage = "doctor [--json]", examples = { "tidemark doctor" },
  run = function(options)
    local rows, err = core.doctor()
    if not rows then session.fail(err, 6) end
    local ok = core.mkdir(paths.state())
    rows[#rows + 1] = { what = "state folder", works = ok and true or false, detail = paths.state(), remedy = ok and "" or "set XDG_STATE_HOME" }
    rows[#rows + 1] = { what = "https", works = core.https or false, detail = core.https and "libcurl" or "off",
      remedy = core.https and "" or "build with libcurl (TM_TLS)" }
    if options.json then
      io.write(text.document("doctor", { version = core.version }, rows))
      return
    end
    for _, row in ipairs(rows) do
      local mark = row.works and text.style("green", "ok ") or text.style("yellow", "-- ")
      io.write(mark, " ", text.pad(row.what, 30), " ", text.clean(row.detail), "\n")
      if not row.works and row.remedy ~= "" then io.write("    ", text.style("dim", row.remedy), "\n") end
    end
  end,
}
