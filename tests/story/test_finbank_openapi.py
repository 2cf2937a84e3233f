"""Finbank's answers against the aggregator's published OpenAPI file, which is not part of this repository.

Skipped where the file is not found: BANKFEED_OPENAPI_FILE names it, else it is looked for beside the checkout.
"""

import json
import os
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import aiohttp
import jsonschema  # type: ignore[import-untyped]  # its stubs are no dependency
import pytest
import yaml
from referencing import Registry
from referencing.jsonschema import DRAFT4

from bankfeed.sandbox.app import start
from bankfeed.sandbox.clock import Pace, utc
from bankfeed.sandbox.settings import FinbankSettings

BESIDE = Path(__file__).parents[3] / "shared" / "openapi" / "openbanking-us.yaml"
FILE = Path(os.environ.get("BANKFEED_OPENAPI_FILE", BESIDE))
pytestmark = pytest.mark.skipif(not FILE.exists(), reason=f"no OpenAPI file at {FILE} (BANKFEED_OPENAPI_FILE)")

CUSTOMER = "/aggregation/v1/customers/{customerId}"
ACCOUNT = "/aggregation/v2/customers/{customerId}/accounts/{accountId}"
TRANSACTIONS = "/aggregation/v4/customers/{customerId}/accounts/{accountId}/transactions"
LOGIN_ACCOUNTS = "/aggregation/v1/customers/{customerId}/institutionLogins/{institutionLoginId}/accounts"
REFRESHES = "/aggregation/customers/{customerId}/transactions/refreshes"
SECRET, APP_KEY, CONTROL = "partner-secret", "app-key", "control-token"


@cache
def document() -> dict[str, Any]:
    """Read the file once, as JSON Schema reads it."""
    with FILE.open("rb") as file:
        spec: dict[str, Any] = yaml.load(file, Loader=yaml.CSafeLoader)
    # The file calls the code an object and says beside it that it is a number or a string; its examples are those.
    spec["components"]["schemas"]["ErrorMessage"]["properties"]["code"] = {"type": ["integer", "string"]}
    for schema in _objects(spec["components"]["schemas"]):
        if schema.pop("nullable", False) is True and isinstance(schema.get("type"), str):
            schema["type"] = [schema["type"], "null"]
    return spec


def _objects(node: Any) -> Iterator[dict[str, Any]]:
    if isinstance(node, dict):
        yield node
    children = node.values() if isinstance(node, dict) else node if isinstance(node, list) else ()
    for child in children:
        yield from _objects(child)


@cache
def registry() -> Any:
    return Registry().with_resource("urn:spec", DRAFT4.create_resource(document()))


def response_schema(method: str, template: str, status: int) -> dict[str, Any] | None:
    """Return the schema of a documented answer, None where it has no body. An undocumented status fails."""
    responses = document()["paths"][template][method.lower()]["responses"]
    assert str(status) in responses, f"{method} {template} does not document {status}"
    pointer: str = responses[str(status)]["$ref"]
    response = document()["components"]["responses"][pointer.rpartition("/")[2]]
    if "application/json" not in response.get("content", {}):
        return None
    return {"$ref": f"urn:spec{pointer}/content/application~1json/schema"}


def problems(body: Any, schema: dict[str, Any]) -> list[str]:
    validator = jsonschema.Draft4Validator(schema, registry=registry())
    return [f"{error.json_path}: {error.message}" for error in validator.iter_errors(body)]


