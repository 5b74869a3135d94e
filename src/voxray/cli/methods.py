"""Ways to explain: their options on the command line, and the list of them."""

from __future__ import annotations

import difflib
import json
from collections.abc import Sequence
from itertools import pairwise
from typing import Any, Literal, get_args, get_origin

import click

import voxray
from voxray.cli.options import described, flags_of
from voxray.cli.tables import room, show, table


class Explaining(click.Command):
    """A command that has the options of the method that is asked for, too."""

    def method_of(self, args: Sequence[str]) -> str:
        """Return the last value of ``--method`` among words of the command line; without one, that whose options are offered."""
        given = [after for before, after in pairwise(args) if before == "--method"]
        given += [word.partition("=")[2] for word in args if word.startswith("--method=")]
        return given[-1] if given else "exact"

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Read the command line.

        Raises:
            OptionError: when there is no such method.
            UsageError: when neither the command nor the method has such an option.
        """
        method = ctx.meta[__name__] = self.method_of(args)
        if not ctx.resilient_parsing:
            voxray.methods.method_class(method)
        try:
            return super().parse_args(ctx, args)
        except click.NoSuchOption as error:
            raise click.UsageError(self.missing(ctx, error.option_name), ctx) from error

    def missing(self, ctx: click.Context, flag: str) -> str:
        """Return what to say about an option that is not there: what is meant, or whose it is, and what the method has."""
        own = [one for one, _ in self.of_method(ctx)]
        name = flag.removeprefix("--").removeprefix("no-").replace("-", "_")
        others = [method for method in voxray.methods.names() if name in voxray.methods.options_of(method)]
        known = [one for parameter in self.get_params(ctx) for one in parameter.opts if one.startswith("--")]
        close = difflib.get_close_matches(flag, known, 1)
        meant = f"; it is one of the methods {', '.join(others)}" if others else f" (did you mean {close[0]}?)" if close else ""
        has = f"has {', '.join(own)}" if own else "has no options of its own"
        return f"There is no option {flag}{meant}; the method {ctx.meta[__name__]} {has}."

    def of_method(self, ctx: click.Context) -> list[tuple[str, dict[str, Any]]]:
        """Return flags and settings of the method's own options."""
        method = ctx.meta.get(__name__, "exact")
        return flags_of(voxray.methods.method_class(method)) if method in voxray.methods.names() else []

    def get_params(self, ctx: click.Context) -> list[click.Parameter]:
        """Return the parameters of the command and of the method."""
        *own, last = super().get_params(ctx)
        return [*own, *(click.Option([flag], **settings) for flag, settings in self.of_method(ctx)), last]

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the help, the method's options by themselves."""
        own = super().get_params(ctx)
        of_method = self.get_params(ctx)[len(own) - 1 : -1]
        for title, some in (("Options", own), (f"Options of the method {ctx.meta.get(__name__, 'exact')}", of_method)):
            rows = [row for one in some if isinstance(one, click.Option) and (row := one.get_help_record(ctx)) is not None]
            if rows:
                with formatter.section(title):
                    formatter.write_dl(rows)


def print_methods(*, as_json: bool) -> None:
    """Print every method: what it answers, whether it is a view, and what it costs."""
    kinds = [voxray.methods.method_class(name) for name in voxray.methods.names()]
    if as_json:
        click.echo(json.dumps([method_told(kind) for kind in kinds], ensure_ascii=False))
        return
    wide = room() >= 100
    result = table("Methods", "method", *(["kind"] * wide), "what it answers", *(["what it costs"] * wide))
    for kind in kinds:
        nature = nature_of(kind)
        first = [kind.name, nature] if wide else [f"{kind.name}\n({nature})"]
        result.add_row(*first, kind.answers, *([kind.cost] * wide))
    show(result)
    click.echo("voxray explain --method NAME --help shows the options of a method; docs/methods.md says all of it")


def nature_of(kind: Any) -> str:
    """Return what a method's maps explain, as far as the benchmark showed, and whether they add up."""
    told = voxray.explains(kind.name)
    sums = ", adds up" if kind.adds_up else ""
    return (f"explains {', '.join(f'{one}s' for one in told)}" if told else "view") + sums


def method_told(kind: Any) -> dict[str, Any]:
    """Return what a method is and which options it has, as JSON can hold it."""
    words = {name: getattr(kind, name) for name in
             ("name", "title", "answers", "cannot", "cost", "source", "needs", "adds_up")}  # fmt: skip
    told = described(kind)
    options = [
        {"name": name, "default": default, "type": type_told(hint), "help": told.get(name, "")}
        for name, (hint, default) in voxray.methods.options_of(kind.name).items()
    ]
    return words | {"explains": list(voxray.explains(kind.name)), "options": options}


def type_told(hint: Any) -> str:
    """Return the type of an option as a reader takes it in."""
    if get_origin(hint) is Literal:
        return " | ".join(map(str, get_args(hint)))
    plain = [one.__name__ for one in get_args(hint) if one is not type(None)] or [hint.__name__]
    return {"bool": "yes or no", "int": "whole number", "float": "number", "str": "text"}[plain[0]]
