"""What may be asked of a webhook endpoint over the API: each setting kept and shown, each misfit refused by name."""

import base64
from typing import Any

import asyncpg
import pytest

from bankfeed.endpoints import RESERVED_HEADERS, sealed_of
from tests.ingress.api.conftest import Person
from tests.ingress.api.rows import Book
from tests.ingress.api.sink import LOOPBACK
from tests.ingress.api.test_endpoints import EVERY, URL, add
from tests.seed import ENDPOINT_SECRET, make_sealer

USUAL = {
    "eventTypes": ["accountAdded", "mfaUpdated", "transactionsRefreshed", "bankAccountDeleted"],
    "description": "",
    "clientIds": None,
    "subAccountIds": None,
    "institutionIds": None,
    "headerNames": [],
    "bodyFormat": "standard",
    "apiVersion": "v1",
    "maxConcurrent": 10,
    "ratePerSecond": None,
    "isOrdered": False,
    "jitterPercent": 0,
    "retrySchedule": None,
    "disableOnGone": False,
}
ASKED = {
    "eventTypes": ["connectionBroken", "endpointDisabled"],
    "description": "books",
    "bodyFormat": "ledgersync",
    "apiVersion": "v1",
    "maxConcurrent": 100,
    "ratePerSecond": 1_000,
    "isOrdered": True,
    "jitterPercent": 50,
    "retrySchedule": [5, 60, 3600],
    "disableOnGone": True,
}
PRIVATE = "a host on the public internet, or in a network that the operator allows"
PORT = "port 443 or 8443, or a host in a network that the operator allows"
HTTPS = "https, or a host in a network that the operator allows"


@pytest.fixture
def changed_settings() -> dict[str, Any]:
    """The operator allows this machine."""
    return {"outbound_allow": LOOPBACK}


def key_of(length: int) -> str:
    """Write a secret of so many bytes."""
    return "whsec_" + base64.b64encode(b"k" * length).decode()


def shown(row: dict[str, Any]) -> dict[str, Any]:
    """Pick the settings of an endpoint that is shown."""
    return {name: row[name] for name in USUAL}


# ------------------------------------------------------------------------------------------------ what may be asked


async def test_what_is_not_asked_is_the_usual(api: Person) -> None:
    """The four documented events, ten attempts at once, the documented schedule, and nothing in its way yet."""
    row = (await api.post("/webhook-endpoints", {"url": URL})).body["webhookEndpoint"]
    assert shown(row) == USUAL
    health = ("state", "stateReason", "throttledUntil", "failuresInARow", "failingSince", "previousSecretUntil")
    assert ("active", "", None, 0, None, None) == tuple(row[name] for name in health)
    [key] = row["publicKeys"]
    assert (True, 32) == (key.startswith("whpk_"), len(base64.b64decode(key.removeprefix("whpk_"))))


async def test_what_is_asked_is_shown_and_stays(api: Person) -> None:
    """Each setting, also after a change of another; null is the usual again where there is such a thing."""
    added = await api.post("/webhook-endpoints", {"url": URL, **ASKED, "headers": {"X-Books": "miller"}})
    row = added.body["webhookEndpoint"]
    assert shown(row) == USUAL | ASKED | {"headerNames": ["X-Books"]}
    path = f"/webhook-endpoints/{row['id']}"
    changed = await api.patch(path, {"maxConcurrent": 1})
    assert shown(changed.body["webhookEndpoint"]) == shown(row) | {"maxConcurrent": 1}
    nulls = {"ratePerSecond": None, "retrySchedule": None, "headers": None}
    reset = await api.patch(path, nulls)
    assert shown(reset.body["webhookEndpoint"]) == shown(row) | {
        "maxConcurrent": 1, "ratePerSecond": None, "retrySchedule": None, "headerNames": [],
    }  # fmt: skip
    none = await api.patch(path, {"retrySchedule": []})
    assert [] == none.body["webhookEndpoint"]["retrySchedule"]


