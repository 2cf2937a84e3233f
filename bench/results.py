"""What a benchmark is, what it found, and how that is shown. No measuring here."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import orjson
from rich.table import Table


@dataclass(frozen=True, slots=True, kw_only=True)
class Benchmark:
    """One row of the table.

    `size` says in words how much of what is measured. `measure` is given the ground, this benchmark and the time of one
    commit in ms. One that `is_full` runs with --full, or when named.
    """

    name: str
    text: str
    size: str
    measure: "Callable[[Any, Benchmark, float], Awaitable[Result]]"
    is_full: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """What was found. `floor` is the same without the product, in the same unit and run; `ratio` is value by floor.

    `target` says in words what is wanted and `ok` whether it was reached; both None where nothing is promised yet.
    """

    name: str
    value: float
    unit: str
    size: str
    floor: float | None = None
    floor_text: str = ""
    target: str | None = None
    ok: bool | None = None

    @property
    def ratio(self) -> float | None:
        """Value by floor, None where there is no floor.

        >>> Result(name="a", value=30, unit="rows/s", size="", floor=40).ratio
        0.75
        """
        return self.value / self.floor if self.floor else None


def make_result(
    benchmark: Benchmark, value: float, *, unit: str, floor: float, floor_text: str, least: float
) -> Result:
    """Make the result of a benchmark that has to reach at least a part of its floor."""
    return Result(
        name=benchmark.name,
        value=value,
        unit=unit,
        size=benchmark.size,
        floor=floor,
        floor_text=floor_text,
        target=f"ratio >= {least:.2f}",
        ok=value / floor >= least,
    )


def write_results(file: Path, results: Sequence[Result], *, machine: dict[str, Any], commit: str) -> None:
    """Write all results as JSON, replacing the file."""
    rows = [asdict(each) | {"ratio": each.ratio} for each in results]
    document = {"machine": machine, "commit": commit, "results": rows}
    file.write_bytes(orjson.dumps(document, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE))


def make_table(results: Sequence[Result]) -> Table:
    """Make the table for the terminal."""
    table = Table(title="Bankfeed beside its floors")
    for column in ("benchmark", "size", "value", "floor", "ratio", "target", "ok"):
        justify: Literal["left", "right"] = "right" if column in {"value", "floor", "ratio"} else "left"
        table.add_column(column, justify=justify, no_wrap=column == "benchmark")
    for each in results:
        table.add_row(
            each.name,
            each.size,
            f"{_figure(each.value)} {each.unit}",
            f"{_figure(each.floor)} {each.floor_text}" if each.floor is not None else "",
            f"{each.ratio:.2f}" if each.ratio is not None else "",
            each.target or "",
            {True: "yes", False: "NO", None: ""}[each.ok],
        )
    return table


def _figure(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"
