"""The feed of changes under writers: what is numbered is told, in order, once, and for good."""

import asyncio
import os
import subprocess
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from uuid import uuid4

import asyncpg
import msgspec
import pytest

from bankfeed.db import Database
from bankfeed.db.account import lock_account, mark_closed
from bankfeed.db.change import get_change_counter, list_changes, touch_rows, touch_transactions
from bankfeed.db.client import insert_client
from bankfeed.db.connection import Lease, claim_connection, get_refresh_target, request_refreshes
from bankfeed.db.customer import update_shadow_policy
from bankfeed.errors import NotFound
from bankfeed.local import LocalPostgres
from bankfeed.local.programs import find_postgres
from bankfeed.model import AccountId, ClientId, CustomerId, ShadowPolicy, TransactionId
from bankfeed.settings import Settings
from tests.conftest import PASSWORD, Urls
from tests.db.made import Ground, make_connection, wait_until_blocked
from tests.finbank import ROOT
from tests.seed import make_tenant

WRITERS, ROUNDS, PAGE = 4, 13, 7

# What the product does not keep: each number that a row ever had.
JOURNAL = """
CREATE TABLE journal (transaction_id bigint, change_no bigint);
CREATE FUNCTION note_change() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path = public AS $$
BEGIN
    IF TG_OP = 'INSERT' OR OLD.change_no <> NEW.change_no THEN
        INSERT INTO journal VALUES (NEW.id, NEW.change_no);
    END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER note_change AFTER INSERT OR UPDATE ON transactions FOR EACH ROW EXECUTE FUNCTION note_change();
"""


@dataclass(kw_only=True)
class Reader:
    """Someone who keeps a copy: by row, the number it was last told under and whether it is in view."""

    database: Database
    customer_id: CustomerId
    client_id: ClientId
    after: int = 0
    since: int = 0
    page: int = PAGE
    numbers: list[int] = field(default_factory=list)
    copy: dict[int, tuple[int, bool]] = field(default_factory=dict)
    added: list[int] = field(default_factory=list)

    async def read(self) -> bool:
        """Take one page; tell whether there is more."""
        async with self.database.tenant(self.customer_id) as conn:
            rows = await list_changes(
                conn, self.customer_id, self.client_id, after=self.after, since=self.since, limit=self.page + 1
            )
        for row in rows[: self.page]:
            self.numbers.append(row["change_no"])
            self.copy[row["id"]] = (row["change_no"], row["is_shown"])
            if row["is_added"]:
                self.added.append(row["id"])
            self.after = row["change_no"]
        has_more = len(rows) > self.page
        if not has_more:
            self.since = self.after
        return has_more

    async def catch_up(self) -> list[tuple[int, bool]]:
        """Read until nothing more has changed; return what was told of, by row in the order of the numbers."""
        first = len(self.numbers)
        while await self.read():
            pass
        told = set(self.numbers[first:])
        return [(row, seen) for row, (number, seen) in sorted(self.copy.items()) if number in told]


@pytest.fixture
def reader(ground: Ground) -> Reader:
    """A reader of the tenant's client who has seen nothing yet."""
    return make_reader(ground)


def make_reader(ground: Ground, **changes: Any) -> Reader:
    tenant = ground.tenant
    return Reader(database=ground.database, customer_id=tenant.customer_id, client_id=tenant.client_id, **changes)


async def add_account(
    superuser: asyncpg.Connection, ground: Ground, *, rows: int = 0, state: str = "active"
) -> AccountId:
    """Add an account with rows under the next numbers."""
    account_id = await superuser.fetchval(
        """
        INSERT INTO accounts (customer_id, client_id, connection_id, source_id, aggregator_id, name, type, currency)
        VALUES ($1, $2, $3, $4, $5, 'Checking', 'checking', 'USD') RETURNING id
        """,
        ground.tenant.customer_id,
        ground.tenant.client_id,
        ground.connection_id,
        ground.sources.finicity,
        uuid4().hex,
    )
    await add_rows(superuser, account_id, rows=rows, state=state)
    return AccountId(account_id)


