"""What the console's page of all banks shows, and to whom."""

import asyncio
import re
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

import pytest

from bankfeed.db.customer import insert_customer
from ingress.console.door import COOKIE
from ingress.console.words import write_amount
from tests.ingress.visitor import Visitor, add_user, said
from tests.seed import make_tenant

# ------------------------------------------------------------------------------------------------------ who sees what


async def test_home_leads_where_one_can_go(visitor: Visitor) -> None:
    """The bare address leads to the page, or to the form where nobody is signed in."""
    token = await visitor.begin_session()
    assert "/sign-in" == (await visitor.get("/")).headers["Location"]
    assert "/console" == (await visitor.get("/", token)).headers["Location"]
    assert "/console" == (await visitor.get("/sign-in", token)).headers["Location"]


@pytest.mark.parametrize("cookie", ["", "made-up", "%00", "\u00e9"])
async def test_without_a_session_nothing_is_shown(visitor: Visitor, cookie: str) -> None:
    """No token or a made-up one opens nothing."""
    await visitor.add_row(await visitor.add_account(), "-20")
    page = await visitor.get("/console", cookie)
    assert (303, "/sign-in") == (page.status, page.headers["Location"])
    rows = await visitor.get("/console/rows", cookie)
    assert 401 == rows.status
    assert "COFFEE" not in page.text + rows.text


async def test_a_cookie_that_is_no_text_is_none(visitor: Visitor) -> None:
    """Bytes that no browser sends are a made-up token and no bug."""
    port = visitor.door.ingress.settings.port
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    cookie = COOKIE.encode() + b"=\xff\xfe"
    writer.write(b"GET /console/rows HTTP/1.1\r\nHost: a\r\nConnection: close\r\nCookie: " + cookie + b"\r\n\r\n")
    answer = await reader.read()
    writer.close()
    await writer.wait_closed()
    assert b"HTTP/1.1 401 Unauthorized" == answer.partition(b"\r\n")[0]


async def test_an_expired_session_is_none(visitor: Visitor) -> None:
    """A session ends by Postgres' clock."""
    token = await visitor.begin_session(lasts=timedelta(seconds=-1))
    assert 303 == (await visitor.get("/console", token)).status
    assert 401 == (await visitor.get("/console/rows", token)).status


async def test_a_customer_sees_its_own_rows_only(visitor: Visitor) -> None:
    """Each customer's page has its own banks, accounts and movements and nothing of another's."""
    other = await make_tenant(visitor.database, visitor.sources)
    await add_user(visitor.database, other, "eve@other.example")
    await visitor.add_row(await visitor.add_account(name="Ours"), "-1", description="OUR COFFEE")
    theirs = await visitor.add_account(other, name="Theirs")
    await visitor.add_row(theirs, "-2", other, description="THEIR COFFEE")
    mine = await visitor.get("/console", await visitor.begin_session())
    hers = await visitor.get("/console", await visitor.begin_session(other))
    for page, shown, kept_back in ((mine, "OUR", "THEIR"), (hers, "THEIR", "OUR")):
        assert f"{shown} COFFEE" in page.text
        assert f"{shown.title()}s" in page.text
        assert f"{kept_back} COFFEE" not in page.text
        assert 1 == len(page.rows)


# --------------------------------------------------------------------------------------------------------- the page


async def test_before_a_bank_is_linked_the_page_says_so(visitor: Visitor) -> None:
    """An empty page says what will appear on it."""
    assert "No bank is linked yet" in (await visitor.look()).text


async def test_a_bank_being_linked_appears_before_its_accounts(visitor: Visitor) -> None:
    """A connection is shown from its first moment, and says that the first update has not finished."""
    await visitor.add_connection(status_code=None, last_refresh_at=None, requested=1)
    text = said((await visitor.look()).text)
    assert "New bank linking The first update from the bank has not finished yet." in text
    assert "not updated yet; an update is under way" in text


