"""Tab completion: a shell script made from the commands, which starts no Python when it runs."""

from collections.abc import Mapping, Sequence

from cdis.errors import UserError, near_miss

# bash splits "--config=ct_vae/quickstart" at the equals sign into three words.
_SCRIPT = """\
_cdis() {{
    local current=${{COMP_WORDS[COMP_CWORD]}} previous=${{COMP_WORDS[COMP_CWORD-1]}}
    local command=${{COMP_WORDS[1]}} words=
    if [[ $current == "=" ]]; then
        current=
    elif [[ $previous == "=" ]]; then
        previous=${{COMP_WORDS[COMP_CWORD-2]}}
    fi
    COMPREPLY=()
    if [[ $command == data ]] && ((COMP_CWORD > 2)); then
        command="data ${{COMP_WORDS[2]}}"
    fi
    if ((COMP_CWORD == 1)); then
        words="{commands}"
    elif [[ $command == data ]]; then
        words="{data_commands}"
    else
        case $previous in
            --config) words="{experiments}" ;;
            --data) words="{data_sets}" ;;
            --feed) words="decoded records auto" ;;
            --split) words="train validation test seen all" ;;
            --workdir | --data_dir | --manual_dir)
                COMPREPLY=($(compgen -d -- "$current"))
                return ;;
            *)
                case $command:$current in
{flags}
                    completion:*) words="{shells}" ;;
                    "data prepare":* | "data show":*) words="{data_sets}" ;;
                esac ;;
        esac
    fi
    COMPREPLY=($(compgen -W "$words" -- "$current"))
}}
complete -o default -F _cdis cdis
"""

_BEFORE = {
    "bash": "",
    "zsh": "autoload -Uz compinit bashcompinit && compinit && bashcompinit\n",
}


def script(
    shell: str,
    commands: Mapping[str, Sequence[str]],
    experiments: Sequence[str],
    data_sets: Sequence[str],
) -> str:
    """A script for "bash" or "zsh" that completes the words of a cdis command.

    Args:
      shell: which one.
      commands: name, such as "train" or "data show", -> flags.
      experiments: names for --config.
      data_sets: names for the data commands.

    Raises:
      UserError: another shell.
    """
    if shell not in _BEFORE:
        raise UserError(
            f"There is no completion for {shell!r}{near_miss(shell, _BEFORE)}, only for "
            f"{' and '.join(_BEFORE)}. See cdis completion --help."
        )
    first = dict.fromkeys(name.split()[0] for name in commands)
    flags = [
        f'                    "{name}":-*) words="{_words(names)}" ;;'
        for name, names in commands.items()
    ]
    return _BEFORE[shell] + _SCRIPT.format(
        commands=" ".join([*first, "--help", "--version"]),
        data_commands=" ".join(name.split()[1] for name in commands if name.startswith("data ")),
        experiments=" ".join(experiments),
        data_sets=" ".join(data_sets),
        shells=" ".join(_BEFORE),
        flags="\n".join(flags),
    )


def _words(flags: Sequence[str]) -> str:
    return " ".join(f"--{flag}" for flag in [*flags, "help"])
