"""What is noted while an account runs: differences from the truth, bookings, doubts, and each row's life. No judging."""

from collections import Counter
from dataclasses import dataclass, field
from datetime import datetime

from bankfeed.model import Known, TransactionId, TransactionState
from bankfeed.reconcile import Change, Changes, Verdict
from bankfeed.sandbox.simulation.history import Told
from bankfeed.sandbox.simulation.people import Person
from bankfeed.sandbox.simulation.store import Store
from bankfeed.sandbox.simulation.story import describe, tell_time
from bankfeed.sandbox.simulation.truth import Difference, Truth


@dataclass(frozen=True, slots=True, kw_only=True)
class Link:
    """A booking: the movement that the person meant, and the row as it was before."""

    entry: str
    movement: str
    row: Known
    at: datetime


@dataclass(slots=True, kw_only=True)
class Watch:
    """Everything noted of one account.

    `movements` is by mark, `lives` by stored row, `first_wrong` by movement. `too_many`, `missing` and `wrong_states` are
    summed over pulls, by movement.
    """

    seed: int
    number: int
    store: Store
    person: Person
    truth: Truth = field(default_factory=Truth)
    movements: dict[str, str] = field(default_factory=dict)
    links: list[Link] = field(default_factory=list)
    doubted: set[str] = field(default_factory=set)
    posted: set[str] = field(default_factory=set)
    ever_true: set[str] = field(default_factory=set)
    too_many: Counter[str] = field(default_factory=Counter)
    missing: Counter[str] = field(default_factory=Counter)
    wrong_states: Counter[str] = field(default_factory=Counter)
    first_wrong: dict[str, str] = field(default_factory=dict)
    counts: Counter[str] = field(default_factory=Counter)
    lives: dict[TransactionId | None, list[str]] = field(default_factory=dict)

    def movement_of(self, row: Known) -> str:
        """Return the movement of the reported row that a stored one took last."""
        return self.movements[row.raw_amount]

    def visible(self) -> list[tuple[TransactionId, Known, str]]:
        """List the rows in view, each with its movement."""
        return [(row_id, row, self.movement_of(row)) for row_id, row in self.store.rows.items() if row.is_visible]

    def note_plan(self, told: Told, plan: Changes, *, is_lost: bool) -> None:
        """Note what the engine made of a pull; `is_lost` says that the bank had lost its list."""
        is_applied, is_held = plan.verdict is Verdict.APPLIED, plan.verdict is Verdict.HELD
        self.counts.update(
            pulls=1,
            applied=is_applied,
            lost_lists=is_lost,
            believed_lists=is_lost and is_applied,
            held_wrongly=is_held and not is_lost,
            doubts=len(plan.doubts),
        )
        for doubt in plan.doubts:
            row = doubt.transaction
            self.doubted.update(row.entries)
            self.note_life(row.id, told.pull.at, f"DOUBT about {', '.join(row.entries)}: {doubt.reason}")
        for change in plan.rows:
            self._note_change(told, change)

    def note_truth(self, told: Told, difference: Difference) -> None:
        """Note what is true after a pull, and how the store differs from it."""
        self.ever_true.update(self.truth.rows)
        self.posted.update(row.movement for row in told.listed if row.state is TransactionState.ACTIVE)
        self.counts["true_rows"] += sum(map(len, self.truth.rows.values()))
        for word, total, found in (
            ("row too many", self.too_many, difference.too_many),
            ("row missing", self.missing, difference.missing),
            ("wrong state", self.wrong_states, difference.wrong_states),
        ):
            total.update(found)
            for movement in found:
                self.first_wrong.setdefault(movement, f"{word} at {tell_time(told.pull.at)}")

    def book(self, told: Told, row_id: TransactionId, movement: str) -> None:
        """Book a row to an entry of its own."""
        entry = f"L{len(self.links) + 1}"
        self.links.append(Link(entry=entry, movement=movement, row=self.store.rows[row_id], at=told.pull.at))
        self.store.link(row_id, entry, at=told.pull.at)
        self.note_life(row_id, told.pull.at, f"BOOKED as {entry}, meaning {movement}")

    def note_life(self, row_id: TransactionId | None, at: datetime, line: str) -> None:
        """Add a line to what is told of a stored row."""
        self.lives.setdefault(row_id, []).append(f"{tell_time(at)} {line}")

    def _note_change(self, told: Told, change: Change) -> None:
        before, after = change.before, change.after
        if before is not None and self._look(before) == self._look(after):
            return
        into = f" into row {after.merged_into}" if after.merged_into else ""
        row = f"{describe(after.state, after.bank_values)} id {'/'.join(after.aggregator_ids[-1:]) or None}"
        line = f"{change.kind} by {change.rule}: {row}{into} = {self.movement_of(after)}"
        self.note_life(after.id or self._find_stored(after), told.pull.at, line)

    def _look(self, row: Known) -> tuple[object, ...]:
        return row.state, row.bank_values, row.merged_into, self.movement_of(row)

    def _find_stored(self, after: Known) -> TransactionId | None:
        """Return the id under which an added row was stored: the newest that has its mark."""
        newest_first = reversed(self.store.rows.items())
        return next((row_id for row_id, row in newest_first if row.raw_amount == after.raw_amount), None)
