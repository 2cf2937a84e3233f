"""Nobody sees or touches what is another customer's: every route, walked with another's ids."""

import json
import re
from collections.abc import Mapping
from typing import Any

import asyncpg
import pytest

from ingress.api.route import Route
from ingress.api.routes import ROUTES
from tests.ingress.api.conftest import Person

MARK = "theirs-alone"
FACTS = json.dumps(
    {
        **dict.fromkeys(("institution", "institution_status", "institution_phone", "institution_email"), MARK),
        **dict.fromkeys(("institution_url", "message", "todo"), MARK),
        "state": "needs_person",
        "code": 103,
        "since": "2026-11-03T14:05:00Z",
        "last_good_at": None,
    }
)
WORLD = f"""
    WITH who AS (SELECT $1::bigint AS customer_id, $2::bigint AS client_id),
    connection AS (
        INSERT INTO connections (customer_id, client_id, source_id, aggregator_login_id, name)
        SELECT customer_id, client_id, $3, '{MARK}', '{MARK}' FROM who RETURNING id),
    account AS (
        INSERT INTO accounts (customer_id, client_id, connection_id, source_id, aggregator_id, name, type, currency)
        SELECT customer_id, client_id, connection.id, $3, '{MARK}', '{MARK}', 'checking', 'USD' FROM who, connection
        RETURNING id),
    pull AS (
        INSERT INTO pulls (customer_id, account_id, at, kind, from_on, to_on, outcome, reported_rows)
        SELECT customer_id, account.id, now(), 'full', current_date, current_date, 'applied', 1 FROM who, account
        RETURNING id),
    transaction AS (
        INSERT INTO transactions (customer_id, client_id, account_id, state, amount, transacted_on, description, memo,
            check_number, kind, raw_amount, first_pulled_at, first_rule, activated_at, first_change_no, change_no)
        SELECT customer_id, client_id, account.id, 'active', 77.77, current_date, '{MARK}', '', '4711', '', '', now(), 'content',
               now(), 1, 1
        FROM who, account RETURNING id),
    act AS (
        INSERT INTO acts (customer_id, account_id, kind, at, actor, detail)
        SELECT customer_id, account.id, 'delete', now(), 'system', '{{}}' FROM who, account RETURNING id),
    doubt AS (
        INSERT INTO doubts (customer_id, account_id, transaction_id, pull_id, rule, reason)
        SELECT customer_id, account.id, transaction.id, pull.id, 'hold', '{MARK}' FROM who, account, transaction, pull
        RETURNING id),
    ledger_account AS (
        INSERT INTO ledger_accounts (customer_id, client_id, code, name)
        SELECT customer_id, client_id, '{MARK}', '{MARK}' FROM who RETURNING id),
    entry AS (
        INSERT INTO ledger_entries (customer_id, client_id, transaction_id, reference, entered_on)
        SELECT customer_id, client_id, transaction.id, '{MARK}', current_date FROM who, transaction RETURNING id),
    line AS (
        INSERT INTO ledger_lines (customer_id, entry_id, line_no, ledger_account_id, amount, currency)
        SELECT customer_id, entry.id, 1, ledger_account.id, 0, 'USD' FROM who, entry, ledger_account),
    review AS (
        INSERT INTO review_items (customer_id, client_id, entry_id, transaction_id, kind, reason)
        SELECT customer_id, client_id, entry.id, transaction.id, 'differs', '{MARK}' FROM who, entry, transaction
        RETURNING id),
    endpoint AS (
        INSERT INTO endpoints (customer_id, url, event_types, secret, signing_key, public_key, description)
        SELECT customer_id, 'https://{MARK}.example/', '{{accountAdded}}', 'sealed:k:A', 'sealed:k:A', 'whpk_A', '{MARK}' FROM who
        RETURNING id),
    health AS (
        INSERT INTO endpoint_health (customer_id, endpoint_id) SELECT customer_id, endpoint.id FROM who, endpoint),
    event AS (
        INSERT INTO events (customer_id, event_id, event_type, client_id, connection_id, body)
        SELECT customer_id, gen_random_uuid(), 'accountAdded', client_id, connection.id, '{{"mark": "{MARK}"}}' FROM who, connection
        RETURNING id, event_id, created_at),
    delivery AS (
        INSERT INTO deliveries (customer_id, endpoint_id, outbox_id, created_at)
        SELECT customer_id, endpoint.id, event.id, event.created_at FROM who, endpoint, event RETURNING id),
    person AS (
        INSERT INTO users (customer_id, email, name, invite_sha256, invite_expires_at)
        SELECT customer_id, '{MARK}@firm.example', '{MARK}', sha256('{MARK}'), now() FROM who RETURNING id),
    key AS (
        INSERT INTO api_keys (customer_id, name, key_sha256, hint, scopes)
        SELECT customer_id, '{MARK}', sha256('{MARK} key'), 'xxxx', '{{clients:read}}' FROM who RETURNING id),
    refresh AS (
        INSERT INTO bank_refreshes (customer_id, client_id, connection_id, kind, requested_by)
        SELECT customer_id, client_id, connection.id, 'current', 'user:1' FROM who, connection RETURNING id),
    support_case AS (
        INSERT INTO support_cases (customer_id, client_id, connection_id, reason, tried, facts, telephone, note, opened_by)
        SELECT customer_id, client_id, connection.id, '{MARK}', '[]', '{FACTS}', '{MARK}', '{MARK}', 'user:1'
        FROM who, connection RETURNING id),
    action AS (
        INSERT INTO case_actions (customer_id, case_id, owner, text, created_by)
        SELECT customer_id, support_case.id, 'firm', '{MARK}', 'user:1' FROM who, support_case RETURNING id),
    widget AS (
        INSERT INTO widget_sessions (customer_id, client_id, connection_id, kind, step, message, requested_by, expires_at)
        SELECT customer_id, client_id, connection.id, 'fix', 'trouble', '{MARK}', 'user:1', now() + interval '1 hour'
        FROM who, connection RETURNING id)
    SELECT (SELECT client_id FROM who) AS "clientId", (SELECT id FROM connection) AS "bankAccountId",
           (SELECT id FROM account) AS "subAccountId", (SELECT id FROM pull) AS "pullId",
           (SELECT id FROM transaction) AS "transactionId", (SELECT id FROM act) AS "actId",
           (SELECT id FROM doubt) AS "doubtId", (SELECT id FROM ledger_account) AS "ledgerAccountId",
           (SELECT id FROM entry) AS "entryId", (SELECT id FROM review) AS "reviewId",
           (SELECT id FROM endpoint) AS "endpointId", (SELECT event_id::text FROM event) AS "eventId",
           (SELECT id FROM delivery) AS "deliveryId", (SELECT id FROM person) AS "userId", (SELECT id FROM key) AS "keyId",
           (SELECT id FROM refresh) AS "refreshId", (SELECT id FROM support_case) AS "caseId",
           (SELECT id FROM action) AS "actionId", (SELECT id::text FROM widget) AS "widgetSessionId"
"""  # noqa: S608 - our own words
OTHERWISE_NAMED = {"into": "transactionId", "choice": "transactionId", "transactionIds": "transactionId"}
COMMON = {"institutionId"}  # everybody's
TABLES = (
    "clients",
    "connections",
    "accounts",
    "transactions",
    "acts",
    "doubts",
    "pulls",
    "ledger_accounts",
    "ledger_entries",
    "review_items",
    "endpoints",
    "endpoint_health",
    "events",
    "deliveries",
    "users",
    "api_keys",
    "bank_refreshes",
    "removals",
    "support_cases",
    "case_actions",
    "widget_sessions",
    "transaction_changes",
    "change_counters",
)
BODIES: Mapping[str, Any] = {
    "amounts": ["1.00", "76.77"], "entry": "x", "name": "x", "memo": "x", "email": "x@firm.example", "role": "reader",
    "state": "active", "username": "x", "url": "https://ok.example/", "description": "x", "code": "x", "csv": "code,name,kind\n",
    "expectedGap": "1.00", "gap": "1.00", "kind": "expense", "eventTypes": ["accountAdded"], "overlapHours": 1,
    "since": "2026-01-01T00:00:00Z", "until": "2026-01-02T00:00:00Z", "dryRun": False, "scopes": ["clients:read"],
    "telephone": "555 0100", "owner": "firm", "text": "x", "done": True, "note": "x", "tried": [],
}  # fmt: skip