@dataclass(slots=True, kw_only=True)
class Caller:
    """Calls Finbank by the document's own path templates and holds every answer to its schema."""

    session: aiohttp.ClientSession
    ids: dict[str, Any] = field(default_factory=dict)
    headers: dict[str, str] = field(default_factory=lambda: {"Finicity-App-Key": APP_KEY})

    async def call(self, method: str, template: str, status: int, **kwargs: Any) -> Any:
        path = template.format(**self.ids)
        async with self.session.request(method, path, headers=self.headers, **kwargs) as answer:
            text = await answer.text()
        assert answer.status == status, text
        schema = response_schema(method, template, status)
        if schema is None:
            assert text == ""
            return None
        body = json.loads(text)
        assert problems(body, schema) == []
        return body

    async def control(self, path: str, body: dict[str, Any]) -> Any:
        headers = {"Authorization": f"Bearer {CONTROL}"}
        async with self.session.post(f"/finbank/{path}", headers=headers, json=body) as answer:
            assert answer.status < 300, await answer.text()
            return None if answer.status == 204 else await answer.json()


@pytest.fixture
async def caller(tmp_path: Path) -> AsyncIterator[Caller]:
    settings = FinbankSettings(
        data=tmp_path,
        partner_secret=SECRET,
        app_key=APP_KEY,
        control_token=CONTROL,
        port=0,
        clock=Pace.MANUAL,
        start_at=utc("2026-03-01T15:00:00Z"),
    )
    finbank = await start(settings)
    async with aiohttp.ClientSession(finbank.url) as session:
        caller = Caller(session=session)
        credentials = {"partnerId": settings.partner_id, "partnerSecret": SECRET}
        token = await caller.call("POST", "/aggregation/v2/partners/authentication", 200, json=credentials)
        caller.headers["Finicity-App-Token"] = token["token"]
        yield caller
    await finbank.close()


async def link(caller: Caller) -> dict[str, Any]:
    new = {"username": "client-1", "firstName": "Ann", "phone": "1-208-555-0100", "email": "ann@example.com"}
    customer = await caller.call("POST", "/aggregation/v2/customers/testing", 201, json=new)
    wanted = {"customerId": customer["id"], "institutionId": 101732, "username": "demo", "password": "go"}
    linked: dict[str, Any] = await caller.control("link", wanted)
    caller.ids = {"customerId": customer["id"], "institutionLoginId": linked["institutionLoginId"]}
    return linked


async def test_customers_are_as_documented(caller: Caller) -> None:
    """Customer answers, the conflict included, follow their schemas."""
    await link(caller)
    await caller.call("POST", "/aggregation/v2/customers/testing", 409, json={"username": "client-1"})
    await caller.call("POST", "/aggregation/v2/customers/testing", 400, json={"username": "x"})
    await caller.call("GET", "/aggregation/v1/customers", 200, params={"search": "client"})
    await caller.call("GET", CUSTOMER, 200)
    await caller.call("DELETE", CUSTOMER, 204)
    await caller.call("GET", CUSTOMER, 404)


async def test_institutions_are_as_documented(caller: Caller) -> None:
    """Institution answers follow their schemas."""
    for query in ({"search": "finbank"}, {"search": "no such bank"}):
        await caller.call("GET", "/institution/v2/institutions", 200, params=query)
    for institution_id, status in ((101732, 200), (1, 404)):
        caller.ids = {"institutionId": institution_id}
        await caller.call("GET", "/institution/v2/institutions/{institutionId}", status)


async def test_accounts_are_as_documented(caller: Caller) -> None:
    """Account answers follow their schemas, before and after a night, broken and deleted ones too."""
    linked = await link(caller)
    for account_id in linked["accountIds"]:
        caller.ids["accountId"] = account_id
        await caller.call("GET", ACCOUNT, 200)
    await caller.control("clock", {"advance_s": 86_400})
    for method in ("GET", "POST"):
        await caller.call(method, f"{CUSTOMER}/accounts", 200)
        await caller.call(method, LOGIN_ACCOUNTS, 200)
    await caller.call("POST", f"{CUSTOMER}/accounts/{{accountId}}/transactions/historic", 204)
    await caller.control(f"logins/{linked['institutionLoginId']}/break", {"code": 185})
    await caller.call("POST", f"{CUSTOMER}/accounts", 200)
    await caller.call("DELETE", f"{CUSTOMER}/accounts/{{accountId}}", 204)
    await caller.call("GET", ACCOUNT, 404)
    await caller.call("DELETE", f"{CUSTOMER}/institutionLogins/{{institutionLoginId}}", 204)
    await caller.call("GET", LOGIN_ACCOUNTS, 404)


