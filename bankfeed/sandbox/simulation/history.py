"""An account's feed, pull by pull, each with the truth that the wire never shows. Pure: a function of the seed."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta

from bankfeed.model import FeedKind, Pull, Reported, TransactionState, Values
from bankfeed.sandbox.lives import Sighting, draw
from bankfeed.sandbox.shares import DOCUMENTED, Shares
from bankfeed.sandbox.simulation.feeds import USUAL, Feed, Habits, Ids, draw_feed
from bankfeed.sandbox.simulation.people import DILIGENT, Diligence
from bankfeed.sandbox.world import Row, World, listing

FEW_IDS = 5_000  # with a hundred rows listed, two share an id now and then, and ids of old rows come again


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """What a simulation is made from: every number follows from these."""

    days: int = 90
    shares: Shares = DOCUMENTED
    habits: Habits = USUAL
    diligence: Diligence = DILIGENT


@dataclass(frozen=True, slots=True, kw_only=True)
class TrueRow:
    """A row that the bank lists, and the movement behind it."""

    movement: str
    state: TransactionState
    values: Values


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """A pull, and what it is about: `movements` are those of `pull.rows`, in their order.

    `listed` is everything that the bank lists from `complete_from_on` on, as the feed has told it up to this pull.
    """

    pull: Pull
    movements: tuple[str, ...]
    listed: tuple[TrueRow, ...]
    complete_from_on: date


def tell_history(seed: int, number: int, recipe: Recipe) -> Iterator[Told]:
    """Yield the pulls of one account (numbered from 1), oldest first."""
    feed = draw_feed(seed, number, recipe.habits)
    world = World(seed=seed, shares=recipe.shares, served_days=feed.served_days)
    instants = [at for day in range(recipe.days) for at in feed.pulled_at(day)]
    if feed.kind is FeedKind.DELTA:
        return _tell_deltas(world, feed, instants, recipe.habits)
    return _tell_lists(world, feed, instants, recipe.habits)


def _tell_lists(world: World, feed: Feed, instants: Sequence[datetime], habits: Habits) -> Iterator[Told]:
    for at in instants:
        is_narrow = draw(world.seed, feed.account.id, at, "narrow").random() < habits.narrow
        to_on = at.astimezone(feed.account.zone).date()
        from_on = to_on - timedelta(days=habits.narrow_days if is_narrow else feed.asked_days)
        rows = [row for row in listing(world, feed.account, at) if from_on <= _dated_on(feed, row) <= to_on]
        reported = tuple(_report(feed, row, place=place) for place, row in enumerate(rows, start=1))
        yield Told(
            pull=_pull(feed, at, from_on=from_on, rows=reported),
            movements=tuple(row.movement for row in rows),
            listed=_true_rows(zip(rows, reported, strict=True)),
            complete_from_on=max(from_on, _served_from(feed, at)),
        )


def _tell_deltas(world: World, feed: Feed, instants: Sequence[datetime], habits: Habits) -> Iterator[Told]:
    """Tell what is new or changed since the list told last; a list that the bank has lost moves no cursor."""
    rows: tuple[Row, ...] = ()
    last: dict[str, Reported] = {}
    pendings: dict[str, str] = {}
    for at in instants:
        rows = listing(world, feed.account, at) or rows
        served_from_on = _served_from(feed, at)
        pairs = _without_named([(row, _name_pending(world, feed, row, pendings, habits)) for row in rows])
        now = {str(said.aggregator_id): said for _, said in pairs}
        fresh = [(row, said) for row, said in pairs if last.get(str(said.aggregator_id)) != said]
        gone = (row_id for row_id in last.keys() - now.keys() if last[row_id].values.transacted_on >= served_from_on)
        yield Told(
            pull=_pull(
                feed,
                at,
                from_on=served_from_on,
                rows=tuple(said for _, said in fresh),
                removed_ids=tuple(sorted(gone)),
            ),
            movements=tuple(row.movement for row, _ in fresh),
            listed=_true_rows(pairs),
            complete_from_on=served_from_on,
        )
        last = now
        pendings |= {
            row.movement: str(said.aggregator_id) for row, said in fresh if said.state is TransactionState.PENDING
        }


def _name_pending(world: World, feed: Feed, row: Row, pendings: dict[str, str], habits: Habits) -> Reported:
    """Report a row; a posting under a new id names the pending row told before it, for the share that does."""
    reported, pending_id = _report(feed, row, place=0), pendings.get(row.movement)
    if reported.state is TransactionState.PENDING or pending_id in {None, reported.aggregator_id}:
        return reported
    is_named = draw(world.seed, row.movement, "named").random() < habits.names_pending
    return replace(reported, pending_id=pending_id) if is_named else reported


def _without_named(pairs: list[tuple[Row, Reported]]) -> list[tuple[Row, Reported]]:
    """Leave out pending rows that a posting names: a delta that says so has taken them back."""
    named = {said.pending_id for _, said in pairs}
    return [(row, said) for row, said in pairs if said.aggregator_id not in named]


def _report(feed: Feed, row: Row, *, place: int) -> Reported:
    sighting = row.sighting
    state = TransactionState(sighting.status.value)
    return Reported(
        aggregator_id=_shown_id(feed, sighting, state, place=place),
        state=state,
        values=Values(
            amount=sighting.amount,
            transacted_on=_dated_on(feed, row),
            description=sighting.description,
            posted_on=_posted_on(feed, sighting, state),
            memo=sighting.memo,
            check_number=sighting.check_number,
            kind=sighting.kind,
        ),
    )


def _shown_id(feed: Feed, sighting: Sighting, state: TransactionState, *, place: int) -> str | None:
    match feed.ids:
        case Ids.POSITIONAL:
            return str(place)
        case Ids.NONE_ON_PENDING if state is TransactionState.PENDING:
            return None
        case Ids.REUSED:
            return str(sighting.id % FEW_IDS)
        case _:
            return str(sighting.id)


def _posted_on(feed: Feed, sighting: Sighting, state: TransactionState) -> date | None:
    if sighting.posted_at is None or state is TransactionState.PENDING:
        return None
    return sighting.posted_at.astimezone(feed.account.zone).date()


def _dated_on(feed: Feed, row: Row) -> date:
    return row.sighting.dated_at.astimezone(feed.account.zone).date()


def _served_from(feed: Feed, at: datetime) -> date:
    return max(feed.account.served_from_on, at.date() - timedelta(days=feed.served_days))


def _true_rows(pairs: Iterable[tuple[Row, Reported]]) -> tuple[TrueRow, ...]:
    """Keep what is in view: a row reported as shadow is not."""
    return tuple(
        TrueRow(movement=row.movement, state=said.state, values=said.values)
        for row, said in pairs
        if said.state is not TransactionState.SHADOW
    )


def _pull(
    feed: Feed, at: datetime, *, from_on: date, rows: tuple[Reported, ...], removed_ids: tuple[str, ...] = ()
) -> Pull:
    return Pull(
        at=at,
        kind=feed.kind,
        from_on=from_on,
        to_on=at.astimezone(feed.account.zone).date(),
        is_complete=True,
        rows=rows,
        removed_ids=removed_ids,
        counted_rows=len(rows),
        attempted_at=at,
    )
