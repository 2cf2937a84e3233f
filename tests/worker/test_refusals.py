"""An aggregation code that comes inside an HTTP 500, instead of the accounts or beside them, with a real Finbank."""

from collections.abc import AsyncIterator
from typing import Any

import pytest
from structlog.testing import capture_logs

from bankfeed.db import bank_refresh
from bankfeed.health import ESCALATED_AFTER, UNKNOWN
from bankfeed.model import ConnectionId, EventType
from tests.finbank import Link
from tests.worker.conftest import Bench
from worker.bank_refresh import take_bank_refresh
from worker.refresh import take_refresh

NOBODY_LISTS, NO_PUBLIC_MEANING = 424242, 127
STANDING = "SELECT state::text, status_code, code_repeats, failures FROM connections"


@pytest.fixture
async def link(bench: Bench) -> AsyncIterator[Link]:
    """Three accounts of one login, linked and pulled."""
    link = await bench.link("checking", "savings", "creditCard")
    await bench.receive(EventType.ACCOUNT_ADDED, *link.accounts.values())
    await bench.work()
    yield link
    await bench.finbank.control("POST", "faults", failTimes=0)


async def refuse(bench: Bench, link: Link, *, status: int, code: int, at: str = "") -> None:
    """Let the aggregator refuse the next list of the login's accounts, or what `at` names."""
    path = at or f"institutionLogins/{link.login_id}"
    await bench.finbank.control("POST", "faults", failTimes=1, failStatus=status, failCode=code, failPath=path)


async def refresh(bench: Bench) -> list[Any]:
    """Refresh the connection once; return what the log says of codes that nobody explains."""
    await bench.superuser.execute("UPDATE connections SET requested = requested + 1, due_at = now()")
    await bench.superuser.execute("UPDATE institution_health SET blocked_until = '-infinity'")
    with capture_logs() as lines:
        assert await take_refresh(bench.context)
    return [line for line in lines if line["event"] == "connection.unexplained"]


async def standing(bench: Bench) -> tuple[Any, ...]:
    return tuple(await bench.superuser.fetchrow(STANDING))


async def is_left_to_the_night(bench: Bench) -> bool:
    """Tell whether nothing is due before the next cycle."""
    return bool(
        await bench.one(
            "SELECT handled = requested AND next_update_at > now() + interval '5 hours' AND lease_token IS NULL"
            " FROM connections"
        )
    ) and not await take_refresh(bench.context)


@pytest.mark.parametrize("code", [NOBODY_LISTS, NO_PUBLIC_MEANING])
async def test_an_unexplained_code_inside_a_500_waits_for_the_night_and_is_escalated(
    bench: Bench, link: Link, code: int
) -> None:
    """The data stays, the code is kept, nobody hammers the bank; the third in a row is told, once; a success forgets it."""
    before = [await bench.rows(each) for each in link.accounts.values()]
    updated_at = await bench.one("SELECT last_refresh_at FROM connections")
    for repeats in range(1, ESCALATED_AFTER + 2):
        await refuse(bench, link, status=500, code=code)
        told = await refresh(bench)
        assert (repeats == ESCALATED_AFTER) == bool(told)
        assert ("waiting", code, repeats, 0) == await standing(bench)
        assert await is_left_to_the_night(bench)
    assert before == [await bench.rows(each) for each in link.accounts.values()]
    assert updated_at == await bench.one("SELECT last_refresh_at FROM connections")
    assert 3 == await bench.one("SELECT count(*) FROM accounts WHERE state = 'open'")
    assert 0 == await bench.one("SELECT coalesce(sum(failures), 0) FROM institution_health")
    await refresh(bench)
    assert ("active", 0, 0, 0) == await standing(bench)


async def test_codes_in_the_list_and_inside_a_500_count_together(bench: Bench, link: Link) -> None:
    """It is one code, whichever way it comes; another one counts anew."""
    await refuse(bench, link, status=500, code=NOBODY_LISTS)
    await refresh(bench)
    await bench.finbank.control("POST", f"logins/{link.login_id}/break", code=NOBODY_LISTS)
    await bench.finbank.control("POST", "aggregate", loginId=link.login_id)
    await refresh(bench)
    await refuse(bench, link, status=500, code=NOBODY_LISTS)
    assert [ESCALATED_AFTER] == [line["refreshes"] for line in await refresh(bench)]
    await refuse(bench, link, status=500, code=NOBODY_LISTS + 1)
    await refresh(bench)
    assert ("waiting", NOBODY_LISTS + 1, 1, 0) == await standing(bench)


