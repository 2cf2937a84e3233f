"""Removals in Postgres: one worker at a time, nobody else's token counts, and what ended does not move."""

import asyncio
from uuid import uuid4

import asyncpg
import pytest

from bankfeed.db import removal
from bankfeed.db.removal import ClaimedRemoval, NewRemoval, RemovalKind, RemovalState
from bankfeed.model import CustomerId
from tests.db.made import LEASE_S, OVER_S, Ground


async def insert(ground: Ground, *kinds: RemovalKind) -> int:
    async with ground.app() as conn:
        return await removal.insert_removals(
            conn,
            ground.tenant.customer_id,
            ground.tenant.client_id,
            [
                NewRemoval(
                    source_id=ground.sources.finicity, kind=kind, customer_ref=ground.tenant.customer_ref, ref="1"
                )
                for kind in kinds
            ],
        )


async def claim(ground: Ground, token: object, lease_s: float = LEASE_S) -> ClaimedRemoval | None:
    async with ground.database.queue() as conn:
        return await removal.claim_removal(conn, token=token, lease_s=lease_s)  # type: ignore[arg-type]


async def test_what_waits_already_is_noted_once(ground: Ground, superuser: asyncpg.Connection) -> None:
    """The same thing is not noted a second time while it waits; once it ended it is."""
    assert 2 == await insert(ground, RemovalKind.ACCOUNT, RemovalKind.LOGIN)
    assert 1 == await insert(ground, RemovalKind.LOGIN, RemovalKind.CUSTOMER)
    await superuser.execute("UPDATE removals SET state = 'gone', finished_at = now()")
    assert 1 == await insert(ground, RemovalKind.LOGIN)


async def test_each_is_claimed_by_one(ground: Ground) -> None:
    """Claims at once get one each, in the order they are due, and none a second time before its lease ends."""
    await insert(ground, RemovalKind.ACCOUNT, RemovalKind.LOGIN, RemovalKind.CUSTOMER)
    claimed = await asyncio.gather(*(claim(ground, uuid4()) for _ in range(5)))
    assert 3 == len({each.id for each in claimed if each is not None})
    assert 2 == claimed.count(None)
    assert {"finicity"} == {each.connector for each in claimed if each is not None}


async def test_an_abandoned_claim_is_due_again(ground: Ground) -> None:
    """After its lease another worker claims it, and what the first one says then is not written."""
    await insert(ground, RemovalKind.ACCOUNT)
    first, second = uuid4(), uuid4()
    claimed = await claim(ground, first, OVER_S)
    assert claimed is not None
    assert claimed == await claim(ground, second)
    customer_id = ground.tenant.customer_id
    async with ground.app() as conn:
        assert await removal.find_target(conn, customer_id, claimed.id, token=first) is None
        assert not await removal.mark_gone(conn, customer_id, claimed.id, token=first)
        assert not await removal.mark_waiting(conn, customer_id, claimed.id, token=first, delay_s=1, reason="x")
        assert not await removal.mark_given_up(conn, customer_id, claimed.id, token=first, reason="x")
        target = await removal.find_target(conn, customer_id, claimed.id, token=second)
        assert target is not None
        assert (ground.tenant.customer_ref, "1") == (target.customer_ref, target.ref)
        assert await removal.mark_gone(conn, customer_id, claimed.id, token=second)
        assert not await removal.mark_gone(conn, customer_id, claimed.id, token=second)


async def test_what_was_withdrawn_is_not_done(ground: Ground) -> None:
    """A removal that was taken back after its claim has no target any more."""
    await insert(ground, RemovalKind.LOGIN, RemovalKind.ACCOUNT)
    token = uuid4()
    claimed = await claim(ground, token)
    assert claimed is not None
    customer_id, source_id = ground.tenant.customer_id, ground.sources.finicity
    async with ground.app() as conn:
        for login_ref, refs, is_login in (("other", ["2"], False), ("1", [], True), ("1", ["1"], False)):
            assert is_login == await removal.mark_withdrawn(
                conn, customer_id, source_id=source_id, login_ref=login_ref, account_refs=refs
            )
        assert await removal.find_target(conn, customer_id, claimed.id, token=token) is None
    assert await claim(ground, uuid4()) is None


