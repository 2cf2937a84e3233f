"""The widget's addresses and what they are worth: opened once, in time, unaltered, by whom they are for; and what is told of it."""

import re
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import parse_qs, parse_qsl, urlencode, urlsplit
from uuid import UUID

import pytest

from bankfeed.widgets import IDLE_S, end_left
from ingress.widget.links import Opening, write_opening
from tests.ingress.api.conftest import Person, sign_in
from tests.seed import make_tenant
from tests.story.widget.conftest import BACK, Desk
from tests.subscriber import Subscriber
from tests.worker.dispatch import take_deliveries
from worker.post import Post

FRAME = "https://app.firm.example"
HOOK = "https://hooks.firm.example/widget"
LINK = "Link these accounts"


@pytest.fixture
def changed_settings() -> dict[str, Any]:
    """The firm's own application may hold the widget in a frame."""
    return {"widget_frames": (FRAME,)}


async def other_firm(desk: Desk) -> Person:
    """Return an owner of another firm."""
    tenant = await make_tenant(desk.api.database, desk.api.sources)
    return await sign_in(replace(desk.api, tenant=tenant), "owner")


async def refused(desk: Desk, url: str) -> tuple[int, str]:
    """Open an address; return status and title."""
    page = await desk.browser.open(url)
    assert (1, "en", []) == (page.titles, page.language, page.forms)
    return page.status, page.title


ALTERED = (404, "This link is not complete")


async def test_widget_opens_an_address_once_as_it_was_made(desk: Desk) -> None:
    """It has the document's parameters; none of them can be another, or left out, or belong to somebody else."""
    await desk.api.ask("PUT", "/customer/redirect-uris", {"redirectUris": [BACK]})
    institution_id = await desk.institution()
    body = {"clientId": desk.api.client_id, "institutionId": institution_id, "redirectUri": BACK, "webhook": HOOK}
    said = (await desk.api.post("/widgets/add-lite", body)).body
    url, secret = said["widgetUrl"], said["webhookSecret"]
    assert secret.startswith("whsec_")
    query = dict(parse_qsl(urlsplit(url).query))
    assert re.fullmatch("[0-9a-f]{64}", query["signature"])
    assert 7_200_000 == int(query["ttl"]) - int(query["timestamp"])
    told = {name: query[name] for name in ("redirectUri", "webhook", "webhookContentType", "type")}
    assert told == {
        "redirectUri": BACK,
        "webhook": HOOK,
        "webhookContentType": "application/json",
        "type": "aggregation",
    }
    other = await other_firm(desk)
    for name, text in {
        "customerId": str(other.customer_id),
        "sessionId": "0" * 8 + query["sessionId"][8:],
        "ttl": str(int(query["ttl"]) + 1),
        "timestamp": "1",
        "type": "other",
        "redirectUri": "https://evil.example",
        "webhook": "https://evil.example",
        "webhookContentType": "text/plain",
        "signature": "0" * 64,
    }.items():
        assert ALTERED == await refused(desk, "/widget?" + urlencode(query | {name: text}))
        assert ALTERED == await refused(desk, "/widget?" + urlencode({k: v for k, v in query.items() if k != name}))
        assert ALTERED == await refused(desk, f"{url}&{urlencode({name: query[name]})}")
    assert ALTERED == await refused(desk, "/widget")
    page = await desk.browser.open("/widget?" + urlencode(sorted(query.items(), reverse=True)))
    assert (200, "Sign in to FinBank") == (page.status, page.title)
    assert (410, "This link was used already") == await refused(desk, url)


async def test_widget_opens_nothing_that_is_too_old_or_not_there(desk: Desk) -> None:
    """An address whose time is over, and one of a session that this firm does not have, say so."""
    await desk.ask("add", clientId=desk.api.client_id)
    session, now = await desk.session(), datetime.now(UTC)
    opening = Opening(
        customer_id=desk.api.customer_id,
        session_id=session["id"],
        made_at=now - timedelta(hours=2),
        expires_at=now - timedelta(seconds=1),
    )
    signer = desk.ingress.settings.signer()
    assert (410, "This link is too old") == await refused(desk, write_opening(signer, "", opening))
    later = replace(opening, expires_at=now + timedelta(hours=1))
    other = await other_firm(desk)
    for wrong in (replace(later, customer_id=other.customer_id), replace(later, session_id=UUID(int=7))):
        assert (410, "This link is too old") == await refused(desk, write_opening(signer, "", wrong))
    page = await desk.browser.open(write_opening(signer, "", later))
    assert "Link a bank" == page.title


