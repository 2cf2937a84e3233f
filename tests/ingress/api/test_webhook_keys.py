"""The public keys of webhook endpoints: anybody may ask, and a webhook is checked with what comes back."""

import base64
import os
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import asyncpg
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from bankfeed.client import ApiError, BadSignature, fetch_public_keys, read_webhook
from bankfeed.sealing import Sealer, read_keys
from bankfeed.signing import SigningKey, build_headers, new_secret, new_signing_key
from tests.ingress.api.conftest import Person
from tests.seed import SECRET_KEYS

BODY = (
    b'{"eventId": "018f5e8a-0000-7000-8000-000000000001", "eventType": "accountAdded", '
    b'"timestamp": "2026-03-02T06:00:00.000Z", "payload": {"accounts": [7], "clientId": 1, "bankAccountId": 2}}'
)
CURRENT, BEFORE = (new_signing_key(bytes([n]) * 32) for n in (1, 2))


async def make_endpoint(
    superuser: asyncpg.Connection, person: Person, *, pair: SigningKey = CURRENT, overlap: timedelta | None = None
) -> int:
    """Make an endpoint with a pair; with `overlap` there is one from before that signs for that long."""
    sealed = Sealer(read_keys(SECRET_KEYS), random_bytes=os.urandom).seal("text", of="tests")
    endpoint_id: int = await superuser.fetchval(
        """
        INSERT INTO endpoints (customer_id, url, event_types, secret, signing_key, public_key, previous_secret,
                               previous_signing_key, previous_public_key, previous_secret_until)
        VALUES ($1, 'https://books.example/', '{accountAdded}', $2, $2, $3, CASE WHEN $5::timestamptz IS NULL THEN NULL ELSE $2 END,
                CASE WHEN $5 IS NULL THEN NULL ELSE $2 END, CASE WHEN $5 IS NULL THEN NULL ELSE $4 END, $5)
        RETURNING id
        """,
        person.customer_id,
        sealed,
        pair.public,
        BEFORE.public,
        datetime.now(UTC) + overlap if overlap is not None else None,
    )
    return endpoint_id


def base_url(person: Person) -> str:
    return f"http://127.0.0.1:{person.ingress.settings.port}"


async def test_anybody_may_ask(api: Person, other: Person, superuser: asyncpg.Connection) -> None:
    """Nobody, another customer and the endpoint's own get the same: the key, and nothing else of the endpoint."""
    endpoint_id = await make_endpoint(superuser, api)
    for person in (api.as_nobody(), other, api, api.with_token("nonsense")):
        said = await person.get(f"/webhook-keys/{endpoint_id}")
        assert 200 == said.status
        assert {"status": "OK", "publicKeys": [{"publicKey": CURRENT.public, "signsUntil": None}]} == said.body


async def test_while_a_rotation_overlaps_both_are_listed(api: Person, superuser: asyncpg.Connection) -> None:
    """The current one first, the one before with its end; once that has passed it is listed no more."""
    both = await make_endpoint(superuser, api, overlap=timedelta(hours=1))
    until = await superuser.fetchval("SELECT previous_secret_until FROM endpoints WHERE id = $1", both)
    listed = (await api.as_nobody().get(f"/webhook-keys/{both}")).body["publicKeys"]
    assert [CURRENT.public, BEFORE.public] == [each["publicKey"] for each in listed]
    assert [None, until] == [each["signsUntil"] and datetime.fromisoformat(each["signsUntil"]) for each in listed]
    over = await make_endpoint(superuser, api, overlap=timedelta(seconds=-1))
    listed = (await api.as_nobody().get(f"/webhook-keys/{over}")).body["publicKeys"]
    assert [CURRENT.public] == [each["publicKey"] for each in listed]


@pytest.mark.parametrize(("endpoint_id", "status"), [("4711", 404), (str(2**63 - 1), 404), ("0", 422), ("x", 422)])
async def test_an_endpoint_that_there_is_not(api: Person, endpoint_id: str, status: int) -> None:
    """404 where there is none, 422 for what is no id."""
    assert status == (await api.as_nobody().get(f"/webhook-keys/{endpoint_id}")).status


async def test_a_deleted_endpoint_has_none(api: Person, superuser: asyncpg.Connection) -> None:
    """Nothing is delivered to it any more, so nothing signs; a disabled one still has its key."""
    endpoint_id = await make_endpoint(superuser, api)
    await superuser.execute("UPDATE endpoints SET state = 'disabled' WHERE id = $1", endpoint_id)
    assert 200 == (await api.as_nobody().get(f"/webhook-keys/{endpoint_id}")).status
    await superuser.execute("UPDATE endpoints SET deleted_at = now() WHERE id = $1", endpoint_id)
    assert 404 == (await api.as_nobody().get(f"/webhook-keys/{endpoint_id}")).status


async def test_a_webhook_is_checked_with_what_is_published(api: Person, superuser: asyncpg.Connection) -> None:
    """By hand with the primitive, and with the client: either listed key is enough, and a changed body is refused."""
    endpoint_id = await make_endpoint(superuser, api, overlap=timedelta(hours=1))
    keys = await fetch_public_keys(base_url(api), endpoint_id)
    message_id, now = str(uuid4()), datetime.now(UTC)
    secret = new_secret(bytes(32))
    sent = build_headers(
        [secret], message_id=message_id, at=now, body=BODY, private_keys=[CURRENT.private, BEFORE.private]
    )
    signatures = [each[4:] for each in sent["webhook-signature"].split(" ") if each.startswith("v1a,")]
    for key, signature in zip(keys, signatures, strict=True):
        Ed25519PublicKey.from_public_bytes(base64.b64decode(key.removeprefix("whpk_"))).verify(
            base64.b64decode(signature), f"{message_id}.{sent['webhook-timestamp']}.".encode() + BODY
        )
    for known in (*keys, secret, list(keys)):
        assert (7,) == read_webhook(known, sent, BODY).accounts
        with pytest.raises(BadSignature):
            read_webhook(known, sent, BODY + b" ")
    with pytest.raises(ApiError, match="404 not_found"):
        await fetch_public_keys(base_url(api), endpoint_id + 1)


class TestAllowance:
    """Who asks without a token is bounded by where it comes from."""

    @pytest.fixture
    def changed_settings(self) -> dict[str, int]:
        """Three requests a minute."""
        return {"calls_per_minute": 3}

    async def test_asking_is_bounded(self, api: Person, superuser: asyncpg.Connection) -> None:
        """The fourth request of one address within a minute is 429, and a made-up token is no way around."""
        endpoint_id = await make_endpoint(superuser, api)
        path = f"/webhook-keys/{endpoint_id}"
        statuses = [(await api.with_token(f"guess-{n}").get(path)).status for n in range(4)]
        assert [200, 200, 200, 429] == statuses
