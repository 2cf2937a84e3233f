"""Many tenants with many rows, laid straight into the tables as the superuser: what a busy deployment looks like.

Each tenant has clients of four accounts each, its rows evenly on them: a thousand days, in a hundred rows one pending and two
shadow, in forty one check. The tables end with the indexes that the schema gives them, and with statistics.
"""

from dataclasses import dataclass

import asyncpg

from bench.ground import Urls

ACCOUNTS = 4  # of each client
TOKEN = "bft_sandbox_of-tenant-{}"  # noqa: S105 - of a database that lives for minutes

FIRMS = """
INSERT INTO customers (id, name) SELECT n, 'Firm ' || n FROM generate_series(1, {tenants}) n;
INSERT INTO users (customer_id, email, password_hash)
    SELECT id, id || '@firm.example', '$argon2id$of-nothing' FROM customers;
INSERT INTO sessions (customer_id, token_sha256, user_id, expires_at)
    SELECT customer_id, sha256(('bft_sandbox_of-tenant-' || customer_id)::bytea), id, now() + interval '1 day' FROM users;
INSERT INTO sources (id, slug, connector, dialect, verifier) OVERRIDING SYSTEM VALUE
    VALUES (1, 'finicity', 'finicity', 'finicity', 'finicity');
INSERT INTO clients (customer_id, id, username, name) OVERRIDING SYSTEM VALUE
    SELECT c.id, (c.id - 1) * {clients} + n, 'client-' || n, 'Client ' || n FROM customers c, generate_series(1, {clients}) n;
INSERT INTO change_counters (customer_id, client_id, last_change_no)
    SELECT customer_id, id, {rows} / {clients} FROM clients;
INSERT INTO connections (customer_id, id, client_id, source_id, aggregator_login_id, handled) OVERRIDING SYSTEM VALUE
    SELECT customer_id, id, id, 1, id::text, 0 FROM clients;
INSERT INTO accounts (customer_id, id, client_id, connection_id, source_id, aggregator_id, name, type, currency)
    OVERRIDING SYSTEM VALUE
    SELECT customer_id, (id - 1) * {accounts} + n, id, id, 1, id || '-' || n, 'Account ' || n, 'checking', 'USD'
    FROM clients, generate_series(1, {accounts}) n;
"""

ROWS = """
INSERT INTO transactions (customer_id, id, client_id, account_id, state, amount, transacted_on, posted_on, description, memo,
    check_number, kind, aggregator_id, raw_amount, raw_transacted_at, first_pulled_at, first_pull_id, first_rule, activated_at,
    first_change_no, change_no) OVERRIDING SYSTEM VALUE
SELECT c.customer_id, (c.id - 1) * {each}::bigint + n, c.id, (c.id - 1) * {accounts} + 1 + n % {accounts},
    (CASE WHEN n % 100 = 0 THEN 'pending' WHEN n % 50 = 1 THEN 'shadow' ELSE 'active' END)::transaction_state,
    -(n % 9000 + 100)::numeric / 100, date '2024-01-01' + (n * 1000::bigint / {each})::int,
    date '2024-01-01' + (n * 1000::bigint / {each})::int,
    (ARRAY['GROCERY OUTLET', 'CITY TRANSIT', 'HARBOR COFFEE', 'NORTHWIND ENERGY', 'ACME PAYROLL', 'MAPLE PHARMACY'])[n % 6 + 1]
        || ' #' || n::bigint * 7919 % 1000,
    '', CASE WHEN n % 40 = 3 THEN n::text ELSE '' END, '', (c.id * 10000000 + n)::text, '-1.00', 1780000000 + n, now(), 1, 'new',
    CASE WHEN n % 100 <> 0 THEN now() END, n, n
FROM clients c, generate_series(1, {each}) n
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Size:
    """How many tenants, how many clients each has, and how many rows each tenant has in all."""

    tenants: int
    clients: int
    rows: int

    @property
    def text(self) -> str:
        """Say it for the table."""
        return f"{self.tenants * self.rows:,} rows of {self.tenants:,} tenants"


async def fill(urls: Urls, size: Size) -> None:
    """Lay all of it. Foreign keys are not looked at, and indexes are made once the rows are there: that takes half the time."""
    conn = await asyncpg.connect(urls.superuser)
    each = size.rows // size.clients
    words = {"tenants": size.tenants, "clients": size.clients, "rows": size.rows, "accounts": ACCOUNTS, "each": each}
    await conn.execute("SET session_replication_role = replica; SET maintenance_work_mem = '512MB'")
    await conn.execute(FIRMS.format(**words))
    indexes = await conn.fetch(
        """
        SELECT i.indexrelid::regclass::text AS name, pg_get_indexdef(i.indexrelid) AS text
        FROM pg_index i WHERE i.indrelid = 'transactions'::regclass AND NOT i.indisprimary
        """
    )
    for index in indexes:
        await conn.execute(f"DROP INDEX {index['name']}")
    await conn.execute(ROWS.format(**words))
    for index in indexes:
        await conn.execute(index["text"])
    await conn.execute("VACUUM ANALYZE")
    await conn.execute("CHECKPOINT")
    await conn.close()
