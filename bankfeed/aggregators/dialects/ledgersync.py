"""LedgerSync's webhooks: four events in one envelope. Pure.

Its document prints an example that is not JSON (a trailing comma), whose eventId ends in a blank, whose list of
accounts is a text, and whose time has no zone. All of that is accepted, and so is the same event in clean JSON.
"""

from collections.abc import Mapping
from typing import Final

from bankfeed.aggregators import Notice
from bankfeed.aggregators.dialects.reading import (
    describe,
    find_time,
    read_event_id,
    read_json,
    read_object,
    read_refs,
    read_time,
    read_word,
)
from bankfeed.errors import BadRequest
from bankfeed.model import DOCUMENTED_EVENTS, EventType

_ACCOUNTS: Final = "payload.accounts"
_KINDS: Final[Mapping[str, EventType]] = {kind.value: kind for kind in DOCUMENTED_EVENTS}


def read_ledgersync(body: bytes, headers: Mapping[str, str]) -> Notice:  # noqa: ARG001 - LedgerSync documents none
    """Read one LedgerSync event. Raises BadRequest naming eventType, eventId, timestamp or payload.accounts.

    An event of a type that the document does not name needs no more than its eventId: it is kept and never acted on.
    An empty list of accounts is accepted and names nothing.
    """
    event = read_object(body)
    name = read_word(event, "eventType")
    event_id = read_event_id(event)
    kind = _KINDS.get(name)
    if kind is None:
        return Notice(name=name, event_type=None, event_id=event_id, sent_at=find_time(event.get("timestamp")))
    return Notice(
        name=name,
        event_type=kind,
        event_id=event_id,
        sent_at=read_time(event.get("timestamp"), "timestamp"),
        account_refs=read_refs(_read_list(event), _ACCOUNTS),
    )


def _read_list(event: Mapping[str, object]) -> list[object]:
    payload = event.get("payload")
    accounts = payload.get("accounts") if isinstance(payload, dict) else None
    listed = read_json(accounts.encode(), field=_ACCOUNTS) if isinstance(accounts, str) else accounts
    if not isinstance(listed, list):
        raise BadRequest(
            f"expected {_ACCOUNTS} to be an array of ids, or a text that holds one, got {describe(accounts)}",
            field=_ACCOUNTS,
        )
    return listed
