"""A tenant sees and writes its own rows only, also where a query forgets to say so."""

import asyncio
import re
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from hashlib import sha256
from typing import Any

import asyncpg
import pytest

from bankfeed.db import Database
from bankfeed.db.customer import list_customer_ids
from bankfeed.db.database import set_tenant
from bankfeed.errors import RefusedData, SettingsError, Unavailable
from bankfeed.local import LocalPostgres
from bankfeed.model import CustomerId
from bankfeed.settings import Settings
from tests.conftest import Urls
from tests.db.rows import insert_rows, list_names
from tests.db.test_statements import NOUNS, Statement
from tests.seed import make_sources, make_tenant

OURS, OTHERS = CustomerId(7001), CustomerId(7002)
TENANT_TABLES = (
    *("customers", "users", "sessions", "clients", "change_counters", "sources", "enrolments", "connections"),
    *("accounts", "pulls", "transactions", "transaction_aliases", "acts", "transaction_changes", "doubts"),
    *(
        "ledger_accounts",
        "ledger_entries",
        "ledger_lines",
        "review_items",
        "inbox",
        "events",
        "endpoints",
        "endpoint_health",
        "deliveries",
        "delivery_queue",
        "attempts",
    ),
    *("api_keys", "bank_refreshes", "removals", "idempotency_keys", "audit_log", "connection_history"),
    *("mails", "support_cases", "case_actions", "widget_sessions"),
)
OWNERS = {"customers": "id"}
UPDATED = {  # every tenant table that the app may update, and a column to try it on
    "customers": "name",
    "users": "email",
    "clients": "name",
    "change_counters": "last_change_no",
    "enrolments": "aggregator_customer_id",
    "connections": "failures",
    "accounts": "name",
    "pulls": "reason",
    "transactions": "memo",
    "transaction_aliases": "alias_no",
    "doubts": "reason",
    "ledger_accounts": "name",
    "ledger_entries": "reference",
    "ledger_lines": "line_no",
    "review_items": "reason",
    "api_keys": "hint",
    "bank_refreshes": "message",
    "removals": "reason",
    "mails": "reason",
    "support_cases": "note",
    "case_actions": "text",
    "widget_sessions": "message",
    "idempotency_keys": "status",
    "endpoints": "url",
    "endpoint_health": "failures",
    "deliveries": "first_attempt_at",
    "delivery_queue": "attempts",
}
INSERTS = """
INSERT INTO customers (id, name) VALUES (7003, 'Mine too');
INSERT INTO clients (customer_id, username, name) VALUES (7002, 'x', 'x');
INSERT INTO endpoints (customer_id, url, event_types, secret, signing_key, public_key)
    VALUES (7002, 'https://me.example', '{accountAdded}', 'sealed:k:A', 'sealed:k:A', 'whpk_A');
INSERT INTO endpoint_health (customer_id, endpoint_id) VALUES (7002, 2);
INSERT INTO events (customer_id, event_id, event_type, client_id, connection_id, body)
    VALUES (7002, gen_random_uuid(), 'accountAdded', 1, 1, '');
INSERT INTO audit_log (customer_id, actor, action) VALUES (7002, 'user:1', 'listClients');
INSERT INTO api_keys (customer_id, name, key_sha256, hint, scopes) VALUES (7002, 'x', sha256('x'), 'x', '{clients:read}');
INSERT INTO idempotency_keys (customer_id, key_sha256, request_sha256) VALUES (7002, sha256('x'), sha256('x'));
INSERT INTO users (customer_id, email, password_hash) VALUES (7002, 'x@firm.example', '$argon2id$v=19$x');
INSERT INTO sessions (customer_id, token_sha256, user_id, expires_at) VALUES (7002, sha256('x'), 1, now());
""".strip().split(";\n")


async def test_a_tenant_sees_its_own_rows_only(database: Database, owner: asyncpg.Connection) -> None:
    """A query that forgets its tenant predicate still sees one customer's rows."""
    sources = await make_sources(owner)
    one = await make_tenant(database, sources)
    other = await make_tenant(database, sources)
    async with database.tenant(one.customer_id) as conn:
        assert [one.client_id] == [row["id"] for row in await conn.fetch("SELECT id FROM clients")]
    async with database.queue() as conn:
        assert (one.customer_id, other.customer_id) == await list_customer_ids(conn)


