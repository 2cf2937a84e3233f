"""What a person says of an account's balance."""

from datetime import datetime
from decimal import Decimal

from bankfeed.acts.begun import lock
from bankfeed.db import Tenants, account
from bankfeed.errors import ActRefused
from bankfeed.model import AccountId, ActId, CustomerId
from bankfeed.reconcile import Changes, Verdict
from bankfeed.reconcile.balance import accept_gap
from bankfeed.reconcile.changes import ActKind


async def accept_balance_gap(
    database: Tenants,
    customer_id: CustomerId,
    account_id: AccountId,
    *,
    gap: Decimal | None = None,
    actor: str,
    at: datetime | None = None,
) -> ActId:
    """Take the bank's balance as the new start: the gap is gone, and later checks begin there. That is final.

    `gap` is what the person saw, None where it does not matter. Raises NotFound; ActRefused where the account has no gap,
    or another one by now.
    """
    async with database.tenant(customer_id) as conn:
        begun = await lock(conn, customer_id, account_id, actor=actor, at=at)
        stand = await account.find_balance(conn, customer_id, account_id)
        if stand is None or not stand.gap:
            raise ActRefused(f"expected an account whose balance has a gap, got {account_id}, which has none")
        if gap is not None and gap != stand.gap:
            raise ActRefused(f"expected the gap as it is now, {stand.gap:f}, got {gap:f}")
        changes = Changes(verdict=Verdict.APPLIED, balance=accept_gap(stand))
        return await begun.record(ActKind.ACCEPT_GAP, changes)
