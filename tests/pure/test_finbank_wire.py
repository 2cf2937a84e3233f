"""What Finbank puts on the wire: exact money, the two dialects, tokens and settings."""

import hashlib
import hmac
import json
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from uuid import UUID

import pytest

from bankfeed.errors import SettingsError
from bankfeed.sandbox.accounts import Account, AccountKind
from bankfeed.sandbox.clock import Pace, start_clock, utc
from bankfeed.sandbox.dialects import Stamp, finicity_letters, ledgersync_letters, txpush_letters
from bankfeed.sandbox.faults import Faults
from bankfeed.sandbox.institutions import search
from bankfeed.sandbox.lives import Sighting, Status
from bankfeed.sandbox.merchants import MERCHANTS
from bankfeed.sandbox.news import News, NewsKind, RowChanges
from bankfeed.sandbox.refusals import Refusal
from bankfeed.sandbox.settings import CardSign, FinbankSettings, read_settings
from bankfeed.sandbox.tokens import Access
from bankfeed.sandbox.wire import ENCODER, transaction_json

AT = datetime(2026, 3, 2, 13, 7, 7, 727_000, tzinfo=UTC)
STAMP = Stamp(at=AT, new_uuid=lambda: UUID("12345678-1234-5678-1234-567812345678"))
NEWS = News(kind=NewsKind.ADDED, customer_id=1, institution_id=101732, login_id=5, account_ids=(7, 8))
NEEDED = {
    "BANKFEED_FINBANK_DATA": "/tmp/finbank",  # noqa: S108  a path that is not opened
    "BANKFEED_FINBANK_PARTNER_SECRET": "partner-secret",
    "BANKFEED_FINBANK_APP_KEY": "app-key",
    "BANKFEED_FINBANK_CONTROL_TOKEN": "control",
}


CARD = Account(
    id=7,
    login_id=5,
    customer_id=1,
    institution_id=101732,
    kind=AccountKind.CARD,
    login_key="1/101732/demo",
    time_zone="America/Denver",
    position=1,
    linked_at=AT,
    opened_on=date(2026, 1, 1),
    served_from_on=date(2026, 1, 1),
)


def written(amount: str, sign: CardSign = CardSign.NEGATIVE) -> bytes:
    row = Sighting(
        id=1, status=Status.ACTIVE, amount=Decimal(amount), dated_at=AT, description="CORNER CAFE", starts_at=AT
    )
    return ENCODER.encode(transaction_json(CARD, row, linked_at=AT, card_sign=sign))


@pytest.mark.parametrize("amount", ["-12.50", "0.10", "-0.01", "12345678901234567.89", "100.00"])
def test_amounts_are_written_digit_by_digit(amount: str) -> None:
    """An amount is a JSON number with exactly the digits of the Decimal, beyond what a float holds."""
    assert f'"amount":{amount},'.encode() in written(amount)
    assert json.loads(written(amount), parse_float=Decimal)["amount"] == Decimal(amount)


def test_card_purchases_take_either_sign() -> None:
    """The sign of card rows on the wire is a setting, since the sources conflict."""
    assert b'"amount":-12.50,' in written("-12.50")
    assert b'"amount":12.50,' in written("-12.50", CardSign.POSITIVE)


def test_absent_fields_are_left_out() -> None:
    """A row without memo and check number has no such keys, and a pending one no posting date."""
    assert {"memo", "checkNum", "postedDate"} & json.loads(written("1.00")).keys() == set()


def test_ledgersync_event_is_as_documented() -> None:
    """The event has the document's quirks: ids in a string that holds a list, a time without a zone, no signature."""
    (letter,) = ledgersync_letters(NEWS, STAMP)
    assert json.loads(letter.body) == {
        "eventType": "accountAdded",
        "eventId": "12345678-1234-5678-1234-567812345678",
        "timestamp": "2026-03-02 13:07:07.727",
        "payload": {"accounts": "[7, 8]"},
    }
    assert letter.headers == {"Content-Type": "application/json"}


