"""What subscribers get: the documented body, LedgerSync's form of it, and what a change counts as."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from typing import Any
from uuid import UUID

import orjson
import pytest

from bankfeed.bodies import TransactionCounts, count_changes
from bankfeed.client import read_webhook
from bankfeed.cursor import Position, read_cursor
from bankfeed.db.change import ChangeCounter
from bankfeed.db.event import OutboundEvent
from bankfeed.health import MEANINGS, Standing
from bankfeed.model import (
    DOCUMENTED_EVENTS,
    AccountId,
    BodyFormat,
    ClientId,
    ConnectionId,
    EndpointId,
    EventType,
    TransactionId,
    TransactionState,
)
from bankfeed.outbox import NOBODY, News, make_disabled_event, make_event, make_test_event, write_body
from bankfeed.reconcile.changes import Change, ChangeKind, Changes, Rule, Verdict
from bankfeed.signing import build_headers
from tests.pure.rows import make_row
from tests.seed import ENDPOINT_SECRET

AT = datetime(2026, 3, 2, 6, 0, 7, 727_999, tzinfo=UTC)
LARGE = 2**63 - 1
COUNTS = TransactionCounts(added=3, updated=1, posted=2, shadowed=1, removed=4)
NO_ROWS = {"added": 0, "updated": 0, "posted": 0, "shadowed": 0, "removed": 0}


def make(event_type: EventType = EventType.TRANSACTIONS_REFRESHED, **changes: Any) -> OutboundEvent:
    values: dict[str, Any] = {
        "client_id": ClientId(5),
        "connection_id": ConnectionId(6),
        "at": AT,
        "counter": ChangeCounter(last_change_no=41, epoch=9),
    }
    said = {name: changes.pop(name) for name in ("counts", "standing", "extra") if name in changes}
    news = News(event_type=event_type, accounts=(AccountId(1542), AccountId(LARGE)), **said)
    return make_event(news, **(values | changes))


def written(event: OutboundEvent, body_format: BodyFormat = BodyFormat.LEDGERSYNC) -> Any:
    return orjson.loads(write_body(event.body, body_format))


@pytest.mark.parametrize("event_type", DOCUMENTED_EVENTS)
def test_the_documented_body(event_type: EventType) -> None:
    """An id, a time in UTC to the millisecond, whom it is about, how many rows, and where to read on from."""
    event = make(event_type, counts=COUNTS)
    body = orjson.loads(event.body)
    assert str(UUID(body["eventId"])) == body["eventId"] == str(event.event_id)
    cursor = body["payload"].pop("changesCursor")
    assert {
        "eventType": event_type.value,
        "eventId": str(event.event_id),
        "timestamp": "2026-03-02T06:00:07.727Z",
        "payload": {
            "accounts": [1542, LARGE],
            "bankAccountId": 6,
            "clientId": 5,
            "transactions": {"added": 3, "updated": 1, "posted": 2, "shadowed": 1, "removed": 4},
        },
    } == body
    assert Position(ClientId(5), 41, 41, 9) == read_cursor(cursor, Position)


def test_a_time_of_another_zone_is_written_in_utc() -> None:
    """Whatever zone a clock is in."""
    there = AT.astimezone(timezone(timedelta(hours=-5)))
    assert "2026-03-02T06:00:07.727Z" == orjson.loads(make(at=there).body)["timestamp"]
    assert "2026-03-02 06:00:07.727" == written(make(at=there))["timestamp"]


def test_each_event_has_an_id_of_its_own() -> None:
    """Receivers tell repeats by it."""
    assert make().event_id != make().event_id


def test_the_ledgersync_form_is_what_its_document_prints() -> None:
    """The accounts alone, in a text, and a time without zone: the printed example, less its blank and its comma."""
    event = make_event(
        News(
            event_type=EventType.ACCOUNT_ADDED,
            accounts=(AccountId(1542), AccountId(1367), AccountId(1257)),
            counts=COUNTS,
        ),
        client_id=ClientId(5),
        connection_id=ConnectionId(6),
        at=datetime(2024, 7, 15, 13, 7, 7, 727_000, tzinfo=UTC),
    )
    assert (
        f'{{"eventType":"accountAdded","eventId":"{event.event_id}","timestamp":"2024-07-15 13:07:07.727",'
        '"payload":{"accounts":"[1542, 1367, 1257]"}}'
    ).encode() == write_body(event.body, BodyFormat.LEDGERSYNC)


@pytest.mark.parametrize("event_type", list(EventType))
def test_each_try_sends_the_same_bytes(event_type: EventType) -> None:
    """The documented form is what was stored, to the byte; the other is the same however often it is written."""
    event = make_test_event(event_type, at=AT)
    assert event.body is write_body(event.body, BodyFormat.STANDARD)
    assert 1 == len({write_body(event.body, BodyFormat.LEDGERSYNC) for _ in range(3)})


def test_what_was_stored_without_counts_is_written_too() -> None:
    """An event from before the body told more than the accounts."""
    stored = (
        b'{"eventType":"mfaUpdated","eventId":"e","timestamp":"2026-03-02T06:00:07.727Z","payload":{"accounts":[]}}'
    )
    assert {
        "eventType": "mfaUpdated",
        "eventId": "e",
        "timestamp": "2026-03-02 06:00:07.727",
        "payload": {"accounts": "[]"},
    } == orjson.loads(write_body(stored, BodyFormat.LEDGERSYNC))


@pytest.mark.parametrize("body_format", list(BodyFormat))
@pytest.mark.parametrize("event_type", list(EventType))
def test_a_test_event_says_so_and_is_nobodys(event_type: EventType, body_format: BodyFormat) -> None:
    """A subscriber can tell it from a real one in either form."""
    event = make_test_event(event_type, at=AT)
    assert (NOBODY, NOBODY, ()) == (event.client_id, event.connection_id, event.accounts)
    assert written(event, body_format)["test"] is True
    assert "test" not in written(make(), body_format)


@pytest.mark.parametrize(
    ("event_type", "standing"),
    [
        *((event_type, None) for event_type in DOCUMENTED_EVENTS),
        (EventType.CONNECTION_BROKEN, Standing("needs_person", 103)),
        (EventType.CONNECTION_REPAIRED, Standing("active", 0)),
    ],
)
def test_a_test_event_has_all_that_a_real_one_has(event_type: EventType, standing: Standing | None) -> None:
    """A receiver that reads it reads a real one."""
    real = orjson.loads(make(event_type, standing=standing).body)
    test = orjson.loads(make_test_event(event_type, at=AT).body)
    assert [*real, "test"] == list(test)
    assert list(real["payload"]) == list(test["payload"])


@pytest.mark.parametrize(
    ("event_type", "standing", "message", "action"),
    [
        (EventType.CONNECTION_BROKEN, Standing("needs_person", 103), MEANINGS[103].words, MEANINGS[103].todo),
        (EventType.CONNECTION_BROKEN, Standing("unsupported", 913), MEANINGS[913].words, MEANINGS[913].todo),
        (EventType.CONNECTION_BROKEN, Standing("unsupported", None), MEANINGS[920].words, MEANINGS[920].todo),
        (EventType.CONNECTION_REPAIRED, Standing("active", 0), "All Data Received", MEANINGS[0].todo),
    ],
)
def test_a_connection_is_told_of_in_words(event_type: EventType, standing: Standing, message: str, action: str) -> None:
    """The code, a sentence for the account holder and what to do, as the API says them, beside the usual payload."""
    payload = orjson.loads(make(event_type, standing=standing).body)["payload"]
    assert (standing.status_code, message, action) == (payload["statusCode"], payload["message"], payload["action"])
    assert ([1542, LARGE], 6, 5, NO_ROWS) == (
        payload["accounts"],
        payload["bankAccountId"],
        payload["clientId"],
        payload["transactions"],
    )


def test_a_disabled_endpoint_is_told_of_without_its_url() -> None:
    """Which one and why; it is about nobody's accounts."""
    event = make_disabled_event(EndpointId(12), reason="it answered 410 Gone", at=AT)
    body = orjson.loads(event.body)
    assert ("endpointDisabled", "2026-03-02T06:00:07.727Z") == (body["eventType"], body["timestamp"])
    assert {"webhookEndpointId": 12, "reason": "it answered 410 Gone"} == body["payload"]
    assert (EventType.ENDPOINT_DISABLED, NOBODY, NOBODY, ()) == (
        event.event_type,
        event.client_id,
        event.connection_id,
        event.accounts,
    )
    assert {"accounts": "[]"} == written(event)["payload"]


