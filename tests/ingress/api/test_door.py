"""The door of the API: who is let in, once, how often, and what every answer looks like; with routes made for these tests."""

import asyncio
import gzip
import json
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Annotated

import aiohttp
import asyncpg
import msgspec
import pytest

from bankfeed.db.client import insert_client
from bankfeed.errors import ActRefused, BadRequest, NotFound, Unavailable
from ingress.api import door, lines
from ingress.api.call import Call
from ingress.api.route import Body, NoParams, Route, Scope, Stream, Wire, conflict
from tests.ingress.api.conftest import Person, make_key, sign_in


class Gate:
    """Where a stream stands still until a test lets it go on; new for each test, as events belong to a loop."""

    started: asyncio.Semaphore
    go_on: asyncio.Event


class Word(Wire):
    """One thing."""

    id: int
    username: str
    version: int = 1


class WordAnswer(Wire):
    """One thing in the envelope."""

    word: Word


class WordList(Wire):
    """A page."""

    words: list[str]
    next_cursor: str | None


class ListWords(Body):
    """What the list takes."""

    word_id: Annotated[int, msgspec.Meta(ge=1)] = 1
    kinds: list[str] = msgspec.field(default_factory=list)
    cursor: str = ""
    username: str | None = None


class NewWord(Body):
    """What is added."""

    username: Annotated[str, msgspec.Meta(min_length=1, max_length=50)]
    version: int | None = None


async def add_word(call: Call, _: NoParams, body: NewWord) -> WordAnswer:
    client_id = await insert_client(call.conn, call.customer_id, username=body.username, name="x")
    if body.username == "breaks":
        raise RuntimeError("hush-hush")
    return WordAnswer(word=Word(id=client_id, username=body.username, version=body.version or 1))


async def add_secret(call: Call, params: NoParams, body: NewWord) -> WordAnswer:
    return await add_word(call, params, body)


async def list_words(_: Call, params: ListWords) -> WordList:
    raising = {
        "gone": NotFound("it is gone"),
        "bad": BadRequest("expected good", field="kinds"),
        "away": Unavailable("x"),
    }
    raising |= {"refused": ActRefused("no"), "conflict": conflict("in the way")}
    for kind in params.kinds:
        if kind in raising:
            raise raising[kind]
    words = ["long " * 2_000] if "long" in params.kinds else params.kinds
    return WordList(words=words, next_cursor="abc" if not params.cursor else None)


async def stream_words(call: Call, params: ListWords) -> Stream:
    async def chunks() -> AsyncIterator[bytes]:
        yield b"1\n"
        if "held" in params.kinds:
            Gate.started.release()
            await Gate.go_on.wait()
            await call.conn.execute("SELECT 1")
        if "broken" in params.kinds:
            raise Unavailable("in the middle")
        yield b"2\n"

    return Stream(chunks())


async def say_hello(_: Call, __: NoParams) -> None:
    return None


ROUTES = (
    Route(method="POST", path="/words", handle=add_word, summary="", tag="x", scope=Scope.CLIENTS_WRITE, body=NewWord,
          answer=WordAnswer, status=201, is_versioned=True),
    Route(method="POST", path="/secrets", handle=add_secret, summary="", tag="x", scope=Scope.CLIENTS_WRITE, body=NewWord,
          answer=WordAnswer, carries_secret=True),
    Route(method="GET", path="/words", handle=list_words, summary="", tag="x", scope=Scope.CLIENTS_READ, params=ListWords,
          answer=WordList),
    Route(method="GET", path="/stream", handle=stream_words, summary="", tag="x", scope=Scope.CLIENTS_READ,
          params=ListWords, streams=True),
    Route(method="GET", path="/hello", handle=say_hello, summary="", tag="x", scope=None),
)  # fmt: skip


@pytest.fixture(autouse=True)
def routes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Serve the routes above instead of the product's."""
    Gate.started, Gate.go_on = asyncio.Semaphore(0), asyncio.Event()
    monkeypatch.setattr(door.Api.__init__, "__kwdefaults__", {"routes": ROUTES})


async def count_rows(person: Person, table: str) -> int:
    async with person.database.tenant(person.customer_id) as conn:
        found: int = await conn.fetchval(f"SELECT count(*) FROM {table}")  # noqa: S608 - our own names
        return found


