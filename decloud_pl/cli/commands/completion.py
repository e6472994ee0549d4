"""``decloud-trainer completion``: a script for the shell that completes commands, options and settings."""

from __future__ import annotations

import argparse

from decloud_pl.cli.arguments import add_command

_EXAMPLES = """\
eval "$(decloud-trainer completion bash)"        (in ~/.bashrc)
eval "$(decloud-trainer completion zsh)"         (in ~/.zshrc)
decloud-trainer completion fish > ~/.config/fish/completions/decloud-trainer.fish
"""
_PROGRAM = "decloud-trainer"


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = add_command(commands, "completion", "print a completion script for the shell", _EXAMPLES)
    parser.add_argument("shell", choices=("bash", "zsh", "fish"))
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    from decloud_pl.cli import parser

    words = words_of(parser())
    print({"bash": _bash, "zsh": _zsh, "fish": _fish}[arguments.shell](words))
    return 0


def words_of(root: argparse.ArgumentParser) -> dict[str, list[str]]:
    """What can follow each command: its options, fixed choices, and the settings where it takes them."""
    from decloud_pl.settings.names import settings_by_name

    settings = [f"{setting.path}=" for setting in settings_by_name().values() if setting.path]
    found: dict[str, list[str]] = {}
    for name, command in subcommands(root).items():
        words: list[str] = []
        for action in command._actions:  # noqa: SLF001 (argparse has no public way to list them)
            words += action.option_strings
            if not action.option_strings and isinstance(action.choices, (list, tuple)):
                words += [str(choice) for choice in action.choices]
            if action.metavar is not None and "KEY=VALUE" in action.metavar and not action.option_strings:
                words += settings
        found[name] = words
    return found


def subcommands(root: argparse.ArgumentParser) -> dict[str, argparse.ArgumentParser]:
    """Every command by name."""
    found: dict[str, argparse.ArgumentParser] = {}
    for action in root._actions:  # noqa: SLF001
        if isinstance(action, argparse._SubParsersAction):  # noqa: SLF001
            found.update(action.choices)
    return found


def _cases(words: dict[str, list[str]]) -> str:
    return "\n".join(f"    {name}) words='{' '.join(options)}' ;;" for name, options in words.items())


def _bash(words: dict[str, list[str]]) -> str:
    return f"""\
_decloud_trainer() {{
  local words current="${{COMP_WORDS[COMP_CWORD]}}"
  [[ "$COMP_LINE" == *=* ]] && current="${{current#=}}"
  case "${{COMP_WORDS[1]}}" in
{_cases(words)}
    *) words='{" ".join(words)} --help --version' ;;
  esac
  if [ "$COMP_CWORD" -eq 1 ]; then words='{" ".join(words)} --help --version'; fi
  COMPREPLY=($(compgen -W "$words" -- "$current"))
  if [[ "${{COMPREPLY[0]}}" == *= ]]; then compopt -o nospace; fi
}}
complete -o default -F _decloud_trainer {_PROGRAM}"""


def _zsh(words: dict[str, list[str]]) -> str:
    return f"""\
_decloud_trainer() {{
  local words_here
  case "${{words[2]}}" in
{_cases(words).replace("words=", "words_here=")}
    *) words_here='{" ".join(words)} --help --version' ;;
  esac
  if (( CURRENT == 2 )); then words_here='{" ".join(words)} --help --version'; fi
  compadd -S '' -- ${{(z)words_here}}
}}
compdef _decloud_trainer {_PROGRAM}"""


def _fish(words: dict[str, list[str]]) -> str:
    lines = [f"complete -c {_PROGRAM} -n __fish_use_subcommand -f -a '{' '.join(words)}'"]
    for name, options in words.items():
        if options:
            lines.append(f"complete -c {_PROGRAM} -n '__fish_seen_subcommand_from {name}' -a '{' '.join(options)}'")
    return "\n".join(lines)