async def test_widget_shows_its_page_to_whom_it_was_opened_for(desk: Desk) -> None:
    """A page's address names its firm and session, signed: changed to another's, or unopened, it is not there."""
    await desk.add()
    url = desk.browser.page.url
    customer_id, session_id, signature = url.rpartition("/")[2].split(".")
    other = await other_firm(desk)
    answer = await other.post("/widgets/add", {"clientId": other.client_id})
    for token in (
        f"{other.customer_id}.{session_id}.{signature}",
        f"{customer_id}.{answer.body['widgetSessionId']}.{signature}",
        f"{customer_id}.{session_id}.{'0' * 64}",
        f"{customer_id}.{session_id}",
        "x",
    ):
        assert (404, "This page is not there any more") == await refused(desk, f"/widget/{token}")
        state = await desk.browser.open(f"/widget/{token}/state")
        assert (404, '{"seen": ""}') == (state.status, state.source)
    assert 404 == (await other.get(f"/widgets/sessions/{session_id}")).status
    assert 404 == (await other.post("/widgets/fix", {"bankAccountId": 1})).status


async def test_widget_is_framed_and_kept_by_nobody_else(desk: Desk) -> None:
    """Each answer: frames of the firm's own pages only, no store, no referrer, no script but its own."""
    url = await desk.ask("add", clientId=desk.api.client_id)
    opened = await desk.browser.open(url)
    for page in (opened, await desk.browser.open(url), await desk.browser.open("/widget/back?state=x")):
        policy = dict(part.strip().split(" ", 1) for part in page.headers["Content-Security-Policy"].split(";"))
        assert (FRAME, "'none'", "'self'") == tuple(
            policy[name] for name in ("frame-ancestors", "default-src", "script-src")
        )
        assert "'self'" == policy["form-action"]
        sent = [page.headers[name] for name in ("Cache-Control", "Referrer-Policy", "X-Content-Type-Options")]
        assert ["no-store", "no-referrer", "nosniff"] == sent
        assert "X-Frame-Options" not in page.headers
        assert not re.search(r"<script(?! type=\"module\" src=\"/widget/)|\son\w+=|style=", page.source)


WRONG = (
    ({"redirectUri": "https://evil.example/banks"}, "redirectUri"),
    ({"redirectUri": BACK + "/more"}, "redirectUri"),
    ({"webhook": "https://10.0.0.7/hook"}, "webhook"),
    ({"webhook": "https://169.254.169.254/latest"}, "webhook"),
    ({"webhook": "http://hooks.firm.example/plain"}, "webhook"),
    ({"webhook": "ftp://hooks.firm.example"}, "webhook"),
    ({"webhook": HOOK, "webhookContentType": "text/xml"}, "webhookContentType"),
)
NOWHERE = ("javascript:alert(1)", "http://firm.example", "https://firm.example@evil.example", "//evil.example")


async def test_widget_refuses_to_lead_or_tell_elsewhere(desk: Desk) -> None:
    """It leads back to what is on the firm's list only, and tells nobody in a private network."""
    await desk.api.ask("PUT", "/customer/redirect-uris", {"redirectUris": [BACK]})
    for body, field in WRONG:
        answer = await desk.api.post("/widgets/add", {"clientId": desk.api.client_id, **body})
        assert (422, field) == (answer.status, answer.body["field"]), answer.text
    assert 0 == await desk.superuser.fetchval("SELECT count(*) FROM widget_sessions")
    for uri in NOWHERE:
        assert 422 == (await desk.api.ask("PUT", "/customer/redirect-uris", {"redirectUris": [uri]})).status


