"""Fan-out: which endpoints an event is for, in the statement that commits it, and who waits for whom."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any

import asyncpg
import pytest

from bankfeed.db.client import insert_client
from bankfeed.db.event import OutboundEvent, insert_events
from bankfeed.db.institution import find_institution_by_ref, upsert_institutions
from bankfeed.model import (
    DOCUMENTED_EVENTS,
    AccountId,
    EndpointId,
    EventType,
    ListedInstitution,
)
from bankfeed.outbox import News, make_disabled_event, make_event
from tests.conftest import Urls
from tests.db.made import Ground, make_connection
from tests.db.outbox import rows
from tests.seed import make_endpoint, make_tenant

WAITING = """
    SELECT e.event_type::text, q.due_at = 'infinity' FROM delivery_queue q
    JOIN events e ON e.customer_id = q.customer_id AND e.id = q.outbox_id ORDER BY q.outbox_id, q.endpoint_id
"""
ADDED, REFRESHED, DELETED = EventType.ACCOUNT_ADDED, EventType.TRANSACTIONS_REFRESHED, EventType.BANK_ACCOUNT_DELETED


def made(ground: Ground, event_type: EventType = REFRESHED, *accounts: int, **changes: Any) -> OutboundEvent:
    values: dict[str, Any] = {
        "client_id": ground.tenant.client_id,
        "connection_id": ground.connection_id,
        "at": datetime.now(UTC),
    }
    news = News(event_type=event_type, accounts=tuple(AccountId(each) for each in accounts))
    return make_event(news, **(values | changes))


async def emit(ground: Ground, *events: OutboundEvent) -> int:
    async with ground.app() as conn:
        return await insert_events(conn, ground.tenant.customer_id, events)


async def subscribe(ground: Ground, name: str = "hook", **settings: Any) -> EndpointId:
    return await make_endpoint(ground.database, ground.tenant, url=f"https://{name}.example/hook", **settings)


async def told(superuser: asyncpg.Connection) -> set[int]:
    """Return the endpoints that have something waiting, and forget it."""
    found = await superuser.fetch("WITH gone AS (DELETE FROM delivery_queue RETURNING endpoint_id) SELECT * FROM gone")
    return {row["endpoint_id"] for row in found}


# ------------------------------------------------------------------------------------------------ who is told


async def test_an_event_goes_to_active_endpoints_of_its_customer(ground: Ground, superuser: asyncpg.Connection) -> None:
    """Not to a disabled one, and not to another customer's; the event is committed where nobody is told too."""
    ours = await subscribe(ground)
    stranger = await make_tenant(ground.database, ground.sources)
    await make_endpoint(ground.database, stranger, url="https://other.example/hook")
    assert 1 == await emit(ground, made(ground))
    assert {ours} == await told(superuser)
    await superuser.execute("UPDATE endpoints SET state = 'disabled'")
    assert 0 == await emit(ground, made(ground), made(ground, ADDED))
    assert set() == await told(superuser)
    assert [(3, 1)] == await rows(superuser, "SELECT (SELECT count(*) FROM events), (SELECT count(*) FROM deliveries)")


async def test_an_endpoint_gets_the_types_that_it_asks_for(ground: Ground, superuser: asyncpg.Connection) -> None:
    """The four documented ones by default; the others where they are asked for."""
    usual = await subscribe(ground, "usual", event_types=DOCUMENTED_EVENTS)
    picky = await subscribe(ground, "picky", event_types=(ADDED, EventType.CONNECTION_BROKEN))
    every = await subscribe(ground, "every", event_types=tuple(EventType))
    wanted = {
        ADDED: {usual, picky, every},
        EventType.MFA_UPDATED: {usual, every},
        REFRESHED: {usual, every},
        DELETED: {usual, every},
        EventType.CONNECTION_BROKEN: {picky, every},
        EventType.CONNECTION_REPAIRED: {every},
        EventType.ENDPOINT_DISABLED: {every},
        EventType.INSTITUTION_NOTICE: {every},
        EventType.WIDGET_ENDED: {every},
        EventType.CASE_CHANGED: {every},
    }
    for event_type in EventType:
        assert len(wanted[event_type]) == await emit(ground, made(ground, event_type))
        assert wanted[event_type] == await told(superuser)


