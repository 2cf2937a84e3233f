"""Whether the sender of a webhook is who it says: one check for each verifier, over the raw bytes.

Which check is made is the source's configuration. Nothing here parses a body.
"""

from collections.abc import Mapping
from datetime import UTC, datetime
from hmac import compare_digest
from typing import Final

from bankfeed.db.source import Source
from bankfeed.errors import NotFound, Unavailable
from bankfeed.logs import get_logger
from bankfeed.settings import Settings
from bankfeed.signing import (
    read_plaid_kid,
    txpush_text,
    verify_hex_hmac,
    verify_plaid,
    verify_standard,
    verify_txpush,
)
from ingress.plaid_keys import PlaidKeys

FINICITY_HEADER: Final = "X-Finicity-Signature"
PLAID_HEADER: Final = "Plaid-Verification"
TXPUSH_HEADERS: Final = ("TxPush-Signature", "X-TxPush-Signature")  # both have been seen


class Senders:
    """Checks senders; keeps the public keys of those who have some."""

    def __init__(self, settings: Settings) -> None:
        self._txpush_pattern = settings.txpush_pattern
        self._plaid_keys = PlaidKeys(settings)

    async def verify(self, source: Source, *, path_secret: str | None, headers: Mapping[str, str], body: bytes) -> None:
        """Check that a request may come in through a source.

        Raises NotFound where the unguessable part of the path is not there or wrong (to the sender the address does not
        exist), Unauthorized where the signature is, Unavailable where it cannot be told now: the sender has to come back.
        """
        if source.verifier == "path":
            _verify_path(source, path_secret)
            return
        if path_secret is not None:
            raise NotFound("there is no such source")
        try:
            await self._verify_signature(source, headers, body)
        except ValueError as error:  # a key of ours; its texts never quote it
            get_logger().error("source.key_unusable", source_id=source.id, reason=str(error))
            raise Unavailable("a key of the source cannot be used") from error

    async def _verify_signature(self, source: Source, headers: Mapping[str, str], body: bytes) -> None:
        match source.verifier:
            case "finicity":
                verify_hex_hmac(source.secrets, body, header_value=headers.get(FINICITY_HEADER))
            case "standard":
                verify_standard(source.secrets, headers, body=body, now=datetime.now(UTC))
            case "txpush":
                self._verify_txpush(source, headers, body)
            case "plaid":
                token = headers.get(PLAID_HEADER)
                key = await self._plaid_keys.get(read_plaid_kid(token))
                verify_plaid(token or "", key, body=body, now=datetime.now(UTC))
            case _:  # the schema knows a verifier that this process does not: a newer one will
                raise Unavailable("the source has no known verifier")

    def _verify_txpush(self, source: Source, headers: Mapping[str, str], body: bytes) -> None:
        text = txpush_text(
            self._txpush_pattern,
            content_type=headers.get("Content-Type", ""),
            host=headers.get("Host", ""),
            body=body,
        )
        signature = next((value for name in TXPUSH_HEADERS if (value := headers.get(name)) is not None), None)
        verify_txpush(source.secrets, text, header_value=signature)

    async def close(self) -> None:
        """Close what was opened to fetch keys. Safe to repeat."""
        await self._plaid_keys.close()


def _verify_path(source: Source, path_secret: str | None) -> None:
    given = (path_secret or "").encode("utf-8", "replace")
    if not any(compare_digest(given, secret.encode()) for secret in source.secrets):
        raise NotFound("there is no such source")