async def test_widget_tells_its_own_webhook(desk: Desk, subscriber: Subscriber) -> None:
    """A session's webhook hears of its client: how the session ended, what was added and came in, signed with its secret."""
    await desk.api.ask("PUT", "/customer/redirect-uris", {"redirectUris": [BACK]})
    body = {"clientId": desk.api.client_id, "institutionId": await desk.institution(), "redirectUri": BACK}
    said = (await desk.api.post("/widgets/add-lite", body | {"webhook": subscriber.url})).body
    subscriber.secret = said["webhookSecret"]
    await desk.browser.open(said["widgetUrl"])
    await desk.browser.wait()
    await desk.sign_in("demo", "go")
    page = await desk.browser.press(LINK)
    bank_account_id = await desk.newest()
    back = urlsplit(page.links["Go back"])
    assert BACK == f"{back.scheme}://{back.netloc}{back.path}"
    ended = {"outcome": "linked", "bankAccountId": str(bank_account_id), "widgetSessionId": said["widgetSessionId"]}
    assert ended == {name: text for name, [text] in parse_qs(back.query).items()}
    assert f'data-for="{FRAME}"' in page.source
    await desk.work()
    async with Post(desk.context.settings) as post:
        while await take_deliveries(desk.context, post):
            pass
    heard = {event["eventType"]: event["payload"] for event in subscriber.events}
    assert {"widgetEnded", "accountAdded", "transactionsRefreshed"} == set(heard)
    kept = {name: heard["widgetEnded"][name] for name in ("outcome", "widgetSessionId", "kind", "clientId")}
    assert kept == {
        "outcome": "linked",
        "widgetSessionId": said["widgetSessionId"],
        "kind": "add_lite",
        "clientId": desk.api.client_id,
    }
    assert bank_account_id == heard["widgetEnded"]["bankAccountId"]
    shown = (await desk.api.get(f"/widgets/sessions/{said['widgetSessionId']}")).body["widgetSession"]
    assert ("linked", bank_account_id) == (shown["outcome"], shown["bankAccountId"])
    assert [] == (await desk.api.get("/webhook-endpoints")).body["webhookEndpoints"]
    await desk.superuser.execute("UPDATE widget_sessions SET ended_at = now() - interval '5 days'")
    await end_left(desk.context.database)
    assert await desk.superuser.fetchval("SELECT bool_and(deleted_at IS NOT NULL) FROM endpoints")


async def test_widget_sweeps_what_was_left(desk: Desk, capsys: pytest.CaptureFixture[str]) -> None:
    """A page that nobody looks at any more is left, an address that nobody opened expires: ended, told and logged."""
    await desk.add()
    await desk.sign_in("demo", "go")
    left, url = await desk.session(), desk.browser.page.url
    await desk.ask("add", clientId=desk.api.client_id)
    expired = await desk.session()
    await end_left(desk.context.database)
    assert 2 == await desk.superuser.fetchval("SELECT count(*) FROM widget_sessions WHERE ended_at IS NULL")
    await desk.superuser.execute(
        "UPDATE widget_sessions SET seen_at = now() - make_interval(secs => $2) WHERE id = $1", left["id"], IDLE_S + 1
    )
    await desk.superuser.execute("UPDATE widget_sessions SET expires_at = now() WHERE id = $1", expired["id"])
    capsys.readouterr()
    await end_left(desk.context.database)
    rows = await desk.superuser.fetch("SELECT id, outcome, visit FROM widget_sessions ORDER BY created_at")
    assert [(left["id"], "left", ""), (expired["id"], "expired", "")] == [tuple(row) for row in rows]
    logged = [line for line in capsys.readouterr().out.splitlines() if "widget.ended" in line]
    assert {str(left["id"]), str(expired["id"])} == {
        each for each in (str(left["id"]), str(expired["id"])) if any(each in line for line in logged)
    }
    assert ["widgetEnded", "widgetEnded"] == await desk.events()
    page = await desk.browser.open(url)
    assert ("Nothing was changed", []) == (page.title, page.forms)
    assert 0 == await desk.superuser.fetchval("SELECT count(*) FROM connections")
