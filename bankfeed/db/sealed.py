"""Endpoints' sealed texts, to seal them anew. Nothing is opened here, and no secret comes by."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from bankfeed.db.database import Connection
from bankfeed.model import CustomerId, EndpointId

COLUMNS: Final = ("secret", "signing_key", "previous_secret", "previous_signing_key", "headers")


@dataclass(frozen=True, slots=True, kw_only=True)
class SealedTexts:
    """What is sealed of one endpoint; COLUMNS names the fields. '' is nothing: no second secret signs, no headers are sent."""

    id: EndpointId
    secret: str = field(repr=False)
    signing_key: str = field(repr=False)
    previous_secret: str = field(repr=False)
    previous_signing_key: str = field(repr=False)
    headers: str = field(repr=False)


async def lock_sealed(
    conn: Connection, customer_id: CustomerId, *, after_id: int, limit: int
) -> tuple[SealedTexts, ...]:
    """List what is sealed of a customer's endpoints and still used, by id; until commit nobody else replaces any of it.

    Deliveries go on: they wait for no such lock. What is of a deleted endpoint, or signs no more, is used by nobody.
    """
    rows = await conn.fetch(
        """
        SELECT id, secret, signing_key, headers,
               CASE WHEN previous_secret_until > now() THEN previous_secret ELSE '' END AS previous_secret,
               CASE WHEN previous_secret_until > now() THEN previous_signing_key ELSE '' END AS previous_signing_key
        FROM endpoints WHERE customer_id = $1 AND id > $2 AND deleted_at IS NULL
        ORDER BY id LIMIT $3 FOR NO KEY UPDATE
        """,
        customer_id,
        after_id,
        limit,
    )
    return tuple(SealedTexts(**row) for row in rows)


async def update_sealed(conn: Connection, customer_id: CustomerId, texts: Sequence[SealedTexts]) -> None:
    """Put other sealed texts in the place of those that `lock_sealed` gave, in the same transaction; '' changes nothing.

    The endpoint's version stays: for its owner nothing has changed.
    """
    await conn.execute(
        """
        UPDATE endpoints e SET secret = s.secret, signing_key = s.signing_key, headers = s.headers,
            previous_secret = coalesce(nullif(s.previous_secret, ''), e.previous_secret),
            previous_signing_key = coalesce(nullif(s.previous_signing_key, ''), e.previous_signing_key)
        FROM unnest($2::bigint[], $3::text[], $4::text[], $5::text[], $6::text[], $7::text[])
            AS s (id, secret, signing_key, previous_secret, previous_signing_key, headers)
        WHERE e.customer_id = $1 AND e.id = s.id
        """,
        customer_id,
        [each.id for each in texts],
        *([getattr(each, column) for each in texts] for column in COLUMNS),
    )
