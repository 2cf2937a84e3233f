"""Whether a newly linked account is one that was linked before, and what joins when it is (rule 11). Pure.

That client and currency are the same and that the old account is closed, the caller knows. What is uncertain is asked, never
guessed: one account taken for two can be joined later, two taken for one are hard to part.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime
from enum import StrEnum
from typing import TypeVar

from bankfeed.model import FeedKind, Known, Pull, Reported, TransactionState, Values
from bankfeed.reconcile import identity, texts
from bankfeed.reconcile.board import Board, Content
from bankfeed.reconcile.changes import Change, Changes, Doubt, Rule, Verdict
from bankfeed.reconcile.outcome import join, kind_of, take, with_id

Earlier = TypeVar("Earlier")

LEAST_SHARE = 2
"""One in so many rows of the days that both lists cover has to be in both; texts and dates change on re-linking."""


class Kinship(StrEnum):
    """How a new account is related to an old one."""

    SAME = "same"
    LIKELY = "likely"
    """Institution, type and number agree; no rows speak for it or against it."""
    UNSURE = "unsure"
    """A person has to say."""
    OTHER = "other"


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """What an account is known by besides its rows. Blank where the aggregator does not say; a blank agrees with nothing."""

    institution: str
    type: str
    number: str

    @property
    def facts(self) -> tuple[str, str, str]:
        """Return what is compared, however it is written."""
        institution, kind, number = (each.strip().casefold() for each in (self.institution, self.type, self.number))
        return institution, kind, number


@dataclass(frozen=True, slots=True, kw_only=True)
class Overlap:
    """How many posted rows each list has in the days that both cover, and how many are in both, by content and count."""

    olds: int
    news: int
    both: int

    @property
    def is_large(self) -> bool:
        """Tell whether enough rows of either side are found on the other one."""
        return self.both > 0 and LEAST_SHARE * self.both >= max(self.olds, self.news)


def judge(old: Identity, new: Identity, olds: Sequence[Known], reported: Pull) -> Kinship:
    """Tell whether the account of a first pull is the one that `olds` are of."""
    facts = list(zip(old.facts, new.facts, strict=True))
    if any(one != other for one, other in facts if one and other):
        return Kinship.OTHER
    overlap = _measure(olds, reported)
    if not all(one and other for one, other in facts):
        return Kinship.UNSURE if overlap.is_large else Kinship.OTHER
    if overlap.is_large:
        return Kinship.SAME
    return Kinship.UNSURE if overlap.olds and overlap.news else Kinship.LIKELY


def choose(judged: Sequence[tuple[Earlier, Kinship]], *, is_alone: bool) -> tuple[Earlier | None, tuple[Earlier, ...]]:
    """Return which closed account a new one is, None for none of them, and those that a person is asked about.

    `judged` has the latest closed first. `is_alone` is whether no other open account has the new one's institution, type
    and number: two cards may end in the same four digits.
    """
    found = [each for each, kinship in judged if kinship is Kinship.SAME]
    unsure = list_unsure(judged)
    if not found and is_alone and len(unsure) == 1 and (unsure[0], Kinship.LIKELY) in judged:
        found = [*unsure]
    return (found[0], ()) if found else (None, unsure)


def list_unsure(judged: Sequence[tuple[Earlier, Kinship]]) -> tuple[Earlier, ...]:
    """List the closed accounts that one may be which has rows of its own by now; those only a person can join."""
    return tuple(each for each, kinship in judged if kinship is not Kinship.OTHER)


def adopt(olds: Sequence[Known], news: Sequence[Known], *, now: datetime) -> Changes:
    """Plan what joins when a person says that two accounts with rows are one.

    Each new row that is an old one by content or id is joined to it: the older row survives with the younger's ids,
    state, values and acts, the younger leaves as merged. A younger row that a person works with does not join a row
    that a person took out of view. All others stay as they are; the caller moves them into one account.
    """
    changes: list[Change] = []
    for older, younger in _pair(olds, news, now):
        is_out = older.deleted_at is not None or older.merged_into is not None
        if not (is_out and younger.has_act):
            pairs = ((older, _take_over(older, younger, now)), (younger, _leave(younger, older, now)))
            changes += [
                Change(kind=kind_of(was, now_is), rule=Rule.RELINKED, before=was, after=now_is) for was, now_is in pairs
            ]
    return Changes(verdict=Verdict.APPLIED, rows=tuple(changes), doubts=tuple(_find_doubts(changes)))


def _find_doubts(changes: Iterable[Change]) -> Iterator[Doubt]:
    """Ask about the acts on rows that leave view, since the bank no longer lists them in the new account either."""
    for change in changes:
        was, after = change.before, change.after
        if was is not None and was.is_visible and was.has_act and not after.is_visible and after.merged_into is None:
            reason = "the bank no longer lists the row"
            yield Doubt(transaction=was, candidates=(), rule=Rule.RELINKED, reason=reason)


def _measure(olds: Sequence[Known], reported: Pull) -> Overlap:
    """Compare the posted rows of the days that both lists cover; pending ones come and go.

    Banks serve 60 to 90 days: where the new list begins, its oldest row says, whatever window was asked for.
    """
    old = [row.bank_values for row in olds if row.state is TransactionState.ACTIVE]
    new = [row.values for row in reported.rows if row.state is TransactionState.ACTIVE]
    if not old or not new:
        return Overlap(olds=len(old), news=len(new), both=0)
    first_on = max(reported.from_on, _first_on(old), _first_on(new))
    last_on = min(reported.to_on, max(values.transacted_on for values in old))
    mine, theirs = _count(old, first_on, last_on), _count(new, first_on, last_on)
    return Overlap(olds=mine.total(), news=theirs.total(), both=(mine & theirs).total())


def _first_on(rows: Sequence[Values]) -> date:
    return min(values.transacted_on for values in rows)


def _count(rows: Sequence[Values], first_on: date, last_on: date) -> Counter[Content]:
    return Counter(
        (values.amount, values.transacted_on, texts.key(values.description))
        for values in rows
        if first_on <= values.transacted_on <= last_on
    )


def _pair(olds: Sequence[Known], news: Sequence[Known], now: datetime) -> list[tuple[Known, Known]]:
    """Find the old row of each new one as a pull's passes would, as if the bank listed the new account's rows now."""
    by_arrival = sorted(news, key=lambda row: (row.first_pulled_at, row.id or 0), reverse=True)
    waiting: dict[Reported, list[Known]] = {}
    for row in by_arrival:
        if row.state is not TransactionState.REMOVED and row.merged_into is None and not row.fingerprint:
            waiting.setdefault(_as_reported(row), []).append(row)
    board = Board(olds, _as_pull(waiting, now), now=now)
    identity.pair_ids_with_content(board)
    identity.pair_content(board)
    identity.pair_ids(board)
    paired = sorted(board.new_of, key=board.arrival)
    return [(olds[old], waiting[board.news[board.new_of[old]]].pop()) for old in paired]


def _as_pull(waiting: dict[Reported, list[Known]], now: datetime) -> Pull:
    rows = tuple(reported for reported, same in waiting.items() for _ in same)
    days = [reported.values.transacted_on for reported in waiting] or [now.date()]
    return Pull(at=now, kind=FeedKind.FULL, from_on=min(days), to_on=max(days), is_complete=True, rows=rows)


def _as_reported(row: Known) -> Reported:
    return Reported(
        aggregator_id=row.aggregator_ids[-1] if row.aggregator_ids else None,
        state=row.state,
        values=row.bank_values,
        raw_amount=row.raw_amount,
        raw_transacted_at=row.raw_transacted_at,
    )


def _take_over(older: Known, younger: Known, now: datetime) -> Known:
    """Return the older row with what the younger one brings. That the younger copy was deleted stays with the copy."""
    ids = older.aggregator_ids
    for aggregator_id in younger.aggregator_ids:
        ids = with_id(ids, aggregator_id)
    taken = take(replace(older, aggregator_ids=ids), _as_reported(younger), now=now)
    is_shadow = taken.state is TransactionState.SHADOW
    return replace(
        taken,
        values=younger.values if younger.is_reconciled and not older.is_reconciled else taken.values,
        entries=tuple(dict.fromkeys((*older.entries, *younger.entries))),
        is_reconciled=older.is_reconciled or younger.is_reconciled,
        split_into=older.split_into or younger.split_into,
        shadow_verdict=taken.shadow_verdict or (younger.shadow_verdict if is_shadow else None),
    )


def _leave(younger: Known, older: Known, now: datetime) -> Known:
    left = join(younger, older, now=now)
    return replace(left, entries=(), is_reconciled=False, split_into=(), shadow_verdict=None)