async def test_an_answer_is_in_the_envelope(api: Person) -> None:
    """An answer says OK, has the version as ETag, a request id, and is not cached."""
    said = await api.post("/words", {"username": "new"})
    assert 201 == said.status
    assert "OK" == said.body["status"]
    assert "new" == said.body["word"]["username"]
    assert '"1"' == said.headers["ETag"]
    assert "no-store" == said.headers["Cache-Control"]
    assert 36 == len(said.headers["X-Request-Id"])


async def test_nothing_but_the_envelope(api: Person) -> None:
    """An answer without anything to say is the envelope alone."""
    assert '{"status":"OK"}' == (await api.as_nobody().get("/hello")).text


async def test_a_page_says_where_the_next_one_is(api: Person) -> None:
    """The link to the next page keeps the query and has the cursor, in the body and as a header."""
    said = await api.get("/words", wordId=7, kinds="a,b")
    assert ["a", "b"] == said.body["words"]
    following = said.body["links"]["next"]
    assert f'<{following}>; rel="next"' == said.headers["Link"]
    async with api.session.get(following, headers={"Authorization": f"Bearer {api.token}"}) as answer:
        last = await answer.json()
    assert ["a", "b"] == last["words"]
    assert "links" not in last


@pytest.mark.parametrize(
    ("kind", "status", "code", "field"),
    [
        ("gone", 404, "not_found", None),
        ("bad", 422, "invalid", "kinds"),
        ("away", 503, "unavailable", None),
        ("refused", 409, "act_refused", None),
        ("conflict", 409, "conflict", None),
    ],
)
async def test_errors_have_their_status_and_code(
    api: Person, kind: str, status: int, code: str, field: str | None
) -> None:
    """What a handler raises is an error in the envelope, with the request id that the header has."""
    said = await api.get("/words", kinds=kind)
    assert (status, code, field) == (said.status, said.body["code"], said.body.get("field"))
    assert ("ERROR", said.headers["X-Request-Id"]) == (said.body["status"], said.body["requestId"])


@pytest.mark.parametrize(
    ("query", "field"), [({"wordId": "0"}, "wordId"), ({"wordId": "x"}, "wordId"), ({"wordid": "1"}, "wordid")]
)
async def test_a_query_that_does_not_fit_names_its_field(api: Person, query: dict[str, str], field: str) -> None:
    """A parameter out of bounds, of another type or misspelt is 422 with its name."""
    said = await api.get("/words", **query)
    assert (422, "invalid", field) == (said.status, said.body["code"], said.body["field"])


@pytest.mark.parametrize(
    ("body", "status", "field"),
    [
        (b"{", 400, None),
        (b"", 400, None),
        (b'{"username": ""}', 422, "username"),
        (b'{"username": 3}', 422, "username"),
        (b'{"username": "x", "colour": 1}', 422, "colour"),
        (b"{}", 422, "username"),
        (b"[1]", 422, None),
        (b"\xff\xfe", 400, None),
        (b'{"username": "a\\u0000b"}', 422, None),
        (b"[" * 100_000, 422, None),
        (b'{"username": ' + b"[" * 100_000, 422, "username"),
        (b" " * 500_000 + b"{", 400, None),
    ],
)
async def test_a_body_that_does_not_fit_names_its_field(
    api: Person, body: bytes, status: int, field: str | None
) -> None:
    """Bad JSON is 400, a misfit 422 with the field; nothing is written."""
    said = await api.post("/words", body)
    assert (status, field) == (said.status, said.body.get("field")), said.body
    assert 1 == await count_rows(api, "clients")


async def test_a_failure_of_ours_says_nothing_of_it(api: Person) -> None:
    """A bug is 500 in the envelope without its text, and what was written goes back."""
    said = await api.post("/words", {"username": "breaks"})
    assert (500, "internal") == (said.status, said.body["code"])
    assert "hush" not in said.text
    assert 1 == await count_rows(api, "clients")
    assert 0 == await count_rows(api, "audit_log")


async def test_paths_and_methods_that_there_are_not(api: Person) -> None:
    """An unknown path is 404, a known one with another method 405 with those that there are."""
    assert 404 == (await api.get("/nowhere")).status
    said = await api.delete("/words")
    assert (405, "GET, POST") == (said.status, said.headers["Allow"])