def test_finicity_event_is_signed_over_its_bytes() -> None:
    """Each event carries the hex HMAC of its raw body, and an id of epoch milliseconds and 24 hex digits."""
    letters = list(finicity_letters(NEWS, STAMP, secret="s"))
    assert [letter.name for letter in letters] == ["added", "done"]
    for letter in letters:
        mac = hmac.new(b"s", letter.body, hashlib.sha256).hexdigest()
        assert letter.headers["X-Finicity-Signature"] == mac
    assert json.loads(letters[0].body)["eventId"] == "1772456827727-123456781234567812345678"


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        (NewsKind.FIXED, "credentialsUpdated"),
        (NewsKind.DELETED, "accountsDeleted"),
        (NewsKind.REFRESHED, "data-refresh.transaction.status-changed"),
    ],
)
def test_each_news_has_its_finicity_event(kind: NewsKind, name: str) -> None:
    """The LedgerSync kinds map to the events of the Connect family."""
    news = News(kind=kind, customer_id=1, institution_id=101732, login_id=5, account_ids=(7, 8))
    assert next(finicity_letters(news, STAMP, secret="s")).name == name


@pytest.mark.parametrize("is_oauth", [True, False])
def test_finbank_says_how_accounts_were_added(is_oauth: bool) -> None:  # noqa: FBT001 - a case, not a switch
    """The event of added accounts says whether it was by consent."""
    letters = finicity_letters(replace(NEWS, is_oauth=is_oauth), STAMP, secret="s")
    assert is_oauth == json.loads(next(letters).body)["payload"]["oauth"]


def test_deleted_accounts_are_named_as_text() -> None:
    """The accountsDeleted event lists ids as strings."""
    news = News(kind=NewsKind.DELETED, customer_id=1, institution_id=101732, login_id=5, account_ids=(7,))
    payload = json.loads(next(finicity_letters(news, STAMP, secret="s")).body)["payload"]
    assert payload == {"accounts": ["7"], "institutionId": "101732"}


def test_txpush_sends_one_event_for_each_kind_of_change() -> None:
    """Rows that came, changed or went travel as records of created, modified and deleted events."""
    changes = RowChanges(created=({"id": 1, "amount": Decimal("1.10")},), deleted=({"id": 2},))
    news = News(kind=NewsKind.REFRESHED, customer_id=1, institution_id=2, login_id=5, account_ids=(7,), changes=changes)
    bodies = [letter.body for letter in txpush_letters(news, secret="s")]
    assert bodies == [
        b'{"event":{"class":"transaction","type":"created","records":[{"id":1,"amount":1.10}]}}',
        b'{"event":{"class":"transaction","type":"deleted","records":[{"id":2}]}}',
    ]


def refused(call: Callable[[], object]) -> tuple[int, int]:
    with pytest.raises(Refusal) as caught:
        call()
    return caught.value.status, caught.value.code


def access() -> Access:
    return Access(partner_id="p", partner_secret="s", app_key="k")


def test_token_lives_two_hours() -> None:
    """A token is taken until two hours after it was issued, also by a Finbank that was restarted."""
    token = access().issue("p", "s", now_ms=1_000)
    access().check_token(token, now_ms=1_000 + 7_199_999)
    assert refused(lambda: access().check_token(token, now_ms=1_000 + 7_200_000)) == (401, 10023)


@pytest.mark.parametrize(("token", "code"), [(None, 10024), ("", 10024), ("x", 10022), ("3e8-ab", 10022)])
def test_bad_tokens_are_told_apart(token: str | None, code: int) -> None:
    """A missing token and a wrong one have different codes."""
    assert refused(lambda: access().check_token(token, now_ms=0)) == (401, code)


def test_five_wrong_tries_lock_the_partner() -> None:
    """After five wrong credentials even the right ones and every token are refused, until somebody unlocks."""
    locked = access()
    token = locked.issue("p", "s", now_ms=0)
    for _ in range(5):
        assert refused(lambda: locked.issue("p", "wrong", now_ms=0)) == (401, 10001)
    assert refused(lambda: locked.issue("p", "s", now_ms=0)) == (401, 24302)
    assert refused(lambda: locked.check_token(token, now_ms=0)) == (401, 24302)


def test_cut_list_breaks_off_after_half_a_page() -> None:
    """A cut list shows half of its first page, refuses the second, and is whole again after that."""
    faults = Faults(cut_times=1)
    assert faults.cut(7, start=1, rows=25) == 12
    assert refused(lambda: faults.cut(7, start=26, rows=25)) == (500, 500)
    assert faults.cut(7, start=1, rows=25) is None


def test_failures_are_counted_and_kept_to_their_path() -> None:
    """Told failures happen on the paths that they are told for, as often as told."""
    faults = Faults(fail_times=1, fail_status=503, fail_code=0, fail_path="/transactions")
    faults.refuse("/aggregation/v1/customers/1/accounts")
    assert refused(lambda: faults.refuse("/v4/customers/1/accounts/2/transactions")) == (503, 0)
    faults.refuse("/v4/customers/1/accounts/2/transactions")


