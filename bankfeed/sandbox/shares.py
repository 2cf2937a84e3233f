"""How often the pretend bank does each odd thing. Pure: numbers only."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Shares:
    """Probabilities from 0 to 1. The defaults are estimates of what real banks do; no public source gives them.

    `tip` to `currency` are per purchase, `keeps_id` to `together` per purchase that shows as pending, `withdrawn` and
    `late` per purchase, `empty` per aggregation of an account, `renamed_account` per account, `renamed_row` per row
    that is listed in the night in which such an account changes its ids. `reports_shadow` is the part of withdrawn
    rows that stay listed as shadow until they return. `repeated` is per purchase: the same shop and price once more that
    day. `prefixed` to `cased` are per text that changes on posting, each by itself; `reversed` is the part of those
    where the pending row has the odd text and the posted one the plain name.
    """

    pending: float = 0.75
    keeps_id: float = 0.35
    changes_text: float = 0.5
    posting_date: float = 0.5
    vanishes: float = 0.04
    together: float = 0.05
    tip: float = 0.09
    fuel: float = 0.05
    hotel: float = 0.015
    currency: float = 0.03
    withdrawn: float = 0.01
    late: float = 0.02
    empty: float = 0.02
    renamed_account: float = 0.25
    renamed_row: float = 0.22
    reports_shadow: float = 0.0
    repeated: float = 0.03
    prefixed: float = 0.25
    suffixed: float = 0.6
    processor: float = 0.12
    abbreviated: float = 0.1
    truncated: float = 0.15
    cased: float = 0.15
    reversed: float = 0.2


DOCUMENTED = Shares()
CALM = Shares(
    keeps_id=1.0,
    changes_text=0.0,
    posting_date=0.0,
    vanishes=0.0,
    together=0.0,
    tip=0.0,
    fuel=0.0,
    hotel=0.0,
    currency=0.0,
    withdrawn=0.0,
    late=0.0,
    empty=0.0,
    renamed_account=0.0,
    repeated=0.0,
)

# Days from the purchase to its posting, and how many purchases in a hundred take that long.
DELAY_DAYS = (1, 2, 3, 4, 5, 7, 10)
DELAY_WEIGHTS = (30, 30, 18, 10, 6, 4, 2)
