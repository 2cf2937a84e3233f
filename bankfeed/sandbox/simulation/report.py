"""What a simulation comes to: figures that add up over accounts, and the links that ended on a wrong row. Pure values."""

from dataclasses import dataclass, field, fields
from enum import StrEnum


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """Counts of one account or of many. Rows are counted after every pull that the engine applied, and summed.

    `rows_...` and `wrong_states` count such rows, `movements_...` the different movements behind them. A link is right
    when its entry stands on the row of the movement that was booked, or on one that nobody could tell from it
    (`links_on_twins`, included). `lost_lists` are empty lists of accounts that have rows; `believed_lists` those of
    them that were applied, `held_wrongly` other pulls that were held.
    """

    accounts: int = 0
    pulls: int = 0
    applied: int = 0
    lost_lists: int = 0
    believed_lists: int = 0
    held_wrongly: int = 0
    true_movements: int = 0
    true_rows: int = 0
    rows_too_many: int = 0
    movements_too_many: int = 0
    rows_missing: int = 0
    movements_missing: int = 0
    wrong_states: int = 0
    movements_wrong: int = 0
    links: int = 0
    links_while_pending: int = 0
    links_in_view: int = 0
    links_right: int = 0
    links_right_in_view: int = 0
    links_on_twins: int = 0
    links_wrong_doubted: int = 0
    links_wrong_undoubted: int = 0
    links_in_doubt: int = 0
    links_never_posted: int = 0
    doubts: int = 0

    def __add__(self, other: "Figures") -> "Figures":
        return Figures(**{each.name: getattr(self, each.name) + getattr(other, each.name) for each in fields(self)})

    @property
    def right_percent(self) -> float:
        """Return how many links in a hundred are right; 100 where there are none.

        >>> Figures(links=200, links_right=199).right_percent
        99.5
        """
        return 100 * self.links_right / self.links if self.links else 100.0

    @property
    def is_exact(self) -> bool:
        """Tell whether every row was right after every pull."""
        return not (self.rows_too_many or self.rows_missing or self.wrong_states)


class CaseKind(StrEnum):
    """What is wrong, the worst first."""

    LINK_UNDOUBTED = "a link on a wrong row, and no doubt raised"
    ROW = "a row too many, missing or in a wrong state"
    LINK_DOUBTED = "a link on a wrong row, with a doubt raised"


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """Something wrong that somebody should look at. `story` tells it, a line a step."""

    seed: int
    account: int
    kind: CaseKind
    title: str
    story: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """Figures, and what is wrong one by one."""

    figures: Figures
    cases: tuple[Case, ...] = field(default=(), repr=False)

    def __add__(self, other: "Report") -> "Report":
        return Report(figures=self.figures + other.figures, cases=self.cases + other.cases)