def named_ids(route: Route) -> set[str]:
    """Names of ids that a route takes, in its path, its query or its body."""
    fields = {*route.params.__struct_encode_fields__, *(route.body.__struct_encode_fields__ if route.body else ())}
    return {name for name in fields if (name.endswith("Id") or name in OTHERWISE_NAMED) and name not in COMMON}


WALKED = [route for route in ROUTES if route.scope is not None and named_ids(route)]


async def snapshot(superuser: asyncpg.Connection, customer_id: int) -> dict[str, str]:
    """All of a customer, table by table."""
    return {
        table: await superuser.fetchval(
            f"SELECT coalesce(md5(string_agg(t::text, '|' ORDER BY t::text)), '') FROM {table} t WHERE customer_id = $1",  # noqa: S608
            customer_id,
        )
        for table in TABLES
    }


def fill(name: str, ids: Mapping[str, Any]) -> Any:
    wanted = ids[OTHERWISE_NAMED.get(name, name)]
    return [wanted] if name.endswith("Ids") else wanted


def make_request(route: Route, ids: Mapping[str, Any]) -> tuple[str, dict[str, Any], dict[str, Any] | None]:
    """The path, the query and the body of a request that names another's ids wherever it can."""
    in_path = set(re.findall(r"\{(\w+)\}", route.path))
    path = re.sub(r"\{(\w+)\}", lambda found: str(ids[found[1]]), route.path)
    query = {name: fill(name, ids) for name in named_ids(route) & set(route.params.__struct_encode_fields__) - in_path}
    if route.body is None:
        return path, query, None
    fields = route.body.__struct_encode_fields__
    body = {name: fill(name, ids) for name in fields if name in named_ids(route)}
    return path, query, body | {name: BODIES[name] for name in fields if name in BODIES}


