"""Which source a webhook came through, and whether the sender is who it says."""

from collections import OrderedDict
from collections.abc import Mapping
from datetime import UTC, datetime
from hmac import compare_digest
from time import monotonic

from bankfeed.db import Database
from bankfeed.db.source import Source, find_source
from bankfeed.errors import NotFound, Unauthorized, Unavailable
from bankfeed.signing import verify_hex_hmac, verify_v1

KEPT_S = 15
KEPT_SOURCES = 1024
FINICITY_HEADER = "X-Finicity-Signature"


class Sources:
    """Finds sources by slug, and keeps them for some seconds. While Postgres is away the kept ones go on serving."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._kept: OrderedDict[str, tuple[float, Source | None]] = OrderedDict()

    async def get(self, slug: str) -> Source:
        """Return the source with that slug. Raises NotFound, or Unavailable where it cannot be looked up."""
        kept_at, source = self._kept.get(slug, (float("-inf"), None))
        if monotonic() - kept_at > KEPT_S:
            try:
                source = await self._look_up(slug)
            except Unavailable:
                if source is None:
                    raise
        if source is None:
            raise NotFound("there is no such source")
        return source

    async def _look_up(self, slug: str) -> Source | None:
        async with self._database.queue() as conn:
            source = await find_source(conn, slug)
        self._kept[slug] = (monotonic(), source)
        self._kept.move_to_end(slug)
        while len(self._kept) > KEPT_SOURCES:
            self._kept.popitem(last=False)
        return source


def verify(source: Source, *, path_secret: str | None, headers: Mapping[str, str], body: bytes) -> None:
    """Check that a request may come in through a source.

    Raises NotFound where the unguessable part of the path is not there or wrong (to the sender the address does not
    exist), Unauthorized where the signature is.
    """
    if source.verifier == "path":
        given = (path_secret or "").encode()
        if not any(compare_digest(given, secret.encode()) for secret in source.secrets):
            raise NotFound("there is no such source")
        return
    if path_secret is not None:
        raise NotFound("there is no such source")
    if source.verifier == "finicity":
        verify_hex_hmac(source.secrets, body, header_value=headers.get(FINICITY_HEADER))
    elif source.verifier == "standard":
        verify_v1(source.secrets, headers, body=body, now=datetime.now(UTC))
    else:
        raise Unauthorized("the source has no known verifier")