async def add_rows(superuser: asyncpg.Connection, account_id: int, *, rows: int, state: str = "active") -> list[int]:
    """Add rows under the next numbers."""
    found = await superuser.fetch(
        """
        WITH counter AS (
            UPDATE change_counters c SET last_change_no = last_change_no + $2 FROM accounts a
            WHERE a.id = $1 AND c.client_id = a.client_id RETURNING c.customer_id, c.client_id, last_change_no - $2 AS last
        )
        INSERT INTO transactions (customer_id, client_id, account_id, state, amount, transacted_on, description, memo,
            check_number, kind, raw_amount, first_pulled_at, first_rule, activated_at, removed_at, first_change_no, change_no)
        SELECT customer_id, client_id, $1, $3::transaction_state, -1, '2026-03-02', '', '', '', '', '', now(), 'new',
               CASE WHEN $3 IN ('active', 'shadow') THEN now() END, CASE WHEN $3 = 'removed' THEN now() END, last + n, last + n
        FROM counter, generate_series(1, $2) n RETURNING id
        """,
        account_id,
        rows,
        state,
    )
    return [row["id"] for row in found]


async def test_each_row_is_told_of_once_at_its_latest_change(
    ground: Ground, superuser: asyncpg.Connection, reader: Reader
) -> None:
    """A row that changed again comes at its later number only; a page asked again has it no more."""
    account_id = await add_account(superuser, ground, rows=3)
    async with ground.app() as conn:
        before = await list_changes(conn, reader.customer_id, reader.client_id, after=0, since=0, limit=9)
        ids = [row["id"] for row in before]
        assert 1 == await touch_transactions(conn, reader.customer_id, reader.client_id, [TransactionId(ids[0])])
        again = await list_changes(conn, reader.customer_id, reader.client_id, after=0, since=0, limit=9)
        assert 4 == (await get_change_counter(conn, reader.customer_id, reader.client_id)).last_change_no
    assert [(ids[0], 1), (ids[1], 2), (ids[2], 3)] == [(row["id"], row["change_no"]) for row in before]
    assert [(ids[1], 2), (ids[2], 3), (ids[0], 4)] == [(row["id"], row["change_no"]) for row in again]
    assert account_id == again[0]["sub_account_id"]


async def test_added_is_what_came_since_one_was_up_to_date(
    ground: Ground, superuser: asyncpg.Connection, reader: Reader
) -> None:
    """A row that was there when the reader was last up to date is updated, however often it changed; others are added.

    Also one that changed between two pages of one reading, which no page had shown before.
    """
    account_id = await add_account(superuser, ground, rows=2)
    await reader.catch_up()
    assert 2 == len(reader.added)
    new = await add_rows(superuser, account_id, rows=2)
    reader.page = 1
    await reader.read()
    async with ground.app() as conn:
        await touch_rows(conn, reader.customer_id, reader.client_id, [account_id])
    reader.added.clear()
    await reader.catch_up()
    assert new == sorted(reader.added)
    async with ground.app() as conn:
        await touch_rows(conn, reader.customer_id, reader.client_id, [account_id])
    reader.added.clear()
    assert 4 == len(await reader.catch_up())
    assert [] == reader.added


@pytest.mark.parametrize("how", ["closed", "hidden"])
async def test_an_account_out_of_view_takes_its_rows_with_it(
    ground: Ground, superuser: asyncpg.Connection, reader: Reader, how: str
) -> None:
    """Rows of an account that closes, or is hidden, are told of as gone, and as there when it is back; others are not."""
    account_id = await add_account(superuser, ground, rows=2)
    other_id = await add_account(superuser, ground, rows=1)
    await add_rows(superuser, account_id, rows=1, state="removed")
    await reader.catch_up()
    ids = [row["id"] for row in await superuser.fetch("SELECT id FROM transactions WHERE state = 'active' ORDER BY id")]
    if how == "closed":
        async with ground.app() as conn:
            assert (account_id,) == await mark_closed(conn, reader.customer_id, [account_id])
    else:
        await hide(ground, superuser, account_id, is_hidden=True)
    assert [(ids[0], False), (ids[1], False)] == await reader.catch_up()
    if how == "closed":
        await open_again(ground, superuser, account_id)
    else:
        await hide(ground, superuser, account_id, is_hidden=False)
    assert [(ids[0], True), (ids[1], True)] == await reader.catch_up()
    async with ground.app() as conn:
        assert () == await mark_closed(conn, reader.customer_id, [])
        assert 0 == await touch_rows(conn, reader.customer_id, reader.client_id, [])
        assert 1 == await touch_rows(conn, reader.customer_id, reader.client_id, [other_id])


async def hide(ground: Ground, superuser: asyncpg.Connection, account_id: AccountId, *, is_hidden: bool) -> None:
    await superuser.execute("UPDATE accounts SET is_hidden = $2 WHERE id = $1", account_id, is_hidden)
    async with ground.app() as conn:
        await touch_rows(conn, ground.tenant.customer_id, ground.tenant.client_id, [account_id])


