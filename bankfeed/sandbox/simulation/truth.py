"""What should be in view: what the bank's last believed list shows, and how a store differs from it. Pure."""

from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass

from bankfeed.model import Known, TransactionId, TransactionState, Values
from bankfeed.sandbox.simulation.history import Told, TrueRow


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """How a store differs from the truth, in rows by movement."""

    too_many: Counter[str]
    missing: Counter[str]
    wrong_states: Counter[str]


class Truth:
    """The rows that should be in view after the pulls believed so far, by movement."""

    def __init__(self) -> None:
        self.rows: dict[str, list[TrueRow]] = {}

    def believe(self, told: Told) -> None:
        """Take in a pull. Rows dated where it is no complete list stand as they were told last."""
        listed: dict[str, list[TrueRow]] = defaultdict(list)
        for row in told.listed:
            listed[row.movement].append(row)
        for movement, rows in self.rows.items():
            if movement not in listed:
                kept = [row for row in rows if not _covers(told, row)]
                if kept:
                    listed[movement] = kept
        self.rows = dict(listed)

    def take_over(self, visible: Iterable[tuple[TransactionId, Known, str]]) -> None:
        """Take what a store shows for the truth: after an empty list that was believed nobody knows how far it reached."""
        self.rows = defaultdict(list)
        for _, row, movement in visible:
            self.rows[movement].append(TrueRow(movement=movement, state=row.state, values=row.bank_values))

    def compare(self, visible: Iterable[tuple[str, TransactionState]]) -> Difference:
        """Compare what a store shows, as movement and state of each row."""
        shown: dict[str, list[TransactionState]] = defaultdict(list)
        for movement, state in visible:
            shown[movement].append(state)
        too_many, missing, wrong = Counter[str](), Counter[str](), Counter[str]()
        for movement in shown.keys() | self.rows.keys():
            have = Counter(shown.get(movement, ()))
            want = Counter(row.state for row in self.rows.get(movement, ()))
            if have == want:
                continue
            surplus, lack = (have - want).total(), (want - have).total()
            wrong[movement] = min(surplus, lack)
            too_many[movement] = max(0, surplus - lack)
            missing[movement] = max(0, lack - surplus)
        return Difference(too_many=+too_many, missing=+missing, wrong_states=+wrong)

    def shows(self, movement: str, row: Known) -> bool:
        """Tell whether a row looks like one of a movement's: amount, date, state, and text but for its case."""
        look = _look(row.state, row.bank_values)
        return any(look == _look(true.state, true.values) for true in self.rows.get(movement, ()))


def _look(state: TransactionState, values: Values) -> tuple[object, ...]:
    return state, values.amount, values.transacted_on, values.description.casefold()


def _covers(told: Told, row: TrueRow) -> bool:
    return told.complete_from_on <= row.values.transacted_on <= told.pull.to_on
