"""Refreshes by a person's click: not doubled, looked up and waited for, and refused where the client is locked."""

import asyncio
from datetime import timedelta
from typing import Any
from uuid import uuid4

import asyncpg
import pytest

from bankfeed.db import connection
from tests.ingress.api.conftest import Person, make_key
from tests.ingress.api.rows import Book

PREFIX = "/bank-accounts"
DAY = timedelta(days=1)


@pytest.fixture
def book(api: Person, superuser: asyncpg.Connection) -> Book:
    """The owner's rows."""
    return Book(person=api, superuser=superuser)


@pytest.fixture
async def account_id(book: Book) -> int:
    """A bank account of the owner's client."""
    return await book.add_bank_account()


async def click(person: Person, account_id: int, kind: str = "refresh") -> dict[str, Any]:
    said = await person.post(f"{PREFIX}/{account_id}/{kind}")
    assert 202 == said.status, said.text
    refresh: dict[str, Any] = said.body["refresh"]
    return refresh


async def look(person: Person, refresh_id: int, wait_s: int | None = None) -> dict[str, Any]:
    said = await person.get(f"/refreshes/{refresh_id}", waitS=wait_s)
    assert 200 == said.status, said.text
    refresh: dict[str, Any] = said.body["refresh"]
    return refresh


async def end(book: Book, refresh_id: int, *, state: str = "done", code: int | None = 0, message: str = "") -> None:
    await book.superuser.execute(
        """
        UPDATE bank_refreshes SET state = $2::text::bank_refresh_state, status_code = $3, message = $4, finished_at = now()
        WHERE id = $1
        """,
        refresh_id,
        state,
        code,
        message,
    )


async def pass_time(book: Book, seconds: int) -> None:
    """Let time pass since what has ended."""
    await book.superuser.execute(
        "UPDATE bank_refreshes SET finished_at = finished_at - make_interval(secs => $1)", seconds
    )


async def test_a_click_is_answered_at_once(api: Person, account_id: int) -> None:
    """A refresh waits, with its id to look it up, and asks nobody within the request."""
    asked = await click(api, account_id)
    assert (account_id, "current", "waiting", None) == (
        asked["bankAccountId"],
        asked["kind"],
        asked["state"],
        asked["finishedAt"],
    )
    assert asked == await look(api, asked["id"])


async def test_one_that_runs_is_not_doubled(api: Person, employee: Person, account_id: int) -> None:
    """Whoever clicks while one runs, at the same moment or later, gets the same one; the historic one is another."""
    clicks = [click(person, account_id) for person in (api, employee) * 4]
    assert 1 == len({each["id"] for each in await asyncio.gather(*clicks)})
    assert (await click(api, account_id))["id"] != (await click(api, account_id, "refresh-historic"))["id"]


@pytest.mark.parametrize(("state", "gap_s"), [("done", 300), ("failed", 60)])
async def test_a_bank_is_not_asked_again_at_once(
    api: Person, book: Book, account_id: int, state: str, gap_s: int
) -> None:
    """Until some minutes after the end of one it is the answer, for people and keys, of the login and its parts alike."""
    key = await make_key(api, "accounts:write")
    part = await book.add_account(account_id)
    first = await click(api, account_id)
    await end(book, first["id"], state=state, code=0 if state == "done" else 103)
    await pass_time(book, gap_s - 1)
    for person in (api, key):
        again = await click(person, account_id)
        assert (first["id"], state) == (again["id"], again["state"])
        said = await person.post(f"/sub-accounts/{part}/refresh")
        assert first["id"] == said.body["refresh"]["id"]
    await pass_time(book, 2)
    second = await click(key, account_id)
    assert first["id"] != second["id"]
    assert "waiting" == second["state"]


async def test_where_no_bank_was_asked_the_next_click_is_a_new_one(api: Person, book: Book, account_id: int) -> None:
    """What failed before the bank was asked, or loaded history, does not stand in the way of what may be new."""
    first = await click(api, account_id)
    await end(book, first["id"], state="failed", code=None)
    second = await click(api, account_id)
    assert first["id"] != second["id"]
    await end(book, second["id"], state="failed", code=None)
    history = await click(api, account_id, "refresh-historic")
    await end(book, history["id"])
    assert "waiting" == (await click(api, account_id))["state"]


async def test_a_key_sent_again_is_one_click(api: Person, book: Book, account_id: int) -> None:
    """With an Idempotency-Key a repeat is answered as the first was, also when that has ended meanwhile."""
    headers = {"Idempotency-Key": "one-click"}
    first = await api.post(f"{PREFIX}/{account_id}/refresh", headers=headers)
    await end(book, first.body["refresh"]["id"])
    again = await api.post(f"{PREFIX}/{account_id}/refresh", headers=headers)
    assert first.body == again.body


@pytest.mark.parametrize("kind", ["refresh", "refresh-historic"])
async def test_a_locked_client_is_not_refreshed(api: Person, book: Book, account_id: int, kind: str) -> None:
    """A refresh by hand is refused while the client is locked, of the bank account and of a sub-account alike."""
    part = await book.add_account(account_id)
    await book.superuser.execute("UPDATE clients SET locked_at = now()")
    for path in (f"{PREFIX}/{account_id}/{kind}", f"/sub-accounts/{part}/refresh"):
        said = await api.post(path)
        assert (409, "client_locked") == (said.status, said.body["code"])
    assert 0 == await book.superuser.fetchval("SELECT count(*) FROM bank_refreshes")