async def test_every_route_is_blind_to_another_customer(
    api: Person, other: Person, superuser: asyncpg.Connection
) -> None:
    """With another's ids a route answers 404, or an empty list, or refuses what it was sent; nothing of theirs changes."""
    row = await superuser.fetchrow(WORLD, other.customer_id, other.client_id, other.sources.finicity)
    ids = dict(row)
    before = await snapshot(superuser, other.customer_id)
    wrong: list[str] = []
    for route in WALKED:
        path, query, body = make_request(route, ids)
        said = await api.ask(route.method, path, body, **query)
        is_empty_list = said.status == 200 and route.method == "GET" and "{" not in route.path
        if MARK in said.text or not (said.status in (404, 422, route.invalid_status) or is_empty_list):
            wrong.append(f"{route.method} {path} {query} {body}: {said.status} {said.text[:150]}")
        if said.status in (422, route.invalid_status) and "{" in route.path and route.method in ("GET", "DELETE"):
            wrong.append(f"{route.method} {path} was not even looked for: {said.text[:150]}")
    assert [] == wrong
    assert before == await snapshot(superuser, other.customer_id)


async def test_the_walk_finds_what_is_ones_own(api: Person, superuser: asyncpg.Connection) -> None:
    """The same requests with one's own ids do find them: the walk above fails for no other reason."""
    row = await superuser.fetchrow(WORLD, api.customer_id, api.client_id, api.sources.finicity)
    ids = dict(row)
    missed = []
    for route in WALKED:
        if route.method == "GET":
            path, query, _ = make_request(route, ids)
            said = await api.ask("GET", path, **query)
            if said.status != 200:
                missed.append(f"{path} {query}: {said.status} {said.text[:150]}")
    assert [] == missed


async def test_lists_hold_ones_own_only(api: Person, other: Person, superuser: asyncpg.Connection) -> None:
    """A list without any id, and each search, shows nothing of another customer."""
    await superuser.fetchrow(WORLD, other.customer_id, other.client_id, other.sources.finicity)
    for route in ROUTES:
        if route.method == "GET" and "{" not in route.path and route.scope is not None:
            said = await api.get(route.path)
            assert said.status in (200, 422), (route.path, said.text)
            assert MARK not in said.text


@pytest.mark.parametrize("route", WALKED, ids=lambda route: route.name)
def test_ids_are_known_to_the_walk(route: Route) -> None:
    """An id that a route takes is one that the walk has; a new noun has to be added above."""
    known = set(re.findall(r'AS "(\w+)"', WORLD)) | {"removalId"}
    assert {OTHERWISE_NAMED.get(name, name) for name in named_ids(route)} <= known