async def test_rows_are_shown_with_state_and_exact_amount(visitor: Visitor) -> None:
    """Each movement is there with its date, words, account, state and amount, newest first."""
    account = await visitor.add_account(balance=Decimal("1234567.8"), balance_on=date(2026, 3, 2))
    await visitor.add_row(account, "-20", state="pending")
    await visitor.add_row(account, "1500.5", description="PAYROLL", transacted_on=date(2026, 3, 1))
    page = await visitor.look()
    assert [
        ["2026-03-02", "COFFEE Checking 1234", "pending", "-20.00 USD"],
        ["2026-03-01", "PAYROLL Checking 1234", "active", "1500.50 USD"],
    ] == page.rows
    assert "Checking 1234 checking 1234567.80 USD" in said(page.text)


@pytest.mark.parametrize(
    ("currency", "amount", "shown"),
    [
        ("USD", "-20", "-20.00"),
        ("JPY", "500.00", "500"),
        ("KWD", "1.234", "1.234"),
        ("USD", "0", "0.00"),
        ("USD", "-0.005", "-0.005"),
        ("USD", "999999999999999999", "999999999999999999.00"),
        ("USD", "0.10000000000000000001", "0.10000000000000000001"),
    ],
)
async def test_amounts_lose_nothing(visitor: Visitor, currency: str, amount: str, shown: str) -> None:
    """An amount has its currency's decimals, and all of its own where the bank gave more."""
    await visitor.add_row(await visitor.add_account(currency=currency), amount)
    assert [f"{shown} {currency}"] == [row[3] for row in (await visitor.look()).rows]


def test_no_amount_is_written_with_an_exponent() -> None:
    """People do not read 1E+3."""
    assert ("1000.00", "1000", "0.0000001") == (
        write_amount(Decimal("1E+3"), "USD"),
        write_amount(Decimal("1E+3"), "JPY"),
        write_amount(Decimal("1E-7"), "USD"),
    )


async def test_a_hostile_text_stays_text(visitor: Visitor) -> None:
    """What a bank, a client or an aggregator writes is neither markup nor able to turn the text around it."""
    hostile = "<script>alert(1)</script> \u202eevil\" onload='x' &amp; {{ 7*7 }}"
    account = await visitor.add_account(name=hostile, number_display=hostile, type=hostile)
    await visitor.add_row(account, "-20", description=hostile)
    await visitor.superuser.execute("UPDATE clients SET name = $1", hostile)
    await visitor.superuser.execute("UPDATE customers SET name = $1", hostile)
    page = await visitor.look()
    assert "<script>" not in page.text
    assert "onload='" not in page.text
    assert f"{hostile} {hostile} {hostile}" == page.rows[0][1]
    assert page.text.count("\u202e") == len(re.findall(r"<bdi[^>]*>[^<]*\u202e", page.text)) + 2  # title; name + number
    assert "<title>&lt;script&gt;" in page.text


async def test_shadow_rows_follow_the_customers_rule(visitor: Visitor) -> None:
    """A customer who hides what the bank withdrew reads how many there are; one who does not sees them."""
    account = await visitor.add_account()
    await visitor.add_row(account, "-45.10", state="shadow", description="WITHDRAWN")
    await visitor.add_row(account, "-20")
    for policy, listed in (("hide", 1), ("show", 2), ("confirm", 2), ("delete", 1)):
        await visitor.superuser.execute("UPDATE customers SET shadow_policy = $1", policy)
        page = await visitor.get("/console", await visitor.begin_session())
        assert listed == len(page.rows)
        assert (listed == 1) == ("1 withdrawn by the bank (hidden)" in page.text)
        assert (listed == 2) == ("WITHDRAWN" in page.text)


