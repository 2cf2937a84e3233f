"""How webhooks are read: LedgerSync's, Finicity's and Plaid's, as documented, as they come, and as nobody should send them."""

import doctest
import json
import time
from collections.abc import Callable
from datetime import UTC, datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bankfeed.aggregators import Notice
from bankfeed.aggregators.dialects import DIALECTS, read_finicity, read_ledgersync, read_plaid, reading
from bankfeed.aggregators.dialects.reading import drop_trailing_commas
from bankfeed.errors import BadRequest
from bankfeed.model import DOCUMENTED_EVENTS, EventType

# The example of the LedgerSync document, byte for byte as printed there.
PRINTED = (
    b'{ "eventType": "accountAdded", "eventId": "b52e0e1c-611f-43fb-89c4-401a34eb91ba ", '
    b'"timestamp": "2024-07-15 13:07:07.727", "payload": { "accounts": "[1542, 1367, 1257]", } }'
)
SENT_AT = datetime(2024, 7, 15, 13, 7, 7, 727_000, tzinfo=UTC)
EVENT_ID = "b52e0e1c-611f-43fb-89c4-401a34eb91ba"

Change = Callable[[dict[str, object]], object]


def ledgersync(**changes: object) -> bytes:
    """Build a clean LedgerSync event; a keyword replaces a key of the envelope, None removes it."""
    event = {
        "eventType": "accountAdded",
        "eventId": EVENT_ID,
        "timestamp": "2024-07-15T13:07:07.727Z",
        "payload": {"accounts": [1542, 1367, 1257]},
        **changes,
    }
    return json.dumps({key: value for key, value in event.items() if value is not None}).encode()


def finicity(event_type: str, payload: object = None, **changes: object) -> bytes:
    """Build a Data Connect event; a keyword replaces a key of the envelope, None removes it."""
    event = {
        "customerId": "5025024821",
        "eventType": event_type,
        "eventId": "1688829092668-518e7b2cd7948bcdb968c433",
        "payload": payload,
        **changes,
    }
    return json.dumps({key: value for key, value in event.items() if value is not None}).encode()


def refused(read: Callable[[bytes, dict[str, str]], Notice], body: bytes) -> BadRequest:
    """Read a body that must be refused and return the refusal."""
    with pytest.raises(BadRequest) as caught:
        read(body, {})
    return caught.value


# LedgerSync


def test_the_printed_example_is_read() -> None:
    """The document's own example is accepted as printed: trailing comma, blank in the id, list in a text."""
    assert read_ledgersync(PRINTED, {}) == Notice(
        name="accountAdded",
        event_type=EventType.ACCOUNT_ADDED,
        event_id=EVENT_ID,
        account_refs=("1542", "1367", "1257"),
        sent_at=SENT_AT,
    )


@pytest.mark.parametrize("kind", DOCUMENTED_EVENTS)
@pytest.mark.parametrize("accounts", [[1542, 1367], ["1542", "1367"], "[1542, 1367]", '["1542", "1367",]'])
def test_clean_events_are_read(kind: EventType, accounts: object) -> None:
    """All four events are read alike, their accounts numbers or texts, in an array or in a text that holds one."""
    notice = read_ledgersync(ledgersync(eventType=kind.value, payload={"accounts": accounts}), {})
    assert (notice.event_type, notice.account_refs, notice.sent_at) == (kind, ("1542", "1367"), SENT_AT)


@pytest.mark.parametrize(
    ("timestamp", "expected"),
    [
        ("2024-07-15 13:07:07.727", SENT_AT),
        ("2024-07-15T13:07:07.727", SENT_AT),
        ("2024-07-15T13:07:07.727Z", SENT_AT),
        ("2024-07-15T09:07:07.727-04:00", SENT_AT),
        (" 2024-07-15 13:07:07.727 ", SENT_AT),
    ],
)
def test_times_are_utc(timestamp: str, expected: datetime) -> None:
    """A time without zone is UTC; one with a zone is turned into UTC."""
    assert read_ledgersync(ledgersync(timestamp=timestamp), {}).sent_at == expected


@pytest.mark.parametrize("payload", [None, [], "x", {"accounts": {"deep": [1]}}, {"members": 3}])
def test_an_unknown_event_is_kept_by_name(payload: object) -> None:
    """An event type that nobody documents is no error, whatever its payload and time look like."""
    notice = read_ledgersync(ledgersync(eventType="statementReady", payload=payload, timestamp="soon"), {})
    assert notice == Notice(name="statementReady", event_type=None, event_id=EVENT_ID)


