"""The building blocks of commands: parameter types, shared arguments, and decorators that use a docstring as help."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from decloud_pl.errors import ConfigError, UsageError, nearest
from decloud_pl.localnet.program import REVISIONS

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

FILE = click.Path(path_type=Path, readable=False)


class Command(click.Command):
    """A command that accepts settings anywhere on its command line and prints its examples unwrapped."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        settings: list[str] = []
        if any(parameter.name == "overrides" for parameter in self.params):
            args, settings = self._without_settings(args)
        try:
            rest = super().parse_args(ctx, args)
        except click.UsageError as error:
            error.ctx = error.ctx or ctx  # click leaves it out if an option has no value
            raise
        if settings:  # click would use the first one as an optional argument
            ctx.params["overrides"] = (*ctx.params["overrides"], *settings)
        return rest

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command. If an option sets an invalid value, the error names the option instead of the setting."""
        try:
            return super().invoke(ctx)
        except ConfigError as error:
            typed = [one for one in self.params if isinstance(one.type, Override) and ctx.params.get(str(one.name))]
            if not typed:
                raise
            raise _of_options(error, typed) from error

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        if self.epilog:
            formatter.write(f"\n{self.epilog}\n")

    def _without_settings(self, args: list[str]) -> tuple[list[str], list[str]]:
        """Return the words of a command line that are not settings, and the settings (KEY=VALUE)."""
        options = [one for one in self.params if isinstance(one, click.Option) and not one.is_flag]
        with_value = {name for option in options for name in option.opts}
        words: list[str] = []
        settings: list[str] = []
        rest = iter(args)
        for word in rest:
            # A word that begins with a dot or a slash is a file.
            (settings if "=" in word and word[0] not in "-./" else words).append(word)
            if word in with_value:
                words.extend(islice(rest, 1))
        return words, settings


class Group(Command, click.Group):
    """A command with subcommands."""

    command_class = Command


def command(text: str | None) -> Callable[[Callable[..., int]], click.Command]:
    """Return a decorator that turns a function into a command.

    Args:
        text: the docstring of the command's file: a line for the list of commands, a description, and ``Examples:`` at
            the end.
    """
    return click.command(cls=Command, **_help(text))


def group(text: str | None) -> Group:
    """Return a command that can have subcommands. For ``text``, see the function `command`.

    To add a subcommand, decorate a function with the method ``command`` of the returned object.
    """
    return Group(no_args_is_help=False, **_help(text))


def _help(text: str | None) -> dict[str, Any]:
    about, mark, examples = (text or "").partition("Examples:\n")
    return {"help": about, "epilog": f"{mark}{examples}".rstrip()}


class Choice(click.Choice[str]):
    """A choice of words. The error for an unknown word suggests the nearest one."""

    def normalize_choice(self, choice: object, ctx: click.Context | None) -> str:  # noqa: ARG002
        return str(choice).strip().lower().replace("_", "-").replace(" ", "-")

    def get_invalid_choice_message(self, value: object, ctx: click.Context | None) -> str:  # noqa: ARG002
        return f"unknown choice {value!r}. {nearest(str(value), self.choices)}"


class WholeNumber(click.IntRange):
    """A whole number within limits. The error names the option and the limits."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        number: int = click.INT.convert(value, param, ctx)
        if number < (self.min or 0) or number > (number if self.max is None else self.max):
            name = param.opts[0] if param is not None else "The number"
            limits = f"at least {self.min}" if self.max is None else f"from {self.min} to {self.max}"
            raise UsageError(f"{name} must be {limits} (got {number}).")
        return number


class RoundNumber(click.ParamType[int]):
    """The type of a round's ID, an unsigned 64-bit integer."""

    name = "round"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        text = str(value)
        if not re.fullmatch("[0-9]{1,20}", text) or int(text) >= 2**64:  # Python converts no more than 4,300 digits
            shown = text if len(text) <= 40 else f"{text[:39]}…"
            self.fail(f"{shown!r} is not the ID of a round.", param, ctx)
        return int(text)


class Override(click.ParamType[str]):
    """The type of an option that sets a setting. It converts the option's value to a Hydra override.

    The option's parameter must have the name of the setting.
    """

    name = "setting"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:  # noqa: ARG002
        from decloud_pl.config.names import find
        from decloud_pl.config.values import from_text, hydra_text

        setting = find(str(param and param.name))
        typed = from_text(setting, str(value), param.opts[0] if param else setting.name)
        return f"{setting.path}={typed if setting.kind == 'choice' else hydra_text(typed)}"

    def shell_complete(
        self,
        ctx: click.Context,  # noqa: ARG002
        param: click.Parameter,
        incomplete: str,
    ) -> list[CompletionItem[str]]:
        from click.shell_completion import CompletionItem

        return [CompletionItem(word) for word in _values(str(param.name), incomplete)]


def _of_options(error: ConfigError, options: Sequence[click.Parameter]) -> ConfigError:
    from decloud_pl.config.names import find

    message, fix = error.message, error.fix
    for option in options:
        place = find(str(option.name)).path
        # A place without a dot may also be an English word, so only the beginning of the message is replaced.
        setting = rf"{'' if '.' in place else '^'}(?<![\w.]){re.escape(place)}(?!\w|\.\w|=)"
        message, fix = (re.sub(setting, option.opts[0], text) for text in (message, fix))
    return ConfigError(message, fix=fix)


def given(options: Mapping[str, str | None]) -> list[str]:
    """Return the Hydra overrides of the options that the user typed. ``options`` has None for each untyped option."""
    return [override for override in options.values() if override is not None]


def complete_settings(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:  # noqa: ARG001
    """Complete a setting's name and append ``=``.

    After a ``=``, complete the value if the setting chooses an option of a config group, or is true or false.
    """
    from decloud_pl.config.names import PACKAGES, settings_by_name
    from decloud_pl.config.schema import default_home

    name, equals, value = incomplete.partition("=")
    if equals:
        return [f"{name}={word}" for word in _values(name, value)]
    known = settings_by_name(default_home()).values()
    settings = (one for one in known if one.kind != "secret" and one.name != PACKAGES)
    names = dict.fromkeys(either for one in settings for either in (one.path, one.name))
    return [f"{either}=" for either in names if either.startswith(name)]


def _values(name: str, begin: str) -> list[str]:
    from decloud_pl.config.names import choices, leaves
    from decloud_pl.config.schema import default_home
    from decloud_pl.config_dir import conf_folders

    home = default_home()
    setting = leaves(home).get(name)
    known: list[str] = []
    if setting is not None and setting.kind == "choice":
        known = choices(setting.path, *conf_folders(home))
    elif setting is not None and setting.kind == "switch":
        known = ["true", "false"]
    return [word for word in known if word.startswith(begin)]


dialect = click.option(
    "--dialect",
    type=Choice(REVISIONS),
    help="the program's revision (default: that of the existing home, else the newest)",
)
as_json = click.option("--json", "as_json", is_flag=True, help="print only one JSON document on stdout")
round_id = click.argument("round_id", type=RoundNumber(), metavar="ID", help="the round's ID")
maybe_round_id = click.argument(
    "round_id",
    type=RoundNumber(),
    metavar="[ID]",
    required=False,
    help="a round's ID",
    shell_complete=complete_settings,
)
overrides = click.argument(
    "overrides",
    nargs=-1,
    metavar="[KEY=VALUE]...",
    help="settings for this run, as Hydra overrides",
    shell_complete=complete_settings,
)
