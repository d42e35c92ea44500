-- Leak suspects of a heap dump, in words.
local args = require "tidemark.cli.args"
local core = require "tidemark.core"
local dumps = require "tidemark.cli.dumps"
local suspects = require "tidemark.report.suspects"
local text = require "tidemark.show.text"

-- "10%" or "0.1" as a number.
local function ratio(word)
  local share = tonumber((word:gsub("%%$", "")))
  if share and word:find("%%$") then share = share / 100 end
  if not share or share <= 0 or share > 1 then args.usage("--share is a ratio: \"10%\" or 0.1, not '" .. word .. "'") end
  return share
end

local columns = { "kind", "node", "type", "count", "retained_bytes", "share_ratio", "owner_node", "owner_type", "place", "thread", "loader",
  "piled_type", "piled_count", "piled_bytes", "text" }

local function people(g, rows, notes)
  local out, fans = {}, false
  out[1] = ("%s reachable in %d objects\n"):format(core.format(notes.reachable_bytes, "bytes"), g:info().nodes)
  for i, row in ipairs(rows) do
    if row.kind == "fan" and not fans then
      fans = true
      out[#out + 1] = "\nGreat numbers of references from one object:\n"
    end
    out[#out + 1] = ("%2d  %s\n"):format(i, text.clean(row.text))
    local more = {}
    if row.thread ~= "" and row.place:sub(1, 6) ~= "thread" then more[#more + 1] = "thread " .. row.thread end
    if row.loader ~= "" then more[#more + 1] = "loaded by " .. row.loader end
    if row.owner_node and row.kind ~= "fan" then more[#more + 1] = ("tidemark path DUMP '#%d'"):format(row.owner_node) end
    if #more > 0 then out[#out + 1] = "    " .. text.style("dim", text.clean(table.concat(more, "; "))) .. "\n" end
  end
  if #rows == 0 then out[2] = "Nothing holds more than the share that was asked for.\n" end
  return table.concat(out)
end

return {
  name = "suspects", summary = "leak suspects of a heap dump: what piles up, where, who holds it", usage = "suspects DUMP [OPTIONS]",
  examples = { "tidemark suspects app.hprof", "tidemark suspects page.heapsnapshot --share 5%", "tidemark suspects app.goheap --json" },
  doc = "Great branches of the dominator tree are followed to where more than --share of the heap piles up below one object in parts that\n"
    .. "are small by themselves. Chains are named at their first link. Exit code 1 when there is a suspect that holds more than the share.",
  options = dumps.options_with({ "share", "RATIO", "of the reachable bytes that makes a suspect, \"10%\" or 0.1", default = "10%" }),
  run = function(options, words)
    local share = ratio(options.share)
    local g, problems = dumps.open(words, options)
    local rows, notes = suspects.rows(g, { share = share, follow = options.follow })
    if not rows then error(notes, 0) end
    local found = rows[1] ~= nil and rows[1].kind ~= "fan"
    for _, row in ipairs(rows) do row.top_node = nil end
    dumps.show_rows(options, "suspects", g, words, problems, columns, rows, nil, people(g, rows, notes),
      { reachable_bytes = notes.reachable_bytes, share_ratio = share })
    return found and 1 or 0
  end,
}