def test_a_long_unknown_name_is_cut() -> None:
    """The sender's word for an unknown event is kept printable and within 64 characters."""
    notice = read_ledgersync(ledgersync(eventType="a\x00b\n" + "c" * 500), {})
    assert notice.name == "ab" + "c" * 62


def test_accounts_are_named_once() -> None:
    """An account that is listed twice is one account; an empty list names none."""
    twice = read_ledgersync(ledgersync(payload={"accounts": [7, "7", 8]}), {})
    assert twice.account_refs == ("7", "8")
    assert read_ledgersync(ledgersync(payload={"accounts": []}), {}).account_refs == ()


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"eventType": None}, "eventType"),
        ({"eventType": 5}, "eventType"),
        ({"eventType": " \t"}, "eventType"),
        ({"eventId": None}, "eventId"),
        ({"eventId": "  "}, "eventId"),
        ({"eventId": "a\x00b"}, "eventId"),
        ({"eventId": "a" * 201}, "eventId"),
        ({"eventId": 17}, "eventId"),
        ({"timestamp": None}, "timestamp"),
        ({"timestamp": "yesterday"}, "timestamp"),
        ({"timestamp": 1721048827}, "timestamp"),
        ({"timestamp": "0001-01-01T00:00:00+14:00"}, "timestamp"),
        ({"payload": None}, "payload.accounts"),
        ({"payload": [1]}, "payload.accounts"),
        ({"payload": "[1]"}, "payload.accounts"),
        ({"payload": {"accounts": "[" * 100_000}}, "payload.accounts"),
        ({"payload": {}}, "payload.accounts"),
        ({"payload": {"accounts": 5}}, "payload.accounts"),
        ({"payload": {"accounts": "1542, 1367"}}, "payload.accounts"),
        ({"payload": {"accounts": "{}"}}, "payload.accounts"),
        ({"payload": {"accounts": [1.5]}}, "payload.accounts"),
        ({"payload": {"accounts": [True]}}, "payload.accounts"),
        ({"payload": {"accounts": [None]}}, "payload.accounts"),
        ({"payload": {"accounts": [[1]]}}, "payload.accounts"),
        ({"payload": {"accounts": [""]}}, "payload.accounts"),
        ({"payload": {"accounts": ["a\x00"]}}, "payload.accounts"),
        ({"payload": {"accounts": ["9" * 65]}}, "payload.accounts"),
        ({"payload": {"accounts": [10**64]}}, "payload.accounts"),
        ({"payload": {"accounts": list(range(1_001))}}, "payload.accounts"),
    ],
)
def test_a_bad_field_is_named(change: dict[str, object], field: str) -> None:
    """A missing or unreadable field is refused by name, with what was expected and a short piece of what came."""
    error = refused(read_ledgersync, ledgersync(**change))
    assert error.field == field
    assert f"expected {field}" in str(error)
    assert len(str(error)) < 200


def test_a_thousand_accounts_are_read() -> None:
    """A thousand different ids of 64 characters are within bounds."""
    refs = [f"{n:064}" for n in range(1_000)]
    assert read_ledgersync(ledgersync(payload={"accounts": refs}), {}).account_refs == tuple(refs)


# JSON from strangers

BAD_BODIES = {
    "empty": b"",
    "text": b"hello",
    "form": b"eventType=accountAdded&eventId=1",
    "array": b"[1, 2]",
    "string": b'"accountAdded"',
    "null": b"null",
    "number": b"17",
    "cut": PRINTED[:-1],
    "two": ledgersync() * 2,
    "leading comma": b'{, "eventType": "x"}',
    "two commas": b'{"eventType": "accountAdded",, "eventId": "1"}',
    "invalid UTF-8": ledgersync().replace(b"accountAdded", b"account\xffAdded"),
    "lone surrogate": b'{"eventType": "\\ud800"}',
    "byte order mark": b"\xef\xbb\xbf" + ledgersync(),
    "UTF-16": ledgersync().decode().encode("utf-16"),
    "NUL": b"\x00" * 100,
    "NaN": b'{"eventType": NaN}',
    "huge exponent": b'{"eventType": 1e999999999}',
    "huge integer": b'{"eventType": ' + b"9" * 200_000 + b"}",
    "huge float": b'{"eventType": 1e300}',
    "deep arrays": b"[" * 100_000 + b"]" * 100_000,
    "deep objects": b'{"a":' * 40_000 + b"1" + b"}" * 40_000,
    "open string": b'{"eventType": "' + b"\\" * 100_001,
    "only commas": b"," * 250_000,
    "commas and brackets": b"[" + b",]" * 100_000,
    "blanks after a comma": b'{"a": 1,' + b" " * 250_000,
}