@pytest.mark.parametrize(
    ("code", "state"), [(103, "needs_person"), (185, "needs_person"), (977, "waiting"), (913, "unsupported")]
)
async def test_what_asking_again_does_not_mend_is_not_asked_again(
    bench: Bench, link: Link, code: int, state: str
) -> None:
    """A code that a person or we have to see to stands until the night, or until an event says more; nothing is closed."""
    await refuse(bench, link, status=500, code=code)
    await refresh(bench)
    assert (state, code, 1, 0) == await standing(bench)
    assert await is_left_to_the_night(bench)
    assert 3 == await bench.one("SELECT count(*) FROM accounts WHERE state = 'open'")
    await bench.receive(EventType.MFA_UPDATED, link.accounts["checking"])
    await bench.work()
    assert ("active", 0, 0, 0) == await standing(bench)


async def test_an_outage_is_tried_again_soon(bench: Bench, link: Link) -> None:
    """A listed code of the bank's that passes is kept too, and the work stays due."""
    await refuse(bench, link, status=500, code=102)
    await refresh(bench)
    assert ("waiting", 102, 0, 1) == await standing(bench)
    assert await bench.one("SELECT handled < requested AND due_at < now() + interval '1 minute' FROM connections")


@pytest.mark.parametrize(
    ("status", "code"), [(400, 10005), (404, 14006), (403, 403), (429, 3300001), (503, NOBODY_LISTS)]
)
async def test_an_apis_own_code_says_nothing_of_the_login(bench: Bench, link: Link, status: int, code: int) -> None:
    """The connection stands as it did, and the work stays due."""
    await refuse(bench, link, status=status, code=code)
    await refresh(bench)
    assert ("active", 0, 0, 1) == await standing(bench)
    assert await bench.one("SELECT handled < requested FROM connections")


def rows_of(link: Link, kind: str) -> str:
    return f"accounts/{link.accounts[kind]}/transactions"


@pytest.mark.parametrize(("code", "state"), [(103, "needs_person"), (948, "needs_person"), (NOBODY_LISTS, "waiting")])
async def test_a_code_instead_of_one_accounts_transactions_is_the_logins(
    bench: Bench, link: Link, code: int, state: str
) -> None:
    """As if the account had been listed with it: no row goes, its siblings are pulled, and nobody hammers the bank."""
    before = await bench.rows(link.accounts["checking"])
    pulls = await bench.one("SELECT count(*) FROM pulls WHERE outcome = 'applied'")
    lines = await bench.one("SELECT count(*) FROM connection_history WHERE kind = 'broken'")
    for repeats in (1, 2):
        updated_at = await bench.one("SELECT last_refresh_at FROM connections")
        await refuse(bench, link, status=500, code=code, at=rows_of(link, "checking"))
        await refresh(bench)
        assert (state, code, repeats, 0) == await standing(bench)
        assert updated_at < await bench.one("SELECT last_refresh_at FROM connections")
        assert await is_left_to_the_night(bench)
    assert before == await bench.rows(link.accounts["checking"])
    assert pulls + 4 == await bench.one("SELECT count(*) FROM pulls WHERE outcome = 'applied'")
    assert 3 == await bench.one("SELECT count(*) FROM accounts WHERE state = 'open'")
    broken = await bench.superuser.fetch("SELECT status_code FROM connection_history WHERE kind = 'broken' ORDER BY id")
    assert [code] * (state == "needs_person") == [line["status_code"] for line in broken[lines:]]
    await refresh(bench)
    assert ("active", 0, 0, 0) == await standing(bench)


async def test_an_account_that_is_closed_at_the_bank_does_not_speak_for_its_login(bench: Bench, link: Link) -> None:
    """The others come through, and that is how the login stands."""
    await refuse(bench, link, status=500, code=913, at=rows_of(link, "creditCard"))
    await refresh(bench)
    assert ("active", 0, 0, 0) == await standing(bench)
    assert await is_left_to_the_night(bench)


async def test_a_click_that_brings_no_account_has_failed(bench: Bench) -> None:
    """Where each account's transactions are refused, nothing was updated."""
    link = await bench.link("checking")
    await bench.receive(EventType.ACCOUNT_ADDED, link.accounts["checking"])
    await bench.work()
    updated_at = await bench.one("SELECT last_refresh_at FROM connections")
    async with bench.database.tenant(bench.tenant.customer_id) as conn:
        connection_id = ConnectionId(await bench.one("SELECT id FROM connections"))
        await bank_refresh.insert_bank_refresh(
            conn, bench.tenant.customer_id, connection_id, kind="current", requested_by="user:1"
        )
    assert await take_bank_refresh(bench.context)
    await refuse(bench, link, status=500, code=103, at=rows_of(link, "checking"))
    await bench.work()
    assert ("failed", 103) == tuple(
        await bench.superuser.fetchrow("SELECT state::text, status_code FROM bank_refreshes")
    )
    assert updated_at == await bench.one("SELECT last_refresh_at FROM connections")


