"""Receiving Bankfeed's webhooks: the signature checked over the raw bytes, then the event."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import msgspec

from bankfeed.signing import BadSignature, verify_standard

__all__ = ["BadSignature", "Event", "read_webhook"]


class _Payload(msgspec.Struct, rename="camel"):
    accounts: list[int]
    client_id: int = 0
    bank_account_id: int = 0


class _Body(msgspec.Struct, rename="camel"):
    event_id: UUID
    event_type: str
    timestamp: datetime
    payload: _Payload


class Event(msgspec.Struct, frozen=True, kw_only=True):
    """One event. `id` is the same on every try: note it, and do nothing where it was seen before.

    `accounts` are the ids of the sub-accounts that it is about.
    """

    id: UUID
    type: str
    at: datetime
    client_id: int
    bank_account_id: int
    accounts: tuple[int, ...]
    raw: Mapping[str, Any]


def read_webhook(
    secrets: str | Sequence[str], headers: Mapping[str, str], body: bytes, *, now: datetime | None = None
) -> Event:
    """Check a webhook with the endpoint's secret, or several during a rotation, and return its event.

    `body` is the raw bytes, before anything parsed them. Raises BadSignature, and ValueError for a secret that is none or
    a body that is no event.
    """
    keys = [secrets] if isinstance(secrets, str) else list(secrets)
    verify_standard(keys, headers, body=body, now=now or datetime.now(UTC))
    try:
        read = msgspec.json.decode(body, type=_Body)
    except msgspec.MsgspecError as error:
        raise ValueError(f"expected an event: {error}") from error
    return Event(
        id=read.event_id,
        type=read.event_type,
        at=read.timestamp,
        client_id=read.payload.client_id,
        bank_account_id=read.payload.bank_account_id,
        accounts=tuple(read.payload.accounts),
        raw=msgspec.json.decode(body),
    )