async def test_who_is_not_let_in(api: Person) -> None:
    """No token, an unknown one and an expired one are 401; one of the other environment says so."""
    expired = await sign_in(api, "owner", lasts=timedelta(seconds=-1))
    for person in (api.as_nobody(), api.with_token("unknown"), expired):
        said = await person.get("/words")
        assert (401, "unauthorized", "Bearer") == (said.status, said.body["code"], said.headers["WWW-Authenticate"])
    said = await api.with_token("bft_live_x").get("/words")
    assert (401, "wrong_environment") == (said.status, said.body["code"])


async def test_a_customer_of_the_other_environment_is_not_let_in(api: Person) -> None:
    """A token whose customer is of the other environment is nobody's here."""
    async with api.database.tenant(api.customer_id) as conn:
        await conn.execute("UPDATE customers SET environment = 'live'")
    assert 401 == (await api.get("/words")).status


async def test_roles_and_scopes(api: Person, reader: Person, employee: Person) -> None:
    """A reader looks and does nothing; an employee does; a key may what it was made for, and a revoked one nothing."""
    assert [200, 403] == [(await reader.get("/words")).status, (await reader.post("/words", {"username": "r"})).status]
    assert 201 == (await employee.post("/words", {"username": "e"})).status
    key = await make_key(api, "clients:read")
    assert [200, 403] == [(await key.get("/words")).status, (await key.post("/words", {"username": "k"})).status]
    async with api.database.tenant(api.customer_id) as conn:
        assert await conn.fetchval("SELECT last_used_at IS NOT NULL FROM api_keys")
        await conn.execute("UPDATE users SET locked_at = now() WHERE id = $1", employee.user_id)
        await conn.execute("UPDATE api_keys SET revoked_at = now()")
    assert [401, 401] == [(await employee.get("/words")).status, (await key.get("/words")).status]


async def test_what_is_done_and_read_is_written_down(api: Person) -> None:
    """Each answered request has one line: who, what, which ids, from where, by which request."""
    await api.post("/words", {"username": "a"})
    said = await api.get("/words", wordId=7)
    async with api.database.tenant(api.customer_id) as conn:
        lines = await conn.fetch("SELECT actor, action, target, remote, request_id::text FROM audit_log ORDER BY id")
    assert ["addWord", "listWords"] == [line["action"] for line in lines]
    assert (f"user:{api.user_id}", "wordId=7", "127.0.0.1", said.headers["X-Request-Id"]) == (
        lines[1]["actor"], lines[1]["target"], lines[1]["remote"], lines[1]["request_id"]
    )  # fmt: skip


async def test_the_audit_log_says_whose(api: Person) -> None:
    """Who asks by username reads of the client with that id, and the line says so."""
    async with api.database.tenant(api.customer_id) as conn:
        username = await conn.fetchval("SELECT username FROM clients")
    await api.get("/words", username=username)
    async with api.database.tenant(api.customer_id) as conn:
        assert f"wordId=1 clientId={api.client_id}" == await conn.fetchval("SELECT target FROM audit_log")


async def test_a_post_with_a_key_is_done_once(api: Person) -> None:
    """The same request with the same key gets the same answer, and nothing is done again; another one is refused."""
    headers = {"Idempotency-Key": "k1"}
    first = await api.post("/words", {"username": "a"}, headers=headers)
    again = await api.post("/words", {"username": "a"}, headers=headers)
    assert (first.status, first.body) == (again.status, again.body)
    assert 2 == await count_rows(api, "audit_log")
    assert "true" == again.headers["Idempotent-Replayed"]
    assert 422 == (await api.post("/words", {"username": "b"}, headers=headers)).status
    assert 2 == await count_rows(api, "clients")


async def test_many_at_once_with_one_key_are_done_once(api: Person) -> None:
    """Twenty at the same moment do it once, and all get the answer."""
    headers = {"Idempotency-Key": "k1"}
    asked = [api.post("/words", {"username": "a"}, headers=headers) for _ in range(20)]
    answers = await asyncio.gather(*asked)
    assert {201} == {said.status for said in answers}
    assert 1 == len({said.text for said in answers})
    assert 2 == await count_rows(api, "clients")


async def test_a_key_is_its_callers_own(api: Person, other: Person, employee: Person) -> None:
    """The same key of another person or customer is another key."""
    headers = {"Idempotency-Key": "k1"}
    for n, person in enumerate((api, employee, other)):
        said = await person.post("/words", {"username": f"w{n}"}, headers=headers)
        assert (201, None) == (said.status, said.headers.get("Idempotent-Replayed"))


