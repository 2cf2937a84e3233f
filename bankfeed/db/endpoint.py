"""Endpoints: subscribers' URLs, what each asks for, and how it stands. Secrets come and go sealed (bankfeed/endpoints.py)."""

from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from datetime import datetime
from typing import Any, Final

from bankfeed.db.database import Connection
from bankfeed.errors import NotFound
from bankfeed.model import DOCUMENTED_EVENTS, BodyFormat, CustomerId, EndpointId, EventType

MAX_REASON_CHARS: Final = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class Subscription:
    """What a subscriber asks for.

    `client_ids`, `account_ids` and `institution_ids` bound what it hears of, None is all. `slots` is how many attempts run
    at once, `rate_per_s` how many begin in a second. `retry_schedule` is in seconds after the first attempt, None is the
    documented one. `is_disabled_by_gone`: an answer of 410 disables it.
    """

    url: str = field(repr=False)
    event_types: tuple[EventType, ...] = DOCUMENTED_EVENTS
    description: str = ""
    client_ids: tuple[int, ...] | None = None
    account_ids: tuple[int, ...] | None = None
    institution_ids: tuple[int, ...] | None = None
    body_format: BodyFormat = BodyFormat.STANDARD
    slots: int = 10
    rate_per_s: int | None = None
    is_ordered: bool = False
    jitter_percent: int = 0
    retry_schedule: tuple[int, ...] | None = None
    is_disabled_by_gone: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class SealedKeys:
    """What signs: the secret and the private key as they are stored, sealed, and the public key as it is shown."""

    secret: str = field(repr=False)
    signing_key: str = field(repr=False)
    public_key: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SealedHeaders:
    """Headers that a subscriber asks for: a sealed JSON object of name to value, "" where there are none, and the names."""

    sealed: str = field(default="", repr=False)
    names: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """An endpoint that was not deleted, without its secrets.

    `state_since` is when it became active or disabled, `throttled_until` until when an active one gets nothing. `failures`
    are in a row, since `failing_since`. `public_keys` sign now, the current one first. `previous_secret_until` is None where
    one secret signs.
    """

    id: EndpointId
    subscription: Subscription
    header_names: tuple[str, ...]
    state: str
    state_reason: str
    state_since: datetime
    throttled_until: datetime | None
    failures: int
    failing_since: datetime | None
    public_keys: tuple[str, ...]
    previous_secret_until: datetime | None
    created_at: datetime
    version: int

    @property
    def is_active(self) -> bool:
        """Tell whether events are delivered to it."""
        return self.state == "active"

    @property
    def event_types(self) -> tuple[EventType, ...]:
        """List the events that it gets."""
        return self.subscription.event_types


async def insert_endpoint(
    conn: Connection, customer_id: CustomerId, subscription: Subscription, *, keys: SealedKeys, headers: SealedHeaders
) -> EndpointId:
    """Add an active endpoint, of which nothing is known yet."""
    endpoint_id: EndpointId = await conn.fetchval(
        """
        WITH endpoint AS (
            INSERT INTO endpoints (customer_id, secret, signing_key, public_key, headers, header_names, url, event_types,
                description, client_ids, account_ids, institution_ids, body_format, slots, rate_per_s, is_ordered,
                jitter_percent, retry_schedule, is_disabled_by_gone)
            VALUES ($1, $2, $3, $4, $5, $6, $7, $8::text[]::event_type[], $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19)
            RETURNING customer_id, id
        )
        INSERT INTO endpoint_health (customer_id, endpoint_id) SELECT customer_id, id FROM endpoint RETURNING endpoint_id
        """,
        customer_id,
        keys.secret,
        keys.signing_key,
        keys.public_key,
        headers.sealed,
        headers.names,
        *_values(subscription),
    )
    return endpoint_id


async def find_endpoint_by_description(
    conn: Connection, customer_id: CustomerId, description: str
) -> EndpointId | None:
    """Return the oldest endpoint described so, None where there is none."""
    endpoint_id: EndpointId | None = await conn.fetchval(
        """
        SELECT id FROM endpoints WHERE customer_id = $1 AND description = $2 AND deleted_at IS NULL ORDER BY id LIMIT 1
        """,
        customer_id,
        description,
    )
    return endpoint_id


async def lock_endpoints(conn: Connection, customer_id: CustomerId) -> None:
    """Let nobody else add an endpoint of the customer until commit."""
    await conn.execute("SELECT pg_advisory_xact_lock(hashtextextended('bankfeed endpoints', $1))", customer_id)


async def count_endpoints(conn: Connection, customer_id: CustomerId) -> int:
    """Count the endpoints that were not deleted, without those of widget sessions, as everywhere here."""
    count: int = await conn.fetchval(
        "SELECT count(*) FROM endpoints WHERE customer_id = $1 AND deleted_at IS NULL AND widget_session_id IS NULL",
        customer_id,
    )
    return count