@pytest.mark.parametrize("read", DIALECTS.values(), ids=DIALECTS)
@pytest.mark.parametrize("name", BAD_BODIES)
def test_what_is_no_event_is_refused(read: Callable[[bytes, dict[str, str]], Notice], name: str) -> None:
    """Whatever is no JSON object is refused within a moment, and the refusal repeats little of it."""
    began = time.process_time()
    assert len(str(refused(read, BAD_BODIES[name]))) < 400
    assert time.process_time() - began < 1.0


def test_the_last_of_equal_keys_counts() -> None:
    """Equal keys are no error; the last one counts."""
    body = ledgersync().replace(b'{"eventType"', b'{"eventType": "mfaUpdated", "eventType"', 1)
    assert read_ledgersync(body, {}).event_type is EventType.ACCOUNT_ADDED


def test_the_scanner_example_runs() -> None:
    """The example in the scanner's docstring is right."""
    ran = doctest.testmod(reading)
    assert (ran.failed, ran.attempted > 0) == (0, True)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (b"[1,]", b"[1]"),
        (b"[1, \t\r\n ]", b"[1 \t\r\n ]"),
        (b'{"a": "x,]", "b": ",}",}', b'{"a": "x,]", "b": ",}"}'),
        (b'["\\",]", 1,]', b'["\\",]", 1]'),
        (b'["\\\\",]', b'["\\\\"]'),
        (b"[1, 2]", b"[1, 2]"),
        (b"[[1,],]", b"[[1]]"),
        (b"[1,,]", b"[1,]"),
        (b'["abc', b'["abc'),
        (b'["abc\\', b'["abc\\'),
    ],
)
def test_only_trailing_commas_go(text: bytes, expected: bytes) -> None:
    """A comma before a closing bracket goes; nothing within a string, and nothing else, is touched."""
    assert drop_trailing_commas(text) == expected


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=12),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)
KEYS = ("eventType", "eventId", "timestamp", "payload", "customerId", "event", "webhookData")
INNER_KEYS = (
    "accounts",
    "institutionLoginId",
    "accountIds",
    "customerId",
    "class",
    "type",
    "records",
    "id",
    "accountId",
)
INNER = st.dictionaries(st.sampled_from(INNER_KEYS), VALUES | st.sampled_from(["account", "transaction", "[1,]"]))
WORDS = st.sampled_from([*EventType, "added", "credentialsUpdated", "accountsDeleted", "ping", "done"])
EVENTS = st.dictionaries(st.sampled_from(KEYS), VALUES | INNER | WORDS | st.just("2024-07-15 13:07:07.727"))


def read_or_refuse(body: bytes) -> None:
    """Read a body in every dialect; only BadRequest may come of it, and every text must be one that can be stored."""
    for read in DIALECTS.values():
        try:
            notice = read(body, {})
        except BadRequest:
            continue
        texts = (notice.name, notice.event_id or "x", notice.customer_ref or "x")
        assert all(text and text.isprintable() for text in (*texts, *notice.login_refs, *notice.account_refs))
        assert len(notice.account_refs) <= 1_000


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=200))
def test_bytes_never_break_a_dialect(body: bytes) -> None:
    """Random bytes are refused, never an error of ours."""
    read_or_refuse(body)


@settings(max_examples=300, deadline=None)
@given(EVENTS)
def test_shapes_never_break_a_dialect(event: dict[str, object]) -> None:
    """Events with the right keys and any values are read or refused, never an error of ours."""
    read_or_refuse(json.dumps(event).encode())


@settings(max_examples=300, deadline=None)
@given(st.integers(0, len(PRINTED) - 1), st.binary(max_size=3))
def test_damage_never_breaks_a_dialect(at: int, patch: bytes) -> None:
    """The printed example with any few bytes replaced is read or refused, never an error of ours."""
    read_or_refuse(PRINTED[:at] + patch + PRINTED[at + 1 :])


@settings(max_examples=200, deadline=None)
@given(VALUES)
def test_dropping_commas_changes_no_clean_json(value: object) -> None:
    """JSON without trailing commas passes the scanner unchanged, whatever its strings hold."""
    for text in (
        json.dumps(value).encode(),
        json.dumps([value, {"a": value}], indent=1, ensure_ascii=False).encode("utf-8", "replace"),
    ):
        assert drop_trailing_commas(text) == text


# Finicity

ACCOUNT = {
    "id": "5053253032",
    "number": "2000004444",
    "name": "Super Checking",
    "balance": 401.26,
    "type": "checking",
    "status": "active",
    "customerId": "5025024821",
    "institutionId": "102105",
    "createdDate": 1607450357,
    "currency": "USD",
    "institutionLoginId": 1007302745,
    "displayPosition": 1,
}


