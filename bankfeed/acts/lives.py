"""A row's life in words, from what is kept. Changes nothing."""

from bankfeed.db import Tenants, account, history
from bankfeed.errors import NotFound
from bankfeed.model import CustomerId, TransactionId
from bankfeed.reconcile import explain as words


async def explain(database: Tenants, customer_id: CustomerId, row_id: TransactionId) -> tuple[str, ...]:
    """Tell how a row came, what happened to it and why, and how it stands, a line a step. Raises NotFound."""
    async with database.tenant(customer_id) as conn:
        homes = await account.list_accounts_of(conn, customer_id, [row_id])
        if row_id not in homes:
            raise NotFound(f"there is no transaction {row_id}")
        name, currency = await account.get_heading(conn, customer_id, homes[row_id])
        [lived] = await history.list_lived(conn, customer_id, homes[row_id], [row_id])
        return words.explain(lived.row, lived.steps, account=name, currency=currency)
