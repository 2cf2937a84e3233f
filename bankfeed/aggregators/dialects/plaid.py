"""Plaid's webhooks: thin ones, that name an item (a login) and say what kind of thing happened to it. Pure.

None has an id, so each one counts. What happened is found by the pull that follows; a word that is none of ours ends as
an event without a kind.
"""

from collections.abc import Mapping
from typing import Final

from bankfeed.aggregators import Notice
from bankfeed.aggregators.dialects.reading import MAX_NAME_CHARS, read_object, read_ref, read_word
from bankfeed.model import EventType

_KINDS: Final = {
    "TRANSACTIONS.SYNC_UPDATES_AVAILABLE": EventType.TRANSACTIONS_REFRESHED,
    "TRANSACTIONS.INITIAL_UPDATE": EventType.TRANSACTIONS_REFRESHED,
    "TRANSACTIONS.HISTORICAL_UPDATE": EventType.TRANSACTIONS_REFRESHED,
    "TRANSACTIONS.DEFAULT_UPDATE": EventType.TRANSACTIONS_REFRESHED,
    "TRANSACTIONS.TRANSACTIONS_REMOVED": EventType.TRANSACTIONS_REFRESHED,
    "ITEM.ERROR": EventType.TRANSACTIONS_REFRESHED,  # the pull meets the error, and the connection gets its state
    "ITEM.LOGIN_REPAIRED": EventType.MFA_UPDATED,
    "ITEM.NEW_ACCOUNTS_AVAILABLE": EventType.ACCOUNT_ADDED,
    "ITEM.USER_PERMISSION_REVOKED": EventType.BANK_ACCOUNT_DELETED,
    "ITEM.USER_ACCOUNT_REVOKED": EventType.BANK_ACCOUNT_DELETED,
}
_NEEDS_ACCOUNT: Final = "ITEM.USER_ACCOUNT_REVOKED"


def read_plaid(body: bytes, headers: Mapping[str, str]) -> Notice:  # noqa: ARG001 - the body says it all
    """Read one Plaid webhook. Raises BadRequest naming webhook_type, webhook_code, item_id or account_id."""
    event = read_object(body)
    name = f"{read_word(event, 'webhook_type')}.{read_word(event, 'webhook_code')}"
    kind = _KINDS.get(name)
    if kind is None:
        return Notice(name=name[:MAX_NAME_CHARS], event_type=None)
    account_refs = (read_ref(event.get("account_id"), "account_id"),) if name == _NEEDS_ACCOUNT else ()
    return Notice(
        name=name,
        event_type=kind,
        login_refs=(read_ref(event.get("item_id"), "item_id"),),
        account_refs=account_refs,
    )
