"""What schema.sql promises, asked of a database that was made from it."""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import asyncpg
import pytest

from bankfeed.db.schema import find_schema_version, load_schema
from bankfeed.local import LocalPostgres, erase
from tests.conftest import PASSWORD
from tests.db.rows import insert_rows, list_names, load

POSTGRES_15 = Path("/usr/lib/postgresql/15/bin")
OURS = "relnamespace = 'public'::regnamespace"

VIOLATIONS = {
    "customer_name_is_not_blank": "UPDATE customers SET name = ' '",
    "user_email_is_lower_case": "UPDATE users SET email = 'A@firm.example' WHERE customer_id = 7001",
    "password_hash_is_argon2id": "UPDATE users SET password_hash = 'secret'",
    "user_has_password_or_invitation": "UPDATE users SET password_hash = NULL",
    "invitation_has_token_and_end": "UPDATE users SET invite_sha256 = sha256('') WHERE customer_id = 7001",
    "invite_token_is_hashed": "UPDATE users SET invite_sha256 = 'token', invite_expires_at = now() WHERE customer_id = 7001",
    "session_token_is_hashed": "UPDATE sessions SET token_sha256 = 'token' WHERE customer_id = 7001",
    "api_key_is_hashed": "UPDATE api_keys SET key_sha256 = 'key' WHERE customer_id = 7001",
    "api_key_name_is_not_blank": "UPDATE api_keys SET name = ' '",
    "api_key_has_scopes": "UPDATE api_keys SET scopes = '{}'",
    "sign_in_name_is_hashed": "UPDATE sign_in_failures SET name_sha256 = 'ann@firm.example'",
    "audit_actor_is_named": "UPDATE audit_log SET actor = 'user:'",
    "client_deleted_will_be_erased": "UPDATE clients SET deleted_at = now()",
    "client_erased_was_deleted": "UPDATE clients SET erased_at = now()",
    "client_username_is_not_blank": "UPDATE clients SET username = ''",
    "change_no_only_grows": "UPDATE change_counters SET last_change_no = -1",
    "source_slug_fits_a_path": "UPDATE sources SET slug = '../etc' WHERE id = 7001",
    "source_verifier_is_known": "UPDATE sources SET verifier = 'none'",
    "source_dialect_is_known": "UPDATE sources SET dialect = 'none'",
    "source_secret_is_long_enough": "UPDATE source_keys SET secret = 'short'",
    "handled_claimed_requested_in_order": "UPDATE connections SET handled = 2, claimed = 1, requested = 2",
    "lease_has_token_and_end": "UPDATE connections SET lease_token = gen_random_uuid()",
    "institution_is_not_its_own_double": "UPDATE institutions SET same_as = id",
    "history_repair_says_since_when": "UPDATE connection_history SET broken_since = now()",
    "account_closed_has_time": "UPDATE accounts SET state = 'closed'",
    "account_currency_is_a_code": "UPDATE accounts SET currency = 'usd'",
    "account_balance_is_a_number": "UPDATE accounts SET balance = 'Infinity', balance_on = '2026-01-31'",
    "account_balance_has_day": "UPDATE accounts SET balance = 1",
    "account_gap_is_of_a_balance": "UPDATE accounts SET balance_gap = 1",
    "account_suspects_explain_a_gap": "UPDATE accounts SET balance_suspects = '{1}'",
    "account_adopted_is_closed": "UPDATE accounts SET adopted_into = id",
    "pull_kind_is_known": "UPDATE pulls SET kind = 'half'",
    "pull_window_runs_forward": "UPDATE pulls SET to_on = from_on - 1",
    "pull_only_held_keeps_rows": "UPDATE pulls SET held = '{}'",
    "pull_balance_is_a_number": "UPDATE pulls SET balance = 'NaN'",
    "pull_gap_is_of_a_balance": "UPDATE pulls SET balance_gap = 1",
    "pull_undone_was_applied": "UPDATE pulls SET undone_at = now(), outcome = 'failed', reason = 'away'",
    "pull_not_applied_says_why": "UPDATE pulls SET outcome = 'failed'",
    "transaction_amount_is_a_number": "UPDATE transactions SET amount = 'NaN'",
    "transaction_removed_has_time": "UPDATE transactions SET state = 'removed' WHERE id = 1",
    "transaction_is_merged_into_another": "UPDATE transactions SET merged_into = id",
    "transaction_split_has_parts": "UPDATE transactions SET split_into = ARRAY[amount]",
    "transaction_erased_has_no_values": "UPDATE transactions SET fingerprint = 'f', description = '', raw_amount = ''",
    "transaction_pending_was_never_active": "UPDATE transactions SET state = 'pending' WHERE id = 2",
    "transaction_shadow_was_active": "UPDATE transactions SET state = 'shadow' WHERE id = 1",
    "transaction_aggregator_id_is_not_blank": "UPDATE transactions SET aggregator_id = ' '",
    "transaction_change_no_only_grows": "UPDATE transactions SET change_no = first_change_no - 1",
    "act_actor_is_named": "UPDATE acts SET actor = 'somebody'",
    "act_is_undone_by_a_later_one": "UPDATE acts SET undone_by = id",
    "change_has_one_cause": "UPDATE transaction_changes SET pull_id = 1",
    "doubt_is_about_one_thing": "UPDATE doubts SET transaction_id = NULL",
    "doubt_has_one_cause": "UPDATE doubts SET act_id = 1",
    "doubt_decided_has_decision": "UPDATE doubts SET decided_at = now()",
    "doubt_decision_is_a_persons": "UPDATE doubts SET decided_at = now(), decision = 'kept'",
    "ledger_entry_posted_has_time": "UPDATE ledger_entries SET state = 'posted'",
    "ledger_entry_void_has_time": "UPDATE ledger_entries SET state = 'void'",
    "ledger_correction_is_posted": "UPDATE ledger_entries SET corrects = id",
    "review_item_closed_names_who": "UPDATE review_items SET closed_at = now()",
    "bank_refresh_is_a_persons_wish": "UPDATE bank_refreshes SET requested_by = 'system'",
    "bank_refresh_final_has_time": "UPDATE bank_refreshes SET state = 'done'",
    "bank_refresh_lease_has_token_and_end": "UPDATE bank_refreshes SET lease_until = now()",
    "mail_final_has_time": "UPDATE mails SET state = 'sent'",
    "mail_lease_has_token_and_end": "UPDATE mails SET lease_until = now()",
    "customer_notices_are_not_too_often": "UPDATE customers SET notify_clients_hours = 0",
    "customer_notices_go_somewhere": "UPDATE customers SET notify_hours = 1",
    "removal_final_has_time": "UPDATE removals SET state = 'gone'",
    "removal_lease_has_token_and_end": "UPDATE removals SET lease_until = now()",
    "ledger_line_amount_is_a_number": "UPDATE ledger_lines SET amount = 1e18",
    "ledger_line_currency_is_a_code": "UPDATE ledger_lines SET currency = ''",
    "inbox_body_is_bounded": "UPDATE inbox SET body = repeat('x', 262145)::bytea",
    "inbox_unknown_type_is_not_waiting": "UPDATE inbox SET event_type = NULL",
    "inbox_finished_has_time": "UPDATE inbox SET state = 'done'",
    "inbox_set_aside_says_why": "UPDATE inbox SET state = 'set_aside', finished_at = now()",
    "inbox_lease_has_token_and_end": "UPDATE inbox SET lease_until = now()",
    "inbox_finished_has_no_lease": "UPDATE inbox SET state = 'done', finished_at = now(), lease_until = now(),"
    " lease_token = gen_random_uuid()",
    "endpoint_url_is_http": "UPDATE endpoints SET url = 'file:///etc/passwd'",
    "endpoint_wants_something": "UPDATE endpoints SET event_types = '{}'",
    "endpoint_secrets_are_sealed": "UPDATE endpoints SET secret = 'whsec_' || repeat('A', 44)",
    "endpoint_public_key_is_standard": "UPDATE endpoints SET public_key = 'whsk_A'",
    "endpoint_previous_secret_has_end": "UPDATE endpoints SET previous_secret = secret",
    "endpoint_headers_have_names": "UPDATE endpoints SET headers = 'sealed:k:A'",
    "endpoint_slots_are_bounded": "UPDATE endpoints SET slots = 0",
    "endpoint_rate_is_bounded": "UPDATE endpoints SET rate_per_s = 1001",
    "endpoint_jitter_is_bounded": "UPDATE endpoints SET jitter_percent = 51",
    "endpoint_schedule_is_bounded": "UPDATE endpoints SET retry_schedule = ARRAY(SELECT generate_series(1, 15))",
    "endpoint_deleted_is_disabled": "UPDATE endpoints SET deleted_at = now()",
    "institution_failing_has_since": "UPDATE institution_health SET failing_since = NULL",
    "endpoint_failing_has_since": "UPDATE endpoint_health SET failures = 1",
    "widget_fix_names_its_connection": "UPDATE widget_sessions SET connection_id = NULL",
    "widget_visit_is_sealed_and_ends": "UPDATE widget_sessions SET visit = 'demo/go', visit_until = now()",
    "widget_work_has_token_and_end": "UPDATE widget_sessions SET work_until = now()",
    "widget_ended_holds_nothing": "UPDATE widget_sessions SET ended_at = now(), outcome = 'left', visit = 'sealed:k:A',"
    " visit_until = now()",
    "widget_ended_says_how": "UPDATE widget_sessions SET ended_at = now()",
    "widget_asked_by_somebody": "UPDATE widget_sessions SET requested_by = 'system'",
    "customer_redirects_are_bounded": "UPDATE customers SET redirect_uris = ARRAY(SELECT 'x' FROM generate_series(1, 51))",
    "case_closed_has_time": "UPDATE support_cases SET state = 'closed'",
    "case_opened_by_somebody": "UPDATE support_cases SET opened_by = 'user:'",
    "action_done_by_somebody": "UPDATE case_actions SET done_at = now()",
    "delivery_reason_is_of_a_failure": "UPDATE deliveries SET reason = 'away'",
    "delivery_extra_attempts_are_bounded": "UPDATE delivery_queue SET extra_attempts = 101",
    "delivery_final_has_time": "UPDATE deliveries SET state = 'delivered'",
    "delivery_lease_has_token_and_end": "UPDATE delivery_queue SET lease_until = now()",
    "delivery_attempts_are_bounded": "UPDATE delivery_queue SET attempts = 16",
    "attempt_number_is_bounded": "UPDATE attempts SET attempt_no = 116",
    "attempt_ended_somehow": "UPDATE attempts SET status = NULL",
}