async def test_a_shadow_row_with_a_persons_act_stays(visitor: Visitor) -> None:
    """Whatever the customer chose, a withdrawn row that a person worked with is listed; one said to be gone is not."""
    account = await visitor.add_account()
    await visitor.add_row(account, "-45.10", state="shadow", description="RECONCILED", reconciled_at=datetime.now(UTC))
    await visitor.add_row(account, "-46.10", state="shadow", description="DID HAPPEN", shadow_verdict="rejected")
    await visitor.add_row(account, "-47.10", state="shadow", description="IS GONE", shadow_verdict="confirmed")
    for policy in ("hide", "confirm", "delete"):
        await visitor.superuser.execute("UPDATE customers SET shadow_policy = $1", policy)
        page = await visitor.get("/console", await visitor.begin_session())
        assert (True, True, False) == tuple(name in page.text for name in ("RECONCILED", "DID HAPPEN", "IS GONE"))


async def test_a_customer_is_made_with_its_rule_for_shadow_rows(visitor: Visitor) -> None:
    """A new customer hides shadow rows unless it asks for something else."""
    async with visitor.database.app() as conn:
        usual = await insert_customer(conn, name="Usual")
        assert "hide" == await conn.fetchval("SELECT shadow_policy::text FROM customers WHERE id = $1", usual)
        other = await insert_customer(conn, name="Other", shadow_policy="show")
        assert "show" == await conn.fetchval("SELECT shadow_policy::text FROM customers WHERE id = $1", other)


async def test_what_went_away_is_not_shown(visitor: Visitor) -> None:
    """Closed connections, closed and hidden accounts, deleted and merged rows are not there; a removed one is for a minute."""
    account = await visitor.add_account(name="Open")
    now = datetime.now(UTC)
    kept = await visitor.add_row(account, "-1", description="HOLD GIVEN UP", state="removed")
    await visitor.add_row(
        account, "-2", description="LONG GONE", state="removed", removed_at=now - timedelta(minutes=2)
    )
    await visitor.add_row(account, "-3", description="MERGED", state="removed", merged_into=kept)
    await visitor.add_row(account, "-4", description="DELETED", deleted_at=now)
    connection = await visitor.superuser.fetchval("SELECT id FROM connections")
    for name, columns in (("Closed", {"state": "closed", "closed_at": now}), ("Hidden", {"is_hidden": True})):
        await visitor.add_row(await visitor.add_account(connection_id=connection, name=name, **columns), "-5")
    ended = await visitor.add_connection(state="closed")
    await visitor.add_row(await visitor.add_account(connection_id=ended, name="Under a closed connection"), "-6")
    page = await visitor.look()
    assert [["HOLD GIVEN UP Open 1234", "removed"]] == [row[1:3] for row in page.rows]
    assert all(name not in page.text for name in ("Closed", "Hidden", "Under a closed"))


async def test_the_page_is_bounded(visitor: Visitor) -> None:
    """However much history there is, the newest hundred rows are shown, those of one day by their number."""
    account = await visitor.add_account()
    first = await visitor.add_row(account, "-1", transacted_on=date(2026, 3, 3))
    await visitor.superuser.execute(
        """
        INSERT INTO transactions (customer_id, client_id, account_id, state, amount, transacted_on, description, memo,
            check_number, kind, raw_amount, first_pulled_at, first_pull_id, first_rule, activated_at, first_change_no, change_no)
        SELECT customer_id, client_id, account_id, state, -n, '2026-03-02', 'ROW ' || n, '', '', '', '', now(), 1, '', now(),
               1, 1
        FROM transactions, generate_series(1, 300) n WHERE id = $1
        """,
        first,
    )
    shown = [row[1].removesuffix(" Checking 1234") for row in (await visitor.look()).rows]
    assert ["COFFEE", *(f"ROW {number}" for number in range(300, 201, -1))] == shown


async def test_the_rows_alone_are_the_pages_part(visitor: Visitor) -> None:
    """What the module reads again is the same part of the page, and stays the same while nothing changes."""
    await visitor.add_row(await visitor.add_account(), "-20")
    token = await visitor.begin_session()
    page = await visitor.get("/console", token)
    rows = await visitor.get("/console/rows", token)
    assert rows.text in page.text
    assert rows.text == (await visitor.get("/console/rows", token)).text