async def list_endpoints(
    conn: Connection, customer_id: CustomerId, *, after: int = 0, limit: int
) -> tuple[Endpoint, ...]:
    """List endpoints of ids above `after`, the oldest first."""
    rows = await conn.fetch(
        """
        SELECT p.id, p.url, p.event_types::text[] AS event_types, p.description, p.client_ids, p.account_ids,
               p.institution_ids, p.body_format, p.slots, p.rate_per_s, p.is_ordered, p.jitter_percent, p.retry_schedule,
               p.is_disabled_by_gone, p.header_names, p.state, p.state_reason, p.state_since,
               CASE WHEN p.state = 'active' AND h.blocked_until > now() THEN h.blocked_until END AS throttled_until,
               h.failures, h.failing_since,
               CASE WHEN p.previous_secret_until > now() THEN ARRAY[p.public_key, p.previous_public_key]
                    ELSE ARRAY[p.public_key] END AS public_keys,
               CASE WHEN p.previous_secret_until > now() THEN p.previous_secret_until END AS previous_secret_until,
               p.created_at, p.version
        FROM endpoints p JOIN endpoint_health h ON h.customer_id = $1 AND h.endpoint_id = p.id
        WHERE p.customer_id = $1 AND p.id > $2 AND p.deleted_at IS NULL AND p.widget_session_id IS NULL
        ORDER BY p.id LIMIT $3
        """,
        customer_id,
        after,
        limit,
    )
    return tuple(_read_endpoint(dict(row)) for row in rows)


async def get_endpoint(conn: Connection, customer_id: CustomerId, endpoint_id: EndpointId) -> Endpoint:
    """Return one endpoint. Raises NotFound, also where it was deleted."""
    found = await list_endpoints(conn, customer_id, after=endpoint_id - 1, limit=1)
    if not found or found[0].id != endpoint_id:
        raise NotFound(f"there is no webhook endpoint {endpoint_id}")
    return found[0]


async def find_unknown_ids(
    conn: Connection, customer_id: CustomerId, *, client_ids: Sequence[int], account_ids: Sequence[int]
) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Return those clients, and those accounts, that are not the customer's. What was deleted is not."""
    row = await conn.fetchrow(
        """
        SELECT ARRAY(SELECT u FROM unnest($2::bigint[]) AS u WHERE NOT EXISTS (
                   SELECT FROM clients c WHERE c.customer_id = $1 AND c.id = u AND c.deleted_at IS NULL) ORDER BY u),
               ARRAY(SELECT u FROM unnest($3::bigint[]) AS u WHERE NOT EXISTS (
                   SELECT FROM accounts a WHERE a.customer_id = $1 AND a.id = u AND a.adopted_into IS NULL
                   AND a.deleted_at IS NULL) ORDER BY u)
        """,
        customer_id,
        client_ids,
        account_ids,
    )
    return tuple(row[0]), tuple(row[1])


async def count_backlog(conn: Connection, customer_id: CustomerId, endpoint_id: EndpointId, *, most: int) -> int:
    """Count the deliveries that wait for an endpoint and are not being attempted, up to `most`."""
    count: int = await conn.fetchval(
        """
        SELECT count(*) FROM (
            SELECT FROM delivery_queue
            WHERE customer_id = $1 AND endpoint_id = $2 AND (lease_until IS NULL OR lease_until < now())
            ORDER BY outbox_id, delivery_id LIMIT $3) waiting
        """,
        customer_id,
        endpoint_id,
        most,
    )
    return count


async def is_known(conn: Connection, customer_id: CustomerId, endpoint_id: EndpointId) -> bool:
    """Tell whether the customer has, or had, that endpoint."""
    found: bool = await conn.fetchval(
        "SELECT EXISTS (SELECT FROM endpoints WHERE customer_id = $1 AND id = $2)", customer_id, endpoint_id
    )
    return found


async def lock_endpoint(conn: Connection, customer_id: CustomerId, endpoint_id: EndpointId) -> Endpoint:
    """Lock one endpoint until commit, against whoever else locks or changes it. Raises NotFound."""
    await conn.execute(
        "SELECT FROM endpoints WHERE customer_id = $1 AND id = $2 FOR NO KEY UPDATE", customer_id, endpoint_id
    )
    return await get_endpoint(conn, customer_id, endpoint_id)


async def update_subscription(
    conn: Connection, customer_id: CustomerId, endpoint_id: EndpointId, subscription: Subscription
) -> None:
    """Let an endpoint ask for this from now on. The caller has it locked. Safe to repeat."""
    await conn.execute(
        """
        UPDATE endpoints SET url = $3, event_types = $4::text[]::event_type[], description = $5, client_ids = $6,
            account_ids = $7, institution_ids = $8, body_format = $9, slots = $10, rate_per_s = $11, is_ordered = $12,
            jitter_percent = $13, retry_schedule = $14, is_disabled_by_gone = $15, version = version + 1
        WHERE customer_id = $1 AND id = $2 AND deleted_at IS NULL
        """,
        customer_id,
        endpoint_id,
        *_values(subscription),
    )


