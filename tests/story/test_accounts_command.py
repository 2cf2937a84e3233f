"""`bankfeed accounts` and `bankfeed institutions`: what only the operator does, and what is said of it."""

from typing import Any

import asyncpg
import msgspec
import pytest

from bankfeed import accounts_command, institutions_command
from bankfeed.db import Database
from bankfeed.db.change import list_changes
from bankfeed.db.institution import find_institution, upsert_institutions
from bankfeed.errors import BadRequest, NotFound
from bankfeed.model import AccountId, ListedInstitution
from tests.conftest import Urls
from tests.story.outgoing import Firm, make_firm
from tests.story.test_cli import run


@pytest.fixture
async def firm(database: Database, owner: asyncpg.Connection, superuser: asyncpg.Connection) -> Firm:
    """A customer."""
    return await make_firm(database, owner, superuser)


async def add_hidden(firm: Firm) -> AccountId:
    """Add a hidden account with one transaction."""
    row_id: int = await firm.superuser.fetchval(
        """
        WITH connection AS (
            INSERT INTO connections (customer_id, client_id, source_id, aggregator_login_id)
            SELECT $1, $2, id, '1' FROM sources WHERE slug = 'finicity' RETURNING *
        ), account AS (
            INSERT INTO accounts (customer_id, client_id, connection_id, source_id, aggregator_id, name, type, currency, is_hidden)
            SELECT $1, $2, id, source_id, '1', 'Checking', 'checking', 'USD', true FROM connection RETURNING id
        ), counted AS (UPDATE change_counters SET last_change_no = 1 WHERE customer_id = $1)
        INSERT INTO transactions (customer_id, client_id, account_id, state, amount, transacted_on, description, memo,
            check_number, kind, raw_amount, first_pulled_at, first_rule, activated_at, first_change_no, change_no)
        SELECT $1, $2, id, 'active', 1, current_date, '', '', '', '', '', now(), 'new', now(), 1, 1 FROM account
        RETURNING account_id
        """,
        firm.tenant.customer_id,
        firm.tenant.client_id,
    )
    return AccountId(row_id)


# ------------------------------------------------------------------------------------------------ accounts


async def test_the_operator_shows_a_hidden_account_again(urls: Urls, firm: Firm, database: Database) -> None:
    """With one line in the audit log of its customer, and its rows in the feed of changes; said twice it does no harm."""
    account_id = await add_hidden(firm)
    words = ("accounts", "unhide", str(account_id))
    assert f"account {account_id} is shown again\n" == run(*words, environ=urls.environ()).stdout
    assert f"account {account_id} is not hidden\n" == run(*words, environ=urls.environ()).stdout
    assert [("subAccount.unhidden", f"subAccountId={account_id}")] == await firm.audited()
    async with database.tenant(firm.tenant.customer_id) as conn:
        [row] = await list_changes(conn, firm.tenant.customer_id, firm.tenant.client_id, after=1, since=1, limit=9)
    assert (account_id, True) == (row["sub_account_id"], row["is_shown"])


@pytest.mark.parametrize(
    "gone",
    [
        "",
        "UPDATE accounts SET state = 'closed', closed_at = now(), deleted_at = now()",
        "UPDATE clients SET deleted_at = now(), erase_at = now()",
    ],
)
async def test_an_account_that_is_not_there_is_said(firm: Firm, gone: str) -> None:
    """Of another customer than was named, deleted, or of a deleted client."""
    account_id = await add_hidden(firm)
    await firm.superuser.execute(gone or "SELECT")
    other = None if gone else firm.tenant.customer_id + 1
    with pytest.raises(NotFound):
        await accounts_command.unhide(firm.database, account_id=account_id, customer_id=other)
    assert await firm.superuser.fetchval("SELECT is_hidden FROM accounts")
    assert [] == await firm.audited()


# ------------------------------------------------------------------------------------------------ institutions


@pytest.fixture
async def banks(database: Database) -> list[int]:
    """One bank at four aggregators, and last a real one."""
    ids = []
    for connector in ("a", "b", "c", "d", "e"):
        listed = ListedInstitution(ref="1", name=f"Harbor Bank\x1b {connector}", is_sandbox=connector != "e")
        async with database.app() as conn:
            await upsert_institutions(conn, connector=connector, listed=[listed])
            ids.append(await conn.fetchval("SELECT id FROM institutions WHERE connector = $1", connector))
    return ids


async def read_kin(database: Database, banks: list[int]) -> list[int | None]:
    """Return what each bank is the same as."""
    async with database.app() as conn:
        found = [await find_institution(conn, each) for each in banks]
    return [each.same_as for each in found if each is not None]


async def test_institutions_are_said_to_be_the_same(urls: Urls, database: Database, banks: list[int]) -> None:
    """Seen in the list, by a part of the name; and taken back."""
    one, of = str(banks[1]), str(banks[0])
    assert (
        f"institution {one} is the same as {of}\n"
        == run("institutions", "same", one, of, environ=urls.environ()).stdout
    )
    shown = run("institutions", "list", "--search", "HARBOR", "--limit", "2", environ=urls.environ()).stdout
    heads, first, second, cut = shown.splitlines()
    assert "ID AGGREGATOR ITS ID STATUS SAME AS NAME" == " ".join(heads.split())
    assert f"{of} a 1 online - Harbor Bank? a" == " ".join(first.split())
    assert f"{one} b 1 online {of} Harbor Bank? b" == " ".join(second.split())
    assert "only the first 2 are shown" == cut
    listed: dict[str, Any] = msgspec.json.decode(
        run("institutions", "list", "--search", " b", "--json", environ=urls.environ()).stdout
    )
    assert banks[0] in [each["same_as"] for each in listed["institutions"]]
    assert f"institution {one} is one of its own\n" == run("institutions", "unsame", one, environ=urls.environ()).stdout
    assert [None] * 5 == await read_kin(database, banks)


async def test_kin_is_one_step_deep(database: Database, banks: list[int]) -> None:
    """Whatever is said in whatever order, all that are one bank name the same institution."""
    a, b, c, d, _ = banks
    assert b == await institutions_command.join(database, institution_id=a, of_id=b)
    assert d == await institutions_command.join(database, institution_id=c, of_id=d)
    assert b == await institutions_command.join(database, institution_id=d, of_id=a)
    assert [b, None, b, b, None] == await read_kin(database, banks)
    assert await institutions_command.part(database, institution_id=c)
    assert not await institutions_command.part(database, institution_id=c)
    assert [b, None, None, b, None] == await read_kin(database, banks)


async def test_what_cannot_be_the_same_is_refused(database: Database, banks: list[int]) -> None:
    """Itself, one that is the same already the other way round, a pretend bank and a real one, and one that there is not."""
    a, b, *_, real = banks
    await institutions_command.join(database, institution_id=a, of_id=b)
    for one, of, error in ((a, a, BadRequest), (b, a, BadRequest), (a, real, BadRequest), (a, 999, NotFound)):
        with pytest.raises(error):
            await institutions_command.join(database, institution_id=one, of_id=of)
    with pytest.raises(NotFound):
        await institutions_command.part(database, institution_id=999)
    assert [b, None, None, None, None] == await read_kin(database, banks)
