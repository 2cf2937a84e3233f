"""Every way in which a sender proves itself, through the real door."""

import asyncio
import base64
import hashlib
import hmac
import time
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import asyncpg
import pytest
import standardwebhooks
from aiohttp import web
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from bankfeed.db.source import upsert_platform_source
from bankfeed.settings import Secret, Settings
from ingress import plaid_keys
from tests.finbank import free_port
from tests.ingress.conftest import Door
from tests.plaid import KID, KeyServer, make_jwk, make_token

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
PAIR = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
PUBLIC = "whpk_" + base64.b64encode(PAIR.public_key().public_bytes_raw()).decode()
SUBSCRIPTION_KEY = "the-key-of-one-subscription"
PLAID = (
    b'{"webhook_type":"TRANSACTIONS","webhook_code":"SYNC_UPDATES_AVAILABLE","item_id":"wz666MBjYWTp2PDzzggYhM6oWWmBb"}'
)
TXPUSH = b'{"event":{"class":"transaction","type":"created","records":[{"id":1,"accountId":5011648377}]}}'
FINICITY = b'{"eventType":"done","eventId":"1688-abc"}'
CODE = "/webhooks/txpush?txpush_verification_code="


@pytest.fixture
async def plaid(settings: Settings) -> AsyncIterator[tuple[KeyServer, Settings]]:
    """Plaid's API for keys, and settings that name it."""
    server, port = KeyServer(), free_port()
    app = web.Application()
    app.router.add_post("/webhook_verification_key/get", server.answer)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port).start()
    url = f"http://127.0.0.1:{port}/"
    yield (
        server,
        replace(settings, plaid_url=url, plaid_client_id="client", plaid_secret=Secret("tell-nobody"), plaid_s=1),
    )
    await runner.cleanup()


@pytest.fixture
async def key_server(plaid: tuple[KeyServer, Settings], door: Door, owner: asyncpg.Connection) -> KeyServer:
    """Plaid's API, which the door asks; and a source for each way to prove oneself."""
    keys = {"standard": [SECRET, PUBLIC], "txpush": ["another-subscription", SUBSCRIPTION_KEY], "plaid": []}
    for verifier, secrets in keys.items():
        dialect = "plaid" if verifier == "plaid" else "finicity"
        await upsert_platform_source(
            owner, slug=verifier, connector=dialect, dialect=dialect, verifier=verifier, secrets=secrets
        )
    door.ingress.webhooks._senders._plaid_keys = plaid_keys.PlaidKeys(plaid[1])
    return plaid[0]


async def post(door: Door, slug: str, body: bytes, headers: dict[str, str]) -> int:
    return (await door.post(f"/webhooks/{slug}", body, headers))[0]


async def post_plaid(door: Door, body: bytes = PLAID, **changes: object) -> int:
    return await post(door, "plaid", body, {"Plaid-Verification": make_token(PLAID, time.time(), **changes)})


def sign_txpush(content_type: str, host: str, body: bytes) -> str:
    text = (content_type + host + base64.b64encode(body).decode()).encode()
    return hmac.new(SUBSCRIPTION_KEY.encode(), text, hashlib.sha256).hexdigest()


async def test_both_kinds_of_standard_keys_are_live(door: Door, key_server: KeyServer) -> None:
    """A source with a secret and a public key takes messages signed with either, and with neither none."""
    at = datetime.now(UTC)
    stamp = str(int(at.timestamp()))
    v1 = standardwebhooks.Webhook(SECRET).sign("msg_1", at, FINICITY.decode())
    v1a = "v1a," + base64.b64encode(PAIR.sign(f"msg_2.{stamp}.".encode() + FINICITY)).decode()
    sent = {"webhook-timestamp": stamp}
    assert 200 == await post(door, "standard", FINICITY, {**sent, "webhook-id": "msg_1", "webhook-signature": v1})
    assert 200 == await post(door, "standard", FINICITY, {**sent, "webhook-id": "msg_2", "webhook-signature": v1a})
    assert 401 == await post(door, "standard", FINICITY, {**sent, "webhook-id": "msg_3", "webhook-signature": v1a})


@pytest.mark.parametrize("name", ["TxPush-Signature", "X-TxPush-Signature"])
async def test_txpush_is_signed_over_headers_and_body(
    door: Door, key_server: KeyServer, superuser: asyncpg.Connection, name: str
) -> None:
    """A TxPUSH event with the subscription's signature is a refresh of the account; each one counts."""
    host = f"127.0.0.1:{door.ingress.settings.port}"
    headers = {"Content-Type": "application/json", name: sign_txpush("application/json", host, TXPUSH)}
    assert [200, 200] == [await post(door, "txpush", TXPUSH, headers) for _ in range(2)]
    assert 401 == await post(door, "txpush", TXPUSH + b" ", headers)
    assert 401 == await post(door, "txpush", TXPUSH, {**headers, "Content-Type": "text/plain"})
    assert 401 == await post(door, "txpush", TXPUSH, {"Content-Type": "application/json"})
    rows = await superuser.fetch("SELECT event_type::text, account_refs FROM inbox")
    assert [("transactionsRefreshed", ["5011648377"])] * 2 == [tuple(row) for row in rows]