def test_added_names_the_login_and_its_accounts() -> None:
    """Accounts that were saved in the widget are an accountAdded of their login."""
    second = {**ACCOUNT, "id": 5053253033}
    notice = read_finicity(finicity("added", {"institutionId": "102105", "accounts": [ACCOUNT, second]}), {})
    assert notice == Notice(
        name="added",
        event_type=EventType.ACCOUNT_ADDED,
        event_id="1688829092668-518e7b2cd7948bcdb968c433",
        customer_ref="5025024821",
        login_refs=("1007302745",),
        account_refs=("5053253032", "5053253033"),
    )


def test_an_absent_customer_is_taken_from_the_accounts() -> None:
    """Where the envelope names no customer, that of the accounts counts."""
    assert read_finicity(finicity("added", {"accounts": [ACCOUNT]}, customerId=None), {}).customer_ref == "5025024821"


def test_accounts_of_two_customers_are_refused() -> None:
    """An event that speaks of two customers is refused: it cannot be told whose it is."""
    other = {**ACCOUNT, "customerId": "1"}
    assert refused(read_finicity, finicity("added", {"accounts": [ACCOUNT, other]})).field == "customerId"


@pytest.mark.parametrize("accounts", [["5053253032", 5053253033], [{"id": "5053253032"}, {"id": 5053253033}]])
def test_deleted_accounts_are_named(accounts: object) -> None:
    """Accounts that were removed in the widget are a bankAccountDeleted, given as ids or as objects."""
    notice = read_finicity(finicity("accountsDeleted", {"institutionId": 1, "accounts": accounts}), {})
    assert notice.event_type is EventType.BANK_ACCOUNT_DELETED
    assert notice.account_refs == ("5053253032", "5053253033")


@pytest.mark.parametrize(
    ("payload", "logins", "accounts"),
    [
        (None, (), ()),
        ({"mfa": True}, (), ()),
        ({"institutionLoginId": 1007302745}, ("1007302745",), ()),
        ({"accounts": [ACCOUNT]}, ("1007302745",), ("5053253032",)),
    ],
)
def test_new_credentials_name_what_they_can(
    payload: object, logins: tuple[str, ...], accounts: tuple[str, ...]
) -> None:
    """Updated credentials are an mfaUpdated of the login or accounts they name, else of the customer."""
    notice = read_finicity(finicity("credentialsUpdated", payload), {})
    assert notice.event_type is EventType.MFA_UPDATED
    assert (notice.customer_ref, notice.login_refs, notice.account_refs) == ("5025024821", logins, accounts)


@pytest.mark.parametrize(
    "payload",
    [
        {"institutionLoginId": "1007302745", "accountIds": ["5053253032"], "status": "COMPLETED"},
        {"accounts": [{"accountId": "5053253032", "institutionLoginId": 1007302745}]},
    ],
)
def test_a_finished_refresh_is_a_refresh(payload: object) -> None:
    """The notice of a finished data refresh is a transactionsRefreshed of the accounts it lists."""
    notice = read_finicity(finicity("data-refresh.transaction.status-changed", payload), {})
    assert notice.event_type is EventType.TRANSACTIONS_REFRESHED
    assert (notice.login_refs, notice.account_refs) == (("1007302745",), ("5053253032",))


@pytest.mark.parametrize(
    ("kind", "record", "logins"),
    [
        ("transaction", {"id": 7, "accountId": 5053253032, "customerId": 5025024821, "amount": -1.5}, ()),
        ("account", ACCOUNT, ("1007302745",)),
    ],
)
def test_txpush_is_a_refresh(kind: str, record: dict[str, object], logins: tuple[str, ...]) -> None:
    """Pushed accounts and transactions are a transactionsRefreshed without an event id: each one counts."""
    body = json.dumps({"event": {"class": kind, "type": "created", "records": [record, record]}}).encode()
    assert read_finicity(body, {}) == Notice(
        name=f"txpush.{kind}",
        event_type=EventType.TRANSACTIONS_REFRESHED,
        customer_ref="5025024821",
        login_refs=logins,
        account_refs=("5053253032",),
    )


def test_a_txpush_of_another_class_is_kept_by_name() -> None:
    """A TxPUSH class that nobody documents is no error."""
    notice = read_finicity(b'{"event": {"class": "statement", "type": "created", "records": 3}}', {})
    assert notice == Notice(name="txpush.statement", event_type=None)


