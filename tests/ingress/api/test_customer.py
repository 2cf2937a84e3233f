"""The customer's own name and rule."""

import asyncio

import asyncpg

from tests.ingress.api.conftest import Person


async def test_everybody_sees_whose_they_are(api: Person, reader: Person, other: Person) -> None:
    """A person reads the own firm, with its version as ETag."""
    answer = await reader.get("/customer")
    assert (api.customer_id, "sandbox", "hide", 1, '"1"') == (
        *(answer.body["customer"][name] for name in ("id", "environment", "shadowPolicy", "version")),
        answer.headers["ETag"],
    )
    assert other.customer_id == (await other.get("/customer")).body["customer"]["id"]


async def test_the_owner_changes_name_and_rule(api: Person, employee: Person, other: Person) -> None:
    """What is given changes, the rest stays; nobody else may, and no other firm's changes."""
    answer = await api.patch("/customer", {"name": " New name "})
    assert ("New name", "hide", 2) == tuple(
        answer.body["customer"][name] for name in ("name", "shadowPolicy", "version")
    )
    answer = await api.patch("/customer", {"shadowPolicy": "confirm"})
    assert ("New name", "confirm", 3) == tuple(
        answer.body["customer"][name] for name in ("name", "shadowPolicy", "version")
    )
    assert 403 == (await employee.patch("/customer", {"name": "Mine"})).status
    assert 1 == (await other.get("/customer")).body["customer"]["version"]


async def test_no_update_is_lost(api: Person) -> None:
    """Of two changes of one version, one is refused."""
    answers = await asyncio.gather(*(api.patch("/customer", {"name": name, "version": 1}) for name in ("A", "B")))
    assert [200, 409] == sorted(answer.status for answer in answers)
    late = await api.patch("/customer", {"name": "C"}, headers={"If-Match": '"1"'})
    assert (409, "version_conflict") == (late.status, late.body["code"])


async def test_what_does_not_fit_is_refused(api: Person, superuser: asyncpg.Connection) -> None:
    """Nothing to change, a blank name, an unknown rule, another environment."""
    bodies: list[dict[str, object]] = [{}, {"name": " "}, {"shadowPolicy": "forget"}, {"environment": "live"}]
    answers = [await api.patch("/customer", body) for body in bodies]
    assert [(400, None), (422, "name"), (422, "shadowPolicy"), (422, "environment")] == [
        (answer.status, answer.body.get("field")) for answer in answers
    ]
    assert 1 == await superuser.fetchval("SELECT version FROM customers WHERE id = $1", api.customer_id)


async def test_another_rule_is_news_of_the_shadow_rows(api: Person, superuser: asyncpg.Connection) -> None:
    """Rows that are seen otherwise now get a new change number, so that who follows the changes is told."""
    connection = await superuser.fetchval(
        "INSERT INTO connections (customer_id, client_id, source_id, aggregator_login_id) VALUES ($1, $2, $3, '1')"
        " RETURNING id",
        api.customer_id,
        api.client_id,
        api.sources.finicity,
    )
    account = await superuser.fetchval(
        "INSERT INTO accounts (customer_id, client_id, connection_id, source_id, aggregator_id, name, type, currency)"
        " VALUES ($1, $2, $3, $4, '1', 'Checking', 'checking', 'USD') RETURNING id",
        api.customer_id,
        api.client_id,
        connection,
        api.sources.finicity,
    )
    await superuser.execute("UPDATE change_counters SET last_change_no = 2")
    await superuser.execute(
        """
        INSERT INTO transactions (customer_id, client_id, account_id, state, amount, transacted_on, description, memo,
            check_number, kind, raw_amount, first_pulled_at, first_rule, activated_at, first_change_no, change_no)
        SELECT $1, $2, $3, state::transaction_state, -20, '2026-03-02', 'COFFEE', '', '', '', '', now(), 'new', now(), n, n
        FROM unnest(ARRAY['active', 'shadow']) WITH ORDINALITY AS t (state, n)
        """,
        api.customer_id,
        api.client_id,
        account,
    )
    await api.patch("/customer", {"shadowPolicy": "show"})
    rows = await superuser.fetch("SELECT state::text, change_no FROM transactions ORDER BY change_no")
    assert [("active", 1), ("shadow", 3)] == [tuple(row) for row in rows]
