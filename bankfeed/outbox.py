"""Outbound events: the documented body, made once, so that every try sends the same bytes, committed with what it tells of."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime
from typing import Final
from uuid import uuid4

from bankfeed.bodies import TransactionCounts, write_body, write_standard
from bankfeed.cursor import Position, write_cursor
from bankfeed.db import Connection
from bankfeed.db.change import ChangeCounter, get_counter_before
from bankfeed.db.event import OutboundEvent, insert_events
from bankfeed.health import ConnectionState, Standing, describe
from bankfeed.model import AccountId, ClientId, ConnectionId, CustomerId, EndpointId, EventType

__all__ = [
    "NOBODY",
    "News",
    "make_disabled_event",
    "make_event",
    "make_test_event",
    "tell",
    "write_body",
]

NOBODY: Final = 0
"""Whose an event about no client is, as its clientId and bankAccountId: no id of ours."""

FROM_THE_BEGINNING: Final = ChangeCounter(last_change_no=0, epoch=0)
_NO_CLIENT: Final = ClientId(NOBODY)
_NO_CONNECTION: Final = ConnectionId(NOBODY)
_NO_ROWS: Final = TransactionCounts()


@dataclass(frozen=True, slots=True, kw_only=True)
class News:
    """What there is to tell of accounts of one connection.

    `counts` is what the pull or the act behind it did to their rows, none where it is about no rows. `standing` is how
    the connection stands, where that is the news; None where it is not. `extra` is what the payload says besides.
    """

    event_type: EventType
    accounts: tuple[AccountId, ...] = ()
    counts: TransactionCounts = _NO_ROWS
    standing: Standing | None = None
    extra: Mapping[str, object] = field(default_factory=dict)


async def tell(
    conn: Connection,
    customer_id: CustomerId,
    news: Sequence[News],
    *,
    client_id: ClientId,
    connection_id: ConnectionId,
    at: datetime,
) -> int:
    """Commit events of one connection with what caused them, once that is written; return how many deliveries wait.

    Their cursor stands before the first change of the transaction: read with it, the feed of changes tells all that the
    transaction changed, and what came later.
    """
    if not news:
        return 0
    counter = await get_counter_before(conn, customer_id, client_id)
    events = [
        make_event(each, client_id=client_id, connection_id=connection_id, at=at, counter=counter) for each in news
    ]
    return await insert_events(conn, customer_id, events)


def make_event(
    news: News,
    *,
    client_id: ClientId,
    connection_id: ConnectionId,
    at: datetime,
    counter: ChangeCounter = FROM_THE_BEGINNING,
) -> OutboundEvent:
    """Make an event about accounts of one connection.

    The body is the LedgerSync document's as strict JSON: eventType, eventId (UUID), timestamp (RFC 3339, UTC,
    milliseconds) and payload with our account ids; bankAccountId is our connection. Ours are how many transactions the
    change was about, and a cursor of the feed of changes, which stands at `counter`.
    """
    payload = _make_payload(news.accounts, client_id, connection_id, news.counts, counter)
    if news.standing is not None:
        payload |= _describe(news.standing)
    payload |= news.extra
    return _make(news.event_type, payload, news.accounts, client_id=client_id, connection_id=connection_id, at=at)


def make_disabled_event(endpoint_id: EndpointId, *, reason: str, at: datetime) -> OutboundEvent:
    """Make an event about an endpoint that was disabled, of nobody's accounts. It names no URL: its path is a secret."""
    payload = {"webhookEndpointId": endpoint_id, "reason": reason}
    return _make(EventType.ENDPOINT_DISABLED, payload, at=at)


def make_test_event(event_type: EventType, *, at: datetime) -> OutboundEvent:
    """Make an event about no account, of nobody, for one endpoint to be tried out; its body says `"test": true`.

    Its payload has all that a real one has, so that a receiver's reading of it is tried out too.
    """
    if event_type is EventType.ENDPOINT_DISABLED:
        payload: dict[str, object] = {"webhookEndpointId": NOBODY, "reason": "a test"}
    else:
        payload = _make_payload((), _NO_CLIENT, _NO_CONNECTION, _NO_ROWS, FROM_THE_BEGINNING)
        payload |= _describe(_TEST_STANDINGS[event_type]) if event_type in _TEST_STANDINGS else {}
        payload |= _TEST_EXTRAS.get(event_type, {})
    return _make(event_type, payload, at=at, is_test=True)


_TEST_STANDINGS: Final = {
    EventType.CONNECTION_BROKEN: Standing("needs_person", 103),
    EventType.CONNECTION_REPAIRED: Standing("active", 0),
}

_TEST_EXTRAS: Final[Mapping[EventType, Mapping[str, object]]] = {
    EventType.INSTITUTION_NOTICE: {
        "institutionId": NOBODY,
        "institutionName": "a test",
        "institutionStatus": "migrating",
        "signInAgainUntil": "2026-01-31",
    },
    EventType.WIDGET_ENDED: {
        "widgetSessionId": "",
        "kind": "add",
        "outcome": "linked",
        "institutionId": NOBODY,
        "statusCode": 0,
    },
    EventType.CASE_CHANGED: {"caseId": NOBODY, "caseState": "open", "openActions": 1},
}


def _make(
    event_type: EventType,
    payload: Mapping[str, object],
    accounts: Sequence[AccountId] = (),
    *,
    client_id: ClientId = _NO_CLIENT,
    connection_id: ConnectionId = _NO_CONNECTION,
    at: datetime,
    is_test: bool = False,
) -> OutboundEvent:
    event_id = uuid4()
    return OutboundEvent(
        event_id=event_id,
        event_type=event_type,
        client_id=client_id,
        connection_id=connection_id,
        accounts=tuple(accounts),
        body=write_standard(event_type, str(event_id), payload, at=at, is_test=is_test),
        created_at=at,
    )


def _make_payload(
    accounts: Sequence[AccountId],
    client_id: ClientId,
    connection_id: ConnectionId,
    counts: TransactionCounts,
    counter: ChangeCounter,
) -> dict[str, object]:
    number = counter.last_change_no
    return {
        "accounts": list(accounts),
        "bankAccountId": connection_id,
        "clientId": client_id,
        "transactions": asdict(counts),
        "changesCursor": write_cursor(Position(client_id, number, number, counter.epoch)),
    }


def _describe(standing: Standing) -> dict[str, object]:
    """Say how a connection stands as the API does: its code, a sentence for the account holder, what the person can do."""
    state = ConnectionState(standing.state)
    meaning = describe(state, standing.status_code, is_received=state is ConnectionState.ACTIVE)
    return {"statusCode": standing.status_code, "message": meaning.words, "action": meaning.todo}
