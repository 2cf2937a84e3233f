"""What a customer sees of rows that the bank no longer reports, and what is kept of them where their values go. Pure.

The policy never decides what a row is: state, ids and matches are the same under each. It must not touch a row with a
person's act.
"""

import hmac
from collections.abc import Iterable
from dataclasses import replace
from decimal import Decimal

from bankfeed.model import Known, ShadowPolicy, ShadowVerdict, TransactionId, TransactionState, Values
from bankfeed.reconcile import texts
from bankfeed.reconcile.changes import Change

_FINGERPRINT_CHARS = 32


def is_shown(row: Known, policy: ShadowPolicy) -> bool:
    """Tell whether a customer who chose this policy sees a row."""
    if row.is_visible:
        return True
    return is_marked(row) and is_shadow_shown(policy, has_act=row.has_act, verdict=row.shadow_verdict)


def is_shadow_shown(policy: ShadowPolicy, *, has_act: bool, verdict: ShadowVerdict | None) -> bool:
    """Tell whether a customer sees a shadow row: always one with a person's act, or one that a person says did happen."""
    if has_act or policy is ShadowPolicy.SHOW:
        return True
    return policy is ShadowPolicy.CONFIRM and verdict is not ShadowVerdict.CONFIRMED


def is_marked(row: Known) -> bool:
    """Tell whether a row, where it is shown, is marked as one that the bank no longer reports."""
    is_ours = row.deleted_at is None and row.merged_into is None
    return row.state is TransactionState.SHADOW and is_ours and not row.fingerprint


def erase_shadows(changes: Iterable[Change], policy: ShadowPolicy) -> tuple[Change, ...]:
    """Return a pull's changes as they are stored under a policy.

    Under `delete` a shadow row without a person's act is left without values, and a new one is not stored at all: it
    has no id yet that its fingerprint could be made with, and nothing that anybody has seen.
    """
    if policy is not ShadowPolicy.DELETE:
        return tuple(changes)
    erased = (_erase_after(change) for change in changes)
    return tuple(change for change in erased if change is not None)


def erase(row: Known) -> Known:
    """Return a row without its values; its day, ids and a fingerprint stay. Safe to repeat.

    Raises: ValueError for a row that is not stored yet, since the fingerprint needs its id.
    """
    if row.fingerprint:
        return row
    if row.id is None:
        raise ValueError("expected a stored row to erase, got one without an id")
    nothing = Values(amount=Decimal(0), transacted_on=row.bank_values.transacted_on, description="")
    return replace(
        row,
        values=nothing,
        bank_values=nothing,
        raw_amount="",
        raw_transacted_at=None,
        fingerprint=fingerprint(row.id, row.bank_values),
    )


def fingerprint(row_id: TransactionId, values: Values) -> str:
    """Return what an erased row is recognised by: 32 hexadecimal digits of its amount, day and text, keyed by its id.

    Equal rows have unequal fingerprints, so that none tells what another one was.
    """
    amount = f"{values.amount.normalize() + 0:f}"  # + 0: zero has no sign
    content = f"{amount}|{values.transacted_on.isoformat()}|{texts.key(values.description)}"
    return hmac.digest(str(row_id).encode(), content.encode(), "sha256").hex()[:_FINGERPRINT_CHARS]


def _erase_after(change: Change) -> Change | None:
    """Return a change with nothing left of a shadow row's values, or None where nothing is left to store."""
    after = change.after
    if after.state is not TransactionState.SHADOW or after.has_act or after.merged_into is not None:
        return change
    if change.before is None:
        return None
    erased = replace(change, after=erase(after))
    return erased if erased.after != change.before else None