async def test_clients_accounts_and_institutions_bound_what_is_told(
    ground: Ground, superuser: asyncpg.Connection
) -> None:
    """Each filter lets through what it names, all of them together what each lets through; without one everything comes."""
    async with ground.app() as conn:
        other_client = await insert_client(conn, ground.tenant.customer_id, username="other", name="Other")
        await upsert_institutions(conn, connector="finicity", listed=[ListedInstitution(ref="7", name="A bank")])
        bank = await find_institution_by_ref(conn, connector="finicity", ref="7")
    assert bank is not None
    other = await make_connection(ground.database, ground.sources, ground.tenant, login_ref="login-2")
    await superuser.execute("UPDATE connections SET institution_id = $2 WHERE id = $1", ground.connection_id, bank.id)
    client_id = ground.tenant.client_id
    asked: dict[str, dict[str, Any]] = {
        "all": {},
        "client": {"client_ids": (client_id, 999)},
        "account": {"account_ids": (11, 12)},
        "bank": {"institution_ids": (bank.id,)},
        "both": {"client_ids": (client_id,), "account_ids": (12,)},
        "nothing": {"client_ids": ()},
    }
    named = {await subscribe(ground, name, **settings): name for name, settings in asked.items()}
    cases: list[tuple[OutboundEvent, set[str]]] = [
        (made(ground, REFRESHED, 11), {"all", "client", "account", "bank"}),
        (made(ground, DELETED, 10, 12), {"all", "client", "account", "bank", "both"}),
        (made(ground, REFRESHED, 13), {"all", "client", "bank"}),
        (made(ground, EventType.MFA_UPDATED), {"all", "client", "bank"}),
        (made(ground, REFRESHED, 11, connection_id=other), {"all", "client", "account"}),
        (made(ground, REFRESHED, 12, client_id=other_client), {"all", "account", "bank"}),
        (made(ground, REFRESHED, 13, client_id=other_client, connection_id=other), {"all"}),
    ]
    for event, expected in cases:
        await emit(ground, event)
        assert expected == {named[EndpointId(each)] for each in await told(superuser)}


async def test_what_is_about_nobody_is_told_whatever_the_filters(ground: Ground, superuser: asyncpg.Connection) -> None:
    """A disabled endpoint has no client, account or bank: who asks for the type hears of it."""
    filtered = await subscribe(ground, "filtered", client_ids=(1,), account_ids=(2,), institution_ids=(3,))
    await subscribe(ground, "usual", event_types=DOCUMENTED_EVENTS)
    assert 1 == await emit(ground, make_disabled_event(EndpointId(5), reason="it is gone", at=datetime.now(UTC)))
    assert {filtered} == await told(superuser)


# ------------------------------------------------------------------------------------------------ in order


async def end_first(superuser: asyncpg.Connection, count: int = 1) -> None:
    await superuser.execute(
        """
        DELETE FROM delivery_queue WHERE (customer_id, delivery_id) IN (
            SELECT customer_id, delivery_id FROM delivery_queue WHERE due_at <> 'infinity' ORDER BY outbox_id LIMIT $1)
        """,
        count,
    )


async def test_an_ordered_endpoint_has_one_due_of_each_bank_account(
    ground: Ground, superuser: asyncpg.Connection
) -> None:
    """The others wait until the one before is final, in the order in which they were committed, however many come at once."""
    await subscribe(ground, is_ordered=True)
    await emit(ground, made(ground, ADDED), made(ground, REFRESHED))
    await emit(ground, made(ground, DELETED))
    assert [("accountAdded", False), ("transactionsRefreshed", True), ("bankAccountDeleted", True)] == await rows(
        superuser, WAITING
    )
    await end_first(superuser)
    assert [("transactionsRefreshed", False), ("bankAccountDeleted", True)] == await rows(superuser, WAITING)
    await emit(ground, made(ground, EventType.MFA_UPDATED))
    await end_first(superuser)
    assert [("bankAccountDeleted", False), ("mfaUpdated", True)] == await rows(superuser, WAITING)
    await end_first(superuser)
    assert [("mfaUpdated", False)] == await rows(superuser, WAITING)
    await end_first(superuser)
    await emit(ground, made(ground))
    assert [("transactionsRefreshed", False)] == await rows(superuser, WAITING)