async def open_again(ground: Ground, superuser: asyncpg.Connection, account_id: AccountId) -> None:
    """List an account again, as a refresh does."""
    ref = await superuser.fetchval("SELECT aggregator_id FROM accounts WHERE id = $1", account_id)
    lease = await ground.lease()
    async with ground.app() as conn:
        target = await get_refresh_target(conn, lease)
        found = await lock_account(
            conn, lease, target, account_ref=ref, name="x", number_display="", type="checking", currency="USD"
        )
    assert account_id == found.id


async def test_rows_move_with_their_account(ground: Ground, superuser: asyncpg.Connection, reader: Reader) -> None:
    """An account that is listed under another login is told of with it; listed where it is, nothing is."""
    account_id = await add_account(superuser, ground, rows=1)
    await reader.catch_up()
    moved = await make_connection(ground.database, ground.sources, ground.tenant, login_ref="migrated")
    await open_again(replace(ground, connection_id=moved), superuser, account_id)
    assert 1 == len(await reader.catch_up())
    await superuser.execute(
        "UPDATE connections SET handled = requested, claimed = requested, lease_token = NULL, lease_until = NULL"
    )
    await open_again(replace(ground, connection_id=moved), superuser, account_id)
    assert [] == await reader.catch_up()


async def test_another_policy_tells_of_shadow_rows(
    ground: Ground, superuser: asyncpg.Connection, reader: Reader
) -> None:
    """Who wants to see shadow rows is told of them, of all clients, and who does not, that they are gone; no other row is."""
    await add_account(superuser, ground, rows=2)
    shadow_account = await add_account(superuser, ground, rows=1, state="shadow")
    [shadow] = [row["id"] for row in await superuser.fetch("SELECT id FROM transactions WHERE state = 'shadow'")]
    async with ground.app() as conn:
        second = await insert_client(conn, reader.customer_id, username="second", name="Second")
    await superuser.execute("UPDATE accounts SET client_id = $1 WHERE id = $2", second, shadow_account)
    await superuser.execute(
        "UPDATE transactions SET client_id = $1, first_change_no = 1, change_no = 1 WHERE id = $2", second, shadow
    )
    await superuser.execute("UPDATE change_counters SET last_change_no = 1 WHERE client_id = $1", second)
    await add_account(superuser, ground, rows=1, state="shadow")
    theirs = replace(reader, client_id=second, numbers=[], copy={}, added=[])
    for policy, is_shown in ((ShadowPolicy.HIDE, False), (ShadowPolicy.SHOW, True), (ShadowPolicy.CONFIRM, True)):
        async with ground.app() as conn:
            await update_shadow_policy(conn, reader.customer_id, policy)
        assert [(shadow, is_shown)] == await theirs.catch_up()
        assert is_shown == (await reader.catch_up())[-1][1]
    assert 3 + 2 == len(reader.numbers)  # the shadow row under each policy, the two others once


async def test_a_policy_waits_for_who_is_writing(ground: Ground, superuser: asyncpg.Connection, reader: Reader) -> None:
    """A row that becomes a shadow while the policy changes is told of under the new policy: its writer committed first."""
    account_id = await add_account(superuser, ground, rows=1)
    await reader.catch_up()
    async with ground.app() as conn:
        await touch_rows(conn, reader.customer_id, reader.client_id, [account_id])  # holds the counter
        await conn.execute("UPDATE transactions SET state = 'shadow' WHERE customer_id = $1", reader.customer_id)
        changing = asyncio.create_task(change_policy(ground))
        await wait_until_blocked(superuser)
    await changing
    assert [True] == [is_shown for _, is_shown in await reader.catch_up()]
    assert 3 == reader.after


async def change_policy(ground: Ground) -> None:
    async with ground.app() as conn:
        await update_shadow_policy(conn, ground.tenant.customer_id, ShadowPolicy.SHOW)


async def test_a_client_that_is_not_there_has_no_feed(ground: Ground, superuser: asyncpg.Connection) -> None:
    """Another customer's client, or one that was deleted, is not found."""
    other = await make_tenant(ground.database, ground.sources)
    async with ground.app() as conn:
        with pytest.raises(NotFound):
            await get_change_counter(conn, ground.tenant.customer_id, other.client_id)
    await superuser.execute("UPDATE clients SET deleted_at = now(), erase_at = now()")
    async with ground.app() as conn:
        with pytest.raises(NotFound):
            await get_change_counter(conn, ground.tenant.customer_id, ground.tenant.client_id)