async def describe(url: str) -> list[str]:
    """Write down all that schema.sql makes: tables, columns, constraints, indexes, policies, functions, grants."""
    conn = await asyncpg.connect(url)
    lines = await list_names(
        conn,
        f"""
        SELECT concat_ws(' ', relkind, relname, relacl, relrowsecurity, relforcerowsecurity,
                         obj_description(oid), pg_get_expr(relpartbound, oid)) FROM pg_class WHERE {OURS}
        UNION ALL SELECT concat_ws(' ', attrelid::regclass, attname, format_type(atttypid, atttypmod), attnotnull, attacl)
        FROM pg_attribute JOIN pg_class ON pg_class.oid = attrelid WHERE {OURS} AND attnum > 0
        UNION ALL SELECT concat_ws(' ', conrelid::regclass, conname, pg_get_constraintdef(oid)) FROM pg_constraint
        WHERE connamespace = 'public'::regnamespace
        UNION ALL SELECT indexdef FROM pg_indexes WHERE schemaname = 'public'
        UNION ALL SELECT concat_ws(' ', tablename, policyname, roles, cmd, qual, with_check) FROM pg_policies
        UNION ALL SELECT concat_ws(' ', proname, proacl, prosecdef, proconfig, md5(prosrc)) FROM pg_proc
        WHERE pronamespace = 'public'::regnamespace
        UNION ALL SELECT concat_ws(' ', enumtypid::regtype, enumlabel, enumsortorder) FROM pg_enum
        UNION ALL SELECT concat_ws(' ', 'database', datacl) FROM pg_database WHERE datname = current_database()
        UNION ALL SELECT concat_ws(' ', 'version', version) FROM schema_version
        ORDER BY 1
        """,  # noqa: S608 - a constant of this file
    )
    await conn.close()
    return lines


