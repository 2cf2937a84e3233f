"""The control API under /finbank/: what a person, a widget or a test makes happen at the bank. Bearer token only."""

import hmac
import time
from typing import Any

import msgspec
from aiohttp import web

from bankfeed.sandbox.accounts import AccountKind
from bankfeed.sandbox.api.exchange import ACCESS, ANNOUNCER, BANK, DESK, FAULTS, answer, path_id, read_body
from bankfeed.sandbox.book import Login
from bankfeed.sandbox.clock import SECOND, utc
from bankfeed.sandbox.credentials import Manner, manner_of
from bankfeed.sandbox.desk import manner_at
from bankfeed.sandbox.refusals import Refusal, bad_request, no_account_for_login
from bankfeed.sandbox.settings import DialectName, When
from bankfeed.sandbox.world import Row


class Move(msgspec.Struct):
    """How to move the clock: forward by seconds, or to an instant that has not passed."""

    advance_s: int = 0
    set: str = ""


class NewLink(msgspec.Struct, rename="camel"):
    """What a customer's client enters in the widget."""

    customer_id: int | str
    institution_id: int | str
    username: str
    password: str
    accounts: tuple[AccountKind, ...] = tuple(AccountKind)

    def __repr__(self) -> str:
        return f"NewLink(customer_id={self.customer_id!r}, institution_id={self.institution_id!r})"


class Break(msgspec.Struct):
    """The aggregation status code that the bank answers with from now on."""

    code: int


class Which(msgspec.Struct, rename="camel"):
    """Which login to aggregate; all of them when none is named."""

    login_id: int | None = None


class Knobs(msgspec.Struct, rename={"ledgersync_url": "ledgersyncUrl", "finicity_url": "finicityUrl"}):
    """How to announce; what is left out stays as it is. `stop` gives up everything that is on its way."""

    dialect: DialectName | None = None
    ledgersync_url: str | None = None
    finicity_url: str | None = None
    txpush: bool | None = None
    when: When | None = None
    repeat: int | None = None
    shuffle: bool | None = None
    delay_ms: int | None = None
    stop: bool = False


class NewFaults(msgspec.Struct):
    """What to do wrong; what is left out stays as it is."""

    fail_times: int | None = msgspec.field(default=None, name="failTimes")
    fail_status: int | None = msgspec.field(default=None, name="failStatus")
    fail_code: int | None = msgspec.field(default=None, name="failCode")
    fail_path: str | None = msgspec.field(default=None, name="failPath")
    cut_times: int | None = msgspec.field(default=None, name="cutTimes")
    slow_ms: int | None = None
    expire_tokens: bool = msgspec.field(default=False, name="expireTokens")
    expire_sessions: bool = msgspec.field(default=False, name="expireSessions")
    expire_codes: bool = msgspec.field(default=False, name="expireCodes")
    unlock: bool = False


def check_control_token(request: web.Request, token: str) -> None:
    """Refuse a call of the control API without its token."""
    given = request.headers.get("Authorization", "").removeprefix("Bearer ")
    if not hmac.compare_digest(given.encode(), token.encode()):
        raise Refusal(401, 10021, "You are not authorized: expected the control token as a bearer token.")


async def show_clock(request: web.Request) -> web.Response:
    """Show bank time."""
    return answer({"at": request.app[BANK].clock.now()})


async def move_clock(request: web.Request) -> web.Response:
    """Move bank time forward, and run the last nightly aggregation that this passes."""
    bank, move = request.app[BANK], await read_body(request, Move)
    now = bank.clock.now()
    try:
        target = utc(move.set) if move.set else now + move.advance_s * SECOND
    except ValueError as error:
        raise bad_request(str(error)) from error
    if target < now:
        raise bad_request(f"The bank's clock never goes back: it is {now.isoformat()}.")
    bank.clock.move_to(target)
    bank.run_night()
    bank.save()
    return await show_clock(request)


async def link(request: web.Request) -> web.Response:
    """Link a login at once, as if its holder had answered and consented; a failure at the bank is HTTP 500."""
    wanted = await read_body(request, NewLink)
    manner = manner_of(wanted.username, wanted.password)
    kinds = tuple(dict.fromkeys(wanted.accounts))
    if not kinds:
        raise bad_request("expected at least one account")
    bank, customer_id, institution_id = request.app[BANK], _id(wanted.customer_id), _id(wanted.institution_id)
    bank.customer(customer_id)
    institution = bank.institution(institution_id)
    login, accounts = bank.link(
        customer_id,
        institution_id,
        name=bank.name_of(customer_id, institution_id, wanted.username),
        kinds=kinds,
        manner=Manner.PLAIN if institution.is_oauth else manner_at(institution, manner),
        is_oauth=institution.is_oauth,
    )
    return answer(
        {
            "institutionLoginId": login.id,
            "accountIds": [account.id for account in accounts],
            "accounts": {account.kind: account.id for account in accounts},
        },
        status=201,
    )


async def break_login(request: web.Request) -> web.Response:
    """Let a login's aggregations fail from now on; the next one shows it."""
    request.app[BANK].break_login(_login(request), (await read_body(request, Break)).code)
    return web.Response(status=204)


async def fix_login(request: web.Request) -> web.Response:
    """Mend a login, aggregate it and announce both."""
    request.app[BANK].fix_login(_login(request))
    return web.Response(status=204)


