"""Receiving Bankfeed's webhooks: the signature checked over the raw bytes, then the event.

A webhook is signed twice: with the endpoint's secret (v1), and with a key whose public half anybody may fetch (v1a). A
receiver checks with either; with public keys it holds nothing secret.
"""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import msgspec

from bankfeed.signing import BadSignature, verify_standard

__all__ = ["BadSignature", "Event", "TransactionCounts", "read_webhook"]


class TransactionCounts(msgspec.Struct, frozen=True, kw_only=True):
    """How many transactions a change was about. `posted` were pending; `updated` may have been out of view before."""

    added: int = 0
    updated: int = 0
    posted: int = 0
    shadowed: int = 0
    removed: int = 0


class _Payload(msgspec.Struct, rename="camel"):
    accounts: list[int] | str = []
    client_id: int = 0
    bank_account_id: int = 0
    transactions: TransactionCounts = TransactionCounts()
    changes_cursor: str | None = None
    status_code: int | None = None
    message: str = ""
    action: str = ""
    webhook_endpoint_id: int | None = None
    reason: str = ""


class _Body(msgspec.Struct, rename="camel"):
    event_id: UUID
    event_type: str
    timestamp: datetime
    payload: _Payload
    test: bool = False


class Event(msgspec.Struct, frozen=True, kw_only=True):
    """One event. `id` is the same on every try: note it, and do nothing where it was seen before.

    `accounts` are the ids of the sub-accounts that it is about. `changes_cursor` is for the feed of changes: read with it,
    the feed tells what changed with this event and since then; None where the endpoint asks for LedgerSync's form, which has
    the accounts alone. `status_code`, `message` and `action` are of connectionBroken and connectionRepaired, and
    `webhook_endpoint_id` and `reason` of endpointDisabled. `is_test`: somebody tries the endpoint out, and nothing happened.
    """

    id: UUID
    type: str
    at: datetime
    client_id: int
    bank_account_id: int
    accounts: tuple[int, ...]
    transactions: TransactionCounts
    changes_cursor: str | None
    status_code: int | None
    message: str
    action: str
    webhook_endpoint_id: int | None
    reason: str
    is_test: bool
    raw: Mapping[str, Any]


def read_webhook(
    keys: str | Sequence[str], headers: Mapping[str, str], body: bytes, *, now: datetime | None = None
) -> Event:
    """Check a webhook with the endpoint's secret (whsec_) or public key (whpk_), or several in a rotation, and return its event.

    One that fits is enough. `body` is the raw bytes, before anything parsed them. Raises BadSignature, and ValueError for a
    key that is none or a body that is no event.
    """
    live = [keys] if isinstance(keys, str) else list(keys)
    verify_standard(live, headers, body=body, now=now or datetime.now(UTC))
    try:
        read = msgspec.json.decode(body, type=_Body)
        listed = read.payload.accounts
        accounts = msgspec.json.decode(listed, type=list[int]) if isinstance(listed, str) else listed
    except msgspec.MsgspecError as error:
        raise ValueError(f"expected an event: {error}") from error
    said = read.payload
    return Event(
        id=read.event_id,
        type=read.event_type,
        at=read.timestamp if read.timestamp.tzinfo is not None else read.timestamp.replace(tzinfo=UTC),
        client_id=said.client_id,
        bank_account_id=said.bank_account_id,
        accounts=tuple(accounts),
        transactions=said.transactions,
        changes_cursor=said.changes_cursor,
        status_code=said.status_code,
        message=said.message,
        action=said.action,
        webhook_endpoint_id=said.webhook_endpoint_id,
        reason=said.reason,
        is_test=read.test,
        raw=msgspec.json.decode(body),
    )