async def test_a_failed_post_leaves_its_key_free(api: Person) -> None:
    """What was refused may be mended and sent again with the same key."""
    headers = {"Idempotency-Key": "k1"}
    assert 500 == (await api.post("/words", {"username": "breaks"}, headers=headers)).status
    assert 201 == (await api.post("/words", {"username": "mended"}, headers=headers)).status


async def test_an_answer_with_a_secret_is_not_kept(api: Person) -> None:
    """A repeat of what answered with a secret is 409, and the secret is nowhere."""
    headers = {"Idempotency-Key": "k1"}
    assert 200 == (await api.post("/secrets", {"username": "a"}, headers=headers)).status
    said = await api.post("/secrets", {"username": "a"}, headers=headers)
    assert (409, "idempotency_conflict") == (said.status, said.body["code"])
    async with api.database.tenant(api.customer_id) as conn:
        assert await conn.fetchval("SELECT answer IS NULL FROM idempotency_keys")


async def test_a_key_lasts_a_day(api: Person) -> None:
    """After 24 hours a key is a new one."""
    headers = {"Idempotency-Key": "k1"}
    await api.post("/words", {"username": "a"}, headers=headers)
    async with api.database.tenant(api.customer_id) as conn:
        await conn.execute("UPDATE idempotency_keys SET created_at = now() - interval '25 hours'")
    assert 201 == (await api.post("/words", {"username": "b"}, headers=headers)).status


async def test_if_match_is_the_version(api: Person) -> None:
    """If-Match fills the body's version; what is no ETag of ours is 422."""
    said = await api.post("/words", {"username": "a"}, headers={"If-Match": '"7"'})
    assert 7 == said.body["word"]["version"]
    assert 422 == (await api.post("/words", {"username": "b"}, headers={"If-Match": "seven"})).status


@pytest.mark.parametrize("changed_settings", [{"calls_per_minute": 3}])
async def test_a_token_has_an_allowance(api: Person, other: Person) -> None:
    """The fourth request of a token within a minute is 429 with the seconds to wait; another token goes on."""
    left = [(await api.get("/words")).headers["RateLimit-Remaining"] for _ in range(3)]
    assert ["2", "1", "0"] == left
    said = await api.get("/words")
    assert (429, "rate_limited") == (said.status, said.body["code"])
    assert 1 <= int(said.headers["Retry-After"]) <= 20
    assert 200 == (await other.get("/words")).status


@pytest.mark.parametrize("changed_settings", [{"calls_per_minute": 3}])
async def test_guessing_tokens_has_an_allowance_too(api: Person) -> None:
    """Made-up tokens count together, by where they come from."""
    statuses = [(await api.with_token(f"guess-{n}").get("/words")).status for n in range(5)]
    assert [401, 401, 401, 429, 429] == statuses


async def test_a_long_answer_is_compressed_for_who_takes_it(api: Person) -> None:
    """Gzip where the caller says so and the answer is long; else as it is."""
    headers = {"Authorization": f"Bearer {api.token}", "Accept-Encoding": "gzip"}
    async with aiohttp.ClientSession(api.session._base_url, auto_decompress=False) as raw:
        async with raw.get("/api/v1/words?kinds=long", headers=headers) as answer:
            assert "gzip" == answer.headers["Content-Encoding"]
            assert "OK" == json.loads(gzip.decompress(await answer.read()))["status"]
        async with raw.get("/api/v1/words?kinds=short", headers=headers) as answer:
            assert "Content-Encoding" not in answer.headers


@pytest.mark.parametrize("changed_settings", [{"cors_origins": ("https://app.firm.example",)}])
async def test_pages_of_named_origins_may_call(api: Person) -> None:
    """A preflight of a named origin is answered, and its page may read; a stranger's gets no such header."""
    named, stranger = ({"Origin": f"https://{host}.firm.example"} for host in ("app", "evil"))
    said = await api.ask("OPTIONS", "/words", headers=named | {"Access-Control-Request-Method": "POST"})
    assert (204, "https://app.firm.example") == (said.status, said.headers["Access-Control-Allow-Origin"])
    assert "Access-Control-Allow-Origin" in (await api.ask("GET", "/words", headers=named)).headers
    assert "Access-Control-Allow-Origin" not in (await api.ask("GET", "/words", headers=stranger)).headers
    assert 405 == (await api.ask("OPTIONS", "/words", headers=stranger)).status


