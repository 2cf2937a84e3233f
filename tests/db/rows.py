"""One valid row in every table, as the superuser writes them: what a CHECK's violation begins from."""

from typing import Any

import asyncpg

from bankfeed.db.schema import load_schema

CUSTOMER = 7001
ROWS = """
INSERT INTO customers (id, name) VALUES (7001, 'Firm'), (7002, 'Other firm');
INSERT INTO users (customer_id, id, email, password_hash) OVERRIDING SYSTEM VALUE
    SELECT c, 1, c || '@firm.example', '$argon2id$v=19$x' FROM unnest(ARRAY[7001, 7002]) AS c;
INSERT INTO sessions (customer_id, token_sha256, user_id, expires_at)
    SELECT c, sha256(c::text::bytea), 1, now() + interval '1 hour' FROM unnest(ARRAY[7001, 7002]) AS c;
INSERT INTO clients (customer_id, id, username, name) OVERRIDING SYSTEM VALUE
    SELECT c, 1, 'client', 'Client' FROM unnest(ARRAY[7001, 7002]) AS c;
INSERT INTO change_counters (customer_id, client_id) VALUES (7001, 1), (7002, 1);
INSERT INTO sources (id, customer_id, slug, connector, dialect, verifier) OVERRIDING SYSTEM VALUE
    SELECT c, c, 'door-' || c, 'finicity', 'finicity', 'path' FROM unnest(ARRAY[7001, 7002]) AS c;
INSERT INTO source_keys (source_id, key_no, secret) VALUES (7001, 1, 'sixteen letters.'), (7002, 1, 'sixteen letters.');
INSERT INTO institutions (id, connector, aggregator_id, name) OVERRIDING SYSTEM VALUE VALUES (1, 'finicity', '1', 'Bank');
INSERT INTO institution_health (institution_id, failures, failing_since) VALUES (1, 1, now());
INSERT INTO enrolments (customer_id, client_id, source_id, aggregator_customer_id)
    SELECT c, 1, c, '1' FROM unnest(ARRAY[7001, 7002]) AS c;
INSERT INTO connections (customer_id, id, client_id, source_id, aggregator_login_id) OVERRIDING SYSTEM VALUE
    SELECT c, 1, 1, c, '1' FROM unnest(ARRAY[7001, 7002]) AS c;
INSERT INTO institution_notices (id, institution_id, status) OVERRIDING SYSTEM VALUE VALUES (1, 1, 'offline');
INSERT INTO connection_history (customer_id, id, connection_id, kind) OVERRIDING SYSTEM VALUE
    SELECT c, 1, 1, 'added' FROM unnest(ARRAY[7001, 7002]) AS c;
INSERT INTO accounts (customer_id, id, client_id, connection_id, source_id, aggregator_id, name, type, currency)
    OVERRIDING SYSTEM VALUE SELECT c, 1, 1, 1, c, '1', 'Checking', 'checking', 'USD' FROM unnest(ARRAY[7001, 7002]) AS c;
INSERT INTO pulls (customer_id, id, account_id, at, kind, from_on, to_on, outcome, reported_rows) OVERRIDING SYSTEM VALUE
    SELECT c, 1, 1, now(), 'full', '2026-01-01', '2026-01-31', 'applied', 2 FROM unnest(ARRAY[7001, 7002]) AS c;
INSERT INTO transactions (customer_id, id, client_id, account_id, state, amount, transacted_on, description, memo,
                          check_number, kind, raw_amount, first_pulled_at, first_pull_id, first_rule, activated_at,
                          first_change_no, change_no)
    OVERRIDING SYSTEM VALUE
    SELECT c, n, 1, 1, state::transaction_state, -20.00, '2026-01-05', 'Coffee', '', '', '', '-20', now(), 1, 'new',
           CASE WHEN state = 'active' THEN now() END, n, n
    FROM unnest(ARRAY[7001, 7002]) AS c, (VALUES (1, 'pending'), (2, 'active')) AS t (n, state);
INSERT INTO transaction_aliases (customer_id, account_id, aggregator_id, transaction_id, alias_no)
    VALUES (7001, 1, 'a', 1, 0), (7002, 1, 'a', 1, 0);
INSERT INTO acts (customer_id, id, account_id, kind, at, actor, detail) OVERRIDING SYSTEM VALUE
    SELECT c, 1, 1, 'reconcile', now(), 'user:1', '{}' FROM unnest(ARRAY[7001, 7002]) AS c;
INSERT INTO transaction_changes (customer_id, transaction_id, change_no, act_id, kind, rule, at)
    SELECT c, 2, 3, 1, 'updated', 'reconcile', now() FROM unnest(ARRAY[7001, 7002]) AS c;
INSERT INTO doubts (customer_id, id, account_id, transaction_id, pull_id, rule, reason, candidates)
    OVERRIDING SYSTEM VALUE SELECT c, 1, 1, 1, 1, 'tie', 'two alike', '{2}' FROM unnest(ARRAY[7001, 7002]) AS c;
INSERT INTO ledger_accounts (customer_id, id, client_id, code, name) OVERRIDING SYSTEM VALUE
    SELECT c, 1, 1, '1000', 'Cash' FROM unnest(ARRAY[7001, 7002]) AS c;
INSERT INTO ledger_entries (customer_id, id, client_id, transaction_id, reference, entered_on) OVERRIDING SYSTEM VALUE
    SELECT c, 1, 1, 2, 'r1', '2026-01-05' FROM unnest(ARRAY[7001, 7002]) AS c;
INSERT INTO ledger_lines (customer_id, entry_id, line_no, ledger_account_id, amount, currency)
    SELECT c, 1, 1, 1, 0, 'USD' FROM unnest(ARRAY[7001, 7002]) AS c;
INSERT INTO review_items (customer_id, id, client_id, entry_id, transaction_id, kind, reason) OVERRIDING SYSTEM VALUE
    SELECT c, 1, 1, 1, 2, 'differs', 'another amount' FROM unnest(ARRAY[7001, 7002]) AS c;
INSERT INTO bank_refreshes (customer_id, id, client_id, connection_id, kind, requested_by) OVERRIDING SYSTEM VALUE
    SELECT c, 1, 1, 1, 'current', 'user:1' FROM unnest(ARRAY[7001, 7002]) AS c;
INSERT INTO support_cases (customer_id, id, client_id, connection_id, reason, opened_by) OVERRIDING SYSTEM VALUE
    SELECT c, 1, 1, 1, 'The bank asks a security question or code; answer it.', 'user:1' FROM unnest(ARRAY[7001, 7002]) AS c;
INSERT INTO case_actions (customer_id, id, case_id, owner, text, created_by) OVERRIDING SYSTEM VALUE
    SELECT c, 1, 1, 'client', 'Be reachable.', 'user:1' FROM unnest(ARRAY[7001, 7002]) AS c;
INSERT INTO removals (customer_id, id, client_id, source_id, kind, aggregator_customer_id) OVERRIDING SYSTEM VALUE
    SELECT c, 1, 1, c, 'customer', '1' FROM unnest(ARRAY[7001, 7002]) AS c;
INSERT INTO widget_sessions (customer_id, id, client_id, kind, step, connection_id, requested_by, expires_at)
    SELECT c, ('00000000-0000-0000-0000-00000000' || c)::uuid, 1, 'fix', 'trouble', 1, 'user:1', now() + interval '2 hours'
    FROM unnest(ARRAY[7001, 7002]) AS c;
INSERT INTO mails (customer_id, id, client_id, recipient, subject, body) OVERRIDING SYSTEM VALUE
    SELECT c, 1, 1, 'ann@client.example', 'Your bank needs you', 'Hello' FROM unnest(ARRAY[7001, 7002]) AS c;
INSERT INTO api_keys (customer_id, id, name, key_sha256, hint, scopes) OVERRIDING SYSTEM VALUE
    SELECT c, 1, 'export', sha256(('key ' || c)::bytea), 'abcd', '{clients:read}' FROM unnest(ARRAY[7001, 7002]) AS c;
INSERT INTO sign_in_failures (name_sha256, failures, blocked_until) VALUES (sha256(''), 1, now());
INSERT INTO idempotency_keys (customer_id, key_sha256, request_sha256)
    SELECT c, sha256(''), sha256('') FROM unnest(ARRAY[7001, 7002]) AS c;
INSERT INTO audit_log (customer_id, id, actor, action) OVERRIDING SYSTEM VALUE
    SELECT c, 1, 'user:1', 'listClients' FROM unnest(ARRAY[7001, 7002]) AS c;
INSERT INTO received (source_id, event_id, body_sha256) VALUES (7001, 'e1', sha256('')), (7002, 'e1', sha256(''));
INSERT INTO inbox (source_id, id, customer_id, name, event_type, body) OVERRIDING SYSTEM VALUE
    SELECT c, 1, c, 'accountAdded', 'accountAdded', '{}' FROM unnest(ARRAY[7001, 7002]) AS c;
INSERT INTO endpoints (customer_id, id, url, event_types, secret, signing_key, public_key) OVERRIDING SYSTEM VALUE
    SELECT c, 1, 'https://firm.example/hook', '{accountAdded}', 'sealed:k:A', 'sealed:k:A', 'whpk_A'
    FROM unnest(ARRAY[7001, 7002]) AS c;
INSERT INTO endpoint_health (customer_id, endpoint_id) SELECT customer_id, id FROM endpoints;
INSERT INTO events (customer_id, id, event_id, event_type, client_id, connection_id, body) OVERRIDING SYSTEM VALUE
    SELECT c, 1, gen_random_uuid(), 'accountAdded', 1, 1, '{}' FROM unnest(ARRAY[7001, 7002]) AS c;
INSERT INTO deliveries (customer_id, id, created_at, endpoint_id, outbox_id) OVERRIDING SYSTEM VALUE
    SELECT customer_id, 1, created_at, 1, 1 FROM events;
INSERT INTO delivery_queue (customer_id, delivery_id, endpoint_id, outbox_id, created_at)
    SELECT customer_id, 1, 1, 1, created_at FROM events;
INSERT INTO attempts (customer_id, delivery_id, attempt_no, started_at, delivery_created_at, duration_ms, status)
    SELECT customer_id, 1, 1, now(), created_at, 5, 500 FROM deliveries;
"""


async def insert_rows(superuser: asyncpg.Connection) -> None:
    """Write the same rows for two customers, 7001 and 7002."""
    await superuser.execute(ROWS)


async def list_names(conn: asyncpg.Connection, sql: str, *args: object) -> list[Any]:
    """Return the first column of what a query finds."""
    return [row[0] for row in await conn.fetch(sql, *args)]


async def load(url: str) -> None:
    """Load the schema, as whoever the address names."""
    conn = await asyncpg.connect(url)
    await load_schema(conn)
    await conn.close()
