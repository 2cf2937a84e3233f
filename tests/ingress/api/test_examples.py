"""The description's examples, every one sent to a real server, in an order in which they make sense."""

from collections.abc import Mapping
from typing import Any

import asyncpg
import pytest

from ingress.api.examples import EXAMPLES
from ingress.api.route import Route
from ingress.api.routes import ROUTES
from tests.ingress.api.conftest import Person
from tests.ingress.api.rows import Book

ROUTE: Mapping[str, Route] = {route.name: route for route in ROUTES}
SHOWN_IDS = range(3401, 3408)


@pytest.fixture
def changed_settings() -> dict[str, Any]:
    """Anybody may register."""
    return {"registration": "open"}


def test_each_body_has_an_example() -> None:
    """Every operation that takes a body shows one, and no example is of an operation that is gone."""
    assert {route.name for route in ROUTES if route.body is not None} == EXAMPLES.keys()


class Sent:
    """Sends examples, with the ids of this run where the example shows others."""

    def __init__(self, person: Person) -> None:
        self.person = person
        self.ids: dict[int, int] = {}
        self.left = set(EXAMPLES)

    def fill(self, value: Any) -> Any:
        """Put the ids of this run into an example."""
        if isinstance(value, dict):
            return {name: self.fill(each) for name, each in value.items()}
        if isinstance(value, list):
            return [self.fill(each) for each in value]
        return self.ids.get(value, value) if isinstance(value, int) and not isinstance(value, bool) else value

    async def send(self, name: str, path: str = "", **changed: Any) -> dict[str, Any]:
        """Send one; it must do what it says."""
        self.left.discard(name)
        route = ROUTE[name]
        said = await self.person.ask(route.method, path or route.path, self.fill(EXAMPLES[name]) | changed)
        assert route.status == said.status, (name, said.body)
        return said.body


async def test_every_example_does_what_it_says(api: Person, superuser: asyncpg.Connection) -> None:
    """Registering, linking, booking, deciding, delivering: each example is accepted as it stands."""
    sent = Sent(api.as_nobody())
    await sent.send("register")
    answer = await sent.send("authenticate")
    sent.person = sent.person.with_token(answer["token"])
    answer = await sent.send("changePassword")
    sent.person = sent.person.with_token(answer["token"])
    invited = await sent.send("inviteUser")
    await sent.send("updateUser", f"/users/{invited['user']['id']}")
    owner, sent.person = sent.person, sent.person.as_nobody()
    await sent.send("acceptInvitation", token=invited["invitation"]["token"])
    sent.person = owner
    await sent.send("updateOwnCustomer")
    await sent.send("updateNotifications")
    await sent.send("makeKey")
    await sent.send("replaceRedirectUris")
    await sent.send("addClient")

    sent.person = api
    book = Book(person=api, superuser=superuser)
    connection = await book.add_bank_account()
    account = await book.add_account(connection)
    sent.ids[12] = api.client_id
    sent.ids |= {shown: await book.add_row(account, "-42.50") for shown in SHOWN_IDS}
    await sent.send("updateClient", f"/clients/{api.client_id}")
    await sent.send("updateBankAccount", f"/bank-accounts/{connection}")
    await support(sent, connection)
    await widgets(sent, api, superuser)

    added = await sent.send("addLedgerAccount")
    sent.ids[7] = added["ledgerAccount"]["id"]
    await sent.send("importLedgerAccounts")
    listed = (await api.get("/ledger-accounts", clientId=api.client_id)).body["ledgerAccounts"]
    sent.ids |= {8: by_code(listed, "6000"), 9: by_code(listed, "6100")}
    await sent.send("updateLedgerAccount", f"/ledger-accounts/{sent.ids[7]}")
    await sent.send("updateSubAccount", f"/sub-accounts/{account}")

    first = f"/transactions/{sent.ids[3401]}"
    for name in ("link", "unlink", "split"):
        await sent.send(f"{name}Transaction", f"{first}/{name}")
    await api.post(f"{first}/unsplit")
    await sent.send("mergeTransaction", f"{first}/merge")
    await sent.send("reconcileTransactions")
    await sent.send("bookTransaction")
    await sent.send("bookTransactions")
    await decide(sent, book, account)

    endpoint = (await sent.send("addWebhookEndpoint"))["webhookEndpoint"]["id"]
    await sent.send("updateWebhookEndpoint", f"/webhook-endpoints/{endpoint}")
    await sent.send("rotateEndpointSecret", f"/webhook-endpoints/{endpoint}/rotate-secret")
    await sent.send("disableWebhookEndpoint", f"/webhook-endpoints/{endpoint}/disable")
    await sent.send("enableWebhookEndpoint", f"/webhook-endpoints/{endpoint}/enable")
    await sent.send("testWebhookEndpoint", f"/webhook-endpoints/{endpoint}/test")
    await sent.send("replayEvents", f"/webhook-endpoints/{endpoint}/replay")
    assert set() == sent.left


async def widgets(sent: Sent, api: Person, superuser: asyncpg.Connection) -> None:
    """The widget for a client, for a bank, for a bank account; back to where the firm says."""
    client = (await api.get(f"/clients/{api.client_id}")).body["client"]["username"]
    sent.ids[3] = await superuser.fetchval(
        "INSERT INTO institutions (connector, aggregator_id, name, is_sandbox) VALUES ('finicity', 'x', 'Bank', true) RETURNING id"
    )
    await sent.send("replaceRedirectUris")
    await sent.send("openAddWidget", username=client)
    await sent.send("openAddLiteWidget")
    await superuser.execute("UPDATE connections SET institution_id = $1", sent.ids[3])
    await sent.send("openFixWidget")


async def support(sent: Sent, connection: int) -> None:
    """A case, from its beginning to its end."""
    sent.ids[5] = connection
    case = (await sent.send("openCase"))["case"]
    path = f"/cases/{case['id']}"
    await sent.send("addCaseAction", f"{path}/actions")
    await sent.send("updateCaseAction", f"{path}/actions/{case['actions'][0]['id']}")
    await sent.send("closeCase", f"{path}/close")


def by_code(listed: list[dict[str, Any]], code: str) -> int:
    """The id of a ledger account by its code."""
    found: int = next(each["id"] for each in listed if each["code"] == code)
    return found


async def decide(sent: Sent, book: Book, account: int) -> None:
    """A doubt between two rows, and a balance that the rows do not explain."""
    doubt = await book.superuser.fetchval(
        """
        WITH pull AS (
            INSERT INTO pulls (customer_id, account_id, at, kind, from_on, to_on, outcome, reported_rows)
            VALUES ($1, $2, now(), 'full', current_date, current_date, 'applied', 2) RETURNING id
        ), reconciled AS (
            UPDATE transactions SET reconciled_at = now() WHERE id = $3
        )
        INSERT INTO doubts (customer_id, account_id, transaction_id, pull_id, rule, reason, candidates)
        SELECT $1, $2, $3, pull.id, 'content', 'two alike', ARRAY[$4::bigint] FROM pull RETURNING id
        """,
        book.person.customer_id,
        account,
        sent.ids[3406],
        sent.ids[3407],
    )
    await sent.send("decideDoubt", f"/doubts/{doubt}/decide")
    await book.superuser.execute(
        "UPDATE accounts SET balance = 10, balance_on = current_date, balance_gap = 4.20 WHERE id = $1", account
    )
    await sent.send("acceptBalanceGap", f"/sub-accounts/{account}/accept-balance-gap")