async def test_txpush_is_given_its_code(door: Door, key_server: KeyServer) -> None:
    """Finicity checks an address by GET, and wants its code back as plain text."""
    async with door.session.get(CODE + "a1B2-c3") as answer:
        assert (200, "text/plain", "a1B2-c3") == (answer.status, answer.content_type, await answer.text())
        assert "nosniff" == answer.headers["X-Content-Type-Options"]


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/webhooks/txpush", 400),
        (CODE, 400),
        (CODE + "%00", 400),
        (CODE + "%C3%BC", 400),
        (CODE + "x" * 257, 400),
        (CODE.replace("txpush?", "finicity?") + "a", 404),
        (CODE.replace("txpush?", "nobody?") + "a", 404),
    ],
)
async def test_nothing_else_is_echoed(door: Door, key_server: KeyServer, path: str, status: int) -> None:
    """A code that is missing or strange is refused, and no other source answers to GET."""
    assert status == (await door.get(path))[0]


async def test_plaids_key_is_fetched_once(door: Door, key_server: KeyServer, superuser: asyncpg.Connection) -> None:
    """Many tokens of one key cost one request, with the credentials; the events name their item, and each one counts."""
    assert [200] * 10 == await asyncio.gather(*(post_plaid(door) for _ in range(10)))
    assert [{"client_id": "client", "secret": "tell-nobody", "key_id": KID}] == key_server.asked
    rows = await superuser.fetch("SELECT event_type::text, login_refs FROM inbox")
    assert [("transactionsRefreshed", ["wz666MBjYWTp2PDzzggYhM6oWWmBb"])] * 10 == [tuple(row) for row in rows]


@pytest.mark.parametrize("change", [{"iat": 1_700_000_000}, {"alg": "HS256"}, {"request_body_sha256": "0" * 64}])
async def test_plaids_wrong_tokens_are_401(door: Door, key_server: KeyServer, change: dict[str, Any]) -> None:
    """An old token, one of another algorithm and one over another body are refused."""
    assert 401 == await post_plaid(door, **change)
    assert 401 == await post_plaid(door, body=PLAID + b" ")
    assert 401 == await post(door, "plaid", PLAID, {})


@pytest.mark.parametrize("status", [500, 400, 200, 302])
async def test_without_plaids_key_the_answer_is_503(door: Door, key_server: KeyServer, status: int) -> None:
    """While Plaid gives no key out, nothing is known about the sender: it has to come back, and is then accepted."""
    key_server.status = status
    assert 503 == await post_plaid(door)
    key_server.status = None
    assert 200 == await post_plaid(door)


async def test_without_credentials_the_answer_is_503(door: Door, key_server: KeyServer, settings: Settings) -> None:
    """A source of Plaid's without credentials loses nothing: the sender comes back."""
    door.ingress.webhooks._senders._plaid_keys = plaid_keys.PlaidKeys(settings)
    assert 503 == await post_plaid(door)
    assert [] == key_server.asked


async def test_unknown_keys_are_bounded(door: Door, key_server: KeyServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """An unknown key is asked for once a minute, few unknown ones at all, and the known one is renewed all the same."""
    monkeypatch.setattr(plaid_keys, "ASKED_AT_MOST", 3)
    assert 200 == await post_plaid(door)
    statuses = [await post_plaid(door, kid=kid) for kid in ("a", "a", "b", "c", "d", "a")]
    assert [401, 401, 401, 503, 503, 401] == statuses
    assert [KID, "a", "b"] == [asked["key_id"] for asked in key_server.asked]
    monkeypatch.setattr(plaid_keys, "KEPT_S", -1)
    assert 200 == await post_plaid(door)
    assert KID == key_server.asked[-1]["key_id"]
    assert 4 == len(key_server.asked)


async def test_a_retired_key_is_refused_after_its_hour(
    door: Door, key_server: KeyServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A key is asked for again when its hour is over; one that Plaid has retired meanwhile accepts nothing more."""
    assert 200 == await post_plaid(door)
    key_server.keys[KID] = make_jwk(expired_at=int(time.time()) - 1)
    assert 200 == await post_plaid(door)
    monkeypatch.setattr(plaid_keys, "KEPT_S", -1)
    assert 401 == await post_plaid(door)


async def test_another_key_than_asked_for_is_not_taken(door: Door, key_server: KeyServer) -> None:
    """An answer with another key's id leaves the sender unproven."""
    key_server.keys["a"] = make_jwk()
    assert 503 == await post_plaid(door, kid="a")


async def test_a_key_that_cannot_be_used_is_503(
    door: Door, key_server: KeyServer, owner: asyncpg.Connection, capsys: pytest.CaptureFixture[str]
) -> None:
    """A key of ours that was entered wrongly is our error: the sender has to come back, and the log says it without the key."""
    await upsert_platform_source(
        owner,
        slug="mistyped",
        connector="finicity",
        dialect="finicity",
        verifier="standard",
        secrets=["whsec_mistyped!!"],
    )
    headers = {"webhook-id": "m", "webhook-timestamp": str(int(time.time())), "webhook-signature": "v1,AAAA"}
    assert 503 == await post(door, "mistyped", FINICITY, headers)
    log = capsys.readouterr().out
    assert "source.key_unusable" in log
    assert "mistyped!!" not in log