async def test_these_are_all_tenant_tables(superuser: asyncpg.Connection) -> None:
    """The tables tried here are those with a policy for the app."""
    locked = await list_names(superuser, "SELECT tablename::text FROM pg_policies WHERE policyname = 'own_rows'")
    assert sorted(TENANT_TABLES) == sorted(locked)
    updated = await list_names(
        superuser,
        "SELECT polrelid::regclass::text FROM pg_policy WHERE polname = 'own_rows'"
        " AND has_table_privilege('bankfeed_app', polrelid, 'UPDATE')",
    )
    assert sorted(UPDATED) == sorted(updated)


async def test_no_table_shows_others_rows(database: Database, superuser: asyncpg.Connection) -> None:
    """In every tenant table there are rows of two customers, and each sees its own."""
    await insert_rows(superuser)
    for table in TENANT_TABLES:
        key = OWNERS.get(table, "customer_id")
        seen_by = {}
        for customer_id in (OURS, OTHERS):
            async with database.tenant(customer_id) as conn:
                seen_by[customer_id] = set(await list_names(conn, f"SELECT {key} FROM {table}"))  # noqa: S608 - above
        assert {OURS: {OURS}, OTHERS: {OTHERS}} == seen_by, table


async def test_without_a_tenant_nothing_is_seen(database: Database, superuser: asyncpg.Connection) -> None:
    """A connection that never had a tenant, and one whose tenant's transaction is over, see no row of any table."""
    await insert_rows(superuser)
    for before in (None, OURS):
        if before is not None:
            async with database.tenant(before) as conn:
                assert 1 == await conn.fetchval("SELECT count(*) FROM clients")
        async with database.app() as conn:
            counts = {table: await conn.fetchval(f"SELECT count(*) FROM {table}") for table in TENANT_TABLES}  # noqa: S608
        assert dict.fromkeys(TENANT_TABLES, 0) == counts


async def test_the_tenant_ends_with_its_transaction(settings: Settings, superuser: asyncpg.Connection) -> None:
    """set_config(..., true) leaves '' behind on the same backend, after a commit and after a rollback."""
    await insert_rows(superuser)
    fresh = await Database.connect(replace(settings, pool_connections=1))  # whose checks name no tenant
    async with fresh.app_pool.acquire() as conn:
        assert await conn.fetchval("SELECT current_setting('app.customer_id', true)") is None
        for ends_well in (True, False):
            transaction = conn.transaction()
            await transaction.start()
            await set_tenant(conn, OURS)
            assert 1 == await conn.fetchval("SELECT count(*) FROM clients")
            await (transaction.commit() if ends_well else transaction.rollback())
            assert not await conn.fetchval("SELECT current_setting('app.customer_id', true)")
            assert 0 == await conn.fetchval("SELECT count(*) FROM clients")
    await fresh.close()


async def test_tenants_at_once_do_not_mix(database: Database, superuser: asyncpg.Connection) -> None:
    """Transactions of two customers that take turns on few backends each see their own."""
    await insert_rows(superuser)

    async def look(customer_id: CustomerId) -> bool:
        async with database.tenant(customer_id) as conn:
            return [customer_id] == await list_names(conn, "SELECT customer_id FROM clients")

    assert all(await asyncio.gather(*(look(customer_id) for customer_id in (OURS, OTHERS) * 20)))


@pytest.mark.parametrize("table", UPDATED)
async def test_others_rows_cannot_be_changed(database: Database, superuser: asyncpg.Connection, table: str) -> None:
    """An UPDATE of everything changes one customer's rows; none can be given to another customer."""
    await insert_rows(superuser)
    key, column = OWNERS.get(table, "customer_id"), UPDATED[table]
    async with database.tenant(OURS) as conn:
        changed = await list_names(conn, f"UPDATE {table} SET {column} = {column} RETURNING {key}")  # noqa: S608 - above
    assert {OURS} == set(changed)
    with pytest.raises(asyncpg.InsufficientPrivilegeError, match="row-level security"):
        async with database.tenant(OURS) as conn:
            await conn.execute(f"UPDATE {table} SET {key} = {OTHERS}")  # noqa: S608 - above


@pytest.mark.parametrize("tenant", [OURS, None])
async def test_others_rows_cannot_be_made(
    database: Database, superuser: asyncpg.Connection, tenant: CustomerId | None
) -> None:
    """A row with another customer's id is refused, and without a tenant every row is."""
    await insert_rows(superuser)
    for sql in INSERTS:
        with pytest.raises(asyncpg.InsufficientPrivilegeError, match="row-level security"):
            async with database.app() if tenant is None else database.tenant(tenant) as conn:
                await conn.execute(sql)


