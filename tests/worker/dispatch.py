"""One round of the delivery lane by hand, on a clock that the test drives."""

import asyncio
from datetime import datetime
from uuid import uuid4

from bankfeed.db import delivery
from bankfeed.db.delivery import Outcome
from worker.context import Context
from worker.courier import lease_s
from worker.deliver import deliver
from worker.post import Post
from worker.records import disable, find_doomed, write_outcomes
from worker.secrets import Secrets


async def take_deliveries(context: Context, post: Post, *, now: datetime | None = None) -> bool:
    """Claim some of what is due, once, attempt it and see it recorded; False where nothing could be claimed."""
    token = uuid4()
    async with context.database.queue_statement() as conn:
        claimed = await delivery.claim_deliveries(
            conn, token=token, lease_s=lease_s(context), limit=context.settings.delivery_slots, now=now
        )
    secrets = Secrets(context.settings.sealer())

    async def record(outcome: Outcome) -> None:
        moved = await write_outcomes(context, [outcome], now=now)
        for each in find_doomed(moved, [outcome]):
            await disable(context, each)

    await asyncio.gather(*(deliver(each, post, secrets, record, token=token) for each in claimed))
    return bool(claimed)