async def test_what_is_no_longer_linked_is_not_refreshed(api: Person, book: Book, account_id: int) -> None:
    """A login that the aggregator has no more cannot be refreshed: it has to be linked again."""
    await book.superuser.execute("UPDATE connections SET state = 'closed'")
    said = await api.post(f"{PREFIX}/{account_id}/refresh")
    assert (409, "conflict") == (said.status, said.body["code"])


async def test_a_machine_may_click_for_a_person(api: Person, book: Book, account_id: int) -> None:
    """A key with the scope asks for a refresh, and is noted as who asked."""
    key = await make_key(api, "accounts:read", "accounts:write")
    await click(key, account_id)
    assert (await book.superuser.fetchval("SELECT requested_by FROM bank_refreshes")).startswith("key:")


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ("state = 'waiting'", ("waiting", "The bank will be asked in a moment.")),
        ("state = 'running'", ("running", "The bank is being asked; this may take some minutes.")),
        (
            "state = 'running', asked_at = now(), refresh_no = 1",
            ("running", "The bank has answered; what is new is being fetched."),
        ),
        ("state = 'done', finished_at = now(), status_code = 0", ("done", "All Data Received")),
        (
            "state = 'failed', finished_at = now(), status_code = 103, message = 'The bank refused.'",
            ("failed", "The bank refused."),
        ),
    ],
)
async def test_it_says_how_far_it_is(
    api: Person, book: Book, account_id: int, change: str, expected: tuple[str, str]
) -> None:
    """Each state is told in words, with what a person can do."""
    asked = await click(api, account_id)
    await book.superuser.execute(f"UPDATE bank_refreshes SET {change}")  # noqa: S608 - our own words
    found = await look(api, asked["id"])
    assert expected == (found["state"], found["message"])
    assert found["whatToDo"].endswith(".")


async def test_a_refusal_says_what_to_do(api: Person, book: Book, account_id: int) -> None:
    """What the bank refused with comes with its code and the code's next step; without one, to try later."""
    asked = await click(api, account_id)
    await end(book, asked["id"], state="failed", code=103, message="No.")
    found = await look(api, asked["id"])
    assert 103 == found["code"]
    assert "enter them in the bank account's repair" in found["whatToDo"]
    await pass_time(book, 300)
    asked = await click(api, account_id)
    await end(book, asked["id"], state="failed", code=None, message="No.")
    assert "Try again later; the usual updates go on." == (await look(api, asked["id"]))["whatToDo"]


async def test_a_loaded_history_is_answered_at_once(api: Person, book: Book, account_id: int) -> None:
    """A second call for an account whose history was loaded is answered with the earlier one, until a new account comes."""
    await book.add_account(account_id)
    first = await click(api, account_id, "refresh-historic")
    await end(book, first["id"])
    again = await click(api, account_id, "refresh-historic")
    assert (first["id"], "done") == (again["id"], again["state"])
    await book.add_account(account_id)
    assert first["id"] != (await click(api, account_id, "refresh-historic"))["id"]


async def test_history_that_a_bank_refused_is_not_asked_for_at_once(api: Person, book: Book, account_id: int) -> None:
    """A minute after a refusal it may be asked for again, and not before."""
    first = await click(api, account_id, "refresh-historic")
    await end(book, first["id"], state="failed", code=103)
    assert first["id"] == (await click(api, account_id, "refresh-historic"))["id"]
    await pass_time(book, 61)
    assert first["id"] != (await click(api, account_id, "refresh-historic"))["id"]


async def test_the_end_is_waited_for(api: Person, book: Book, account_id: int) -> None:
    """Whoever waits is answered when the refresh that fetches is handled, long before the time is over."""
    asked = await click(api, account_id)
    waiting = asyncio.create_task(look(api, asked["id"], 30))
    await book.superuser.execute("UPDATE connections SET requested = 1, due_at = now()")
    await book.superuser.execute("UPDATE bank_refreshes SET state = 'running', refresh_no = 1, status_code = 0")
    async with api.database.queue() as conn:
        lease = await connection.claim_connection(conn, token=uuid4(), lease_s=60)
    assert lease is not None
    async with api.database.tenant(api.customer_id) as conn:
        await connection.mark_handled(conn, lease, next_update_at=lease.claimed_at + DAY)
    async with asyncio.timeout(10):
        assert "done" == (await waiting)["state"]


async def test_the_time_is_bounded(api: Person, account_id: int) -> None:
    """What has not ended is answered as it is when the time is over; more than 30 s is refused by name."""
    asked = await click(api, account_id)
    async with asyncio.timeout(10):
        assert "waiting" == (await look(api, asked["id"], 1))["state"]
    said = await api.get(f"/refreshes/{asked['id']}", waitS=31)
    assert (422, "waitS") == (said.status, said.body["field"])


async def test_those_who_wait_leave_room(api: Person, book: Book, account_id: int) -> None:
    """However many wait, others are answered: those for whom there is no room are answered at once, as it is."""
    asked = await click(api, account_id)
    many = [asyncio.create_task(look(api, asked["id"], 30)) for _ in range(20)]
    async with asyncio.timeout(10):
        await asyncio.wait(many, return_when=asyncio.FIRST_COMPLETED)
        assert "waiting" == (await look(api, asked["id"]))["state"]
        await end(book, asked["id"])
        states = [each["state"] for each in await asyncio.gather(*many)]
    assert {"waiting", "done"} == set(states)


async def test_it_is_its_customers(api: Person, other: Person, account_id: int) -> None:
    """Another customer does not find it, nor does anybody a number that was never given."""
    asked = await click(api, account_id)
    assert 404 == (await other.get(f"/refreshes/{asked['id']}", waitS=5)).status
    assert 404 == (await api.get("/refreshes/999999")).status
