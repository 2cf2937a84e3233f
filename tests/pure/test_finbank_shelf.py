"""What Finbank keeps for a short while, consents' addresses, and books from before."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from bankfeed.sandbox.accounts import AccountKind
from bankfeed.sandbox.book import FILE_NAME, Login, Pages, open_book, write_book
from bankfeed.sandbox.consents import Consent, Decision, checked_state, checked_uri
from bankfeed.sandbox.credentials import Manner
from bankfeed.sandbox.institutions import BY_ID, InstitutionStatus, Standing
from bankfeed.sandbox.refusals import Refusal
from bankfeed.sandbox.shelf import LIFE_S, MOST, MOST_OF_A_CUSTOMER, Shelf

AT = datetime(2026, 3, 1, 15, tzinfo=UTC)


def test_finbank_forgets_after_ten_minutes() -> None:
    """A thing is there until its time is over, and the next one kept sweeps it out."""
    now_s = 0.0
    shelf: Shelf[str] = Shelf(now_s=lambda: now_s)
    name = shelf.put(1, "question")
    now_s = LIFE_S - 1
    assert "question" == shelf.find(name)
    now_s = LIFE_S
    assert shelf.find(name) is None
    shelf.put(1, "another")
    assert 1 == len(shelf)


def test_finbank_sessions_are_not_guessed() -> None:
    """Every name is new, and long."""
    shelf: Shelf[int] = Shelf()
    names = {shelf.put(1, number) for number in range(MOST_OF_A_CUSTOMER)}
    assert MOST_OF_A_CUSTOMER == len(names)
    assert all(len(name) >= 43 for name in names)


def test_finbank_keeps_so_many_for_a_customer() -> None:
    """A customer's oldest thing makes room for its newest, and nobody else's does."""
    shelf: Shelf[int] = Shelf()
    others = shelf.put(2, 0)
    names = [shelf.put(1, number) for number in range(MOST_OF_A_CUSTOMER + 1)]
    assert shelf.find(names[0]) is None
    assert (1, MOST_OF_A_CUSTOMER, 0) == (shelf.find(names[1]), shelf.find(names[-1]), shelf.find(others))


def test_finbank_keeps_so_many_in_all() -> None:
    """However many customers there are, the shelf has an end."""
    shelf: Shelf[int] = Shelf()
    for customer_id in range(MOST + 5):
        shelf.put(customer_id, customer_id)
    assert MOST == len(shelf)


CONSENT = Consent(
    customer_id=1,
    institution_id=102176,
    redirect_uri="https://firm.example/back?client=7&empty=",
    state="a b&c",
    offered=(AccountKind.CHECKING,),
)


def test_finbank_way_back_keeps_what_was_there() -> None:
    """State and code join the query of the address; a decline brings an error and no code."""
    allowed = replace(CONSENT, decision=Decision.ALLOWED, code="c0de")
    assert "https://firm.example/back?client=7&empty=&state=a+b%26c&code=c0de" == allowed.way_back()
    declined = replace(CONSENT, decision=Decision.DECLINED)
    assert declined.way_back().endswith("&state=a+b%26c&error=access_denied")
    assert "https://firm.example" == declined.origin()


@pytest.mark.parametrize(
    "uri",
    [
        "javascript:alert(1)",
        "ftp://firm.example/",
        "//firm.example/back",
        "https://",
        "https://user@firm.example/",
        "https://firm.example/#part",
        "https://firm.example/a b",
        "https://firm.example;script-src *",
        "https://firm.example/\r\nSet-Cookie: a=b",
        "https://firm.example:99999/",
        "https://[::1/",
        "https://firm.example/" + "a" * 2048,
    ],
)
def test_finbank_sends_nobody_to_strange_addresses(uri: str) -> None:
    """An address that is no plain web page is refused, and not repeated."""
    with pytest.raises(Refusal) as caught:
        checked_uri(uri)
    assert (400, 10100, "Invalid parameter (redirectUri)") == (
        *(caught.value.status, caught.value.code, caught.value.message),
    )


def test_finbank_sends_back_to_web_pages() -> None:
    """Plain addresses and states come through as they are."""
    assert "http://127.0.0.1:8080/back?a=b" == checked_uri("http://127.0.0.1:8080/back?a=b")
    assert "s" * 512 == checked_state("s" * 512)
    with pytest.raises(Refusal):
        checked_state("s" * 513)


def test_finbank_opens_books_from_before(tmp_path: Path) -> None:
    """A login of a book without the newer fields is one that nobody asks anything."""
    (tmp_path / FILE_NAME).write_text(
        '{"last_id":6000000002,"logins":{"6000000002":{"id":6000000002,"customer_id":6000000001,"institution_id":101732,'
        '"username":"ann","linked_at":"2026-03-01T15:00:00Z","attempted_at":"2026-03-01T15:00:00Z",'
        '"succeeded_at":"2026-03-01T15:00:00Z"}}}'
    )
    pages = open_book(tmp_path)
    login = pages.logins[6000000002]
    assert (Manner.PLAIN, 0, "ann") == (login.manner, login.failing, login.username)
    assert {} == pages.institutions


def test_finbank_books_keep_manners_and_standings(tmp_path: Path) -> None:
    """What a book is given it gives back."""
    login = Login(
        id=5,
        customer_id=1,
        institution_id=2,
        username="~3f",
        linked_at=AT,
        attempted_at=AT,
        succeeded_at=AT,
        manner=Manner.TOKEN,
        credentials_code=125,
    )
    standing = Standing(status=InstitutionStatus.MIGRATING, until=AT, is_migrated=True)
    pages = Pages(logins={5: login}, institutions={101732: standing})
    write_book(pages, tmp_path)
    assert pages == open_book(tmp_path)


def test_finbank_migrations_end() -> None:
    """A migrating institution is online again once its time is over, and stays with OAuth."""
    standing = Standing(status=InstitutionStatus.MIGRATING, until=AT, is_migrated=True)
    before, after = (standing.of(BY_ID[101732], at=AT + timedelta(seconds=s)) for s in (-1, 0))
    assert ("migrating", AT, True) == (before.status, before.until, before.is_oauth)
    assert ("online", None, True) == (after.status, after.until, after.is_oauth)