def test_a_ping_wants_only_an_answer() -> None:
    """A ping is read without id or customer."""
    assert read_finicity(b'{"eventType":"ping","payload":{}}', {}) == Notice(name="ping", event_type=None, is_ping=True)


@pytest.mark.parametrize("name", ["started", "adding", "discovered", "unableToConnect", "institutionNotFound", "done"])
def test_other_events_are_kept_by_name(name: str) -> None:
    """The widget's other events are known by name and lead to nothing."""
    notice = read_finicity(finicity(name, {"code": 103}), {})
    assert (notice.name, notice.event_type, notice.customer_ref) == (name, None, "5025024821")


@pytest.mark.parametrize(
    ("body", "field"),
    [
        (finicity("added", {"accounts": [ACCOUNT]}, eventId=None), "eventId"),
        (finicity("done", eventId=None), "eventId"),
        (finicity("added"), "payload.accounts"),
        (finicity("added", {"accounts": "5"}), "payload.accounts"),
        (finicity("added", {"accounts": [{"name": "x"}]}), "payload.accounts"),
        (finicity("added", "x"), "payload"),
        (finicity("added", {"accounts": [{**ACCOUNT, "institutionLoginId": 1.5}]}), "institutionLoginId"),
        (finicity("credentialsUpdated", customerId=None), "customerId"),
        (finicity("credentialsUpdated", customerId=["5"]), "customerId"),
        (b"{}", "eventType"),
        (b'{"event": 5}', "event"),
        (b'{"event": {}}', "class"),
        (b'{"event": {"class": "account"}}', "event.records"),
        (b'{"event": {"class": "account", "records": [5]}}', "event.records"),
        (b'{"event": {"class": "transaction", "records": [{"id": 5}]}}', "event.records"),
    ],
)
def test_a_bad_finicity_field_is_named(body: bytes, field: str) -> None:
    """A missing or unreadable field of a Finicity event is refused by name."""
    error = refused(read_finicity, body)
    assert error.field == field
    assert len(str(error)) < 200


# Plaid


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("TRANSACTIONS.SYNC_UPDATES_AVAILABLE", EventType.TRANSACTIONS_REFRESHED),
        ("TRANSACTIONS.TRANSACTIONS_REMOVED", EventType.TRANSACTIONS_REFRESHED),
        ("ITEM.ERROR", EventType.TRANSACTIONS_REFRESHED),
        ("ITEM.LOGIN_REPAIRED", EventType.MFA_UPDATED),
        ("ITEM.NEW_ACCOUNTS_AVAILABLE", EventType.ACCOUNT_ADDED),
        ("ITEM.USER_PERMISSION_REVOKED", EventType.BANK_ACCOUNT_DELETED),
    ],
)
def test_plaid_names_the_login(name: str, kind: EventType) -> None:
    """A Plaid webhook becomes one of the four kinds and names the item; it has no id, so that each one counts."""
    webhook_type, _, code = name.partition(".")
    body = json.dumps(
        {"webhook_type": webhook_type, "webhook_code": code, "item_id": "wz666", "environment": "production"}
    )
    assert read_plaid(body.encode(), {}) == Notice(name=name, event_type=kind, login_refs=("wz666",))


def test_plaid_names_the_account_that_was_revoked() -> None:
    """Where one account was withdrawn, it is named beside its item."""
    body = b'{"webhook_type":"ITEM","webhook_code":"USER_ACCOUNT_REVOKED","item_id":"wz666","account_id":"BxBXx"}'
    notice = read_plaid(body, {})
    assert (notice.login_refs, notice.account_refs) == (("wz666",), ("BxBXx",))


@pytest.mark.parametrize(
    ("webhook_type", "code"), [("ITEM", "PENDING_EXPIRATION"), ("AUTH", "AUTOMATICALLY_VERIFIED"), ("X" * 99, "Y" * 99)]
)
def test_plaids_other_words_are_kept(webhook_type: str, code: str) -> None:
    """What is none of the four kinds needs no item and keeps its name, cut where it is long."""
    notice = read_plaid(json.dumps({"webhook_type": webhook_type, "webhook_code": code}).encode(), {})
    assert (notice.event_type, notice.name) == (None, f"{webhook_type[:64]}.{code[:64]}"[:64])


@pytest.mark.parametrize("field", ["webhook_type", "webhook_code", "item_id"])
def test_plaids_missing_fields_are_named(field: str) -> None:
    """A webhook that lacks what it needs is refused by the name of the field."""
    event = {"webhook_type": "ITEM", "webhook_code": "ERROR", "item_id": "wz666"}
    del event[field]
    assert refused(read_plaid, json.dumps(event).encode()).field == field
