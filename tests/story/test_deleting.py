"""Deleting over the API with every process as it runs: it is gone here at once, gone at the bank soon, and stays so."""

from datetime import UTC, datetime, timedelta
from hashlib import sha256
from typing import Any

import aiohttp

from bankfeed.db import Database
from bankfeed.db.session import insert_session
from bankfeed.db.user import insert_user
from tests.story.test_road import House, house  # noqa: F401 - a fixture
from tests.subscriber import Subscriber

TOKEN = "bft_sandbox_a-token-of-this-test"
HASH = "$argon2id$v=19$m=8,t=1,p=1$c29tZXNhbHQ$q1Wxlt9gVqc"  # of nothing that anybody can type


async def sign_in(database: Database, house: House) -> None:  # noqa: F811
    customer_id = house.tenant.customer_id
    async with database.tenant(customer_id) as conn:
        user_id = await insert_user(conn, customer_id, email="owner@firm.example", password_hash=HASH)
        assert user_id is not None
        await insert_session(
            conn,
            customer_id,
            user_id=user_id,
            password_hash=HASH,
            token_sha256=sha256(TOKEN.encode()).digest(),
            expires_at=datetime.now(UTC) + timedelta(hours=1),
        )


async def ask(house: House, method: str, path: str) -> tuple[int, Any]:  # noqa: F811
    headers = {"Authorization": f"Bearer {TOKEN}"}
    async with (
        aiohttp.ClientSession(headers=headers) as session,
        session.request(method, f"{house.ingress.url}/api/v1{path}") as answer,
    ):
        return answer.status, await answer.json()


async def list_at_bank(house: House) -> list[str] | str:  # noqa: F811
    """List what the bank has of the client, or its words where it has no such client."""
    connector = house.finbank.connector()
    try:
        return [each.account_ref for each in await connector.list_accounts(house.tenant.customer_ref)]
    except Exception as error:  # noqa: BLE001 - its words are looked at
        return type(error).__name__
    finally:
        await connector.close()


async def is_removed(house: House) -> bool:  # noqa: F811
    waiting: int = await house.superuser.fetchval("SELECT count(*) FROM removals WHERE state = 'waiting'")
    return not waiting


async def test_a_deleted_bank_account_is_gone_at_the_bank(
    house: House,  # noqa: F811
    database: Database,
    subscriber: Subscriber,
) -> None:
    """One DELETE closes it here, deletes its login there and tells the subscriber; nights after bring nothing of it."""
    await sign_in(database, house)
    kept = await house.finbank.link(house.tenant.customer_ref, "checking")
    doomed = await house.finbank.link(house.tenant.customer_ref, "savings", "creditCard")
    await house.until(house.is_quiet)
    connection_id = await house.superuser.fetchval(
        "SELECT id FROM connections WHERE aggregator_login_id = $1", str(doomed.login_id)
    )
    assert 200 == (await ask(house, "DELETE", f"/bank-accounts/{connection_id}"))[0]
    assert 404 == (await ask(house, "GET", f"/bank-accounts/{connection_id}"))[0]
    await house.until(lambda: is_removed(house))
    assert [str(kept.accounts["checking"])] == await list_at_bank(house)
    await house.until(house.is_quiet)
    (told,) = [each for each in subscriber.events if each["eventType"] == "bankAccountDeleted"]
    assert (connection_id, 2) == (told["payload"]["bankAccountId"], len(told["payload"]["accounts"]))
    seen = len(subscriber.events)
    await house.finbank.pass_nights(2)
    await house.until(house.is_quiet)
    later = {each["payload"]["bankAccountId"] for each in subscriber.events[seen:]}
    assert connection_id not in later
    assert 0 == await house.superuser.fetchval(
        "SELECT count(*) FROM inbox WHERE received_at > (SELECT max(finished_at) FROM removals) AND account_refs && $1",
        [str(each) for each in doomed.accounts.values()],
    )


async def test_a_deleted_client_is_gone_at_the_bank_for_good(house: House, database: Database) -> None:  # noqa: F811
    """The bank's customer goes with all its logins, and is still gone after the bank was started anew."""
    await sign_in(database, house)
    await house.finbank.link(house.tenant.customer_ref, "checking")
    await house.until(house.is_quiet)
    status, body = await ask(house, "DELETE", f"/clients/{house.tenant.client_id}")
    assert 202 == status, body
    await house.until(lambda: is_removed(house))
    house.finbank.stop()
    house.finbank.start()
    await house.finbank.wait_until_up()
    assert "NoSuchAccount" == await list_at_bank(house)
    _, body = await ask(house, "GET", "/removals")
    assert [("customer", "gone", 1)] == [(each["kind"], each["state"], each["tries"]) for each in body["removals"]]
