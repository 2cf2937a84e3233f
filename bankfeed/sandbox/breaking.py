"""What a person may do to the pretend banks on their page: break a login, mend it, let a bank be down, migrate it, buy something.

Each does what the control API does, and then lets the aggregator tell, so that whoever listens asks within seconds. A real
aggregator says nothing of a login that broke: there it shows at the next update.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import timedelta
from decimal import Decimal
from enum import StrEnum
from typing import Final

from bankfeed.sandbox.accounts import AccountKind
from bankfeed.sandbox.bank import Bank
from bankfeed.sandbox.book import Login
from bankfeed.sandbox.institutions import Institution, InstitutionStatus, Standing
from bankfeed.sandbox.lives import Sighting, Status
from bankfeed.sandbox.merchants import MERCHANTS
from bankfeed.sandbox.wording import plain_text

PASSWORD_CHANGED, ASKS, MESSAGE, CONSENT_ENDED, DOWN = 103, 185, 108, 947, 905
MIGRATION: Final = timedelta(days=90)


class Act(StrEnum):
    """What a button does. Those of a bank do it to all of its logins."""

    CHANGE_PASSWORD = "change_password"  # noqa: S105 - an act's name
    ASK = "ask"
    LEAVE_MESSAGE = "leave_message"
    END_CONSENT = "end_consent"
    MEND = "mend"
    BUY = "buy"
    TAKE_DOWN = "take_down"
    BRING_UP = "bring_up"
    MIGRATE = "migrate"


@dataclass(frozen=True, slots=True, kw_only=True)
class Button:
    """An act, the words of its button, and what is said once it is done."""

    act: Act
    words: str
    done: str


_CODES: Final[Mapping[Act, int]] = {
    Act.CHANGE_PASSWORD: PASSWORD_CHANGED,
    Act.ASK: ASKS,
    Act.LEAVE_MESSAGE: MESSAGE,
    Act.END_CONSENT: CONSENT_ENDED,
}
_MESSAGE: Final = Button(
    act=Act.LEAVE_MESSAGE,
    words="Break: message at the bank (108)",
    done="A message waits for this person at the bank. Repair it in Bankfeed: there the bank is asked again.",
)
_MEND: Final = Button(act=Act.MEND, words="Mend", done="This sign-in works again, and Bankfeed has been told.")
_BUY: Final = Button(act=Act.BUY, words="New purchase", done="Something was bought. Bankfeed shows it in a moment.")
_WITH_PASSWORD: Final = (
    Button(
        act=Act.CHANGE_PASSWORD,
        words="Break: password changed (103)",
        done="The password is another one now. Repair it in Bankfeed with the username demo and the password go.",
    ),
    Button(
        act=Act.ASK,
        words="Break: asks a question (185)",
        done="The bank asks a question. Repair it in Bankfeed: any answer is right, but mfa, which brings one more question.",
    ),
    _MESSAGE,
)
_WITH_CONSENT: Final = (
    Button(
        act=Act.END_CONSENT,
        words="Break: consent ended (947)",
        done="The consent has ended. Repair it in Bankfeed: the bank's own page asks for a new one.",
    ),
    _MESSAGE,
)
_DOWN: Final = Button(act=Act.TAKE_DOWN, words="Bank down", done="The bank is down. Nobody can mend that but the bank.")
_UP: Final = Button(act=Act.BRING_UP, words="Bank up", done="The bank is up again, and Bankfeed has been told.")
_MIGRATE: Final = Button(
    act=Act.MIGRATE,
    words="Migrate to OAuth",
    done="The bank has a page of its own now. Repair each sign-in in Bankfeed: the bank's page asks for consent.",
)
DONE: Final[Mapping[Act, str]] = {
    each.act: each.done for each in (*_WITH_PASSWORD, *_WITH_CONSENT, _MEND, _BUY, _DOWN, _UP, _MIGRATE)
}


def list_login_buttons(institution: Institution, login: Login) -> tuple[Button, ...]:
    """List what may be done to a login: a consent ends only where one was given, a password changes where there is one."""
    breaks = _WITH_CONSENT if institution.is_oauth else _WITH_PASSWORD
    return (*([_MEND] if login.failing else breaks), _BUY)


def list_bank_buttons(institution: Institution) -> tuple[Button, ...]:
    """List what may be done to a bank."""
    is_down = institution.status in (InstitutionStatus.OFFLINE, InstitutionStatus.MAINTENANCE)
    return (_UP if is_down else _DOWN, *([] if institution.is_oauth else [_MIGRATE]))


def do_to_login(bank: Bank, login: Login, act: Act) -> None:
    """Do to one login what its button says; nothing where its bank has no such button."""
    if act not in {each.act for each in list_login_buttons(bank.institution(login.institution_id), login)}:
        return
    if act in _CODES:
        bank.fail_login(login, _CODES[act])
        bank.tell_of(login)
    elif act is Act.MEND:
        bank.fix_login(login)
    else:
        _buy(bank, login)


def do_to_bank(bank: Bank, institution: Institution, act: Act) -> None:
    """Do to a bank, and to all logins there, what its button says; nothing where it has no such button."""
    if act not in {each.act for each in list_bank_buttons(institution)}:
        return
    until = bank.clock.now() + MIGRATION if act is Act.MIGRATE else None
    status = {Act.TAKE_DOWN: InstitutionStatus.OFFLINE, Act.MIGRATE: InstitutionStatus.MIGRATING}
    is_migrated = institution.is_migrated or act is Act.MIGRATE
    standing = Standing(status=status.get(act, InstitutionStatus.ONLINE), until=until, is_migrated=is_migrated)
    bank.set_standing(institution, standing)
    logins = [each for each in bank.pages.logins.values() if each.institution_id == institution.id]
    for login in logins:
        if act is Act.TAKE_DOWN and not login.failing:
            bank.fail_login(login, DOWN)
        elif act is Act.BRING_UP and login.failing_code == DOWN:
            bank.aggregate(replace(login, failing_code=0))
        else:
            bank.aggregate(login)
        bank.tell_of(login)


def _buy(bank: Bank, login: Login) -> None:
    """Let the holder buy something with the first account; the aggregator asks the bank at once."""
    accounts = bank.pages.accounts_of(login.id)
    account = next((each for each in accounts if each.kind is AccountKind.CHECKING), accounts[0])
    at, number = bank.clock.tick(), bank.pages.next_id()
    shop = MERCHANTS[number % len(MERCHANTS)]
    row = Sighting(
        id=0,
        status=Status.ACTIVE,
        amount=-Decimal(shop.low * 100 + number % 100).scaleb(-2),
        dated_at=at,
        description=plain_text(shop),
        starts_at=at,
        posted_at=at,
        payee=shop.name,
        category=shop.category,
    )
    bank.make_row(account, row)
    bank.aggregate(login)