async def test_it_hears_of_some_only(api: Person, superuser: asyncpg.Connection) -> None:
    """Clients, sub-accounts and institutions bound it, each once; null opens it again."""
    account = await Book(person=api, superuser=superuser).add_account()
    bank = await superuser.fetchval(
        "INSERT INTO institutions (connector, aggregator_id, name) VALUES ('finicity', '1', 'Bank') RETURNING id"
    )
    asked = {"clientIds": [api.client_id, api.client_id], "subAccountIds": [account], "institutionIds": [bank]}
    row = (await api.post("/webhook-endpoints", {"url": URL, **asked})).body["webhookEndpoint"]
    bounds = {**asked, "clientIds": [api.client_id]}
    assert shown(row) == USUAL | bounds
    opened = await api.patch(f"/webhook-endpoints/{row['id']}", {"clientIds": None})
    assert shown(opened.body["webhookEndpoint"]) == USUAL | bounds | {"clientIds": None}


async def test_headers_and_secrets_are_kept_sealed(api: Person, superuser: asyncpg.Connection) -> None:
    """Neither is in any row as it was given, nor shown again; those who have the key can open them."""
    headers = {"Authorization": "Bearer s3cret", "X-Books": ""}
    said = await api.post("/webhook-endpoints", {"url": URL, "secret": ENDPOINT_SECRET, "headers": headers})
    assert ENDPOINT_SECRET == said.body["secret"]
    row = await superuser.fetchrow("SELECT * FROM endpoints")
    for hidden in ("s3cret", ENDPOINT_SECRET.removeprefix("whsec_")):
        assert hidden not in str(dict(row))
        assert hidden not in (await api.get(f"/webhook-endpoints/{row['id']}")).text
    of = sealed_of(api.customer_id)
    assert ENDPOINT_SECRET == make_sealer().open(row["secret"], of=of)
    assert '{"Authorization":"Bearer s3cret","X-Books":""}' == make_sealer().open(row["headers"], of=of)
    await api.delete(f"/webhook-endpoints/{row['id']}")
    assert ("", []) == tuple(await superuser.fetchrow("SELECT headers, header_names FROM endpoints"))


async def test_a_rotation_replaces_both_keys(api: Person, superuser: asyncpg.Connection) -> None:
    """By a secret of one's own too; while they overlap two public keys are shown, the new one first."""
    endpoint_id, _ = await add(api)
    path = f"/webhook-endpoints/{endpoint_id}"
    [old] = (await api.get(path)).body["webhookEndpoint"]["publicKeys"]
    said = await api.post(f"{path}/rotate-secret", {"overlapHours": 1, "secret": ENDPOINT_SECRET})
    assert ENDPOINT_SECRET == said.body["secret"]
    new, *before = said.body["webhookEndpoint"]["publicKeys"]
    assert ([old], True) == (before, new != old)
    late = await api.post(f"{path}/rotate-secret", {"overlapHours": 1, "version": 1})
    assert (409, "version_conflict") == (late.status, late.body["code"])
    await superuser.execute("UPDATE endpoints SET previous_secret_until = now() - interval '1 second'")
    assert [new] == (await api.get(path)).body["webhookEndpoint"]["publicKeys"]
    gone = await api.post(f"{path}/rotate-secret", {"overlapHours": 0})
    assert 1 == len(gone.body["webhookEndpoint"]["publicKeys"])
    assert await superuser.fetchval("SELECT previous_signing_key IS NULL FROM endpoints")


