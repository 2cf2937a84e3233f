"""`bankfeed accounts`: what only the operator does to an account. Hiding is a person's act, and nothing else undoes it."""

from functools import partial

import click

from bankfeed.db import Connection, Database
from bankfeed.db.account import lock_acted_on
from bankfeed.db.change import touch_rows
from bankfeed.db.sub_account import AccountChange, find_sub_account, update_sub_account
from bankfeed.desk import find_owner, note, run_with_database
from bankfeed.model import AccountId, CustomerId


def run_unhide(account_id: int, *, customer_id: int | None) -> None:
    """Show a hidden account again, and print that. Raises NotFound, SettingsError and Unavailable."""
    is_done = run_with_database(partial(unhide, account_id=AccountId(account_id), customer_id=customer_id))
    click.echo(f"account {account_id} is " + ("shown again" if is_done else "not hidden"))


async def unhide(database: Database, *, account_id: AccountId, customer_id: int | None) -> bool:
    """Show an account again, with its line in the audit log; False where it is not hidden. Raises NotFound.

    The feed of changes tells of its rows again.
    """
    owner = await find_owner(
        database,
        None if customer_id is None else CustomerId(customer_id),
        f"account {account_id}",
        lambda conn, each: _is_theirs(conn, each, account_id),
    )
    async with database.tenant(owner) as conn:
        locked = await lock_acted_on(conn, owner, account_id)
        found = await find_sub_account(conn, owner, account_id)
        if found is None or not found.is_hidden:
            return False
        await update_sub_account(conn, owner, account_id, AccountChange(is_hidden=False), version=None)
        await touch_rows(conn, owner, locked.client_id, [account_id])
        await note(conn, owner, "subAccount.unhidden", f"subAccountId={account_id}")
    return True


async def _is_theirs(conn: Connection, customer_id: CustomerId, account_id: AccountId) -> bool:
    return await find_sub_account(conn, customer_id, account_id) is not None
