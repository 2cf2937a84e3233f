"""Who may touch what: the two roles, column by column, and PUBLIC."""

import asyncpg
import pytest

from bankfeed.local import LocalPostgres
from tests.conftest import PASSWORD, Urls
from tests.db.rows import insert_rows, list_names, load

OURS = "relnamespace = 'public'::regnamespace"
ROLES = ("bankfeed_app", "bankfeed_queue")

READ_BY_QUEUE = {
    "customers": "id notify_hours notify_clients_hours notified_at",
    "sources": "id customer_id slug connector dialect bound_to",
    "clients": "customer_id id locked_at deleted_at erase_at erased_at notified_at",
    "mails": "customer_id id state tries due_at lease_token lease_until finished_at",
    "widget_sessions": "customer_id id expires_at visit_until seen_at opened_at ended_at has_webhook",
    "sign_in_failures": "name_sha256 failures blocked_until",
    "bank_refreshes": "customer_id id connection_id kind state tries due_at lease_token lease_until finished_at",
    "removals": "customer_id id source_id kind state tries due_at lease_token lease_until finished_at",
    "enrolments": "customer_id client_id source_id aggregator_customer_id created_at",
    "connections": "customer_id id client_id source_id institution_id aggregator_login_id state requested claimed handled"
    " failures due_at next_update_at lease_token lease_until last_refresh_at broken_since deleted_at",
    "accounts": "customer_id id connection_id source_id aggregator_id state adopted_into deleted_at",
    "received": "source_id event_id body_sha256 received_at",
    "inbox": "source_id id received_at customer_id name event_type event_id customer_ref login_refs account_refs state"
    " reason needs_listing tries ends due_at lease_token lease_until finished_at",
    "delivery_queue": "customer_id delivery_id endpoint_id outbox_id created_at due_at attempts first_attempt_at"
    " extra_attempts is_by_hand urgent_at order_key queued_at lease_token lease_until",
    "endpoint_health": "failures blocked_until",
    "institutions": "id time_zone",
    "institution_health": "institution_id failures failing_since blocked_until",
    "institution_notices": "id institution_id status migrates_until at told_customer_id told_connection_id finished_at",
    "schema_version": "version loaded_at",
}
UPDATED_BY_QUEUE = {
    "connections": "requested claimed due_at next_update_at lease_token lease_until repair_hinted_at",
    "accounts": "delete_hinted_at",
    "institution_notices": "told_customer_id told_connection_id finished_at",
    "institution_health": "institution_id failures failing_since blocked_until",
    "sign_in_failures": "name_sha256 failures blocked_until",
    "bank_refreshes": "due_at lease_token lease_until",
    "removals": "due_at lease_token lease_until",
    "mails": "due_at lease_token lease_until",
    "inbox": "customer_id state reason needs_listing tries ends due_at lease_token lease_until finished_at",
}
INSERTED_BY_QUEUE = {
    "institution_health": "institution_id failures failing_since blocked_until",
    "sign_in_failures": "name_sha256 failures blocked_until",
    "received": "source_id event_id body_sha256 received_at",
    "inbox": "source_id name event_type event_id customer_ref login_refs account_refs body state reason finished_at",
}
SECRET_TO_QUEUE = {  # what no allow-list may ever name
    *("inbox.body", "events.body", "accounts.name", "accounts.balance", "accounts.number_display", "sources.verifier"),
    *("transactions.amount", "users.email", "users.password_hash", "sessions.token_sha256", "source_keys.secret"),
    *(
        "endpoints.url",
        "endpoints.secret",
        "endpoints.headers",
        "clients.name",
        "clients.username",
        "pulls.held",
        "attempts.answer",
    ),
    *("transaction_changes.before", "acts.detail", "doubts.reason", "audit_log.target", "audit_log.actor"),
    *("users.invite_sha256", "api_keys.key_sha256", "idempotency_keys.answer", "clients.email", "clients.phone"),
    *("removals.aggregator_ref", "bank_refreshes.message", "review_items.reason", "endpoints.previous_secret"),
    *("endpoints.signing_key", "endpoints.previous_signing_key"),
    *("mails.recipient", "mails.subject", "mails.body", "customers.notify_email"),
    *("widget_sessions.visit", "widget_sessions.redirect_uri"),
    *("support_cases.telephone", "support_cases.note", "support_cases.facts", "case_actions.text"),
}


def spread(columns: dict[str, str]) -> set[str]:
    return {f"{table}.{column}" for table, names in columns.items() for column in names.split()}


@pytest.mark.parametrize("role", ROLES)
async def test_roles_have_no_power(superuser: asyncpg.Connection, role: str) -> None:
    """The roles of the processes are no superusers, make no roles or databases, and are bound by row-level security."""
    power = await superuser.fetchrow(
        "SELECT rolsuper, rolbypassrls, rolcreatedb, rolcreaterole, rolreplication FROM pg_roles WHERE rolname = $1",
        role,
    )
    assert [False] * 5 == list(power)
    assert [] == await list_names(
        superuser, "SELECT roleid::regrole::text FROM pg_auth_members WHERE member = $1::text::regrole", role
    )


