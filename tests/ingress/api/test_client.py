"""The Python client against a real server: typed answers, pages and changes as iterators, requests that arrive once."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, date, datetime
from decimal import Decimal

import asyncpg
import pytest
from aiohttp import ClientConnectionError, web

from bankfeed.client import ApiError, BadSignature, Bankfeed, read_webhook
from bankfeed.client import transport as transport_module
from bankfeed.model import ClientId, ConnectionId, EventType
from bankfeed.outbox import News, make_event
from bankfeed.signing import build_headers
from tests.finbank import free_port
from tests.ingress.api.conftest import Person
from tests.ingress.api.rows import Book
from tests.seed import ENDPOINT_SECRET


@pytest.fixture
async def feeds(api: Person) -> AsyncIterator[Bankfeed]:
    """The client of the owner."""
    async with Bankfeed(f"http://127.0.0.1:{api.ingress.settings.port}", api.token) as client:
        yield client


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pauses that a test can wait for."""
    monkeypatch.setattr(transport_module, "FIRST_S", 0.01)


async def test_lists_are_read_to_their_end(api: Person, feeds: Bankfeed) -> None:
    """An iterator goes from page to page, and each thing comes once."""
    for n in range(105):
        await feeds.add_client(f"c{n:03}", f"Client {n}")
    names = [client.username async for client in feeds.clients()]
    assert 106 == len(names) == len(set(names))
    assert ["c007"] == [client.username async for client in feeds.clients(search="c007")]


async def test_transactions_are_exact(api: Person, feeds: Bankfeed, superuser: asyncpg.Connection) -> None:
    """An amount is a Decimal, a day a date."""
    book = Book(person=api, superuser=superuser)
    await book.add_row(await book.add_account(), "-42.50", transacted_on=date(2026, 11, 20))
    [row] = [row async for row in feeds.transactions(client_id=api.client_id)]
    assert (Decimal("-42.50"), "2026-11-20", "active") == (row.amount, row.transacted_on.isoformat(), row.status)


async def test_changes_are_followed(api: Person, feeds: Bankfeed, superuser: asyncpg.Connection) -> None:
    """From the beginning all is added; from its cursor on only what a person did since."""
    book = Book(person=api, superuser=superuser)
    row = await book.add_row(await book.add_account())
    pages = [page async for page in feeds.changes(client_id=api.client_id)]
    assert [row] == [added.id for page in pages for added in page.added]
    act = await feeds.act(row, "delete")
    [page] = [page async for page in feeds.changes(client_id=api.client_id, cursor=pages[-1].next_cursor)]
    assert ([], [], [row]) == (page.added, page.updated, page.removed)
    await feeds.undo(act)
    [page] = [page async for page in feeds.changes(client_id=api.client_id, cursor=page.next_cursor)]
    assert [row] == [each.id for each in (*page.added, *page.updated)]


async def test_a_refusal_says_all_that_the_api_said(feeds: Bankfeed) -> None:
    """Status, code, field and the request's id."""
    with pytest.raises(ApiError) as refused:
        await feeds.add_client("", "x")
    assert (422, "invalid", "username") == (refused.value.status, refused.value.code, refused.value.field)
    assert refused.value.request_id is not None


@pytest.mark.usefixtures("quick")
async def test_a_lost_answer_does_not_double(api: Person) -> None:
    """A POST whose answer is lost on the way is sent again with its key: it was done once."""
    lost = iter([True, True, False])

    async def forward(request: web.Request) -> web.Response:
        url = f"http://127.0.0.1:{api.ingress.settings.port}{request.path_qs}"
        headers = {name: request.headers[name] for name in ("Authorization", "Content-Type", "Idempotency-Key")}
        async with api.session.post(url, data=await request.read(), headers=headers) as answer:
            body = await answer.read()
            if next(lost):
                assert request.transport is not None
                request.transport.abort()
            return web.Response(status=answer.status, body=body, content_type="application/json")

    app = web.Application()
    app.router.add_route("*", "/{tail:.*}", forward)
    runner = web.AppRunner(app)
    await runner.setup()
    port = free_port()
    await web.TCPSite(runner, "127.0.0.1", port).start()
    async with Bankfeed(f"http://127.0.0.1:{port}", api.token) as feeds:
        client = await feeds.add_client("once", "Once")
    assert "once" == client.username
    assert 2 == len((await api.get("/clients")).body["clients"])
    await runner.cleanup()


@pytest.mark.usefixtures("quick")
async def test_nobody_there_is_an_error_in_the_end() -> None:
    """After its tries the client says that nobody answers."""
    async with Bankfeed(f"http://127.0.0.1:{free_port()}", "x") as feeds:
        with pytest.raises(ClientConnectionError):
            await asyncio.wait_for(feeds.get_client(1), 10)


def test_a_webhook_is_checked_and_read() -> None:
    """What Bankfeed sends is an event with ids; a changed byte or another secret is refused."""
    now = datetime.now(UTC)
    sent = make_event(
        News(event_type=EventType.TRANSACTIONS_REFRESHED), client_id=ClientId(5), connection_id=ConnectionId(6), at=now
    )
    headers = build_headers([ENDPOINT_SECRET], message_id=str(sent.event_id), at=now, body=sent.body)
    event = read_webhook(ENDPOINT_SECRET, headers, sent.body)
    assert (sent.event_id, "transactionsRefreshed", 5, 6, ()) == (
        event.id, event.type, event.client_id, event.bank_account_id, event.accounts
    )  # fmt: skip
    with pytest.raises(BadSignature):
        read_webhook(ENDPOINT_SECRET, headers, sent.body + b" ")
