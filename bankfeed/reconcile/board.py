"""The table that the passes play on: known rows on one side, reported rows on the other, and what is paired so far.

Rows are named by their index: `old` in `olds` (the order in which the caller gave them), `new` in `news` (a canonical
order, so that the order of a list never decides). The board knows what may be paired; which pair is best, the passes say.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from decimal import Decimal

from bankfeed.model import FeedKind, Known, Pull, Reported, TransactionState
from bankfeed.reconcile import texts
from bankfeed.reconcile.changes import Rule
from bankfeed.reconcile.policy import fingerprint

TOMBSTONE_DAYS = 30
"""How long a removed pending row can still be found by its posting or its return."""

EARLIEST_DAYS, LATEST_DAYS = -3, 14
"""How long before and after its pending row a posting may be dated."""

SERVED_DAYS = 45
"""Banks serve 60 to 90 days; a row younger than this and absent is withdrawn, an older one may be served no longer."""

PENDING, ACTIVE, SHADOW, REMOVED = (
    TransactionState.PENDING,
    TransactionState.ACTIVE,
    TransactionState.SHADOW,
    TransactionState.REMOVED,
)

Content = tuple[Decimal, date, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Edge:
    """A reported row that could be this known row, and what believing it would cost, in days."""

    cost: float
    old: int
    new: int
    rule: Rule


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """Pending rows and the postings that sum to them: several to one, or one to several."""

    olds: tuple[int, ...]
    news: tuple[int, ...]
    rule: Rule


class Board:
    """What is known, what is reported, and what has been paired. Built for one pull and thrown away after it."""

    def __init__(self, known: Sequence[Known], pull: Pull, *, now: datetime, is_relinked: bool = False) -> None:
        self.pull = pull
        self.now = now
        self.is_full = pull.kind is FeedKind.FULL
        self.is_anew = is_relinked and not self.is_full  # a delta that begins again, under new ids
        self.olds = known
        self.news: list[Reported] = sorted(pull.rows, key=_canonical)
        self.new_of: dict[int, int] = {}
        self.old_of: dict[int, int] = {}
        self.rule_of: dict[int, Rule] = {}  # by old
        self.joined: dict[int, int] = {}  # the younger old -> the older one it left for
        self.parted: dict[int, int] = {}  # merged rows that stand for themselves again -> what they were merged into
        self.groups: list[Group] = []
        self.edges: list[Edge] = []  # everything that was weighed, for finding ties afterwards
        self.has_wandering_ids = False
        self._grouped_olds: set[int] = set()
        self._grouped_news: set[int] = set()
        self._keys: dict[str, str] = {}
        self._likenesses: dict[tuple[str, str], texts.Likeness] = {}
        self.ids = [_id_or_none(row.aggregator_id) for row in self.news]
        self._listed = Counter(i for i in self.ids if i is not None)
        self.olds_by_id = self._index_ids()
        self._new_by_id = {i: new for new, i in enumerate(self.ids) if i is not None and self._listed[i] == 1}
        self.withdrawn = self._find_withdrawn()
        self._oldest_on = min((r.values.transacted_on for r in self.news if r.state is ACTIVE), default=None)
        self._window = frozenset(old for old, row in enumerate(known) if self._lies_in_window(row))
        self.absentable = [
            old
            for old, row in enumerate(known)
            if row.state is not ACTIVE or old in self._window or old in self.withdrawn
        ]
        if not self.is_anew:  # then what stands is listed
            self._list_standing()

    # ---- what is still open -------------------------------------------------------------------------------------

    def open_news(self) -> list[int]:
        """List the reported rows that nothing explains yet."""
        return [new for new in range(len(self.news)) if self.is_open(new)]

    def is_open(self, new: int) -> bool:
        """Tell whether nothing explains a reported row yet."""
        return new not in self.old_of and new not in self._grouped_news

    def is_free(self, old: int) -> bool:
        """Tell whether a known row can still be found in this list."""
        return not (old in self.new_of or old in self.joined or old in self._grouped_olds)

    def free_olds(self) -> Iterator[int]:
        """Go through the known rows that can still be found in this list, and of which their absence says something.

        A posted row outside the window is found by id or content only, so long histories cost next to nothing; one whose
        values were erased says nothing that could be weighed.
        """
        return (
            old
            for old in self.absentable
            if self.is_free(old) and self.can_match(old) and not self.olds[old].fingerprint
        )

    def can_match(self, old: int) -> bool:
        """Tell whether a known row takes part at all: tombstones of pending rows do for 30 days, others always."""
        row = self.olds[old]
        if row.state is not REMOVED:
            return True
        if row.merged_into is not None:
            return not row.has_joined  # what the engine joined, its survivor speaks for
        if row.deleted_at is not None:
            return True
        return row.removed_at is not None and self.now - row.removed_at <= timedelta(days=TOMBSTONE_DAYS)

    # ---- what rows say ------------------------------------------------------------------------------------------

    def key(self, description: str) -> str:
        """Return a description's key, remembered."""
        found = self._keys.get(description)
        if found is None:
            found = self._keys[description] = texts.key(description)
        return found

    def old_content(self, old: int) -> Content:
        """Return amount, date and text of a known row, as the bank last said them."""
        values = self.olds[old].bank_values
        return values.amount, values.transacted_on, self.key(values.description)

    def new_content(self, new: int) -> Content:
        """Return amount, date and text of a reported row."""
        values = self.news[new].values
        return values.amount, values.transacted_on, self.key(values.description)

    def has_same_content(self, old: int, new: int) -> bool:
        """Tell whether amount, date and text are equal; of an erased row its fingerprint says so."""
        row, theirs = self.olds[old], self.news[new].values
        if row.fingerprint:
            return row.id is not None and fingerprint(row.id, theirs) == row.fingerprint
        mine = row.bank_values
        return (
            mine.amount == theirs.amount
            and mine.transacted_on == theirs.transacted_on
            and (mine.description == theirs.description or self.key(mine.description) == self.key(theirs.description))
        )

    def likeness(self, old: int, new: int) -> texts.Likeness:
        """Compare the texts of a known and a reported row, remembered."""
        pair = (self.key(self.olds[old].bank_values.description), self.key(self.news[new].values.description))
        found = self._likenesses.get(pair)
        if found is None:
            found = self._likenesses[pair] = texts.compare(*pair)
        return found

    def days_between(self, old: int, new: int) -> int:
        """Return how many days the reported row is dated after the known one."""
        return (self.news[new].values.transacted_on - self.olds[old].bank_values.transacted_on).days

    def arrival(self, old: int) -> tuple[datetime, int]:
        """Order known rows by arrival."""
        row = self.olds[old]
        return row.first_pulled_at, row.id or 0

    def trusted_id(self, new: int) -> str | None:
        """Return a reported row's id where it is not blank and occurs once in the list."""
        found = self.ids[new]
        return found if found is not None and self._listed[found] == 1 else None

    def find_new(self, aggregator_id: str) -> int | None:
        """Return the one reported row that bears an id, None where none or several do."""
        return self._new_by_id.get(aggregator_id)

    def is_listed_id(self, aggregator_id: str) -> bool:
        """Tell whether a row of this list bears the id."""
        return aggregator_id in self._listed

    # ---- what may be concluded ----------------------------------------------------------------------------------

    def may_become(self, old: int, new: int) -> bool:
        """Tell whether the known row's state allows what is reported; nothing posted becomes pending again."""
        row = self.olds[old]
        if row.deleted_at is not None or row.merged_into is not None:
            return True
        return self.news[new].state is not PENDING or row.state is PENDING or row.state is REMOVED

    def is_in_window(self, old: int) -> bool:
        """Tell whether a known row lies where absence from this list means something."""
        return old in self._window

    def is_gone(self, old: int) -> bool:
        """Tell whether this pull says that a free row is no longer at the bank."""
        return old in self.withdrawn or (self.is_full and self.is_in_window(old))

    # ---- pairing ------------------------------------------------------------------------------------------------

    def pair(self, old: int, new: int, rule: Rule) -> None:
        """Say that a reported row is a known one."""
        self.new_of[old] = new
        self.old_of[new] = old
        self.rule_of[old] = rule

    def join(self, older: int, new: int, rule: Rule) -> None:
        """Say that a listed row, known under a younger row, is an older one; the younger leaves."""
        younger = self.old_of[new]
        del self.new_of[younger]
        self.joined[younger] = older
        self.pair(older, new, rule)

    def group(self, olds: tuple[int, ...], news: tuple[int, ...], rule: Rule) -> None:
        """Say that pending rows and postings are the same money, though not row by row."""
        self.groups.append(Group(olds=olds, news=news, rule=rule))
        self._grouped_olds.update(olds)
        self._grouped_news.update(news)

    def hand_over(self, tombstone: int, survivor: int) -> None:
        """Let a merged row and the row that it was merged into change places at the bank: both stay known."""
        new, theirs = self.new_of.pop(tombstone), self.new_of.pop(survivor, None)
        self.pair(survivor, new, Rule.MERGED)
        if theirs is not None:
            self.pair(tombstone, theirs, Rule.MERGED)
        elif not self.olds[survivor].fingerprint:
            gone = replace(_as_reported(self.olds[survivor]), state=SHADOW)
            self._pair_unlisted(tombstone, gone, Rule.MERGED)

    def part(self, tombstone: int, survivor: int) -> None:
        """Let a merged row stand for itself again."""
        self.parted[tombstone] = survivor
        self.rule_of[tombstone] = Rule.MERGED

    def list_as_before(self, old: int) -> None:
        """Add what a list does not speak of to it, as the bank said it last."""
        self._pair_unlisted(old, _as_reported(self.olds[old]), Rule.ID_AND_CONTENT)

    def _pair_unlisted(self, old: int, row: Reported, rule: Rule) -> None:
        self.news.append(row)
        self.ids.append(row.aggregator_id)
        self.pair(old, len(self.news) - 1, rule)

    # ---- indexes ------------------------------------------------------------------------------------------------

    def _index_ids(self) -> dict[str, list[int]]:
        wanted = set(self._listed).union(self.pull.removed_ids, (r.pending_id for r in self.news if r.pending_id))
        found: dict[str, list[int]] = {}
        for old, row in enumerate(self.olds):
            for aggregator_id in row.aggregator_ids:
                if aggregator_id in wanted:
                    found.setdefault(aggregator_id, []).append(old)
        return found

    def _find_withdrawn(self) -> frozenset[int]:
        """Find the rows that a delta names as removed: by their current id, where only one row has it.

        A delta that begins again will never name the pending rows of before: those that it does not list are gone.
        """
        if self.is_full:
            return frozenset()
        if self.is_anew:
            return frozenset(old for old, row in enumerate(self.olds) if row.state is PENDING)
        found = set()
        for aggregator_id in set(self.pull.removed_ids) - set(self._listed):
            bearers = [
                old
                for old in self.olds_by_id.get(aggregator_id, ())
                if self.olds[old].aggregator_ids[-1] == aggregator_id and self.olds[old].state in (PENDING, ACTIVE)
            ]
            if len(bearers) == 1:
                found.add(bearers[0])
        return frozenset(found)

    def _list_standing(self) -> None:
        """Add to a delta that removes pending rows the postings that it leaves as they are.

        One of them may have been listed beside its pending row, and joins it now. They take nothing new.
        """
        days = [self.olds[old].bank_values.transacted_on for old in self.withdrawn if self.olds[old].state is PENDING]
        if not days:
            return
        first, last = _shifted(min(days), EARLIEST_DAYS), _shifted(max(days), LATEST_DAYS)
        for old, row in enumerate(self.olds):
            is_there = row.state is ACTIVE and old not in self.withdrawn and not row.has_joined and row.aggregator_ids
            if is_there and first <= row.bank_values.transacted_on <= last and not self._is_named(row):
                self.list_as_before(old)

    def _is_named(self, row: Known) -> bool:
        return any(aggregator_id in self._listed for aggregator_id in row.aggregator_ids)

    def _lies_in_window(self, row: Known) -> bool:
        on = row.bank_values.transacted_on
        if not self.pull.from_on <= on <= self.pull.to_on:
            return False
        return row.state is PENDING or not self._is_past_serving(on)

    def _is_past_serving(self, on: date) -> bool:
        if self._oldest_on is not None and on >= self._oldest_on:
            return False
        return (min(self.pull.to_on, self.pull.at.date()) - on).days > SERVED_DAYS


def _shifted(day: date, days: int) -> date:
    """Move a day, at most to the ends of the calendar."""
    ordinal = day.toordinal() + days
    return date.fromordinal(min(max(ordinal, 1), date.max.toordinal()))


def _as_reported(row: Known) -> Reported:
    return Reported(
        aggregator_id=row.aggregator_ids[-1] if row.aggregator_ids else None,
        state=row.state,
        values=row.bank_values,
        raw_amount=row.raw_amount,
        raw_transacted_at=row.raw_transacted_at,
    )


def _id_or_none(aggregator_id: str | None) -> str | None:
    return aggregator_id if aggregator_id and not aggregator_id.isspace() else None


def _canonical(row: Reported) -> tuple[object, ...]:
    values = row.values
    return (
        values.transacted_on,
        values.amount,
        values.description,
        row.state,
        row.aggregator_id or "",
        row.pending_id or "",
        values.posted_on or date.min,
        values.memo,
        values.check_number,
        values.kind,
        row.raw_amount,
        row.raw_transacted_at or 0,
    )
