"""What the bank has to announce, before it is written in a dialect. Pure: values."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Any


class NewsKind(StrEnum):
    """What happened, in the words of the LedgerSync document."""

    ADDED = "accountAdded"
    FIXED = "mfaUpdated"
    REFRESHED = "transactionsRefreshed"
    DELETED = "bankAccountDeleted"


@dataclass(frozen=True, slots=True, kw_only=True)
class RowChanges:
    """How an aggregation changed the list: rows as they stand on the wire, the deleted ones as they last stood."""

    created: tuple[dict[str, Any], ...] = ()
    modified: tuple[dict[str, Any], ...] = ()
    deleted: tuple[dict[str, Any], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class News:
    """One thing that happened to a login. `accounts` are full account objects, for the news of an added login only."""

    kind: NewsKind
    customer_id: int
    institution_id: int
    login_id: int
    account_ids: tuple[int, ...]
    accounts: tuple[dict[str, Any], ...] = ()
    changes: RowChanges = RowChanges()
    is_oauth: bool = False