async def test_a_key_of_another_customer_is_no_key(database: Database, superuser: asyncpg.Connection) -> None:
    """Foreign keys hold the tenant, so no row of ours can hang on a row of another customer."""
    await insert_rows(superuser)
    await superuser.execute(
        "INSERT INTO clients (customer_id, id, username, name) OVERRIDING SYSTEM VALUE VALUES (7002, 9, 'theirs', 'x')"
    )
    with pytest.raises(asyncpg.ForeignKeyViolationError, match="connection_client_exists"):
        async with database.tenant(OURS) as conn:
            await conn.execute("UPDATE connections SET client_id = 9")


async def test_a_token_makes_the_transaction_its_customers(database: Database, superuser: asyncpg.Connection) -> None:
    """enter() names whose a live session or key is, and from then on that customer's rows are seen; of nobody's, none."""
    await insert_rows(superuser)
    for token, user_id, key_id in (("7002", 1, None), ("key 7002", None, 1)):
        async with database.app() as conn:
            row = await conn.fetchrow("SELECT customer_id, user_id, key_id FROM enter(sha256($1))", token.encode())
            assert (OTHERS, user_id, key_id) == tuple(row)
            assert [OTHERS] == await list_names(conn, "SELECT customer_id FROM clients")
    async with database.app() as conn:
        assert [] == await conn.fetch("SELECT * FROM enter(sha256('nobody'))")
        assert 0 == await conn.fetchval("SELECT count(*) FROM clients")


@pytest.mark.parametrize(
    "sql",
    [
        "UPDATE sessions SET expires_at = now()",
        "UPDATE users SET locked_at = now()",
        "UPDATE api_keys SET revoked_at = now()",
        "UPDATE api_keys SET expires_at = now()",
    ],
)
async def test_what_is_over_lets_nobody_in(database: Database, superuser: asyncpg.Connection, sql: str) -> None:
    """A session that expired or whose person is locked, and a key that ended or was revoked, are nobody's."""
    await insert_rows(superuser)
    token = "key 7001" if "api_keys" in sql else "7001"
    async with database.app() as conn:
        assert 1 == len(await conn.fetch("SELECT FROM enter(sha256($1))", token.encode()))
    await superuser.execute(sql)
    async with database.app() as conn:
        assert [] == await conn.fetch("SELECT FROM enter(sha256($1))", token.encode())
        assert not await conn.fetchval("SELECT current_setting('app.customer_id', true)")


@pytest.mark.parametrize("tenant", ["7002 OR true", "7002; DROP TABLE clients", "-1", "99999999999999999999", " "])
async def test_a_strange_tenant_sees_nothing(
    app: asyncpg.Connection, superuser: asyncpg.Connection, tenant: str
) -> None:
    """What is no customer's number is an error or nobody."""
    await insert_rows(superuser)
    async with app.transaction():
        await app.execute("SELECT set_config('app.customer_id', $1, true)", tenant)
        try:
            assert 0 == await app.fetchval("SELECT count(*) FROM clients")
        except asyncpg.DataError:
            return
    assert tenant == "-1"


async def test_bulk_goes_by_unnest_because_copy_is_refused(app: asyncpg.Connection) -> None:
    """Postgres refuses COPY into a table with row-level security: bulk writes are INSERT ... SELECT FROM unnest."""
    async with app.transaction():
        await set_tenant(app, OURS)
        with pytest.raises(asyncpg.FeatureNotSupportedError, match="COPY FROM not supported with row-level security"):
            await app.copy_records_to_table("events", columns=["customer_id", "event_id"], records=[(OURS, "0" * 32)])


# ------------------------------------------------------------------------------------------------ who may serve


@pytest.mark.parametrize("role", ["superuser", "owner"])
@pytest.mark.parametrize("name", ["BANKFEED_DATABASE_URL", "BANKFEED_QUEUE_DATABASE_URL"])
async def test_a_powerful_role_does_not_serve(urls: Urls, role: str, name: str) -> None:
    """A process that could see every tenant does not start, and says which role it was given."""
    settings = Settings.for_process({**urls.environ(), name: getattr(urls, role)})
    who = {"superuser": "postgres", "owner": "bankfeed_owner"}[role]
    with pytest.raises(SettingsError, match=f"expected a role like bankfeed_app or bankfeed_queue, got '{who}'"):
        await Database.connect(settings)


