"""The words of the command line: numbers, times and ids as they are typed, and commands whose help ends with examples."""

from datetime import UTC, datetime
from typing import Any, Final
from uuid import UUID

import click

from bankfeed.times import read_time

MOST_ID: Final = 2**63 - 1


class WithExamples(click.Command):
    """A command whose help ends with examples, each on a line of its own."""

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002 - click's
        """Write the examples as they are."""
        formatter.write_paragraph()
        formatter.write("Examples:\n")
        formatter.write("".join(f"  {line}\n" for line in (self.epilog or "").splitlines()))


class Commands(WithExamples, click.Group):
    """The commands; a word that is none of them is answered with those there are."""

    command_class = WithExamples

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command that the first word names."""
        if args and args[0] not in self.commands:
            raise click.UsageError(f"expected one of {', '.join(self.list_commands(ctx))}, got {args[0]!r}", ctx)
        return super().resolve_command(ctx, args)


class Whole(click.ParamType[int]):
    """A whole number within bounds, both included."""

    name = "number"

    def __init__(self, low: int, high: int) -> None:
        self.low = low
        self.high = high

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Read what was typed."""
        text = str(value)
        if not (text.isascii() and text.isdigit() and self.low <= int(text) <= self.high):
            self.fail(f"expected an integer from {self.low} to {self.high}, got {text!r}", param, ctx)
        return int(text)


class When(click.ParamType[datetime]):
    """A day, a time with its zone, or how long ago."""

    name = "time"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> datetime:
        """Read what was typed."""
        if isinstance(value, datetime):
            return value
        try:
            return read_time(str(value), now=datetime.now(UTC))
        except ValueError as error:
            self.fail(str(error), param, ctx)


class Unique(click.ParamType[UUID]):
    """An event's id."""

    name = "uuid"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> UUID:
        """Read what was typed."""
        try:
            return value if isinstance(value, UUID) else UUID(str(value))
        except ValueError:
            self.fail(f"expected an event's id, a UUID, got {value!r}", param, ctx)
