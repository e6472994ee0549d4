"""Print a script for shell completion.

The shell completes commands, options, settings and choices.

Examples:
  eval "$(decloud-trainer completion bash)"        (in ~/.bashrc)
  eval "$(decloud-trainer completion zsh)"         (in ~/.zshrc)
  decloud-trainer completion fish > ~/.config/fish/completions/decloud-trainer.fish
"""

from __future__ import annotations

import click

from decloud_pl.cli.arguments import Choice, command


@command(__doc__)
@click.argument("shell", type=Choice(("bash", "zsh", "fish")))
@click.pass_context
def run(context: click.Context, shell: str) -> int:
    from decloud_pl.cli.completion import completer

    print(completer(context.find_root().command, shell).source())
    return 0
