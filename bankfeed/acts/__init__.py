"""What a person does with transactions, and taking it back, as the REST API and the console call it.

Each function is one transaction: lock the account, read its rows after the lock, plan (bankfeed/reconcile), write the
plan and record the act. A refresh of the same account comes before it or after it. An id of another customer is
NotFound, what does not fit the row as it is now is ActRefused, and then nothing is written. `actor` is who acts,
"user:<id>", "key:<id>" or "system"; `at` is when, Postgres' clock where None. Who may act, the caller says.
"""

from bankfeed.acts.balances import accept_balance_gap
from bankfeed.acts.doubts import adopt, decide, keep_apart, list_doubts
from bankfeed.acts.lives import explain
from bankfeed.acts.rows import (
    confirm_shadow,
    delete,
    link,
    mark_all_reconciled,
    mark_reconciled,
    merge,
    reject_shadow,
    restore,
    split,
    unlink,
    unmark_reconciled,
    unmerge,
    unsplit,
)
from bankfeed.acts.undoing import undo_act, undo_match, undo_pull

__all__ = [
    "accept_balance_gap",
    "adopt",
    "confirm_shadow",
    "decide",
    "delete",
    "explain",
    "keep_apart",
    "link",
    "list_doubts",
    "mark_all_reconciled",
    "mark_reconciled",
    "merge",
    "reject_shadow",
    "restore",
    "split",
    "undo_act",
    "undo_match",
    "undo_pull",
    "unlink",
    "unmark_reconciled",
    "unmerge",
    "unsplit",
]