async def test_another_version_is_refused(settings: Settings, owner: asyncpg.Connection) -> None:
    """A database of a later schema is not touched by an earlier program."""
    await owner.execute("INSERT INTO schema_version (version) VALUES (999)")
    with pytest.raises(SettingsError, match="expected a database of schema version 1, got 999"):
        await Database.connect(settings)


async def test_a_database_without_schema_is_waited_for(
    settings: Settings, urls: Urls, superuser: asyncpg.Connection
) -> None:
    """Roles and database are there before the schema: that is a matter of time, not of settings."""
    await superuser.execute("DROP TABLE schema_version")
    with pytest.raises(Unavailable, match="no Bankfeed schema yet"):
        await Database.connect(settings)


async def test_a_database_that_is_not_there_is_a_matter_of_settings(urls: Urls) -> None:
    """The error names the database, and no password."""
    settings = Settings.for_process({**urls.environ(), "BANKFEED_DATABASE_URL": f"{urls.app}_not"})
    with pytest.raises(SettingsError, match="does not exist") as raised:
        await Database.connect(settings)
    assert "tests%20only" not in str(raised.value)


async def test_a_postgres_that_is_away_is_unavailable(postgres: LocalPostgres, urls: Urls) -> None:
    """Nothing listens there: the same error as when it goes away later."""
    settings = Settings.for_process(
        {**urls.environ(), "BANKFEED_DATABASE_URL": urls.app.replace(f":{postgres.port}/", ":1/")}
    )
    with pytest.raises(Unavailable):
        await Database.connect(settings)


# ------------------------------------------------------------------------------------------------ errors


async def test_refused_values_are_the_senders(database: Database) -> None:
    """What Postgres cannot store is RefusedData, whatever the driver or the server calls it."""
    for sql, value in (
        ("SELECT $1::text", "a\x00b"),
        ("SELECT $1::text", "\ud800"),
        ("SELECT $1::bigint", 2**63),
        ("SELECT $1::int", "one"),
        ("SELECT $1::text::jsonb", '"\\u0000"'),
        ("SELECT $1::text::date", "2026-02-30"),
    ):
        with pytest.raises(RefusedData):
            async with database.app() as conn:
                await conn.fetchval(sql, value)


async def test_a_deadlock_may_be_tried_again(database: Database, superuser: asyncpg.Connection) -> None:
    """Two that lock in opposite orders: one is told that trying again is right, and the other goes on."""
    await insert_rows(superuser)
    locked = [asyncio.Event(), asyncio.Event()]

    async def lock(first: int) -> str:
        order = (OURS, OTHERS) if first == 0 else (OTHERS, OURS)
        try:
            async with database.queue() as conn:
                for n, customer_id in enumerate(order):
                    await conn.execute("UPDATE connections SET due_at = now() WHERE customer_id = $1", customer_id)
                    if n == 0:
                        locked[first].set()
                        await locked[1 - first].wait()
        except Unavailable:
            return "again"
        return "done"

    assert ["again", "done"] == sorted(await asyncio.gather(lock(0), lock(1)))


async def test_a_backend_that_is_ended_is_unavailable(database: Database, superuser: asyncpg.Connection) -> None:
    """A connection cut by an administrator is the same as a Postgres that went away; the next one works."""

    async def work_and_be_cut() -> None:
        async with database.app() as conn:
            await superuser.execute("SELECT pg_terminate_backend($1)", await conn.fetchval("SELECT pg_backend_pid()"))
            await conn.fetchval("SELECT 1")

    with pytest.raises(Unavailable):
        await work_and_be_cut()
    async with database.app() as conn:
        assert 1 == await conn.fetchval("SELECT 1")


# ------------------------------------------------------------------------------------------------ without the predicate


