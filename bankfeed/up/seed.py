"""Seed the demo while everything runs, and wait until its bank's accounts have come in by the usual road."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from bankfeed import demo
from bankfeed.aggregators.finicity import Finicity, FinicityConfig
from bankfeed.db import Database
from bankfeed.model import AccountId
from bankfeed.settings import Settings
from bankfeed.up.database import Sources
from bankfeed.up.environ import PARTNER_ID, Person, listen_secret
from bankfeed.up.keys import Keys, new_password


@dataclass(frozen=True, slots=True, kw_only=True)
class Demo:
    """What is shown of the demo. `password` is None where another data folder made the login."""

    password: str | None
    names: Mapping[AccountId, str]


async def seed_demo(
    person: Person,
    keys: Keys,
    sources: Sources,
    settings: Settings,
    *,
    ledgersync_address: str,
    check: Callable[[], None],
) -> Demo:
    """Make the demo and link its bank. Safe to repeat. `check` raises where waiting is in vain. Raises Unavailable."""
    finicity = Finicity(
        FinicityConfig(
            base_url=person.finbank_url,
            partner_id=PARTNER_ID,
            partner_secret=sources.finicity.secrets[0],
            app_key=keys.get("app_key"),
        )
    )
    database = await Database.connect(settings)
    try:
        password = keys.get("demo_password", new_password)
        firm = await demo.make_firm(database, finicity, sources.finicity.id, password=password)
        secret = listen_secret(person, keys)
        await demo.make_endpoint(database, firm, sealer=settings.sealer(), url=person.listen_url, secret=secret)
        names = await _link(person, keys, database, finicity, firm, ledgersync_address=ledgersync_address, check=check)
        return Demo(password=password if firm.knows_password else None, names=names)
    finally:
        await finicity.close()
        await database.close()


async def _link(
    person: Person,
    keys: Keys,
    database: Database,
    finicity: Finicity,
    firm: demo.Firm,
    *,
    ledgersync_address: str,
    check: Callable[[], None],
) -> Mapping[AccountId, str]:
    is_new = await demo.link_bank(
        finicity, firm, finbank_url=person.finbank_url, control_token=keys.get("control_token")
    )
    listed = await finicity.list_accounts(firm.customer_ref)
    is_announced = is_new and person.local.finbank_dialect != "none"
    if not is_announced and await demo.count_accounts(database, firm) < len(listed):
        await demo.announce(listed, ledgersync_address)  # the bank's own words were lost with the run before
    await demo.wait_for_accounts(database, firm, count=len(listed), check=check)
    return await demo.find_account_names(database, firm, listed)