async def list_granted(conn: asyncpg.Connection, role: str, privilege: str) -> set[str]:
    return set(
        await list_names(
            conn,
            "SELECT table_name || '.' || column_name FROM information_schema.columns WHERE table_schema = 'public'"
            " AND has_column_privilege($1, format('public.%I', table_name), column_name, $2)",
            role,
            privilege,
        )
    )


@pytest.mark.parametrize(
    ("privilege", "allowed"),
    [
        ("SELECT", READ_BY_QUEUE),
        ("UPDATE", UPDATED_BY_QUEUE),
        ("INSERT", INSERTED_BY_QUEUE),
        ("REFERENCES", {}),
    ],
)
async def test_the_queue_touches_what_is_listed(
    superuser: asyncpg.Connection, privilege: str, allowed: dict[str, str]
) -> None:
    """Each column that bankfeed_queue may touch is listed above: a new column has to be decided on."""
    assert spread(allowed) == await list_granted(superuser, "bankfeed_queue", privilege)


async def test_the_queue_reads_no_ones_data(superuser: asyncpg.Connection) -> None:
    """Bodies, amounts, names, secrets and addresses are none of the queue's business."""
    exist = set(
        await list_names(
            superuser,
            "SELECT table_name || '.' || column_name FROM information_schema.columns WHERE table_schema = 'public'",
        )
    )
    assert exist >= SECRET_TO_QUEUE
    assert set() == SECRET_TO_QUEUE & await list_granted(superuser, "bankfeed_queue", "SELECT")


@pytest.mark.parametrize(
    ("role", "tables"),
    [
        ("bankfeed_queue", ["mails", "received", "sign_in_failures", "widget_sessions"]),
        (
            "bankfeed_app",
            [
                *("delivery_queue", "enrolments", "idempotency_keys", "ledger_lines", "sessions"),
                *("transaction_aliases", "users"),
            ],
        ),
    ],
)
async def test_few_tables_are_deleted_from(superuser: asyncpg.Connection, role: str, tables: list[str]) -> None:
    """A role deletes from the tables named here only, and truncates none."""
    deletes = "SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p')"
    assert tables == await list_names(
        superuser, f"{deletes} AND has_table_privilege($1, oid, 'DELETE') ORDER BY relname", role
    )
    assert [] == await list_names(
        superuser, f"{deletes} AND has_table_privilege($1, oid, 'TRUNCATE, TRIGGER, REFERENCES')", role
    )


@pytest.mark.parametrize("role", ROLES)
async def test_partitions_are_reached_through_their_parents(
    superuser: asyncpg.Connection, owner: asyncpg.Connection, role: str
) -> None:
    """A partition has no policies of its own, so neither role may touch one directly."""
    await owner.fetchval("SELECT make_partitions(8)")  # all that loading the schema makes; the template has two
    partitions = await list_names(superuser, f"SELECT relname FROM pg_class WHERE {OURS} AND relispartition")  # noqa: S608
    assert len(partitions) > 5 * 9
    for privilege in ("SELECT", "INSERT", "UPDATE"):
        granted = await list_granted(superuser, role, privilege)
        assert set() == {column for column in granted if column.split(".")[0] in partitions}


@pytest.mark.parametrize(
    ("role", "functions"),
    [
        (
            "bankfeed_app",
            [
                "enter",
                "erase_client",
                "erase_inbox",
                "find_invitation",
                "find_public_keys",
                "find_session",
                "find_user",
            ],
        ),
        (
            "bankfeed_queue",
            [
                *(
                    "claim_connection",
                    "claim_deliveries",
                    "delete_old_requests",
                    "drop_partitions",
                    "end_overdue_deliveries",
                    "find_source",
                ),
                *("has_room", "make_partitions", "record_attempts"),
            ],
        ),
    ],
)
async def test_functions_of_the_owner_are_called_by_whom_they_are_for(
    superuser: asyncpg.Connection, role: str, functions: list[str]
) -> None:
    """Each function that runs as the owner is granted to one role, and looks up names in its own schema only."""
    assert functions == await list_names(
        superuser,
        "SELECT proname FROM pg_proc WHERE pronamespace = 'public'::regnamespace"
        " AND has_function_privilege($1, oid, 'EXECUTE') ORDER BY 1",
        role,
    )
    assert [] == await list_names(
        superuser,
        "SELECT proname FROM pg_proc WHERE pronamespace = 'public'::regnamespace AND prosecdef"
        " AND NOT coalesce('search_path=public, pg_temp' = ANY (proconfig), false)",
    )


