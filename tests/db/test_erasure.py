"""Erasing: all of a client whose time has come, of no other, and by nobody but the functions for it."""

import asyncpg
import pytest

from bankfeed.db import Database, erasure
from bankfeed.db.erasure import Erasable, InboxPlace
from bankfeed.model import ClientId, CustomerId
from tests.db.rows import insert_rows, list_names

OURS, OTHERS, CLIENT = CustomerId(7001), CustomerId(7002), ClientId(1)
NOT_A_CLIENTS = (
    *("customers", "users", "sessions", "sources", "endpoints", "endpoint_health", "api_keys", "idempotency_keys"),
    "audit_log",
)
STAYING = {
    "clients": 1,
    "removals": 1,
    "inbox": 1,
}  # an empty row, what the aggregator was not told yet, and an empty event
MONEY = (
    *("transactions", "transaction_changes", "acts", "doubts", "pulls", "accounts"),
    *(
        "connections",
        "clients",
        "events",
        "deliveries",
        "attempts",
        "ledger_entries",
        "ledger_accounts",
        "review_items",
    ),
    *("removals", "bank_refreshes", "change_counters", "audit_log", "inbox", "connection_history"),
    *("widget_sessions", "support_cases", "case_actions", "mails"),
)


@pytest.fixture
async def rows(superuser: asyncpg.Connection) -> None:
    """One row of each kind for two customers, and some of the first one's client hang together in every way there is."""
    await insert_rows(superuser)
    await superuser.execute(
        """
        UPDATE inbox SET customer_ref = '1', login_refs = '{1}', account_refs = '{1}', body = '{"number": "2000004444"}';
        UPDATE acts SET account_id = 1;
        INSERT INTO acts (customer_id, id, account_id, kind, at, actor, detail) OVERRIDING SYSTEM VALUE
            SELECT c, 2, 1, 'undo', now(), 'user:1', '{}' FROM unnest(ARRAY[7001, 7002]) AS c;
        UPDATE acts SET undone_by = 2 WHERE id = 1;
        UPDATE doubts SET decided_at = now(), decision = 'kept', decided_by = 1;
        INSERT INTO accounts (customer_id, id, client_id, connection_id, source_id, aggregator_id, name, type, currency,
                              state, closed_at, adopted_into) OVERRIDING SYSTEM VALUE
            SELECT c, 2, 1, 1, c, '0', 'Old', 'checking', 'USD', 'closed', now(), 1 FROM unnest(ARRAY[7001, 7002]) AS c;
        INSERT INTO ledger_entries (customer_id, id, client_id, reference, entered_on, corrects, state, posted_at)
            OVERRIDING SYSTEM VALUE
            SELECT c, 2, 1, 'r2', '2026-01-06', 1, 'posted', now() FROM unnest(ARRAY[7001, 7002]) AS c;
        UPDATE review_items SET correcting_entry_id = 2;
        """
    )


async def make_due(superuser: asyncpg.Connection, *, due: str = "now()") -> None:
    """Let the first customer's client have been deleted."""
    await superuser.execute(
        f"UPDATE clients SET deleted_at = now(), erase_at = {due}, email = 'a@b.example', phone = '1',"  # noqa: S608
        " preferences = '{\"a\": 1}' WHERE customer_id = 7001"
    )


async def blank(database: Database, *, customer_id: CustomerId = OURS, most: int = 100) -> int:
    """Blank the inbox, batch after batch; return how many batches there were."""
    place: InboxPlace | None = InboxPlace()
    batches = 0
    while place is not None:
        async with database.tenant(customer_id) as conn:
            place = await erasure.erase_inbox(conn, OURS, CLIENT, after=place, most=most)
        batches += 1
    return batches


async def erase(database: Database, *, customer_id: CustomerId = OURS, most: int = 100) -> int:
    async with database.tenant(customer_id) as conn:
        return await erasure.erase_rows(conn, OURS, CLIENT, most=most)


async def count_rows(superuser: asyncpg.Connection, customer_id: CustomerId) -> dict[str, int]:
    """Count a customer's rows in every table that has any."""
    tables = await list_names(
        superuser,
        """
        SELECT relname FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND attname = 'customer_id'
        WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p') AND NOT relispartition ORDER BY 1
        """,
    )
    counts = {
        table: await superuser.fetchval(
            f"SELECT count(*) FROM {table} WHERE customer_id = $1",  # noqa: S608 - a name of the catalogue
            customer_id,
        )
        for table in tables
    }
    return {table: count for table, count in counts.items() if count}


