"""What an account comes to at its end: which links are right, and a case for everything that is not. Pure."""

from collections import Counter

from bankfeed.model import Known, TransactionId, TransactionState
from bankfeed.sandbox.purchases import is_same_purchase
from bankfeed.sandbox.simulation.history import Recipe
from bankfeed.sandbox.simulation.report import Case, CaseKind, Figures, Report
from bankfeed.sandbox.simulation.story import tell_movement
from bankfeed.sandbox.simulation.watch import Link, Watch


def judge(watch: Watch, recipe: Recipe) -> Report:
    """Count what is right and wrong, and tell the story of each thing that is wrong."""
    bearers = {link.entry: watch.store.find_bearer(link.entry) for link in watch.links}
    wrong = [link for link in watch.links if not is_right(watch, link, bearers[link.entry])]
    figures = Figures(
        accounts=1,
        true_movements=len(watch.ever_true),
        rows_too_many=watch.too_many.total(),
        movements_too_many=len(watch.too_many),
        rows_missing=watch.missing.total(),
        movements_missing=len(watch.missing),
        wrong_states=watch.wrong_states.total(),
        movements_wrong=len(watch.wrong_states),
        **_count_links(watch, bearers),
        **watch.counts,
    )
    cases = (
        *(_wrong_link(watch, recipe, link, bearers[link.entry]) for link in wrong),
        *(_wrong_row(watch, recipe, movement, why) for movement, why in watch.first_wrong.items()),
    )
    return Report(figures=figures, cases=cases)


def is_right(watch: Watch, link: Link, row: Known | None) -> bool:
    """Tell whether a link stands where it belongs at the end.

    Its movement in view: on a row in view that is of that movement, or looks the same as its row. Not in view, because
    it never posted or was withdrawn: on a row of that movement, or of the same purchase made twice, which nobody could
    have told apart.
    """
    if row is None:
        return False
    found = watch.movement_of(row)
    if link.movement not in watch.truth.rows:
        return is_same_purchase(found, link.movement)
    return row.is_visible and (found == link.movement or watch.truth.shows(link.movement, row))


def _count_links(watch: Watch, bearers: dict[str, Known | None]) -> Counter[str]:
    counts = Counter[str]()
    for link in watch.links:
        row, is_doubted = bearers[link.entry], link.entry in watch.doubted
        is_good, is_in_view = is_right(watch, link, row), link.movement in watch.truth.rows
        counts.update(
            links=1,
            links_while_pending=link.row.state is TransactionState.PENDING,
            links_in_view=is_in_view,
            links_right=is_good,
            links_right_in_view=is_good and is_in_view,
            links_on_twins=is_good and row is not None and watch.movement_of(row) != link.movement,
            links_in_doubt=is_doubted,
            links_wrong_doubted=not is_good and is_doubted,
            links_wrong_undoubted=not is_good and not is_doubted,
            links_never_posted=link.movement not in watch.posted,
        )
    return counts


def _wrong_link(watch: Watch, recipe: Recipe, link: Link, row: Known | None) -> Case:
    has_doubt = link.entry in watch.doubted
    place = f"the {row.state} row {row.id} of {watch.movement_of(row)}" if row is not None else "no row"
    movements = dict.fromkeys((link.movement, *([watch.movement_of(row)] if row is not None else ())))
    first_row = (row.id,) if row is not None else ()
    return _make_case(
        watch,
        recipe,
        kind=CaseKind.LINK_DOUBTED if has_doubt else CaseKind.LINK_UNDOUBTED,
        title=f"{link.entry} of {link.movement} is on {place}; {'a' if has_doubt else 'no'} doubt was raised",
        movements=movements,
        rows=dict.fromkeys((*first_row, *(row_id for movement in movements for row_id in _rows_of(watch, movement)))),
    )


def _wrong_row(watch: Watch, recipe: Recipe, movement: str, why: str) -> Case:
    rows = dict.fromkeys(_rows_of(watch, movement))
    title = f"{movement}: {why}"
    return _make_case(watch, recipe, kind=CaseKind.ROW, title=title, movements={movement: None}, rows=rows)


def _rows_of(watch: Watch, movement: str) -> list[TransactionId | None]:
    return [row_id for row_id, life in watch.lives.items() if any(line.endswith(f" {movement}") for line in life)]


def _make_case(
    watch: Watch,
    recipe: Recipe,
    *,
    kind: CaseKind,
    title: str,
    movements: dict[str, None],
    rows: dict[TransactionId | None, None],
) -> Case:
    story = [line for movement in movements for line in tell_movement(watch.seed, watch.number, recipe, movement)]
    for row_id in rows:
        story += [f"row {row_id}:", *(f"  {line}" for line in watch.lives.get(row_id, ()))]
    return Case(seed=watch.seed, account=watch.number, kind=kind, title=title, story=tuple(story))