ROW = make_row(1)
PENDING_ROW = replace(ROW, state=TransactionState.PENDING)
GONE_ROW = replace(PENDING_ROW, state=TransactionState.REMOVED, removed_at=AT)


CASES = (
    (ChangeKind.ADDED, None, ROW, "added"),
    (ChangeKind.UPDATED, ROW, ROW, "updated"),
    (ChangeKind.POSTED, PENDING_ROW, ROW, "posted"),
    (ChangeKind.SHADOWED, ROW, replace(ROW, state=TransactionState.SHADOW), "shadowed"),
    (ChangeKind.RETURNED, replace(ROW, state=TransactionState.SHADOW), ROW, "updated"),
    (ChangeKind.REMOVED, PENDING_ROW, GONE_ROW, "removed"),
    (ChangeKind.MERGED, PENDING_ROW, replace(GONE_ROW, merged_into=TransactionId(2)), "removed"),
    (ChangeKind.MERGED, GONE_ROW, replace(GONE_ROW, merged_into=TransactionId(2)), None),
    (ChangeKind.RENAMED, ROW, ROW, None),
)


@pytest.mark.parametrize(("kind", "before", "after", "counted"), CASES)
def test_a_change_counts_once_as_what_is_seen_of_it(
    kind: ChangeKind, before: Any, after: Any, counted: str | None
) -> None:
    """What comes back is an update; what was joined to another row is removed, unless nobody saw it any more."""
    change = Change(kind=kind, rule=Rule.ID, before=before, after=after)
    expected = {} if counted is None else {counted: 2}
    assert TransactionCounts(**expected) == count_changes(Changes(verdict=Verdict.APPLIED, rows=(change, change)))


def test_every_kind_of_change_has_its_case() -> None:
    """A new kind is not forgotten in the counts."""
    assert {*ChangeKind} == {case[0] for case in CASES}


@pytest.mark.parametrize("body_format", list(BodyFormat))
def test_the_client_reads_either_form(body_format: BodyFormat) -> None:
    """The same id, time and accounts; the rest is only in the documented form."""
    sent = make(EventType.CONNECTION_BROKEN, counts=COUNTS, standing=Standing("needs_person", 103))
    body = write_body(sent.body, body_format)
    now = datetime.now(UTC)
    event = read_webhook(
        ENDPOINT_SECRET, build_headers([ENDPOINT_SECRET], message_id=str(sent.event_id), at=now, body=body), body
    )
    assert (sent.event_id, "connectionBroken", (1542, LARGE), False) == (
        event.id,
        event.type,
        event.accounts,
        event.is_test,
    )
    assert AT.replace(microsecond=727_000) == event.at
    is_documented = body_format is BodyFormat.STANDARD
    assert ((3, 103) if is_documented else (0, None)) == (event.transactions.added, event.status_code)
    assert is_documented is (event.changes_cursor is not None)
