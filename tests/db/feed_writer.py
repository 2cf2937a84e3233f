"""`python -m tests.db.feed_writer`: one process that changes rows of one account as the product does, until it has done enough.

It pulls lists that differ, acts on rows as a person does, closes the account and opens it again, all through the product's
own functions and in their own transactions. Its lease comes as JSON on standard input. For tests only.
"""

import asyncio
import random
import sys
from contextlib import suppress
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

import msgspec

from bankfeed import acts
from bankfeed.aggregators import ListedAccount
from bankfeed.db import Database, account, transaction
from bankfeed.db.connection import Lease, get_refresh_target
from bankfeed.errors import ActRefused
from bankfeed.jobs import Waker
from bankfeed.model import AccountId, FeedKind, Pull, Reported, TransactionState, Values
from bankfeed.settings import Settings
from worker.commit import commit_pull
from worker.context import Context

ROWS = 12
FROM_ON, TO_ON = date(2026, 3, 1), date(2026, 3, 31)
ACTOR = "user:1"


def make_pull(n: int, chance: random.Random) -> Pull:
    """Make a listing in which some rows are other than the last time, and one is missing now and then."""
    rows = tuple(
        Reported(
            aggregator_id=f"row-{number}",
            state=TransactionState.ACTIVE,
            values=Values(
                amount=-Decimal(chance.randint(1, 3)),
                transacted_on=FROM_ON + timedelta(number),
                description=f"R{number}",
            ),
        )
        for number in range(ROWS + n // 4)
        if chance.random() > 0.05
    )
    return Pull(
        at=datetime(2026, 4, 1, tzinfo=UTC) + timedelta(minutes=n),
        kind=FeedKind.FULL,
        from_on=FROM_ON,
        to_on=TO_ON,
        is_complete=True,
        rows=rows,
    )


async def act(database: Database, lease: Lease, account_id: AccountId, chance: random.Random) -> None:
    """Do what a person might with one of the rows; what does not fit it is refused."""
    customer_id = lease.customer_id
    async with database.tenant(customer_id) as conn:
        row_id = chance.choice(await transaction.list_ids(conn, customer_id, account_id))
    do = chance.choice([acts.delete, acts.restore, acts.mark_reconciled, acts.unmark_reconciled, acts.confirm_shadow])
    with suppress(ActRefused):
        await do(database, customer_id, row_id, actor=ACTOR)


async def main(seed: int, rounds: int) -> None:
    """Go through the rounds."""
    settings = Settings.for_process()
    database = await Database.connect(settings)
    lease = msgspec.json.decode(sys.stdin.buffer.read(), type=Lease)
    context = Context(database=database, connectors={}, waker=Waker(None), settings=settings)
    ref = str(lease.connection_id)
    listed = ListedAccount(account_ref=ref, login_ref=ref, institution_ref="1", name="Checking", type="checking")
    chance = random.Random(seed)  # noqa: S311 - a test
    async with database.tenant(lease.customer_id) as conn:
        target = await get_refresh_target(conn, lease)
    for n in range(rounds):
        await commit_pull(context, lease, target, listed, make_pull(n, chance), finish=None)
        async with database.tenant(lease.customer_id) as conn:
            [account_id] = await account.list_open_ids(conn, lease.customer_id, lease.connection_id)
        await act(database, lease, account_id, chance)
        if n % 5 == 4:
            async with database.tenant(lease.customer_id) as conn:
                await account.mark_closed(conn, lease.customer_id, [account_id])
    await database.close()


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]), int(sys.argv[2])))
