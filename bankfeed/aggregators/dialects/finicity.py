"""Finicity's webhooks: Data Connect events, the notice of a finished data refresh, and TxPUSH. Pure.

Data Connect and data refresh share an envelope with eventType and eventId; TxPUSH has neither, but one `event` with
class, type and records. A word that is none of ours ends as an event without a kind.
"""

from collections.abc import Iterable, Mapping
from typing import Final

from bankfeed.aggregators import Notice
from bankfeed.aggregators.dialects.reading import (
    describe,
    find_ref,
    read_event_id,
    read_object,
    read_object_at,
    read_refs,
    read_word,
)
from bankfeed.errors import BadRequest
from bankfeed.model import EventType

_KINDS: Final = {
    "added": EventType.ACCOUNT_ADDED,
    "credentialsUpdated": EventType.MFA_UPDATED,
    "accountsDeleted": EventType.BANK_ACCOUNT_DELETED,
    "data-refresh.transaction.status-changed": EventType.TRANSACTIONS_REFRESHED,
}
_NEEDS_ACCOUNTS: Final = frozenset({EventType.ACCOUNT_ADDED, EventType.BANK_ACCOUNT_DELETED})
_ACCOUNTS: Final = "payload.accounts"
_RECORDS: Final = "event.records"
# Under which key a TxPUSH record of each class carries the account's id.
_ACCOUNT_KEYS: Final = {"account": "id", "transaction": "accountId"}


def read_finicity(body: bytes, headers: Mapping[str, str]) -> Notice:  # noqa: ARG001 - the body says it all
    """Read one Finicity event. Raises BadRequest naming the field.

    A ping needs no id. A TxPUSH event has none, so that each one counts.
    """
    event = read_object(body)
    if "event" in event and "eventType" not in event:
        return _read_txpush(read_object_at(event, "event"))
    name = read_word(event, "eventType")
    if name == "ping":
        return Notice(name=name, event_type=None, is_ping=True)
    event_id = read_event_id(event)
    kind = _KINDS.get(name)
    if kind is None:
        return Notice(name=name, event_type=None, event_id=event_id, customer_ref=find_ref(event.get("customerId")))
    return _read_known(event, kind, name=name, event_id=event_id)


def _read_known(event: Mapping[str, object], kind: EventType, *, name: str, event_id: str) -> Notice:
    payload = _find_payload(event)
    accounts = _read_accounts(payload, is_needed=kind in _NEEDS_ACCOUNTS)
    owners = _read_given((event, payload, *_objects(accounts)), "customerId")
    notice = Notice(
        name=name,
        event_type=kind,
        event_id=event_id,
        customer_ref=_read_owner(owners, "customerId"),
        login_refs=_read_given((payload, *_objects(accounts)), "institutionLoginId"),
        account_refs=read_refs((*map(_account_id, accounts), *_read_ids(payload)), _ACCOUNTS),
    )
    if not (notice.customer_ref or notice.login_refs or notice.account_refs):
        raise BadRequest("expected customerId, or accounts in the payload, got neither", field="customerId")
    return notice


def _find_payload(event: Mapping[str, object]) -> Mapping[str, object]:
    return {} if event.get("payload") is None else read_object_at(event, "payload")


def _read_accounts(payload: Mapping[str, object], *, is_needed: bool) -> list[object]:
    accounts = payload.get("accounts")
    if isinstance(accounts, list):
        return accounts
    if accounts is None and not is_needed:
        return []
    raise BadRequest(f"expected {_ACCOUNTS} to be an array, got {describe(accounts)}", field=_ACCOUNTS)


def _read_ids(payload: Mapping[str, object]) -> list[object]:
    # A finished data refresh names its accounts as plain ids.
    ids = payload.get("accountIds")
    return ids if isinstance(ids, list) else []


def _account_id(account: object) -> object:
    if not isinstance(account, dict):
        return account
    return account.get("id", account.get("accountId"))


def _objects(values: Iterable[object]) -> list[Mapping[str, object]]:
    return [value for value in values if isinstance(value, dict)]


def _read_given(objects: Iterable[Mapping[str, object]], key: str) -> tuple[str, ...]:
    return read_refs((value for each in objects if (value := each.get(key)) is not None), key)


def _read_owner(refs: tuple[str, ...], field: str) -> str | None:
    if len(refs) > 1:
        raise BadRequest(f"expected one customer, got {len(refs)}", field=field)
    return refs[0] if refs else None


def _read_txpush(event: Mapping[str, object]) -> Notice:
    word = read_word(event, "class")
    key = _ACCOUNT_KEYS.get(word)
    name = f"txpush.{word}"
    if key is None:
        return Notice(name=name, event_type=None)
    records = event.get("records")
    if not isinstance(records, list) or len(_objects(records)) != len(records):
        raise BadRequest(f"expected {_RECORDS} to be an array of objects, got {describe(records)}", field=_RECORDS)
    rows = _objects(records)
    return Notice(
        name=name,
        event_type=EventType.TRANSACTIONS_REFRESHED,
        customer_ref=_read_owner(_read_given(rows, "customerId"), "customerId"),
        login_refs=_read_given(rows, "institutionLoginId"),
        account_refs=read_refs((row.get(key) for row in rows), _RECORDS),
    )