async def test_a_stream_ends_or_visibly_does_not(api: Person) -> None:
    """A stream's pieces arrive in order; one that breaks off ends without its end, and both are in the audit log."""
    assert "1\n2\n" == (await api.get("/stream")).text
    with pytest.raises(aiohttp.ClientPayloadError):
        await api.get("/stream", kinds="broken")
    assert 2 == await count_rows(api, "audit_log")


@pytest.mark.parametrize("changed_settings", [{"pool_connections": 3}])
async def test_a_stream_needs_one_connection(api: Person) -> None:
    """As many streams at once as there are connections all end: none waits for a second connection."""
    for _ in range(3):
        said = await asyncio.wait_for(asyncio.gather(*(api.get("/stream", kinds="x") for _ in range(2))), 10)
        assert {"1\n2\n"} == {each.text for each in said}


@pytest.mark.parametrize("changed_settings", [{"pool_connections": 12}])
async def test_a_customer_has_few_streams_at_a_time(api: Person, other: Person) -> None:
    """The third at once of one customer is 429; another customer's goes on."""
    held = [asyncio.create_task(api.get("/stream", kinds="held")) for _ in range(2)]
    for _ in held:
        await asyncio.wait_for(Gate.started.acquire(), 10)
    said = await api.get("/stream")
    assert (429, "5") == (said.status, said.headers["Retry-After"])
    assert 200 == (await other.get("/stream")).status
    Gate.go_on.set()
    assert [200, 200] == [(await each).status for each in held]


async def test_a_stream_that_loses_postgres_has_no_end(api: Person, superuser: asyncpg.Connection) -> None:
    """Its reader sees that the end is missing, gets no second answer, and the line in the audit log is there."""
    reading = asyncio.create_task(api.get("/stream", kinds="held"))
    await asyncio.wait_for(Gate.started.acquire(), 10)
    await superuser.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'bankfeed_app'")
    Gate.go_on.set()
    with pytest.raises(aiohttp.ClientPayloadError):
        await reading
    lines_written = await superuser.fetchval("SELECT count(*) FROM audit_log WHERE action = 'streamWords'")
    assert 1 == lines_written


@pytest.mark.parametrize("changed_settings", [{"pool_connections": 3}])
async def test_readers_that_do_not_read_stop_nobody(api: Person, monkeypatch: pytest.MonkeyPatch) -> None:
    """Streams have a share of the connections: whoever reads slowly keeps the others' requests from none."""
    monkeypatch.setattr(lines, "PATIENCE_S", 0.2)
    held = asyncio.create_task(api.get("/stream", kinds="held"))
    await asyncio.wait_for(Gate.started.acquire(), 10)
    assert [503, 503] == [(await api.get("/stream")).status for _ in range(2)]
    assert 200 == (await api.get("/words")).status
    Gate.go_on.set()
    assert 200 == (await held).status


async def test_a_body_has_a_bound(api: Person) -> None:
    """Past 4 MiB a body is 413, while it still arrives."""

    async def pieces() -> AsyncIterator[bytes]:
        for _ in range(5):
            yield b" " * 1024 * 1024

    headers = {"Authorization": f"Bearer {api.token}", "Content-Type": "application/json"}
    async with api.session.post("/api/v1/words", data=pieces(), headers=headers) as answer:
        assert 413 == answer.status


async def test_a_compressed_body_is_refused(api: Person) -> None:
    """Nothing is decompressed that came from outside."""
    body = gzip.compress(b'{"username": "a"}')
    said = await api.post("/words", body, headers={"Content-Encoding": "gzip"})
    assert 415 == said.status


@pytest.mark.parametrize("changed_settings", [{"trusted_proxies": ()}])
async def test_a_forwarded_address_is_not_believed(api: Person) -> None:
    """Without a trusted proxy the peer's address counts, whatever a header says."""
    await api.ask("GET", "/words", headers={"X-Forwarded-For": "203.0.113.9"})
    async with api.database.tenant(api.customer_id) as conn:
        assert "127.0.0.1" == await conn.fetchval("SELECT remote FROM audit_log")