async def update_headers(
    conn: Connection, customer_id: CustomerId, endpoint_id: EndpointId, headers: SealedHeaders
) -> None:
    """Give an endpoint other headers in the place of those that it has. Safe to repeat."""
    await conn.execute(
        """
        UPDATE endpoints SET headers = $3, header_names = $4 WHERE customer_id = $1 AND id = $2 AND deleted_at IS NULL
        """,
        customer_id,
        endpoint_id,
        headers.sealed,
        headers.names,
    )


async def disable_endpoint(
    conn: Connection, customer_id: CustomerId, endpoint_id: EndpointId, *, reason: str, url: str | None = None
) -> bool:
    """Deliver nothing to an endpoint from now on. False where it was not active, or `url` is given and not its own any more."""
    disabled = await conn.fetchval(
        """
        UPDATE endpoints SET state = 'disabled', state_reason = $3, state_since = now(), version = version + 1
        WHERE customer_id = $1 AND id = $2 AND state = 'active' AND url = coalesce($4, url) RETURNING true
        """,
        customer_id,
        endpoint_id,
        reason,
        url,
    )
    return bool(disabled)


async def enable_endpoint(conn: Connection, customer_id: CustomerId, endpoint_id: EndpointId) -> bool:
    """Deliver to an endpoint again, as to one that never failed. False where it was not disabled."""
    enabled = await conn.fetchval(
        """
        WITH enabled AS (
            UPDATE endpoints SET state = 'active', state_reason = '', state_since = now(), version = version + 1
            WHERE customer_id = $1 AND id = $2 AND state = 'disabled' AND deleted_at IS NULL RETURNING id
        )
        UPDATE endpoint_health h SET failures = 0, failing_since = NULL, blocked_until = '-infinity'
        FROM enabled WHERE h.customer_id = $1 AND h.endpoint_id = enabled.id RETURNING true
        """,
        customer_id,
        endpoint_id,
    )
    return bool(enabled)


async def replace_keys(
    conn: Connection,
    customer_id: CustomerId,
    endpoint_id: EndpointId,
    keys: SealedKeys,
    *,
    overlap_hours: int,
    version: int | None = None,
) -> bool:
    """Let other keys sign; those before sign too for that long, and none from before them.

    False where there is no such endpoint, or not of that version; None is any version.
    """
    replaced = await conn.fetchval(
        """
        UPDATE endpoints SET secret = $3, signing_key = $4, public_key = $5,
            previous_secret = CASE WHEN $6::int > 0 THEN secret END,
            previous_signing_key = CASE WHEN $6::int > 0 THEN signing_key END,
            previous_public_key = CASE WHEN $6::int > 0 THEN public_key END,
            previous_secret_until = CASE WHEN $6::int > 0 THEN now() + make_interval(hours => $6::int) END,
            version = version + 1
        WHERE customer_id = $1 AND id = $2 AND deleted_at IS NULL AND version = coalesce($7, version) RETURNING true
        """,
        customer_id,
        endpoint_id,
        keys.secret,
        keys.signing_key,
        keys.public_key,
        overlap_hours,
        version,
    )
    return bool(replaced)


async def mark_deleted(conn: Connection, customer_id: CustomerId, endpoint_id: EndpointId) -> bool:
    """Delete an endpoint: it gets nothing any more; its headers and earlier keys are forgotten. False where there is none."""
    deleted = await conn.fetchval(
        """
        UPDATE endpoints SET state = 'disabled', state_reason = '', state_since = now(), deleted_at = now(), headers = '',
            header_names = '{}', previous_secret = NULL, previous_signing_key = NULL, previous_public_key = NULL,
            previous_secret_until = NULL, version = version + 1
        WHERE customer_id = $1 AND id = $2 AND deleted_at IS NULL RETURNING true
        """,
        customer_id,
        endpoint_id,
    )
    return bool(deleted)


def _values(subscription: Subscription) -> tuple[Any, ...]:
    """List what is asked for, in the order of Subscription's fields, which is that of the statements above."""
    return tuple(getattr(subscription, each.name) for each in fields(Subscription))


def _read_endpoint(row: dict[str, Any]) -> Endpoint:
    asked = {each.name: _freeze(row.pop(each.name)) for each in fields(Subscription)}
    asked["event_types"] = tuple(EventType(each) for each in asked["event_types"])
    asked["body_format"] = BodyFormat(asked["body_format"])
    rest = {name: _freeze(value) for name, value in row.items()}
    return Endpoint(subscription=Subscription(**asked), **rest)


def _freeze(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value