async def test_nothing_of_a_client_is_left(database: Database, superuser: asyncpg.Connection, rows: None) -> None:
    """Each table is empty of it but for its own empty row; what is not a client's stays, and another customer's too."""
    await make_due(superuser)
    others = await count_rows(superuser, OTHERS)
    ours = await count_rows(superuser, OURS)
    await blank(database)
    while await erase(database):
        pass
    kept = {table: count for table, count in ours.items() if table in NOT_A_CLIENTS}
    assert kept | STAYING == await count_rows(superuser, OURS)
    assert set(ours) - {"customers"} == set(others) - {"customers"}
    assert others == await count_rows(superuser, OTHERS)


async def test_what_stays_says_nothing(database: Database, superuser: asyncpg.Connection, rows: None) -> None:
    """The client's row and its events at the door are empty; the time of the erasing is there."""
    await make_due(superuser)
    await superuser.execute("UPDATE inbox SET state = 'done', finished_at = now()")
    await blank(database)
    while await erase(database):
        pass
    client = await superuser.fetchrow("SELECT * FROM clients WHERE customer_id = 7001")
    assert ("erased-1", "", "", "", "{}") == tuple(
        client[name] for name in ("username", "name", "email", "phone", "preferences")
    )
    assert client["erased_at"] is not None
    event = await superuser.fetchrow("SELECT * FROM inbox WHERE customer_id = 7001")
    assert (b"", None, [], [], "") == tuple(
        event[name] for name in ("body", "customer_ref", "login_refs", "account_refs", "reason")
    )
    other = await superuser.fetchrow("SELECT * FROM inbox WHERE customer_id = 7002")
    assert (b'{"number": "2000004444"}', "1") == (other["body"], other["customer_ref"])


async def test_an_openings_endpoint_says_nothing(database: Database, superuser: asyncpg.Connection, rows: None) -> None:
    """Its address and its secrets go, also where its session went before, or it was deleted; a firm's own stays as it is."""
    await superuser.execute(
        """
        INSERT INTO endpoints (customer_id, id, url, event_types, secret, signing_key, public_key, client_ids, description,
                               state, headers, header_names, widget_session_id, deleted_at) OVERRIDING SYSTEM VALUE
            SELECT c, n, 'https://ann.example/hook', '{accountAdded}', 'sealed:k:S', 'sealed:k:S', 'whpk_S', ARRAY[client], 'Ann',
                   CASE WHEN is_deleted THEN 'disabled' ELSE 'active' END::endpoint_state, 'sealed:k:S', '{X-S}',
                   CASE WHEN is_widgets THEN gen_random_uuid() END, CASE WHEN is_deleted THEN '2020-01-01'::date END
            FROM unnest(ARRAY[7001, 7002]) AS c,
                 (VALUES (2, 1, true, false), (3, 1, true, true), (4, 2, true, false), (5, 1, false, false))
                    AS e (n, client, is_widgets, is_deleted)
        """
    )
    await make_due(superuser)
    await blank(database)
    while await erase(database):
        pass
    telling = "SELECT id FROM endpoints e WHERE customer_id = $1 AND id > 1 AND e::text ~ 'ann|sealed:k|Ann|_S|X-S' ORDER BY id"
    assert [4, 5] == await list_names(superuser, telling, OURS)
    assert [2, 3, 4, 5] == await list_names(superuser, telling, OTHERS)
    how = "SELECT state::text, date_part('year', deleted_at) < 2021 FROM endpoints WHERE customer_id = 7001 AND id > 1 ORDER BY id"
    assert [("disabled", False), ("disabled", True), ("active", None), ("active", None)] == [
        tuple(row) for row in await superuser.fetch(how)
    ]


@pytest.mark.parametrize(
    "refs",
    [
        "customer_ref = '1', login_refs = '{}', account_refs = '{}'",
        "customer_ref = NULL, login_refs = '{x,1}', account_refs = '{}'",
        "customer_ref = NULL, login_refs = '{}', account_refs = '{x,0}'",
    ],
)
async def test_events_are_found_by_any_id(
    database: Database, superuser: asyncpg.Connection, rows: None, refs: str
) -> None:
    """By the client's id there, by a login's or by an account's, be it one that is another by now; of no customer yet, too."""
    await make_due(superuser)
    await superuser.execute(
        f"UPDATE inbox SET {refs}, customer_id = NULL, state = 'set_aside', reason = 'unknown: 1', finished_at = now()"  # noqa: S608
    )
    await blank(database)
    assert [(b"", "erased"), (b'{"number": "2000004444"}', "unknown: 1")] == [
        tuple(row) for row in await superuser.fetch("SELECT body, reason FROM inbox ORDER BY source_id")
    ]


