"""Whatever anybody sends to any door: an answer that is meant for the sender, never a 500, never an exception in the log."""

import logging
import time
from collections.abc import AsyncIterator
from datetime import UTC, datetime

import asyncpg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bankfeed.db.source import upsert_platform_source
from bankfeed.signing import build_headers, read_plaid_key, sign_hex_hmac
from tests.ingress.conftest import LEDGERSYNC, Door
from tests.ingress.test_senders import FINICITY, PLAID, SECRET, SUBSCRIPTION_KEY, TXPUSH, sign_txpush
from tests.ingress.test_webhooks import EXAMPLE, event
from tests.plaid import KID, make_jwk, make_token
from tests.seed import PARTNER_SECRET

ANSWERS = {200, 400, 401, 404, 408, 413, 415, 503}
PATHS = (LEDGERSYNC, *(f"/webhooks/{slug}" for slug in ("finicity", "standard", "txpush", "plaid", "nobody")))
NAMES = (
    *("webhook-id", "webhook-timestamp", "webhook-signature", "X-Finicity-Signature", "TxPush-Signature"),
    *("X-TxPush-Signature", "Plaid-Verification", "Content-Encoding", "Content-Type", "X-Other"),
)
# what may stand in a header at all; anything else is refused by the server before it is anybody's webhook
TEXT = st.text(st.characters(min_codepoint=32, max_codepoint=255, exclude_characters="\x7f"), max_size=60)
HEADERS = st.dictionaries(st.sampled_from(NAMES), TEXT, max_size=4)
BODIES = st.binary(max_size=200) | st.sampled_from([EXAMPLE, FINICITY, TXPUSH, PLAID])
PATCHES = st.lists(st.tuples(st.integers(0, 200), st.binary(min_size=1, max_size=4)), max_size=4)
EXAMPLES = settings(
    max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)


@pytest.fixture
async def doors(
    door: Door, owner: asyncpg.Connection, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> AsyncIterator[Door]:
    """A door with a source of every kind; at the end nothing may have been logged as an error."""
    caplog.set_level(logging.WARNING)
    keys = {"standard": [SECRET], "txpush": [SUBSCRIPTION_KEY], "plaid": []}
    for verifier, secrets in keys.items():
        dialect = "plaid" if verifier == "plaid" else "finicity"
        await upsert_platform_source(
            owner, slug=verifier, connector=dialect, dialect=dialect, verifier=verifier, secrets=secrets
        )
    yield door
    assert [] == caplog.records
    said = capsys.readouterr().out
    assert not [word for word in ("Traceback", "intake.broken", "source.key_unusable") if word in said]


async def post(door: Door, path: str, body: bytes, headers: dict[str, str]) -> int:
    async with door.session.post(path, data=body, headers=headers) as answer:
        await answer.read()
        return answer.status


def patch(text: bytes, patches: list[tuple[int, bytes]]) -> bytes:
    for at, piece in patches:
        text = text[:at] + piece + text[at + len(piece) :]
    return text


def sign(path: str, body: bytes, port: int) -> dict[str, str]:
    """Sign as the sender of that door does, so that what is wrong with the body is met behind the signature."""
    match path.rsplit("/", 1)[1]:
        case "finicity":
            return {"X-Finicity-Signature": sign_hex_hmac(PARTNER_SECRET, body)}
        case "standard":
            return build_headers([SECRET], message_id="msg_1", at=datetime.now(UTC), body=body)
        case "txpush":
            return {"Content-Type": "a/b", "TxPush-Signature": sign_txpush("a/b", f"127.0.0.1:{port}", body)}
        case "plaid":
            return {"Plaid-Verification": make_token(body, time.time())}
        case _:
            return {}


@EXAMPLES
@given(path=st.sampled_from(PATHS), body=BODIES, headers=HEADERS)
async def test_any_headers_are_answered(doors: Door, path: str, body: bytes, headers: dict[str, str]) -> None:
    """Arbitrary bytes under arbitrary headers end in one of the answers that the door has."""
    assert await post(doors, path, body, headers) in ANSWERS


@EXAMPLES
@given(path=st.sampled_from(PATHS), body=BODIES, patches=PATCHES)
async def test_any_signed_body_is_answered(
    doors: Door, path: str, body: bytes, patches: list[tuple[int, bytes]]
) -> None:
    """A body that its sender has signed, though it be damaged or anything at all, is accepted or refused by name."""
    _know_plaids_key(doors)
    body = patch(body, patches)
    assert await post(doors, path, body, sign(path, body, doors.ingress.settings.port)) in {200, 400, 404}


@EXAMPLES
@given(path=st.sampled_from(PATHS[1:5]), name=st.sampled_from(NAMES[:7]), patches=PATCHES)
async def test_any_damaged_signature_is_answered(
    doors: Door, path: str, name: str, patches: list[tuple[int, bytes]]
) -> None:
    """A signature that was right and has been damaged is still right, or refused: never another error."""
    _know_plaids_key(doors)
    body = PLAID if path.endswith("plaid") else FINICITY
    headers = sign(path, body, doors.ingress.settings.port)
    if name in headers:
        text = patch(headers[name].encode(), patches).decode("latin-1")
        headers[name] = "".join(letter for letter in text if letter.isprintable() and ord(letter) < 256)
    assert await post(doors, path, body, headers) in {200, 401, 503}


def _know_plaids_key(door: Door) -> None:
    """Let the door know Plaid's key, so that no example waits for an API."""
    keys = door.ingress.webhooks._senders._plaid_keys
    if KID not in keys._kept:
        keys._kept[KID] = (time.monotonic(), read_plaid_key(make_jwk()))


async def test_what_is_sent_here_is_right_before_it_is_damaged(doors: Door, superuser: asyncpg.Connection) -> None:
    """Undamaged, each of these messages is accepted: what the tests above damage is worth damaging."""
    _know_plaids_key(doors)
    port = doors.ingress.settings.port
    sent = {LEDGERSYNC: event(), PATHS[1]: FINICITY, PATHS[2]: FINICITY, PATHS[3]: TXPUSH, PATHS[4]: PLAID}
    assert [200] * 5 == [await post(doors, path, body, sign(path, body, port)) for path, body in sent.items()]
    assert 5 == await superuser.fetchval("SELECT count(*) FROM inbox")