async def test_loading_twice_changes_nothing(bare: str) -> None:
    """The schema can be loaded again over itself, with rows in it."""
    await load(bare)
    once = await describe(bare)
    await load(bare)
    assert once == await describe(bare)


async def test_two_may_load_at_once(bare: str) -> None:
    """Several that load into an empty database at once end as one after the other."""
    await asyncio.gather(*(load(bare) for _ in range(3)))
    at_once = await describe(bare)
    await load(bare)
    assert at_once == await describe(bare)


async def test_the_version_is_known(bare: str) -> None:
    """A database without the schema has no version; with it, version 1."""
    conn = await asyncpg.connect(bare)
    assert await find_schema_version(conn) is None
    await load_schema(conn)
    assert 1 == await find_schema_version(conn)
    await conn.close()


@pytest.fixture(scope="session")
def postgres_15(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalPostgres]:
    """The Postgres 15 of Debian 12."""
    if not (POSTGRES_15 / "postgres").exists():
        pytest.skip(f"there is no {POSTGRES_15}")
    folder = tmp_path_factory.mktemp("postgres15")
    with LocalPostgres(folder, programs=POSTGRES_15, settings={"fsync": "off"}) as server:
        yield server
    erase(folder)


async def test_an_older_postgres_takes_it(postgres_15: LocalPostgres) -> None:
    """Postgres 15 loads the schema, twice, and holds the same rows."""
    conn = await asyncpg.connect(postgres_15.url())
    await conn.execute(f"CREATE ROLE bankfeed_owner LOGIN CREATEROLE PASSWORD '{PASSWORD}'")
    await conn.execute("CREATE DATABASE bankfeed OWNER bankfeed_owner")
    await conn.close()
    url = postgres_15.url("bankfeed_owner", "bankfeed", PASSWORD)
    await load(url)
    await load(url)
    superuser = await asyncpg.connect(postgres_15.url(database="bankfeed"))
    await insert_rows(superuser)
    assert 4 == await superuser.fetchval("SELECT count(*) FROM transactions")
    await superuser.close()


