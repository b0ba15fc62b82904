"""The arguments of the commands, from the declarations of the options."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import wraps
from inspect import Parameter, Signature, signature
from pathlib import Path
from typing import Annotated, Any, get_type_hints

import typer
from rich.markup import escape

from hmmdyn.cli.console import failing_clearly
from hmmdyn.declare import CONVERGENCE, READING, RECIPE, Option, require_no_url
from hmmdyn.errors import UsageError
from hmmdyn.names import did_you_mean
from hmmdyn.options import OPTIONS, PRESETS, Options

# Which options a command takes.
SCAN = tuple(
    one
    for one in OPTIONS
    if one.name in ("layout", "include", "exclude", "split", "tensors", "roles")
)
EXTRACT = tuple(
    one for one in OPTIONS if one.panel == READING or one.name in ("metrics", "metrics_table")
)
FIT = tuple(
    one
    for one in OPTIONS
    if one.panel not in (READING, CONVERGENCE) and one.name != "map_per_group"
)
MERGE = tuple(one for one in OPTIONS if one.name == "metrics_from")
ANALYZE = OPTIONS

# The options that were given, by name.
Given = Mapping[str, Any]
Command = Callable[..., None]


# Arguments that decide nothing of an analysis, and so are no options of it.
Runs = Annotated[
    str,
    typer.Argument(
        help="Folder of checkpoints, recordings or logs of one or several runs; these may "
        "also lie in a store: s3://…, gs://…, az://…, https://…, hf://… (extra 'remote')."
    ),
]
Jobs = Annotated[
    int | None,
    typer.Option("--jobs", "-j", help="Processes to work with (all cores by default).", min=1),
]
AsJson = Annotated[
    bool,
    typer.Option(
        "--json",
        help="Print the result as JSON; everything else goes to stderr.",
        rich_help_panel="Output",
    ),
]
Preset = Annotated[
    str | None,
    typer.Option(
        "--preset",
        help="Options of a published protocol; those given besides win.",
        metavar="|".join(PRESETS),
        autocompletion=lambda: list(PRESETS),
    ),
]


def takes(declared: Sequence[Option]) -> Callable[[Command], Command]:
    """Put an argument for every declared option in the place of a command's parameter ``given``.

    The command gets those that were given, by name; its errors become messages and exit codes.
    """

    def decorate(command: Command) -> Command:
        parameters = [_CONTEXT]
        hints = get_type_hints(command, include_extras=True)
        for own in signature(command).parameters.values():
            if own.name == "given":
                parameters += map(_parameter, declared)
            else:
                parameters.append(
                    own.replace(kind=Parameter.KEYWORD_ONLY, annotation=hints[own.name])
                )

        @wraps(command)
        def run(context: typer.Context, **arguments: Any) -> None:
            with failing_clearly():
                options = {one: arguments.pop(one.name) for one in declared}
                _require_paths(arguments)
                given = {
                    one.name: _value(one, value)
                    for one, value in options.items()
                    if _is_given(context, one.name)
                }
                command(given=given, **arguments)

        run.__signature__ = Signature(parameters)  # type: ignore[attr-defined]
        run.__annotations__ = {one.name: one.annotation for one in parameters}
        return run

    return decorate


def _require_paths(arguments: Mapping[str, Any]) -> None:
    """Refuse URLs where a path is meant, in which they would be folders with such names."""
    for name, value in arguments.items():
        for one in value if isinstance(value, list) else [value]:
            if isinstance(one, Path):
                require_no_url(one, name)


def chosen(given: Given, preset: str | None = None) -> Options:
    """Options as given on the command line, over those of the preset, over the defaults.

    Raises
    ------
    UsageError
        There is no such preset, or a value is out of range.
    """
    if preset is not None and preset not in PRESETS:
        raise UsageError(
            f"There is no preset {preset!r}.{did_you_mean(preset, PRESETS)} "
            f"There is: {', '.join(PRESETS)}."
        )
    return Options().changed(**{**(PRESETS[preset] if preset else {}), **given})


_CONTEXT = Parameter("context", Parameter.KEYWORD_ONLY, annotation=typer.Context)


def _parameter(one: Option) -> Parameter:
    """Return the parameter by which typer takes an option."""
    kind = list[str] if one.several else one.kind
    choices = list(one.choices)
    argument = typer.Option(
        f"{one.flag}/--no-{one.flag[2:]}" if kind is bool and one.panel == RECIPE else one.flag,
        help=escape(one.help) + " Repeatable." * (one.several and not one.commas),
        rich_help_panel=one.panel,
        min=one.least if one.panel != RECIPE else None,
        metavar="|".join(choices) or None,
        autocompletion=(lambda: choices) if choices else None,
    )
    return Parameter(
        one.name,
        Parameter.KEYWORD_ONLY,
        default=one.default or None if one.several else one.default,
        annotation=Annotated[kind if one.default or kind is bool else kind | None, argument],
    )


def _value(one: Option, value: Any) -> Any:
    if not one.several:
        return value
    words = [part for word in value for part in word.split(",")] if one.commas else value
    return tuple(map(one.parse, words))


def _is_given(context: typer.Context, name: str) -> bool:
    source = context.get_parameter_source(name)
    return source is not None and source.name != "DEFAULT"
