"""What every answer of the console carries, and what it says in trouble."""

import re
from dataclasses import replace

import aiohttp
import asyncpg
import pytest

from bankfeed.local import LocalPostgres
from bankfeed.settings import Settings
from ingress.app import Ingress
from ingress.console.door import HEADERS
from ingress.console.throttle import MOST_TRIES
from tests.finbank import free_port
from tests.ingress.visitor import PAGES, Visitor


async def test_every_answer_carries_the_headers(visitor: Visitor) -> None:
    """Pages, refusals, redirects and files alike forbid framing, foreign code and guessing of types."""
    token = await visitor.begin_session()
    answers = [await visitor.get(path, cookie) for path in PAGES for cookie in ("", token)]
    answers += [await visitor.sign_in(), await visitor.sign_in(password="wrong"), await visitor.sign_in(Origin="null")]
    for page in answers:
        assert HEADERS == {name: page.headers[name] for name in HEADERS}
        assert "default-src 'none'" in page.headers["Content-Security-Policy"]
    for path in ("/console/console.css", "/console/console.js"):
        page = await visitor.get(path)
        assert HEADERS | {"Cache-Control": "no-cache"} == {name: page.headers[name] for name in HEADERS}


async def test_the_page_needs_nothing_that_its_policy_forbids(visitor: Visitor) -> None:
    """No inline script or style is in the pages, and the two files come with their types."""
    await visitor.add_row(await visitor.add_account(), "-20")
    for page in (await visitor.look(), await visitor.get("/sign-in")):
        assert not re.search(r"<script(?![^>]*src=)|<style|\sstyle=|\son\w+=", page.text)
    style, module = [await visitor.get(f"/console/console.{kind}") for kind in ("css", "js")]
    assert ("text/css; charset=utf-8", 200) == (style.headers["Content-Type"], style.status)
    assert ("text/javascript; charset=utf-8", 200) == (module.headers["Content-Type"], module.status)


@pytest.mark.parametrize("path", ["/console/", "/console/routes.py", "/console/rows.html", "/console/..%2fapp.py"])
async def test_no_other_file_is_served(visitor: Visitor, path: str) -> None:
    """There is no folder behind the console's files."""
    assert 404 == (await visitor.get(path, await visitor.begin_session())).status


async def test_until_the_database_is_open_pages_say_so(settings: Settings) -> None:
    """A process that still waits for Postgres answers 503 with Retry-After, and its files."""
    ingress = Ingress(replace(settings, port=free_port()))
    await ingress.listen()
    async with aiohttp.ClientSession(f"http://127.0.0.1:{ingress.settings.port}") as session:
        for path in PAGES:
            async with session.get(path) as answer:
                assert (503, "5", "text/html") == (answer.status, answer.headers["Retry-After"], answer.content_type)
        async with session.get("/console/console.css") as answer:
            assert 200 == answer.status
    await ingress.close()


async def test_without_postgres_pages_are_503_and_come_back(visitor: Visitor, postgres: LocalPostgres) -> None:
    """A lost Postgres is a plain page with Retry-After, costs nobody a try, and is forgotten when it is back."""
    token = await visitor.begin_session()
    name = await visitor.superuser.fetchval("SELECT current_database()")
    server = await asyncpg.connect(postgres.url())
    await server.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS false")
    await server.execute(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = $1 AND usename LIKE 'bankfeed_%'", name
    )
    for page in [await visitor.get("/console", token), *[await visitor.sign_in() for _ in range(MOST_TRIES + 1)]]:
        assert (503, "5") == (page.status, page.headers["Retry-After"])
        assert "Not available" in page.text
        assert "asyncpg" not in page.text
    await server.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS true")
    await server.close()
    while (await visitor.get("/console", token)).status == 503:
        pass
    assert 303 == (await visitor.sign_in()).status


async def test_a_bug_shows_no_traceback(visitor: Visitor, monkeypatch: pytest.MonkeyPatch) -> None:
    """What nobody foresaw is a plain page; the traceback goes to the log."""

    async def fail(*_: object) -> None:
        raise ZeroDivisionError("the secret reason")

    monkeypatch.setattr("ingress.console.routes.read_overview", fail)
    page = await visitor.look()
    assert 500 == page.status
    assert "Something went wrong" in page.text
    assert "secret reason" not in page.text
    assert "Traceback" not in page.text