async def test_transactions_are_as_documented(caller: Caller) -> None:
    """Every listed row of every account follows its schema, through the scripted nights and a month after."""
    linked = await link(caller)
    window = {"fromDate": 0, "toDate": 4_000_000_000, "limit": 1000, "includePending": "true"}
    for advance_s in (0, *[86_400] * 5, 25 * 86_400):
        await caller.control("clock", {"advance_s": advance_s})
        for account_id in linked["accountIds"]:
            caller.ids["accountId"] = account_id
            await caller.call("GET", TRANSACTIONS, 200, params=window)
    await caller.call("GET", TRANSACTIONS, 400, params={"toDate": 1})
    caller.ids["accountId"] = 1
    await caller.call("GET", TRANSACTIONS, 404, params=window)


async def test_refreshes_are_as_documented(caller: Caller) -> None:
    """The asynchronous refresh and its outcome, failed ones included, follow their schemas."""
    linked = await link(caller)
    wanted = {"accountIds": [str(account_id) for account_id in linked["accountIds"]], "mode": "standard"}
    for code in (0, 103):
        await caller.control(f"logins/{linked['institutionLoginId']}/break", {"code": code})
        asked = await caller.call("POST", REFRESHES, 202, json=wanted)
        caller.ids["refreshId"] = asked["refreshId"]
        await caller.call("GET", f"{REFRESHES}/{{refreshId}}", 200)
    await caller.call("POST", REFRESHES, 400, json={})
    caller.ids["refreshId"] = "bec83f1a-5f65-44f5-8f00-b4a0fc60c2cc"
    await caller.call("GET", f"{REFRESHES}/{{refreshId}}", 404)


async def test_refusals_of_access_are_as_documented(caller: Caller) -> None:
    """Answers to wrong credentials and missing headers follow their schema."""
    wrong = {"partnerId": "x", "partnerSecret": "y"}
    await caller.call("POST", "/aggregation/v2/partners/authentication", 401, json=wrong)
    await caller.call("POST", "/aggregation/v2/partners/authentication", 400, json={})
    caller.headers = {}
    await caller.call("GET", "/aggregation/v1/customers", 401)


@pytest.mark.parametrize("name", ["Transaction", "CustomerAccount", "Institution", "Customer"])
async def test_no_field_is_invented(caller: Caller, name: str) -> None:
    """Every field that Finbank writes is one that the document knows."""
    linked = await link(caller)
    caller.ids |= {"accountId": linked["accounts"]["checking"], "institutionId": 101732}
    window = {"fromDate": 0, "toDate": 4_000_000_000, "limit": 1000, "includePending": "true"}
    listed = (await caller.call("GET", TRANSACTIONS, 200, params=window))["transactions"]
    written = {
        "Transaction": {key for row in listed for key in row},
        "CustomerAccount": set(await caller.call("GET", ACCOUNT, 200)),
        "Institution": set(
            (await caller.call("GET", "/institution/v2/institutions/{institutionId}", 200))["institution"]
        ),
        "Customer": set(await caller.call("GET", CUSTOMER, 200)),
    }
    schema = document()["components"]["schemas"][name]
    assert written[name] <= schema["properties"].keys() | set(schema["required"])


def test_validation_would_notice() -> None:
    """The check is no formality: a text where a number belongs, and a missing field, are found."""
    schema = {"$ref": "urn:spec#/components/schemas/Transaction"}
    row = {"id": 1, "amount": "1.00", "accountId": 7, "customerId": 1, "status": "active", "description": "x"}
    assert len(problems(row, schema)) == 2