async def test_nothing_is_missed_while_processes_write(
    ground: Ground, superuser: asyncpg.Connection, urls: Urls, reader: Reader
) -> None:
    """Four processes pull, act, close and open accounts of one client; a reader that pages meanwhile sees every change.

    Numbers only rise. Whenever the reader is up to date, at N, it has each row under the latest number up to N that the row
    ever had: a number that committed below what was read would be missing there. In the end its copy is what a reader who
    begins anew gets.
    """
    await superuser.execute(JOURNAL)
    processes = [start_writer(urls, await make_lease(ground, n), seed=n) for n in range(WRITERS)]
    stands: list[tuple[int, dict[int, int]]] = []
    while any(process.poll() is None for process in processes):
        if not await reader.read() and (not stands or stands[-1][0] < reader.after):
            stands.append((reader.after, {row: number for row, (number, _) in reader.copy.items()}))
    assert [(0, b"")] * WRITERS == [(process.wait(), process.communicate()[1]) for process in processes]
    await reader.catch_up()

    assert reader.numbers == sorted(set(reader.numbers))
    assert len(stands) > WRITERS
    journal = await superuser.fetch("SELECT * FROM journal ORDER BY change_no")
    assert list(range(1, len(journal) + 1)) == [row["change_no"] for row in journal]
    for last, copy in stands:
        assert {row["transaction_id"]: row["change_no"] for row in journal[:last]} == copy
    fresh = make_reader(ground, page=10_000)
    await fresh.catch_up()
    assert fresh.copy == reader.copy
    assert {True, False} == {is_shown for _, is_shown in fresh.copy.values()}


async def make_lease(ground: Ground, n: int) -> Lease:
    """Make one more connection, and claim it."""
    made = await make_connection(ground.database, ground.sources, ground.tenant, login_ref=f"writer-{n}")
    async with ground.database.queue() as conn:
        await request_refreshes(conn, [(ground.tenant.customer_id, made)])
        lease = await claim_connection(conn, token=uuid4(), lease_s=3_600)
    assert lease is not None
    assert made == lease.connection_id
    return lease


def start_writer(urls: Urls, lease: Lease, *, seed: int) -> subprocess.Popen[bytes]:
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("BANKFEED_")}
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.db.feed_writer", str(seed), str(ROUNDS)],
        cwd=ROOT,
        env={**inherited, **urls.environ(), "BANKFEED_POOL_CONNECTIONS": "2"},
        stdin=subprocess.PIPE,
        stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
    )
    assert process.stdin is not None
    process.stdin.write(msgspec.json.encode(lease))
    process.stdin.close()
    process.stdin = None
    return process


@pytest.fixture
async def restored(postgres: LocalPostgres, urls: Urls) -> AsyncIterator[str]:
    """The name of an empty database, to restore a dump into."""
    name = f"restored_{uuid4().hex[:12]}"
    conn = await asyncpg.connect(postgres.url())
    await conn.execute(f"CREATE DATABASE {name} OWNER bankfeed_owner")
    yield name
    await conn.execute(f"DROP DATABASE {name} WITH (FORCE)")
    await conn.close()


async def test_a_cursor_outlives_a_dump_and_restore(
    ground: Ground, superuser: asyncpg.Connection, reader: Reader, postgres: LocalPostgres, urls: Urls, restored: str,
    tmp_path: Path,
) -> None:  # fmt: skip
    """Read with a cursor from before in a restored database: what changed after it comes, removed rows too, and new ones."""
    account_id = await add_account(superuser, ground, rows=5)
    reader.page = 3
    await reader.read()
    await superuser.execute(
        "UPDATE transactions SET state = 'removed', removed_at = now(), activated_at = NULL WHERE change_no = 5"
    )
    run("pg_dump", "--format=custom", f"--file={tmp_path / 'dump'}", urls.superuser)
    run("pg_restore", "--exit-on-error", f"--dbname={postgres.url(database=restored)}", str(tmp_path / "dump"))
    environ = {
        "BANKFEED_DATABASE_URL": postgres.url("bankfeed_app", restored, PASSWORD),
        "BANKFEED_QUEUE_DATABASE_URL": postgres.url("bankfeed_queue", restored, PASSWORD),
    }
    there = await Database.connect(Settings.for_command(environ))
    reader.database = there
    assert [True, False] == [is_shown for _, is_shown in await reader.catch_up()]
    async with there.tenant(reader.customer_id) as conn:
        await touch_rows(conn, reader.customer_id, reader.client_id, [account_id])
    assert 4 == len(await reader.catch_up())
    assert [5, 6, 7, 8, 9] == sorted(number for number, _ in reader.copy.values())
    await there.close()


def run(program: str, *words: str) -> None:
    path = find_postgres(None).main.with_name(program)
    if not path.exists():
        pytest.skip(f"this Postgres comes without {program}")
    subprocess.run([path, *words], check=True, capture_output=True)
