"""The public keys that webhooks are checked with, from the address where anybody finds them."""

from typing import Final

import msgspec

from bankfeed.client.transport import Transport

TIMEOUT_S: Final = 60.0


class _PublicKey(msgspec.Struct, rename="camel"):
    public_key: str


class _PublicKeys(msgspec.Struct, rename="camel"):
    public_keys: list[_PublicKey]


async def fetch_public_keys(url: str, endpoint_id: int, *, timeout_s: float = TIMEOUT_S) -> tuple[str, ...]:
    """Return the public keys (whpk_) that sign an endpoint's webhooks, the current one first; nobody needs to sign in.

    Keep them, and fetch them again, not too often, when a webhook is signed with none of them: they rotate. `url` is
    Bankfeed's own, from your settings and never from a webhook. Raises ApiError, 404 where there is no such endpoint.
    """
    transport = Transport(url, None, timeout_s=timeout_s)
    try:
        raw = await transport.ask("GET", f"/webhook-keys/{endpoint_id}")
    finally:
        await transport.close()
    return tuple(each.public_key for each in msgspec.json.decode(raw, type=_PublicKeys).public_keys)