async def test_events_of_others_are_left_alone(database: Database, superuser: asyncpg.Connection, rows: None) -> None:
    """What came through the same door about somebody else keeps its body."""
    await make_due(superuser)
    await superuser.execute("UPDATE inbox SET customer_ref = '2', login_refs = '{2}', account_refs = '{2}'")
    await blank(database)
    assert 2 == await superuser.fetchval("SELECT count(*) FROM inbox WHERE body <> ''")


async def test_the_inbox_is_gone_through_in_batches(
    database: Database, superuser: asyncpg.Connection, rows: None
) -> None:
    """Each call looks at so many events and says where to go on."""
    await make_due(superuser)
    await superuser.execute(
        "INSERT INTO inbox (source_id, name, event_type, customer_ref, body)"
        " SELECT 7001, 'added', 'accountAdded', '1', '{}' FROM generate_series(1, 6)"
    )
    assert 4 == await blank(database, most=3)
    assert 0 == await superuser.fetchval("SELECT count(*) FROM inbox WHERE source_id = 7001 AND body <> ''")


async def test_it_goes_on_where_it_stopped(database: Database, superuser: asyncpg.Connection, rows: None) -> None:
    """Row by row, each in a transaction of its own, it comes to the same end; repeated then it does nothing."""
    await make_due(superuser)
    await blank(database)
    steps = 0
    while await erase(database, most=1):
        steps += 1
    assert steps > 8
    assert 0 == await superuser.fetchval("SELECT count(*) FROM transactions WHERE customer_id = 7001")
    erased_at = await superuser.fetchval("SELECT erased_at FROM clients WHERE customer_id = 7001")
    assert 0 == await erase(database)
    assert erased_at == await superuser.fetchval("SELECT erased_at FROM clients WHERE customer_id = 7001")


@pytest.mark.parametrize("due", ["now() + interval '1 minute'", None])
async def test_who_is_not_due_is_not_erased(
    database: Database, superuser: asyncpg.Connection, rows: None, due: str | None
) -> None:
    """A client that is not deleted, or may still be restored, loses nothing."""
    if due:
        await make_due(superuser, due=due)
    before = await count_rows(superuser, OURS)
    assert 1 == await blank(database)
    assert 0 == await erase(database)
    assert before == await count_rows(superuser, OURS)
    assert 2 == await superuser.fetchval("SELECT count(*) FROM inbox WHERE body <> ''")
    assert 0 == await superuser.fetchval("SELECT count(*) FROM clients WHERE erased_at IS NOT NULL")


async def test_nobody_erases_another_customers_client(
    database: Database, superuser: asyncpg.Connection, rows: None
) -> None:
    """In a transaction of another customer the functions do nothing, due or not; without a customer neither."""
    await make_due(superuser)
    before = await count_rows(superuser, OURS)
    assert 1 == await blank(database, customer_id=OTHERS)
    assert 0 == await erase(database, customer_id=OTHERS)
    async with database.app() as conn:
        assert 0 == await erasure.erase_rows(conn, OURS, CLIENT, most=100)
    assert before == await count_rows(superuser, OURS)


@pytest.mark.parametrize("table", MONEY)
async def test_the_app_itself_deletes_nothing_of_it(app: asyncpg.Connection, table: str) -> None:
    """Erasing needs no right to delete: the app's role has none on these."""
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await app.execute(f"DELETE FROM {table}")  # noqa: S608 - the words above


async def test_the_queue_finds_who_is_due(database: Database, superuser: asyncpg.Connection, rows: None) -> None:
    """Those whose time has come and who are not erased yet, the longest due first."""
    async with database.queue() as conn:
        assert () == await erasure.list_erasable(conn, limit=9)
    await make_due(superuser)
    async with database.queue() as conn:
        assert (Erasable(customer_id=OURS, client_id=CLIENT),) == await erasure.list_erasable(conn, limit=9)
    await superuser.execute("UPDATE clients SET erased_at = now() WHERE customer_id = 7001")
    async with database.queue() as conn:
        assert () == await erasure.list_erasable(conn, limit=9)
