"""Sources: the doors through which webhooks come in."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from bankfeed.db.database import Connection
from bankfeed.model import CustomerId, SourceId


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """A door: who may come in, and how its words are read.

    `customer_id` is None for one that serves the whole platform. `secrets` are the live keys: of the path for the
    verifier "path", of the signature for the others.
    """

    id: SourceId
    customer_id: CustomerId | None
    connector: str
    dialect: str
    verifier: str
    secrets: tuple[str, ...] = field(repr=False)


async def find_source(conn: Connection, slug: str) -> Source | None:
    """Return the source with that slug and its live keys, as the queue role; None where there is none."""
    row = await conn.fetchrow(
        "SELECT id, customer_id, connector, dialect, verifier, secrets FROM find_source($1)", slug
    )
    return Source(**{**row, "secrets": tuple(row["secrets"])}) if row else None


async def find_feed_source(conn: Connection, customer_id: CustomerId, connector: str) -> SourceId | None:
    """Return whose ids a customer's new logins at an aggregator are, as the queue role: its own source's, else the platform's."""
    source_id: SourceId | None = await conn.fetchval(
        """
        SELECT id FROM sources
        WHERE connector = $2 AND bound_to IS NULL AND (customer_id = $1 OR customer_id IS NULL)
        ORDER BY customer_id IS NULL, id LIMIT 1
        """,
        customer_id,
        connector,
    )
    return source_id


async def find_feed_slug(conn: Connection, source_id: SourceId, dialect: str) -> str | None:
    """Return the address, below /webhooks/, at which a source's aggregator is heard in a dialect, as the queue role."""
    slug: str | None = await conn.fetchval(
        """
        SELECT slug FROM sources WHERE coalesce(bound_to, id) = $1 AND dialect = $2 ORDER BY id = $1 DESC, id LIMIT 1
        """,
        source_id,
        dialect,
    )
    return slug


async def upsert_platform_source(
    conn: Connection,
    *,
    slug: str,
    connector: str,
    dialect: str,
    verifier: str,
    secrets: Sequence[str],
    bound_to: SourceId | None = None,
) -> SourceId:
    """Add a source of the whole platform, or replace its keys, as the schema's owner. Safe to repeat."""
    source_id: SourceId = await conn.fetchval(
        """
        WITH source AS (
            INSERT INTO sources (slug, connector, dialect, verifier, bound_to) VALUES ($1, $2, $3, $4, $5)
            ON CONFLICT (slug) DO UPDATE SET connector = excluded.connector, dialect = excluded.dialect,
                verifier = excluded.verifier, bound_to = excluded.bound_to
            RETURNING id
        ), keys AS (
            INSERT INTO source_keys (source_id, key_no, secret)
            SELECT source.id, key_no, secret FROM source, unnest($6::text[]) WITH ORDINALITY AS k (secret, key_no)
            ON CONFLICT (source_id, key_no) DO UPDATE SET secret = excluded.secret
        ), gone AS (
            DELETE FROM source_keys k USING source
            WHERE k.source_id = source.id AND k.key_no > cardinality($6::text[])
        )
        SELECT id FROM source
        """,
        slug,
        connector,
        dialect,
        verifier,
        bound_to,
        list(secrets),
    )
    return source_id