# ------------------------------------------------------------------------------------------------ what is refused


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("http://firm.example/hook", HTTPS),
        ("http://10.0.0.1/hook", PRIVATE),
        ("http://8.8.8.8/hook", HTTPS),
        ("ftp://firm.example/hook", "a URL like https://host:port/path"),
        ("https://user:s3cret@firm.example/hook", "a URL without user and password"),
        ("https://user@firm.example/hook", "a URL without user and password"),
        ("https://@firm.example/hook", "a URL without user and password"),
        ("https://firm.example\\@127.0.0.1/hook", "printable ASCII"),
        ("https://firm.example/hook#part", "a URL without a fragment"),
        ("https://firm.example:0/hook", "a URL like https://host:port/path"),
        ("https://firm.example:99999/hook", "a URL like https://host:port/path"),
        ("https:///hook", "a URL like https://host:port/path"),
        ("https://firm..example/hook", "a name or an address"),
        ("https://bücher.example/hook", "printable ASCII"),
        ("https://firm.example/ hook", "printable ASCII"),
        ("https://firm.example/\r\nhook", "printable ASCII"),
        ("https://firm.example:80/hook", PORT),
        ("https://firm.example:22/hook", PORT),
        ("https://8.8.8.8:5432/hook", PORT),
        ("https://10.0.0.1/hook", PRIVATE),
        ("https://10.0.0.1:9000/hook", PRIVATE),
        ("https://169.254.169.254/latest", PRIVATE),
        ("https://[::ffff:10.0.0.1]/hook", PRIVATE),
        ("https://[::ffff:0:10.0.0.1]/hook", PRIVATE),
        ("https://[64:ff9b::a00:1]/hook", PRIVATE),
        ("https://[fe80::1%25eth0]/hook", PRIVATE),
        ("https://2130706433/hook", "an address of four numbers"),
        ("https://0x7f.1/hook", "an address of four numbers"),
        ("https://firm.example/" + "x" * 2_028, "length <= 2048"),
        ("", "length >= 1"),
        (None, "got null"),
        (7, "got int"),
    ],
)
async def test_a_url_that_deliveries_may_not_go_to_is_refused(api: Person, url: Any, reason: str) -> None:
    """Plain http, a private address in any clothes, a port, a user, a fragment, no host: 400 that repeats nothing of it."""
    for said in (
        await api.post("/webhook-endpoints", {"url": url, "eventTypes": EVERY}),
        await api.patch("/webhook-endpoints/1", {"url": url}),
    ):
        assert (400, "invalid", "url") == (said.status, said.body["code"], said.body["field"])
        assert reason in said.body["message"]
        assert "s3cret" not in said.text


@pytest.mark.parametrize(
    "url",
    [
        URL,
        "https://firm.example:8443/hook?token=x",
        "https://93.184.215.14/hook",
        "https://[2606:2800:220:1::1]/hook",
        "http://127.0.0.1:9/hook",
        "http://localhost:9/hook",
        "http://localhost.:9/hook",
        "https://localhost/hook",
        "https://localhost:9000/hook",
        "https://127.0.0.1:9000/hook",
        "https://hooks.firm.example./",
        "https://firm.example/" + "x" * 2_027,
    ],
)
async def test_a_url_may_be_public_or_where_the_operator_allows(api: Person, url: str) -> None:
    """A name is looked up when it is delivered to; plain http and other ports go where the operator allows."""
    endpoint_id, _ = await add(api, url)
    assert url == (await api.get(f"/webhook-endpoints/{endpoint_id}")).body["webhookEndpoint"]["url"]


MISFITS: list[tuple[str, Any, str]] = [
    ("eventTypes", [], "length >= 1"),
    ("eventTypes", ["transactionsLost"], "transactionsLost"),
    ("eventTypes", None, "got null"),
    ("eventTypes", "mfaUpdated", "expected array"),
    ("eventTypes", ["mfaUpdated"] * 17, "length <= 16"),
    ("description", "x" * 501, "length <= 500"),
    ("clientIds", [], "length >= 1"),
    ("clientIds", [1] * 101, "length <= 100"),
    ("clientIds", [999_999], "ids of your clients, got 999999"),
    ("clientIds", [0], ">= 1"),
    ("subAccountIds", [999_999], "ids of your sub-accounts, got 999999"),
    ("institutionIds", [999_999], "ids of institutions, got 999999"),
    ("headers", {"X-Books": "a\r\nX-Evil: 1"}, "without a line break"),
    ("headers", {"X-Books": "a\nb"}, "without a line break"),
    ("headers", {"X-Books": "a\x00"}, "printable ASCII"),
    ("headers", {"X-Books": "bücher"}, "printable ASCII"),
    ("headers", {"X-Books": "s3cret" * 167}, "at most 1,000 printable"),
    ("headers", {"X Books": "a"}, "characters of a token"),
    ("headers", {"X-Books\r\nX-Evil": "a"}, "characters of a token"),
    ("headers", {"": "a"}, "characters of a token"),
    ("headers", {"X" * 65: "a"}, "characters of a token"),
    ("headers", {"X-A": "1", "x-a": "2"}, "each header once"),
    ("headers", {f"X-{n}": "a" for n in range(17)}, "length <= 16"),
    ("headers", ["X-Books"], "expected object"),
    ("bodyFormat", "xml", "xml"),
    ("apiVersion", "v2", "v2"),
    ("maxConcurrent", 0, ">= 1"),
    ("maxConcurrent", 101, "<= 100"),
    ("maxConcurrent", None, "got null"),
    ("ratePerSecond", 0, ">= 1"),
    ("ratePerSecond", 1_001, "<= 1000"),
    ("isOrdered", "yes", "expected bool"),
    ("jitterPercent", 51, "<= 50"),
    ("retrySchedule", [60, 30], "each retry later"),
    ("retrySchedule", [30, 30], "each retry later"),
    ("retrySchedule", [0], "from 1 to"),
    ("retrySchedule", [259_200], "from 1 to"),
    ("retrySchedule", list(range(1, 16)), "length <= 14"),
    ("disableOnGone", 1, "expected bool"),
]