async def test_an_outage_at_one_accounts_transactions_is_tried_again_soon(bench: Bench, link: Link) -> None:
    """Its code is kept, and the work stays due."""
    await refuse(bench, link, status=500, code=102, at=rows_of(link, "savings"))
    await refresh(bench)
    assert ("waiting", 102, 0, 1) == await standing(bench)
    assert await bench.one("SELECT handled < requested AND due_at < now() + interval '1 minute' FROM connections")
    await refresh(bench)
    assert ("active", 0, 0, 0) == await standing(bench)


async def test_a_code_while_the_institution_is_looked_up_says_nothing_of_the_login(bench: Bench) -> None:
    """Only what is asked of the login itself is about it."""
    link = await bench.link("checking")
    await bench.receive(EventType.ACCOUNT_ADDED, link.accounts["checking"])
    await bench.work()
    await bench.superuser.execute("UPDATE connections SET institution_id = NULL")
    await bench.superuser.execute("DELETE FROM institutions")
    await refuse(bench, link, status=500, code=103, at="/institution/v2/")
    await refresh(bench)
    assert ("active", 0, 0, 1) == await standing(bench)


async def test_a_new_login_that_is_refused_at_first_stays_open(bench: Bench) -> None:
    """That there is no account a code does not say: the connection is not closed, however often it comes."""
    link = await bench.link("checking")
    await bench.receive(EventType.ACCOUNT_ADDED, link.accounts["checking"], login_ref=link.login_id)
    for _ in range(2):
        await refuse(bench, link, status=500, code=NOBODY_LISTS)
        await bench.work()
        await bench.superuser.execute("UPDATE connections SET requested = requested + 1, due_at = now()")
    assert "waiting" == await bench.one("SELECT state::text FROM connections")
    await bench.work()
    assert ("active", 0, 0, 0) == await standing(bench)


async def test_a_click_whose_answer_is_refused_has_failed(bench: Bench, link: Link) -> None:
    """A person's bank refresh that cannot be fetched for such a code ends, with the code and its words."""
    connection_id = ConnectionId(await bench.one("SELECT id FROM connections"))
    async with bench.database.tenant(bench.tenant.customer_id) as conn:
        asked = await bank_refresh.insert_bank_refresh(
            conn, bench.tenant.customer_id, connection_id, kind="current", requested_by="user:1"
        )
    assert await take_bank_refresh(bench.context)
    await refuse(bench, link, status=500, code=NOBODY_LISTS)
    await bench.work()
    async with bench.database.tenant(bench.tenant.customer_id) as conn:
        ended = await bank_refresh.find_bank_refresh(conn, bench.tenant.customer_id, asked.id)
    assert ended is not None
    assert ("failed", NOBODY_LISTS, UNKNOWN.words) == (ended.state, ended.status_code, ended.message)


@pytest.mark.parametrize("code", [103, NOBODY_LISTS])
async def test_all_accounts_of_a_login_share_its_code(bench: Bench, link: Link, code: int) -> None:
    """The bank breaks the login, not an account: one state, one code and one repair for all of them, and none is pulled."""
    pulls = await bench.one("SELECT count(*) FROM pulls")
    await bench.finbank.control("POST", f"logins/{link.login_id}/break", code=code)
    await bench.finbank.control("POST", "aggregate", loginId=link.login_id)
    await bench.receive(EventType.TRANSACTIONS_REFRESHED, link.accounts["savings"])
    await bench.work()
    rows = await bench.superuser.fetch(
        "SELECT a.type, c.status_code FROM accounts a JOIN connections c ON (c.customer_id, c.id) = (a.customer_id, a.connection_id)"
    )
    assert dict.fromkeys(link.accounts, code) == {row["type"]: row["status_code"] for row in rows}
    assert pulls == await bench.one("SELECT count(*) FROM pulls")
    await bench.finbank.control("POST", f"logins/{link.login_id}/fix")
    await bench.receive(EventType.TRANSACTIONS_REFRESHED, link.accounts["savings"])
    await bench.work()
    assert ("active", 0, 0, 0) == await standing(bench)
    assert pulls + 3 == await bench.one("SELECT count(*) FROM pulls")