# ------------------------------------------------------------------------------------------------ constraints


async def test_each_check_has_a_violation_here(superuser: asyncpg.Connection) -> None:
    """A new CHECK comes with a statement that it refuses."""
    names = await list_names(
        superuser,
        "SELECT conname FROM pg_constraint WHERE contype = 'c' AND connamespace = 'public'::regnamespace"
        " AND conparentid = 0 AND coninhcount = 0",
    )
    assert sorted(VIOLATIONS) == sorted(names)


async def test_each_check_refuses_by_its_name(superuser: asyncpg.Connection) -> None:
    """A state that must not be is refused by Postgres, by the name of the sentence that it breaks."""
    await insert_rows(superuser)
    refused_by = {}
    for name, sql in VIOLATIONS.items():
        with pytest.raises(asyncpg.CheckViolationError) as raised:
            await superuser.execute(sql)
        refused_by[name] = raised.value.constraint_name
    assert {name: name for name in VIOLATIONS} == refused_by


async def test_constraints_have_names_of_their_own(superuser: asyncpg.Connection) -> None:
    """No constraint has a name that Postgres made up (not-null ones aside): errors are told apart by name."""
    names = await list_names(
        superuser,
        "SELECT conrelid::regclass || '.' || conname FROM pg_constraint WHERE connamespace = 'public'::regnamespace"
        " AND contype <> 'n' AND conparentid = 0 AND coninhcount = 0 AND conname ~ '_(check|fkey|pkey|key|excl)[0-9]*$'",
    )
    assert [] == names


async def test_counters_of_a_connection_never_cross(superuser: asyncpg.Connection) -> None:
    """handled <= claimed <= requested, whichever of them a statement moves."""
    await insert_rows(superuser)
    for change in ("requested = -1", "claimed = 1", "handled = 1", "requested = 2, handled = 1"):
        with pytest.raises(asyncpg.CheckViolationError, match="handled_claimed_requested_in_order"):
            await superuser.execute(f"UPDATE connections SET {change}")  # noqa: S608 - the words above


# ------------------------------------------------------------------------------------------------ tenants