@pytest.mark.parametrize("role", ROLES)
@pytest.mark.parametrize(
    "sql",
    [
        "UPDATE audit_log SET target = ''",
        "UPDATE audit_log SET at = now() WHERE false",
        "DELETE FROM audit_log",
        "TRUNCATE audit_log",
        "DROP TABLE audit_log",
        "ALTER TABLE audit_log DISABLE ROW LEVEL SECURITY",
        "DELETE FROM {partition}",
        "UPDATE {partition} SET actor = 'system'",
        "TRUNCATE {partition}",
        "DROP TABLE {partition}",
        "ALTER TABLE audit_log DETACH PARTITION {partition}",
        "INSERT INTO {partition} (customer_id, actor, action) VALUES (7001, 'system', 'x')",
    ],
)
async def test_the_audit_log_is_only_added_to(urls: Urls, superuser: asyncpg.Connection, role: str, sql: str) -> None:
    """Neither role changes, deletes or empties a line, by the table or by a partition, also not the tenant's own lines."""
    await insert_rows(superuser)
    partition = await superuser.fetchval("SELECT tableoid::regclass::text FROM audit_log LIMIT 1")
    conn = await asyncpg.connect({"bankfeed_app": urls.app, "bankfeed_queue": urls.queue}[role])
    await conn.execute("SELECT set_config('app.customer_id', '7001', false)")
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await conn.execute(sql.format(partition=partition))
    await conn.close()
    assert 2 == await superuser.fetchval("SELECT count(*) FROM audit_log WHERE action = 'listClients'")


async def test_the_audit_log_is_the_apps_alone(superuser: asyncpg.Connection) -> None:
    """The app adds and reads, the queue does neither, and no function of the owner that either may call touches a line."""
    for role, allowed in (("bankfeed_app", {"SELECT", "INSERT"}), ("bankfeed_queue", set())):
        privileges = ("SELECT", "INSERT", "UPDATE", "DELETE", "TRUNCATE", "REFERENCES", "TRIGGER")
        granted = {
            each
            for each in privileges
            if await superuser.fetchval("SELECT has_table_privilege($1, 'audit_log', $2)", role, each)
        }
        assert allowed == granted
    touching = await list_names(
        superuser,
        "SELECT proname FROM pg_proc WHERE pronamespace = 'public'::regnamespace AND prosecdef"
        " AND prosrc ~* '(update|delete from|truncate)\\s+audit_log'",
    )
    assert [] == touching


@pytest.mark.parametrize("role", ROLES)
async def test_roles_make_nothing(bare: str, postgres: LocalPostgres, role: str) -> None:
    """A process makes no table, not even a temporary one, that could stand in for ours."""
    await load(bare)
    conn = await asyncpg.connect(postgres.url(role, bare.rsplit("/", 1)[1], PASSWORD))
    for sql in ("CREATE TABLE t (i int)", "CREATE TEMP TABLE t (i int)", "CREATE SCHEMA s", "DROP TABLE customers"):
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await conn.execute(sql)
    await conn.close()


@pytest.mark.parametrize(
    "sql", ["SELECT * FROM source_keys", "SELECT secret FROM source_keys", "TABLE received", "TABLE sign_in_failures"]
)
async def test_the_app_reads_no_keys(urls: object, app: asyncpg.Connection, sql: str) -> None:
    """Keys of sources, and the replay store of all customers, are not for the app."""
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await app.fetch(sql)


async def test_nothing_is_granted_to_everybody(bare: str) -> None:
    """PUBLIC has no table, column, sequence, function, nor the database; of the schema it has what it came with."""
    await load(bare)
    conn = await asyncpg.connect(bare)
    granted = await list_names(
        conn,
        f"""
        SELECT 'table ' || relname FROM pg_class, aclexplode(relacl) a WHERE {OURS} AND a.grantee = 0
        UNION ALL SELECT 'column ' || attname FROM pg_attribute JOIN pg_class c ON c.oid = attrelid, aclexplode(attacl) a
        WHERE c.{OURS} AND a.grantee = 0
        UNION ALL SELECT 'function ' || proname FROM pg_proc, aclexplode(coalesce(proacl, acldefault('f', proowner))) a
        WHERE pronamespace = 'public'::regnamespace AND a.grantee = 0
        UNION ALL SELECT 'database ' || privilege_type
        FROM pg_database, aclexplode(coalesce(datacl, acldefault('d', datdba))) a
        WHERE datname = current_database() AND a.grantee = 0
        UNION ALL SELECT 'schema ' || privilege_type
        FROM pg_namespace, aclexplode(coalesce(nspacl, acldefault('n', nspowner))) a
        WHERE nspname = 'public' AND a.grantee = 0 AND privilege_type <> 'USAGE'
        """,  # noqa: S608 - a constant of this file
    )
    assert [] == granted
    await conn.close()
