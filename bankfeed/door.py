"""The other side of ingress's door: sending it an event as the source's sender would, signed as the source wants."""

import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from urllib.parse import quote, urlsplit

import aiohttp

from bankfeed.db.source import Source
from bankfeed.errors import SettingsError, Unavailable
from bankfeed.signing import PUBLIC_PREFIX, build_headers, sign_hex_hmac, sign_txpush, txpush_text

SEND_S = 15
FINICITY_HEADER = "X-Finicity-Signature"
TXPUSH_HEADER = "TxPush-Signature"
JSON = "application/json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What ingress answered."""

    status: int
    body: str

    @property
    def is_accepted(self) -> bool:
        """Tell whether the event is stored: any 2xx."""
        return 200 <= self.status < 300


def find_address(ingress_url: str, slug: str, source: Source) -> str:
    """Return a source's full address; where the path is the key, the address holds it."""
    address = f"{ingress_url}/webhooks/{slug}"
    return f"{address}/{quote(source.secrets[-1], safe='')}" if source.verifier == "path" else address


def sign(source: Source, body: bytes, *, address: str, txpush_pattern: str) -> dict[str, str]:
    """Return the headers that a source's verifier asks for; none where the path is the key.

    Raises SettingsError where a source has no key that we could sign with: of public keys the sender has the other half.
    """
    if source.verifier == "path":
        return {}
    usable = [secret for secret in source.secrets if not secret.startswith(PUBLIC_PREFIX)]
    if not usable:
        raise SettingsError("the source has no key to sign with")
    match source.verifier:
        case "finicity":
            return {FINICITY_HEADER: sign_hex_hmac(usable[-1], body)}
        case "txpush":
            text = txpush_text(txpush_pattern, content_type=JSON, host=urlsplit(address).netloc, body=body)
            return {TXPUSH_HEADER: sign_txpush(usable[-1], text)}
        case "standard":
            message_id = f"msg_{secrets.token_hex(12)}"
            return build_headers([usable[-1]], message_id=message_id, at=datetime.now(UTC), body=body)
        case _:
            return {}


async def send(address: str, body: bytes, headers: Mapping[str, str]) -> Answer:
    """Post a body once. Raises Unavailable where nobody answers."""
    timeout = aiohttp.ClientTimeout(total=SEND_S)
    try:
        async with (
            aiohttp.ClientSession(timeout=timeout, trust_env=False) as session,
            session.post(
                address, data=body, headers={"Content-Type": JSON, **headers}, allow_redirects=False
            ) as response,
        ):
            return Answer(status=response.status, body=await response.text(errors="replace"))
    except (aiohttp.ClientError, TimeoutError) as error:
        raise Unavailable(f"{_without_path(address)} does not answer: {error or type(error).__name__}") from error
    except ValueError as error:
        raise Unavailable(f"cannot send there: {error}") from error


def _without_path(address: str) -> str:
    return "/".join(address.split("/")[:3])
