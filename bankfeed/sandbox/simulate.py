"""`python -m bankfeed.sandbox.simulate`: simulated feeds through the reconcile engine, and what came out. Thin.

Prints a table or JSON, tells progress on standard error. Every figure follows from the seeds.
"""

from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path

import click
import orjson
from rich.console import Console
from rich.progress import track
from rich.table import Table

from bankfeed.sandbox.simulation.export import export_lines
from bankfeed.sandbox.simulation.history import Recipe
from bankfeed.sandbox.simulation.report import Case, CaseKind, Figures, Report
from bankfeed.sandbox.simulation.run import run_account

SEVERITY = list(CaseKind)


@click.command()
@click.option("--accounts", default=50, show_default=True, type=click.IntRange(1), help="Accounts of each seed.")
@click.option("--account", type=click.IntRange(1), help="Only this one of them.")
@click.option("--days", default=90, show_default=True, type=click.IntRange(1), help="Days of pulls.")
@click.option("--seeds", default="1,2,3", show_default=True, metavar="N,N", help="What everything follows from.")
@click.option("--json", "is_json", is_flag=True, help="Print one JSON object.")
@click.option("--show-wrong", default=0, metavar="N", help="Tell the story of up to N wrong links and rows.")
@click.option("--write", type=click.Path(dir_okay=False, path_type=Path), help="Write one account as a replay file.")
def main(
    *,
    accounts: int,
    account: int | None,
    days: int,
    seeds: str,
    is_json: bool,
    show_wrong: int,
    write: Path | None,
) -> None:
    """Run simulated accounts through the reconcile engine and count, after every pull, what is wrong.

    With --write, one account of one seed is saved for `bankfeed replay` instead.
    """
    recipe, chosen = Recipe(days=days), _read_seeds(seeds)
    if write is not None:
        _write(write, chosen, account, recipe)
        return
    numbers = [account] if account else range(1, accounts + 1)
    report = _run([(seed, number) for seed in chosen for number in numbers], recipe)
    cases = sorted(report.cases, key=lambda case: SEVERITY.index(case.kind))[:show_wrong]
    if is_json:
        figures = asdict(report.figures) | {"right_percent": report.figures.right_percent}
        click.echo(orjson.dumps({"figures": figures, "wrong": [asdict(case) for case in cases]}))
        return
    Console().print(make_table(report.figures))
    for case in cases:
        click.echo(tell_case(case))


def _read_seeds(seeds: str) -> list[int]:
    try:
        return [int(seed) for seed in seeds.split(",")]
    except ValueError as error:
        raise click.UsageError(f"expected --seeds to be integers such as 1,2,3, got {seeds!r}") from error


def _write(file: Path, seeds: list[int], account: int | None, recipe: Recipe) -> None:
    if account is None or len(seeds) != 1:
        raise click.UsageError("expected --write with one --account and one of --seeds")
    file.write_text("".join(f"{line}\n" for line in export_lines(seeds[0], account, recipe)))
    click.echo(f"written to {file}", err=True)


def _run(accounts: list[tuple[int, int]], recipe: Recipe) -> Report:
    return run_all(track(accounts, description="accounts", console=Console(stderr=True)), recipe)


def run_all(accounts: Iterable[tuple[int, int]], recipe: Recipe) -> Report:
    """Run accounts, each named by seed and number, and add up what came out."""
    return sum((run_account(seed, number, recipe) for seed, number in accounts), start=Report(figures=Figures()))


def make_table(figures: Figures) -> Table:
    """Make the table for the terminal."""
    table = Table(title="Simulated feeds, counted after every pull")
    table.add_column("what")
    table.add_column("count", justify="right")
    for name, count in asdict(figures).items():
        table.add_row(name.replace("_", " "), f"{count:,}")
    table.add_row("links right, %", f"{figures.right_percent:.2f}")
    return table


def tell_case(case: Case) -> str:
    """Tell what is wrong and how it came to that; seed and account are what --write needs."""
    head = f"\nseed {case.seed} account {case.account}: {case.kind}\n{case.title}\n"
    return head + "\n".join(case.story)


if __name__ == "__main__":
    main()