async def test_a_client_that_is_being_removed_is_not_kept(ground: Ground) -> None:
    """Restoring takes back what waits, and what a dead worker left; what one is telling the aggregator just now goes on."""
    await insert(ground, RemovalKind.CUSTOMER)
    customer_id, client_id = ground.tenant.customer_id, ground.tenant.client_id
    claimed = await claim(ground, token := uuid4())
    assert claimed is not None
    async with ground.app() as conn:
        assert () == await removal.mark_client_withdrawn(conn, customer_id, client_id)
    async with ground.database.queue() as conn:
        await removal.give_back(conn, claimed, token=token)
    assert await claim(ground, uuid4(), OVER_S) is not None
    async with ground.app() as conn:
        assert (ground.sources.finicity,) == await removal.mark_client_withdrawn(conn, customer_id, client_id)
    assert await claim(ground, uuid4()) is None


IS_BACK = [  # what has to be there, not deleted, for the removal of it to be taken back
    (RemovalKind.CUSTOMER, "UPDATE clients SET erase_at = NULL, deleted_at = NULL"),
    (RemovalKind.LOGIN, "UPDATE connections SET aggregator_login_id = '1'"),
    (RemovalKind.ACCOUNT, "UPDATE accounts SET deleted_at = NULL"),
]
DELETED = [
    "UPDATE clients SET deleted_at = now(), erase_at = now() + interval '1 day'",
    """
    INSERT INTO accounts (customer_id, client_id, connection_id, source_id, aggregator_id, name, type, currency, state,
                          closed_at, deleted_at)
    SELECT customer_id, client_id, id, source_id, '1', 'Checking', 'checking', 'USD', 'closed', now(), now()
    FROM connections
    """,
]


@pytest.mark.parametrize("ends", ["target", "waiting", "given_up"])
@pytest.mark.parametrize(("kind", "comes_back"), IS_BACK)
async def test_what_is_not_deleted_any_more_is_not_removed(
    ground: Ground, superuser: asyncpg.Connection, kind: RemovalKind, comes_back: str, ends: str
) -> None:
    """Whoever claimed it finds that out before the aggregator is asked, and when a try has failed."""
    for sql in DELETED:
        await superuser.execute(sql)
    await insert(ground, kind)
    claimed = await claim(ground, token := uuid4())
    assert claimed is not None
    customer_id = ground.tenant.customer_id
    async with ground.app() as conn:
        assert await removal.find_target(conn, customer_id, claimed.id, token=token) is not None
    await superuser.execute(comes_back)
    async with ground.app() as conn:
        if ends == "target":
            assert await removal.find_target(conn, customer_id, claimed.id, token=token) is None
        elif ends == "waiting":
            assert RemovalState.WITHDRAWN == await removal.mark_waiting(
                conn, customer_id, claimed.id, token=token, delay_s=0, reason="503"
            )
        else:
            assert RemovalState.WITHDRAWN == await removal.mark_given_up(
                conn, customer_id, claimed.id, token=token, reason="503"
            )
    assert "withdrawn" == await superuser.fetchval("SELECT state::text FROM removals")
    assert await claim(ground, uuid4()) is None


@pytest.mark.parametrize("kind", list(RemovalKind))
async def test_only_a_customer_takes_its_enrolment(
    ground: Ground, superuser: asyncpg.Connection, kind: RemovalKind
) -> None:
    """A customer that is gone enrols nobody; an account or a login that is gone changes nothing about it."""
    await insert(ground, kind)
    claimed = await claim(ground, token := uuid4())
    assert claimed is not None
    async with ground.app() as conn:
        assert await removal.mark_gone(conn, ground.tenant.customer_id, claimed.id, token=token)
    left = 0 if kind is RemovalKind.CUSTOMER else 1
    assert left == await superuser.fetchval("SELECT count(*) FROM enrolments")


async def test_removals_are_listed_for_their_customer(ground: Ground) -> None:
    """The latest first, page by page; nobody sees another customer's."""
    await insert(ground, *RemovalKind)
    found: list[RemovalKind] = []
    before_id = None
    async with ground.app() as conn:
        for _ in range(3):
            (line,) = await removal.list_removals(
                conn, ground.tenant.customer_id, client_id=None, state=None, before_id=before_id, limit=1
            )
            found.append(line.kind)
            before_id = line.id
    assert list(reversed(RemovalKind)) == found
    other = CustomerId(ground.tenant.customer_id + 1)
    async with ground.database.tenant(other) as conn:
        assert () == await removal.list_removals(
            conn, ground.tenant.customer_id, client_id=None, state=None, before_id=None, limit=9
        )
