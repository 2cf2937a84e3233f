"""The public keys of endpoints' deliveries: what anybody may know of them, without a tenant."""

from dataclasses import dataclass
from datetime import datetime

from bankfeed.db.database import Connection


@dataclass(frozen=True, slots=True, kw_only=True)
class PublicKey:
    """A public key (whpk_) that signs an endpoint's deliveries, until `signs_until`; None is no end in sight."""

    public_key: str
    signs_until: datetime | None


async def list_public_keys(conn: Connection, endpoint_id: int) -> tuple[PublicKey, ...]:
    """List the keys that sign an endpoint's deliveries now, the newest first; none where there is no such endpoint."""
    rows = await conn.fetch(
        "SELECT public_key, signs_until FROM find_public_keys($1) ORDER BY signs_until DESC NULLS FIRST, public_key",
        endpoint_id,
    )
    return tuple(PublicKey(**row) for row in rows)
