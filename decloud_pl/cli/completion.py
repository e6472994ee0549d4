"""Shell completion with click's scripts, changed so that a setting is completed to ``NAME=`` without a space."""

from __future__ import annotations

from typing import Any

from click import Command
from click.shell_completion import BashComplete, CompletionItem, FishComplete, ShellComplete, ZshComplete

from decloud_pl.cli import COMPLETE, NAME


class _Bash(BashComplete):
    """Completion for Bash.

    Bash splits ``epochs=`` into two words. Click's script would append a space to ``epochs=``.
    """

    source_template = BashComplete.source_template.replace(
        "    return 0\n", "    if [[ ${COMPREPLY[0]} == *= ]]; then compopt -o nospace; fi\n    return 0\n", 1
    )

    def get_completion_args(self) -> tuple[list[str], str]:
        args, incomplete = super().get_completion_args()
        if incomplete == "=" and args:
            return args[:-1], f"{args[-1]}="
        if args[-1:] == ["="] and len(args) > 1:
            return args[:-2], f"{args[-2]}={incomplete}"
        return args, incomplete

    def format_completion(self, item: CompletionItem[Any]) -> str:
        return super().format_completion(CompletionItem(item.value.partition("=")[2] or item.value, item.type))


class _Zsh(ZshComplete):
    """Completion for Zsh. Click's script would append a space to ``epochs=``."""

    source_template = ZshComplete.source_template.replace("compadd -U", "compadd -S '' -U")


class _Fish(FishComplete):
    """Completion for Fish. Click's script would cut the description of a command at its second comma."""

    source_template = FishComplete.source_template.replace('string split ","', 'string split --max 1 ","')


_SHELLS: dict[str, type[ShellComplete]] = {"bash": _Bash, "zsh": _Zsh, "fish": _Fish}


def completer(program: Command, shell: str) -> ShellComplete:
    """Return the object that prints the completion script of a shell and answers the script's requests."""
    return _SHELLS[shell](program, {}, NAME, COMPLETE)