async def delete_account(request: web.Request) -> web.Response:
    """Delete an account the way its holder does, which is announced."""
    bank, account_id = request.app[BANK], path_id(request, "account")
    if account_id not in bank.pages.accounts:
        raise Refusal(404, 38003, "There is no such account.")
    bank.tell([bank.delete_account(bank.pages.accounts[account_id])])
    return web.Response(status=204)


async def aggregate(request: web.Request) -> web.Response:
    """Ask the bank now, for one login or for all."""
    bank, which = request.app[BANK], await read_body(request, Which)
    if which.login_id is not None and which.login_id not in bank.pages.logins:
        raise no_account_for_login()
    login_ids = list(bank.pages.logins) if which.login_id is None else [which.login_id]
    logins = [bank.aggregate(bank.pages.logins[login_id]) for login_id in login_ids]
    return answer({"logins": [{"loginId": login.id, "code": login.status_code} for login in logins]})


async def set_knobs(request: web.Request) -> web.Response:
    """Change how the bank announces."""
    bank, announcer, knobs = request.app[BANK], request.app[ANNOUNCER], await read_body(request, Knobs)
    announcer.dialect = knobs.dialect or announcer.dialect
    announcer.ledgersync_url = knobs.ledgersync_url or announcer.ledgersync_url
    announcer.finicity_url = knobs.finicity_url or announcer.finicity_url
    announcer.txpush = announcer.txpush if knobs.txpush is None else knobs.txpush
    announcer.repeat = max(1, knobs.repeat or announcer.repeat)
    announcer.is_shuffled = announcer.is_shuffled if knobs.shuffle is None else knobs.shuffle
    announcer.delay_s = announcer.delay_s if knobs.delay_ms is None else knobs.delay_ms / 1000
    bank.announce = knobs.when or bank.announce
    if knobs.stop:
        announcer.stop_retrying()
    return await show_announcements(request)


async def show_announcements(request: web.Request) -> web.Response:
    """Show how the announcing goes: the last letters, oldest first, with the tries and the last status (0: none)."""
    announcer = request.app[ANNOUNCER]
    recent = [{"event": p.letter.name, "tries": p.tries, "status": p.status} for p in announcer.recent]
    return answer(
        {
            "outstanding": announcer.outstanding,
            "delivered": announcer.delivered,
            "givenUp": announcer.given_up,
            "recent": recent,
        }
    )


async def set_faults(request: web.Request) -> web.Response:
    """Change what goes wrong on purpose."""
    faults, access, new = request.app[FAULTS], request.app[ACCESS], await read_body(request, NewFaults)
    for name in ("fail_times", "fail_status", "fail_code", "fail_path", "cut_times", "slow_ms"):
        value = getattr(new, name)
        if value is not None:
            setattr(faults, name, value)
    if new.expire_tokens:
        access.expire_all(now_ms=time.time_ns() // 1_000_000)
    if new.expire_sessions:
        request.app[DESK].expire_sessions()
    if new.expire_codes:
        request.app[DESK].expire_codes()
    if new.unlock:
        access.failures = 0
    return web.Response(status=204)


async def show_truth(request: web.Request) -> web.Response:
    """Show what an account lists, with the true movement of each row: as of the last aggregation, or `at` an instant.

    Amounts are text, positive into the account, whatever the sign on the wire.
    """
    bank, account_id = request.app[BANK], path_id(request, "account")
    if account_id not in bank.pages.accounts:
        raise Refusal(404, 38003, "There is no such account.")
    account = bank.pages.accounts[account_id]
    at = bank.pages.logins[account.login_id].succeeded_at
    if "at" in request.query:
        try:
            at = utc(request.query["at"])
        except ValueError as error:
            raise bad_request(str(error)) from error
    rows = [_truth(row) for row in bank.rows(account, at)]
    return answer({"at": at, "accountId": account.id, "balance": str(bank.balance(account, at)), "rows": rows})


def _truth(row: Row) -> dict[str, Any]:
    sighting = row.sighting
    return {
        "movement": row.movement,
        "id": sighting.id,
        "status": sighting.status,
        "amount": str(sighting.amount),
        "date": sighting.dated_at,
        "description": sighting.description,
    }


def _login(request: web.Request) -> Login:
    login = request.app[BANK].pages.logins.get(path_id(request, "login"))
    if login is None:
        raise no_account_for_login()
    return login


def _id(given: int | str) -> int:
    if not str(given).isdecimal():
        raise bad_request(f"expected an id, got {given!r}")
    return int(given)


def routes() -> list[web.RouteDef]:
    """List the routes of the control API, hand-made transactions apart."""
    return [
        web.get("/finbank/clock", show_clock),
        web.post("/finbank/clock", move_clock),
        web.post("/finbank/link", link),
        web.post(r"/finbank/logins/{login:\d+}/break", break_login),
        web.post(r"/finbank/logins/{login:\d+}/fix", fix_login),
        web.delete(r"/finbank/accounts/{account:\d+}", delete_account),
        web.post("/finbank/aggregate", aggregate),
        web.post("/finbank/announce", set_knobs),
        web.get("/finbank/announcements", show_announcements),
        web.post("/finbank/faults", set_faults),
        web.get(r"/finbank/truth/{account:\d+}", show_truth),
    ]