async def test_one_bank_account_does_not_wait_for_another(ground: Ground, superuser: asyncpg.Connection) -> None:
    """Nor does an endpoint that asks for no order, nor what is about no bank account."""
    await subscribe(ground, "ordered", is_ordered=True)
    other = await make_connection(ground.database, ground.sources, ground.tenant, login_ref="login-2")
    gone = make_disabled_event(EndpointId(5), reason="it is gone", at=datetime.now(UTC))
    await emit(ground, made(ground, ADDED), made(ground, DELETED, connection_id=other), gone)
    await emit(ground, make_disabled_event(EndpointId(6), reason="it is gone", at=datetime.now(UTC)))
    assert [False] * 4 == [is_held for _, is_held in await rows(superuser, WAITING)]
    keys = "SELECT order_key FROM delivery_queue ORDER BY outbox_id"
    assert [(ground.connection_id,), (other,), (None,), (None,)] == await rows(superuser, keys)
    await told(superuser)
    await superuser.execute("UPDATE endpoints SET is_ordered = false")
    await emit(ground, made(ground, ADDED), made(ground, REFRESHED))
    assert [("accountAdded", False), ("transactionsRefreshed", False)] == await rows(superuser, WAITING)


async def done_or_blocked(superuser: asyncpg.Connection, late: asyncio.Task[Any]) -> None:
    """Return once a task has ended, or waits for another one's lock."""
    while not late.done() and not await superuser.fetchval(
        "SELECT EXISTS (SELECT FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock')"
    ):
        await asyncio.sleep(0)


async def test_of_two_that_are_committed_at_once_one_waits(ground: Ground, superuser: asyncpg.Connection) -> None:
    """A person's act and a refresh know nothing of each other until they commit."""
    await subscribe(ground, is_ordered=True)
    async with ground.app() as conn:
        await insert_events(conn, ground.tenant.customer_id, [made(ground, ADDED)])
        late = asyncio.create_task(emit(ground, made(ground, REFRESHED)))
        await done_or_blocked(superuser, late)
    await late
    assert [("accountAdded", False), ("transactionsRefreshed", True)] == await rows(superuser, WAITING)


@pytest.fixture
async def worker(urls: Urls) -> AsyncIterator[asyncpg.Connection]:
    """Who ends deliveries meanwhile."""
    conn = await asyncpg.connect(urls.superuser)
    yield conn
    await conn.close()


async def test_what_comes_while_the_one_before_ends_is_due(
    ground: Ground, superuser: asyncpg.Connection, worker: asyncpg.Connection
) -> None:
    """Nothing waits for what is final already, however close the two are."""
    await subscribe(ground, is_ordered=True)
    await emit(ground, made(ground, ADDED))
    async with worker.transaction():
        await end_first(worker)
        late = asyncio.create_task(emit(ground, made(ground, REFRESHED)))
        await done_or_blocked(superuser, late)
    await late
    assert [("transactionsRefreshed", False)] == await rows(superuser, WAITING)


async def test_what_ends_while_the_next_comes_lets_it_go(
    ground: Ground, superuser: asyncpg.Connection, worker: asyncpg.Connection
) -> None:
    """The end of the one before waits for the next to be there, and then makes it due."""
    await subscribe(ground, is_ordered=True)
    await emit(ground, made(ground, ADDED))
    async with ground.app() as conn:
        await insert_events(conn, ground.tenant.customer_id, [made(ground, REFRESHED)])
        late = asyncio.create_task(end_first(worker))
        await done_or_blocked(superuser, late)
    await late
    assert [("transactionsRefreshed", False)] == await rows(superuser, WAITING)