def test_search_finds_by_words() -> None:
    """A search finds institutions that hold all its words, whatever the case; the first FinBank is 101732."""
    assert next(i.id for i in search("finbank")) == 101732
    assert len(search("FINBANK")) >= 4
    assert [i.name for i in search("west finbank")] == ["FinBank West"]
    assert search("no such bank") == ()


def test_merchants_are_plausible() -> None:
    """There are some sixty shops, each once, with amounts that make sense."""
    assert len(MERCHANTS) >= 55
    assert len({m.name for m in MERCHANTS}) == len(MERCHANTS)
    assert all(0 < m.low < m.high for m in MERCHANTS)


def test_settings_have_defaults() -> None:
    """Four settings are needed; the rest have defaults, and secrets are not printed."""
    settings = read_settings(NEEDED | {"HOME": "/root"})
    assert settings == FinbankSettings(
        data=Path("/tmp/finbank"),  # noqa: S108  a path that is not opened
        partner_secret="partner-secret",
        app_key="app-key",
        control_token="control",
    )
    assert "partner-secret" not in repr(settings)


def test_every_setting_is_read() -> None:
    """Each setting reads its own text."""
    given = {
        "CLOCK": "manual",
        "START": "2026-03-01T06:00:00Z",
        "PORT": "0",
        "DAY_S": "0.5",
        "SHARES": "calm",
        "SLOW_S": "2",
    }
    settings = read_settings(NEEDED | {f"BANKFEED_FINBANK_{name}": text for name, text in given.items()})
    assert (settings.clock, settings.port, settings.day_s, settings.slow_s) == (Pace.MANUAL, 0, 0.5, 2.0)
    assert settings.start_at == datetime(2026, 3, 1, 6, tzinfo=UTC)


def test_all_problems_are_reported_at_once() -> None:
    """Missing, unknown and unreadable settings are named together, with what was expected."""
    with pytest.raises(SettingsError) as caught:
        read_settings(
            {
                "BANKFEED_FINBANK_PORT": "eighty",
                "BANKFEED_FINBANK_PROT": "80",
                "BANKFEED_FINBANK_DIALECT": "finicity",
                "BANKFEED_FINBANK_APP_KEY": " ",
            }
        )
    lines = str(caught.value).splitlines()
    assert "expected BANKFEED_FINBANK_PORT to be an integer from 0 to 65535, got 'eighty'" in lines
    assert "expected one of Finbank's settings, got BANKFEED_FINBANK_PROT" in lines
    assert "expected BANKFEED_FINBANK_FINICITY_URL to be set" in lines
    assert "expected BANKFEED_FINBANK_APP_KEY to be text, got ***" in lines
    assert len(lines) == 7


def test_manual_clock_moves_by_acts_and_hand_only() -> None:
    """Manual time stands still, ticks a second for each act, and never goes back."""
    clock = start_clock(Pace.MANUAL, day_s=20, start_at=utc("2026-03-01T06:00:00Z"), kept_at=None)
    first, second = clock.tick(), clock.tick()
    assert (second - first).total_seconds() == 1
    assert clock.now() == second
    clock.move_to(utc("2026-03-01T06:00:00Z"))
    assert clock.now() == second


def test_fast_clock_knows_how_long_a_night_is_away() -> None:
    """At a bank day every 20 seconds, a quarter of a day is five seconds away."""
    clock = start_clock(Pace.FAST, day_s=20, start_at=utc("2026-03-01T00:00:00Z"), kept_at=None)
    wait_s = clock.wait_s(utc("2026-03-01T06:00:00Z"))
    assert wait_s is not None
    assert 4.5 < wait_s <= 5


def test_clock_goes_on_where_it_was() -> None:
    """After a restart fast and manual time go on from where they were written down."""
    kept_at = utc("2031-01-01T00:00:00Z")
    for pace in (Pace.FAST, Pace.MANUAL, Pace.REAL):
        assert start_clock(pace, day_s=86_400, start_at=None, kept_at=kept_at).now() >= kept_at


@pytest.mark.parametrize("text", ["yesterday", "2026-03-01T06:00:00"])
def test_instants_need_a_zone(text: str) -> None:
    """Text that is no instant, or has no zone, is refused."""
    with pytest.raises(ValueError, match=r"expected an instant|Invalid isoformat"):
        utc(text)
