"""How the two kinds of sender write their webhooks. Pure: news in, letters out.

LedgerSync signs nothing. Finicity signs the raw body with the partner secret (X-Finicity-Signature: hex HMAC-SHA256).
"""

import hashlib
import hmac
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import msgspec

from bankfeed.sandbox.news import News, NewsKind

ENCODER = msgspec.json.Encoder(decimal_format="number")
SIGNATURE_HEADER = "X-Finicity-Signature"


@dataclass(frozen=True, slots=True, kw_only=True)
class Letter:
    """One webhook, ready to be sent and sent again: the same bytes every time."""

    name: str
    body: bytes
    headers: dict[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Stamp:
    """What makes each letter its own: `new_uuid` gives a fresh UUID for each, `at` is the real time."""

    at: datetime
    new_uuid: Callable[[], UUID]


def ledgersync_letters(news: News, stamp: Stamp) -> Iterator[Letter]:
    """Write one event: ids in a string that holds a list, a time without a zone (UTC), no signature."""
    yield _letter(
        news.kind,
        {
            "eventType": news.kind,
            "eventId": str(stamp.new_uuid()),
            "timestamp": stamp.at.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S.%f")[:-3],
            "payload": {"accounts": str(list(news.account_ids))},
        },
    )


def finicity_letters(news: News, stamp: Stamp, *, secret: str) -> Iterator[Letter]:
    """Write the events of the Connect family, and the status change of a refresh."""
    for name, payload in _finicity_events(news):
        envelope = {
            "customerId": str(news.customer_id),
            "eventType": name,
            "eventId": f"{int(stamp.at.timestamp() * 1000)}-{stamp.new_uuid().hex[:24]}",
            "payload": payload,
        }
        yield _signed(_letter(name, envelope), secret)


def txpush_letters(news: News, *, secret: str) -> Iterator[Letter]:
    """Write the changed rows of an aggregation as TxPUSH events: records instead of an envelope, no event id."""
    changes = {"created": news.changes.created, "modified": news.changes.modified, "deleted": news.changes.deleted}
    for change, records in changes.items():
        if records:
            event = {"class": "transaction", "type": change, "records": records}
            yield _signed(_letter(f"txpush.{change}", {"event": event}), secret)


def signature(body: bytes, secret: str) -> str:
    """Sign a body the way Finicity does.

    Example:
        >>> signature(b"{}", "secret")[:16]
        '77325902caca812d'
    """
    return hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()


def _finicity_events(news: News) -> Iterator[tuple[str, dict[str, Any]]]:
    match news.kind:
        case NewsKind.ADDED:
            yield (
                "added",
                {"institutionId": str(news.institution_id), "accounts": news.accounts, "oauth": news.is_oauth},
            )
            yield "done", {"customerId": str(news.customer_id)}
        case NewsKind.FIXED:
            yield "credentialsUpdated", {"institutionLoginId": news.login_id, "mfa": False}
            yield "done", {"customerId": str(news.customer_id)}
        case NewsKind.DELETED:
            accounts = [str(account_id) for account_id in news.account_ids]
            yield "accountsDeleted", {"accounts": accounts, "institutionId": str(news.institution_id)}
        case NewsKind.REFRESHED:
            yield (
                "data-refresh.transaction.status-changed",
                {
                    "customerId": str(news.customer_id),
                    "institutionLoginId": str(news.login_id),
                    "accountIds": [str(account_id) for account_id in news.account_ids],
                    "status": "COMPLETED",
                },
            )


def _letter(name: str, body: dict[str, Any]) -> Letter:
    return Letter(name=name, body=ENCODER.encode(body), headers={"Content-Type": "application/json"})


def _signed(letter: Letter, secret: str) -> Letter:
    headers = letter.headers | {SIGNATURE_HEADER: signature(letter.body, secret)}
    return Letter(name=letter.name, body=letter.body, headers=headers)