async def test_tenant_tables_are_locked(superuser: asyncpg.Connection) -> None:
    """Every table with a customer_id, and customers itself, has row-level security enabled and forced, and a policy."""
    unlocked = await list_names(
        superuser,
        f"""
        SELECT relname FROM pg_class c WHERE {OURS} AND relkind IN ('r', 'p') AND NOT relispartition
          AND (relname = 'customers' OR EXISTS (SELECT FROM pg_attribute WHERE attrelid = c.oid AND attname = 'customer_id'))
          AND NOT (relrowsecurity AND relforcerowsecurity
                   AND EXISTS (SELECT FROM pg_policy WHERE polrelid = c.oid AND polname = 'own_rows'))
        """,  # noqa: S608 - a constant of this file
    )
    assert [] == unlocked


async def test_keys_begin_with_the_tenant(superuser: asyncpg.Connection) -> None:
    """customer_id is the first column of every tenant table's key; the inbox and its sources are keyed by source."""
    others = await list_names(
        superuser,
        f"""
        SELECT relname FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND attname = 'customer_id'
        WHERE {OURS} AND relkind IN ('r', 'p') AND NOT relispartition
          AND NOT EXISTS (SELECT FROM pg_constraint p WHERE p.conrelid = c.oid AND contype = 'p' AND conkey[1] = a.attnum)
        ORDER BY 1
        """,  # noqa: S608 - a constant of this file
    )
    assert ["inbox", "sources"] == others


async def test_unique_keys_hold_the_tenant(superuser: asyncpg.Connection) -> None:
    """A unique key of a tenant table begins with customer_id, but for what is unique among all customers by design."""
    others = await list_names(
        superuser,
        f"""
        SELECT i.indexrelid::regclass::text FROM pg_index i JOIN pg_class c ON c.oid = i.indrelid
        JOIN pg_attribute a ON a.attrelid = c.oid AND attname = 'customer_id'
        WHERE {OURS} AND NOT relispartition AND indisunique AND i.indkey[0] <> a.attnum ORDER BY 1
        """,  # noqa: S608 - a constant of this file
    )
    assert [
        "aggregator_customer_is_one_client",
        "api_keys_by_hash",
        "inbox_pk",
        "sessions_by_token",
        "source_slug_is_unique",
        "sources_pk",
        "users_by_email",
        "users_by_invitation",
    ] == others


# ------------------------------------------------------------------------------------------------ indexes


@pytest.mark.parametrize(
    ("index", "sql"),
    [
        ("Index Only Scan using connections_", "SELECT count(*) FROM connections WHERE handled < requested"),
        (
            "connections_due",
            """SELECT id FROM connections WHERE handled < requested AND due_at <= now() ORDER BY due_at, customer_id, id LIMIT 1 FOR UPDATE SKIP LOCKED""",
        ),
        (
            "connections_lanes",
            """SELECT id FROM connections WHERE handled < requested AND coalesce(institution_id, 0) = 7 AND due_at <= now() ORDER BY due_at, customer_id, id LIMIT 1 FOR UPDATE SKIP LOCKED""",
        ),
        (
            "connections_leased",
            "SELECT count(*) FROM connections WHERE institution_id = 7 AND lease_token IS NOT NULL AND lease_until > now()",
        ),
        (
            "connections_next_update",
            """SELECT id FROM connections WHERE next_update_at <= now() AND state <> 'closed' ORDER BY next_update_at, customer_id, id LIMIT 10""",
        ),
        (
            "transactions_pending",
            "SELECT id FROM transactions WHERE customer_id = 1 AND account_id = 1 AND state = 'pending'",
        ),
        (
            "transactions_merged",
            "SELECT id FROM transactions WHERE customer_id = 1 AND account_id = 1 AND merged_into IS NOT NULL AND NOT (state = 'removed' AND has_joined)",
        ),
        ("received_by_age", "SELECT 1 FROM received WHERE received_at < now() ORDER BY received_at LIMIT 10"),
        ("delivery_queue_by_age", "SELECT 1 FROM delivery_queue WHERE created_at >= now()"),
    ],
)
async def test_what_is_looked_for_often_has_its_index(superuser: asyncpg.Connection, index: str, sql: str) -> None:
    """The predicates of the hot statements are those of the partial indexes, word for word."""
    await superuser.execute("SET enable_seqscan = off; SET enable_bitmapscan = off")
    plan = "\n".join(await list_names(superuser, f"EXPLAIN {sql}"))
    assert index in plan