@pytest.mark.parametrize(("field", "value", "reason"), MISFITS)
async def test_what_does_not_fit_is_refused_by_name(
    api: Person, superuser: asyncpg.Connection, field: str, value: Any, reason: str
) -> None:
    """400 with the field and the reason, added or changed alike; nothing is written."""
    endpoint_id, _ = await add(api)
    for said in (
        await api.post("/webhook-endpoints", {"url": URL, field: value}),
        await api.patch(f"/webhook-endpoints/{endpoint_id}", {field: value}),
    ):
        named = said.body["field"].partition("[")[0]
        assert (400, "invalid", field) == (said.status, said.body["code"], named)
        assert reason in said.body["message"]
        assert "s3cret" not in said.text
    assert (1, 1) == tuple(await superuser.fetchrow("SELECT count(*), max(version) FROM endpoints"))


@pytest.mark.parametrize(
    "secret",
    [
        "",
        "s3cret",
        key_of(23),
        key_of(65),
        key_of(32).removeprefix("whsec_"),
        "whsec_s3cret!",
        "WHSEC_" + "A" * 44,
        key_of(32) + "\n",
        "whsec_" + "A" * 300,
        7,
    ],
)
async def test_a_secret_too_short_or_strange_is_refused(api: Person, secret: Any) -> None:
    """400 that says what was expected and repeats nothing of it."""
    endpoint_id, _ = await add(api)
    for said in (
        await api.post("/webhook-endpoints", {"url": URL, "secret": secret}),
        await api.post(f"/webhook-endpoints/{endpoint_id}/rotate-secret", {"overlapHours": 1, "secret": secret}),
    ):
        assert (400, "invalid", "secret") == (said.status, said.body["code"], said.body["field"])
        assert "expected" in said.body["message"]
        assert "s3cret" not in said.text
        assert "AAAA" not in said.text


@pytest.mark.parametrize("length", [24, 64])
async def test_a_secret_may_be_ones_own(api: Person, length: int) -> None:
    """24 to 64 bytes."""
    said = await api.post("/webhook-endpoints", {"url": URL, "secret": key_of(length)})
    assert (201, key_of(length)) == (said.status, said.body["secret"])


@pytest.mark.parametrize(
    "name",
    [
        *sorted(RESERVED_HEADERS),
        "Content-Type",
        "Content-Length",
        "Webhook-Signature",
        "webhook-id",
        "Proxy-Authorization",
    ],
)
async def test_a_reserved_header_is_refused(api: Person, name: str) -> None:
    """Those that a delivery, the connection or a proxy has of its own, in any case."""
    said = await api.post("/webhook-endpoints", {"url": URL, "headers": {name.title(): "x"}})
    assert (400, "headers") == (said.status, said.body["field"])
    assert "reserved" in said.body["message"]


async def test_another_customers_ids_are_not_there(api: Person, other: Person, superuser: asyncpg.Connection) -> None:
    """Nor are those of what was deleted."""
    account = await Book(person=other, superuser=superuser).add_account()
    ours = await Book(person=api, superuser=superuser).add_account()
    for field, theirs in (("clientIds", other.client_id), ("subAccountIds", account)):
        said = await api.post("/webhook-endpoints", {"url": URL, field: [theirs]})
        assert (400, field) == (said.status, said.body["field"])
    assert 201 == (await api.post("/webhook-endpoints", {"url": URL, "subAccountIds": [ours]})).status
    await superuser.execute("UPDATE accounts SET deleted_at = now(), state = 'closed', closed_at = now()")
    assert 400 == (await api.post("/webhook-endpoints", {"url": URL, "subAccountIds": [ours]})).status


async def test_an_unknown_field_is_refused(api: Person) -> None:
    """A misspelt one would silently do nothing."""
    said = await api.post("/webhook-endpoints", {"url": URL, "maxConcurent": 4})
    assert (400, "maxConcurent") == (said.status, said.body["field"])
