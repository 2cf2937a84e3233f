"""Endpoints as they are added and changed: their secrets made, sealed and opened here, stored by db/endpoint.py."""

import re
import secrets
from base64 import b64decode
from binascii import Error as Base64Error
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

import orjson

from bankfeed.db import Connection
from bankfeed.db.endpoint import (
    SealedHeaders,
    SealedKeys,
    Subscription,
    insert_endpoint,
    replace_keys,
)
from bankfeed.model import CustomerId, EndpointId
from bankfeed.sealing import Sealer
from bankfeed.signing import SECRET_BYTES, new_secret, new_signing_key

MAX_HEADERS: Final = 16
MAX_HEADER_NAME_CHARS: Final = 64
MAX_HEADER_VALUE_CHARS: Final = 1_000
RESERVED_HEADERS: Final = frozenset(
    (
        *("accept-encoding", "connection", "cookie", "cookie2", "date", "expect", "forwarded", "host"),
        *("http2-settings", "keep-alive", "max-forwards", "te", "trailer", "transfer-encoding", "upgrade"),
        *("user-agent", "via", "x-real-ip"),
    )
)
"""What a delivery says itself, what belongs to the connection (RFC 9110, 7.6.1), and where a request came from."""
RESERVED_PREFIXES: Final = ("content-", "proxy-", "webhook-", "x-forwarded-")
_SECRET_PREFIX: Final = "whsec_"  # noqa: S105 - the public prefix, not a secret
_SECRET_BYTES: Final = range(24, 65)  # what Standard Webhooks allows
_TOKEN: Final = re.compile(rf"[!#$%&'*+.^_`|~0-9A-Za-z-]{{1,{MAX_HEADER_NAME_CHARS}}}", re.ASCII)  # RFC 9110, 5.6.2
_VALUE: Final = re.compile(rf"[ -~]{{0,{MAX_HEADER_VALUE_CHARS}}}", re.ASCII)


@dataclass(frozen=True, slots=True, kw_only=True)
class NewEndpoint(Subscription):
    """An endpoint to be added. `secret` None: one is made. `headers` are sent with every attempt, name to value."""

    secret: str | None = field(default=None, repr=False)
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class AddedEndpoint:
    """An endpoint that was added, and the secret that signs its deliveries."""

    id: EndpointId
    secret: str = field(repr=False)


def sealed_of(customer_id: CustomerId) -> str:
    """Return what the secrets of a customer's endpoints are sealed with: those of another customer do not open so.

    >>> sealed_of(CustomerId(7))
    'endpoint of customer 7'
    """
    return f"endpoint of customer {customer_id}"


def check_secret(secret: str) -> None:
    """See that a secret is one of Standard Webhooks: "whsec_" and base64 of 24 to 64 bytes.

    Raises ValueError that says what was expected, and repeats nothing of the secret.
    """
    try:
        key = b64decode(secret.removeprefix(_SECRET_PREFIX), validate=True)
    except (Base64Error, ValueError):
        key = b""
    if not secret.startswith(_SECRET_PREFIX) or len(key) not in _SECRET_BYTES:
        raise ValueError(f"a secret like {_SECRET_PREFIX} and base64 of 24 to 64 bytes")


def check_headers(headers: Mapping[str, str]) -> None:
    """See that headers can be sent with every attempt, and take the place of none that a delivery has of its own.

    Raises ValueError that says what was expected, and repeats nothing of a value.
    """
    if len(headers) > MAX_HEADERS:
        raise ValueError(f"at most {MAX_HEADERS} headers, got {len(headers)}")
    if len({name.lower() for name in headers}) < len(headers):
        raise ValueError("each header once: names have no case")
    for name, value in headers.items():
        if not _TOKEN.fullmatch(name):
            raise ValueError(
                f"names of 1 to {MAX_HEADER_NAME_CHARS} characters of a token: letters, digits, -, _ and the like"
            )
        if name.lower() in RESERVED_HEADERS or name.lower().startswith(RESERVED_PREFIXES):
            raise ValueError(f"other headers than {name}, which is reserved")
        if not _VALUE.fullmatch(value):
            raise ValueError(
                f"at most {MAX_HEADER_VALUE_CHARS:,} printable ASCII characters without a line break as the value of {name}"
            )


def seal_headers(sealer: Sealer, customer_id: CustomerId, headers: Mapping[str, str]) -> SealedHeaders:
    """Seal headers as they are stored: a JSON object of name to value, nothing where there are none."""
    if not headers:
        return SealedHeaders()
    text = orjson.dumps(dict(headers)).decode()
    return SealedHeaders(sealed=sealer.seal(text, of=sealed_of(customer_id)), names=tuple(headers))


async def add_endpoint(conn: Connection, sealer: Sealer, customer_id: CustomerId, new: NewEndpoint) -> AddedEndpoint:
    """Add an active endpoint with a secret and an Ed25519 pair of its own."""
    secret = new.secret or _make_secret()
    endpoint_id = await insert_endpoint(
        conn,
        customer_id,
        new,
        keys=_seal_keys(sealer, customer_id, secret),
        headers=seal_headers(sealer, customer_id, new.headers),
    )
    return AddedEndpoint(id=endpoint_id, secret=secret)


async def rotate(
    conn: Connection,
    sealer: Sealer,
    customer_id: CustomerId,
    endpoint_id: EndpointId,
    *,
    secret: str | None = None,
    overlap_hours: int,
    version: int | None = None,
) -> str | None:
    """Replace an endpoint's secret and its pair, and return the secret: the given one, else a new one.

    Those before sign too for `overlap_hours`, 0 is not at all. None where there is no such endpoint, or not of that version.
    """
    secret = secret or _make_secret()
    keys = _seal_keys(sealer, customer_id, secret)
    is_replaced = await replace_keys(conn, customer_id, endpoint_id, keys, overlap_hours=overlap_hours, version=version)
    return secret if is_replaced else None


def _make_secret() -> str:
    return new_secret(secrets.token_bytes(SECRET_BYTES))


def _seal_keys(sealer: Sealer, customer_id: CustomerId, secret: str) -> SealedKeys:
    pair = new_signing_key(secrets.token_bytes(SECRET_BYTES))
    of = sealed_of(customer_id)
    return SealedKeys(
        secret=sealer.seal(secret, of=of), signing_key=sealer.seal(pair.private, of=of), public_key=pair.public
    )
