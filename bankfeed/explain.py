"""`bankfeed explain`: one transaction's life on the terminal. The words are the engine's."""

import asyncio

import click

from bankfeed import acts
from bankfeed.db import Database
from bankfeed.model import CustomerId, TransactionId
from bankfeed.runenv import get_environ
from bankfeed.settings import Settings


def run_explain(customer_id: int, transaction_id: int) -> None:
    """Print the life, a line a step. Raises NotFound, SettingsError and Unavailable."""
    settings = Settings.for_command({**get_environ(), "BANKFEED_POOL_CONNECTIONS": "1"})
    for line in asyncio.run(_explain(settings, CustomerId(customer_id), TransactionId(transaction_id))):
        click.echo(line)


async def _explain(settings: Settings, customer_id: CustomerId, transaction_id: TransactionId) -> tuple[str, ...]:
    database = await Database.connect(settings)
    try:
        return await acts.explain(database, customer_id, transaction_id)
    finally:
        await database.close()
