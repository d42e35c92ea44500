-- completion: scripts for shells, made from the command tables.
local args = require "tidemark.cli.args"

local function options_of(command)
  local out = {}
  for _, list in ipairs { command.options or {}, args.common } do
    for _, option in ipairs(list) do out[#out + 1] = "--" .. option[1] end
  end
  return out
end

local function bash(cli)
  local out = { "_tidemark() {", "  local cur=${COMP_WORDS[COMP_CWORD]} words", '  case "${COMP_WORDS[1]}" in' }
  for _, name in ipairs(cli.names) do
    out[#out + 1] = ("  %s) words=\"%s\" ;;"):format(name, table.concat(options_of(cli.command(name)), " "))
  end
  out[#out + 1] = "  esac"
  out[#out + 1] = ('  [ "$COMP_CWORD" -eq 1 ] && words="%s"'):format(table.concat(cli.names, " "))
  out[#out + 1] = '  case "${COMP_WORDS[1]}:$cur" in watch:[0-9a-zA-Z]*|attach:[0-9a-zA-Z]*|record:[0-9a-zA-Z]*)'
  out[#out + 1] = '    words="$words $(ps -eo pid=,comm= | tr -s \' \' \'\\n\')" ;; esac'
  out[#out + 1] = '  COMPREPLY=($(compgen -W "$words" -- "$cur") $(compgen -f -- "$cur"))'
  out[#out + 1] = "}"
  out[#out + 1] = "complete -F _tidemark tidemark"
  return table.concat(out, "\n") .. "\n"
end

local function zsh(cli)
  return "#compdef tidemark\nautoload -U +X bashcompinit && bashcompinit\n" .. bash(cli)
end

local function fish(cli)
  local out = {}
  for _, name in ipairs(cli.names) do
    local command = cli.command(name)
    out[#out + 1] = ("complete -c tidemark -n __fish_use_subcommand -a %s -d '%s'"):format(name, command.summary:gsub("'", ""))
    for _, list in ipairs { command.options or {}, args.common } do
      for _, option in ipairs(list) do
        out[#out + 1] = ("complete -c tidemark -n '__fish_seen_subcommand_from %s' -l %s%s -d '%s'"):format(name, option[1],
          args.is_flag(option) and "" or " -r", (args.is_flag(option) and option[2] or option[3]):gsub("'", ""))
      end
    end
  end
  return table.concat(out, "\n") .. "\n"
end

local shells = { bash = bash, zsh = zsh, fish = fish }

return {
  name = "completion", summary = "a completion script for bash, zsh or fish", usage = "completion bash|zsh|fish",
  examples = { "tidemark completion bash > /etc/bash_completion.d/tidemark" },
  run = function(_, words)
    local make = shells[words[1] or ""]
    if not make then args.usage("choose a shell: bash, zsh or fish" .. args.nearest(words[1] or "", { "bash", "zsh", "fish" })) end
    io.write(make(require "tidemark.cli"))
  end,
}