NOBODYS = CustomerId(7999)
PREDICATE = re.compile(r"(?:\b[a-z_]+\.)?\bcustomer_id = \$(\d+)")
OWN_ROW = re.compile(r"(?:\b[a-z_]+\.)?\bid = \$1\b")  # of customers
WRITES = re.compile(r"\b(?:INSERT INTO|DELETE FROM|UPDATE [a-z_]+ (?:[a-z]+ )?SET)\b")
FITTING: dict[str, Callable[[int], object]] = {  # a value of each type that the rows of tests/db/rows.py have
    "int8": lambda number: number,
    "int4": lambda number: number,
    "int2": lambda number: number,
    "float8": float,
    "numeric": lambda _: Decimal("-20.00"),
    "bool": lambda number: number == 1,
    "text": lambda number: ("client", "1", "a")[number],
    "varchar": lambda number: ("client", "1", "a")[number],
    "date": lambda number: date(2026, 1, 1 + 4 * number),
    "timestamptz": lambda number: datetime.now(UTC) + timedelta(days=number - 1),
    "bytea": lambda number: sha256((b"", b"7001", b"key 7001")[number]).digest(),
    "jsonb": lambda _: None,
    "uuid": lambda _: None,
}


def without_predicate(statement: Statement) -> str | None:
    """Return the statement as if its author had forgotten whose rows are meant; None where it names nobody's."""
    sql = PREDICATE.sub(r"($\1::bigint IS NULL OR true)", statement.sql)
    if re.search(r"\b(?:FROM|UPDATE) customers\b", sql):
        sql = OWN_ROW.sub("($1::bigint IS NULL OR true)", sql)
    return None if sql == statement.sql else sql


def fit(kind: Any, number: int) -> object:
    """Return a value that fits a parameter's type, and may well be that of a row."""
    name = kind.name.removesuffix("[]").lstrip("_")
    if name in FITTING:
        value = FITTING[name](number)
    elif kind.kind == "composite":
        value = None
    else:
        return None  # an enum, or an array of one: any of them would do, NULL is what the statement takes for none
    return [value] if kind.kind == "array" else value


async def run_forgetful(conn: asyncpg.Connection, sql: str) -> list[object]:
    """Run a statement with several values for its parameters; return what it saw, how many rows it changed, or why not."""
    found: list[object] = []
    prepared = await conn.prepare(sql)
    limits = {int(number) for number in re.findall(r"LIMIT \$(\d+)", sql)}
    for number in (None, 0, 1, 2):
        values = [
            100 if place in limits else (None if number is None else fit(kind, number))
            for place, kind in enumerate(prepared.get_parameters(), 1)
        ]
        transaction = conn.transaction()
        await transaction.start()
        try:
            found += [tuple(row) for row in await prepared.fetch(*values)]
            found += re.findall(r"(?:UPDATE|DELETE) [1-9]\d*", prepared.get_statusmsg())
        except asyncpg.PostgresError as error:
            found.append(f"{type(error).__name__}: {error}")
        finally:
            await transaction.rollback()
    return found


FORGETFUL = [
    (str(statement), sql)
    for statement in NOUNS
    if statement.role == "bankfeed_app" and "INSERT INTO" not in statement.sql and (sql := without_predicate(statement))
]


async def test_a_forgotten_predicate_shows_nothing(urls: Urls, superuser: asyncpg.Connection) -> None:
    """Every SELECT, UPDATE and DELETE of the app, with its tenant predicate taken out, finds no row of others.

    They run for a customer that has no row anywhere, and have to find the same after others' rows are there as before.
    That they would find those but for the policies is shown by running them past the policies, as the superuser.
    """
    app = await asyncpg.connect(urls.app)
    await app.execute("SELECT set_config('app.customer_id', $1, false)", str(NOBODYS))
    before = {name: await run_forgetful(app, sql) for name, sql in FORGETFUL}
    await insert_rows(superuser)
    after = {name: await run_forgetful(app, sql) for name, sql in FORGETFUL}
    await app.close()
    assert {} == {name: found for name, found in after.items() if found != before[name]}
    past = {name: await run_forgetful(superuser, sql) for name, sql in FORGETFUL}
    reads = [name for name, sql in FORGETFUL if not WRITES.search(sql)]
    blind = [name for name in reads if past[name] == before[name]]
    assert len(reads) > 80
    assert len(blind) < len(reads) / 2, blind


def test_every_predicate_can_be_taken_out() -> None:
    """No statement of the app names its tenant in another way, where the test above would not find it."""
    kept = [
        f"{statement} names $1 otherwise: {left[0]}"
        for statement in NOUNS
        if statement.role == "bankfeed_app"
        and (sql := without_predicate(statement))
        and (left := re.findall(r"customer_id (?:=|IN|<) ?[($][^ ]*", sql))
    ]
    assert [] == kept
