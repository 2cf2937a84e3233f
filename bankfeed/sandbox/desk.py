"""The bank's desk: where a person signs in, answers questions, chooses accounts and consents, through the aggregator.

What is under way is kept in memory for ten minutes and nowhere else. Credentials and answers are judged and let go.
"""

import hashlib
import hmac
import secrets
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from bankfeed.sandbox.accounts import Account, AccountKind
from bankfeed.sandbox.bank import Bank
from bankfeed.sandbox.book import Login
from bankfeed.sandbox.challenges import UNANSWERED, WRONG, Challenge, first_challenge, next_challenge
from bankfeed.sandbox.consents import CONSENT_MISSING, Consent, Decision
from bankfeed.sandbox.credentials import Manner, code_of, manner_of
from bankfeed.sandbox.forms import read_form
from bankfeed.sandbox.institutions import Institution
from bankfeed.sandbox.refusals import (
    Refusal,
    aggregation_failed,
    bad_request,
    no_such_account,
    session_over,
    unfinished_consent,
)
from bankfeed.sandbox.shelf import LIFE_S, Shelf

MIGRATED = 948
QUESTIONS = {UNANSWERED, WRONG, 931, 938, 940, 971}
MENDED_BY_PRESENCE = {108, *QUESTIONS}
MENDED_BY_CREDENTIALS = {103, 109, CONSENT_MISSING, 946, 947, MIGRATED}
MENDED_BY_CONSENT = MENDED_BY_PRESENCE | MENDED_BY_CREDENTIALS
CONSENTING_NAME = "demo"


@dataclass(frozen=True, slots=True, kw_only=True)
class Visit:
    """A person at the desk. `name` is what is kept of the username; `login_id` is None for a login yet to be made."""

    customer_id: int
    institution_id: int
    name: str
    manner: Manner
    login_id: int | None = None
    is_oauth: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """Questions that a visit waits with; `session` names it until they are answered."""

    session: str = field(repr=False)
    challenge: Challenge


@dataclass(frozen=True, slots=True, kw_only=True)
class Offer:
    """Accounts that a person may now link; the ids are theirs if they do. Not chosen, they were never there."""

    visit: Visit
    ids: Mapping[AccountKind, int]


Outcome = Asked | Offer | Login


@dataclass(slots=True, kw_only=True)
class Desk:
    """The desk at work. `slow_s` is how long the slow user's accounts take to be found."""

    bank: Bank
    slow_s: float
    waiting: Shelf[tuple[Visit, Challenge]] = field(default_factory=Shelf)
    offers: Shelf[Offer] = field(default_factory=Shelf)
    consents: Shelf[Consent] = field(default_factory=Shelf)
    _ready_s: dict[str, float] = field(default_factory=dict, repr=False)

    # Signing in

    def sign_in(self, customer_id: int, institution: Institution, values: Mapping[str, str]) -> Visit:
        """Judge the credentials of a new login. Refuses wrong ones with their aggregation code."""
        refuse_legacy(institution)
        username, password = read_form(institution, values)
        return Visit(
            customer_id=customer_id,
            institution_id=institution.id,
            name=self.bank.name_of(customer_id, institution.id, username),
            manner=manner_at(institution, manner_of(username, password)),
        )

    def wait_s(self, visit: Visit) -> float:
        """Return how many seconds it still takes to find the accounts.

        The work goes on when the caller hangs up: who asks again waits for the rest only, and not at all once it is
        done.
        """
        if visit.manner is not Manner.SLOW:
            return 0.0
        now_s = time.monotonic()
        self._ready_s = {work: ready_s for work, ready_s in self._ready_s.items() if now_s - ready_s < LIFE_S}
        work = f"{visit.customer_id}/{visit.institution_id}/{visit.name}"
        return max(0.0, self._ready_s.setdefault(work, now_s + self.slow_s) - now_s)

    def enter(self, visit: Visit) -> Outcome:
        """Let a visit in, or ask it what its manner asks."""
        if not visit.manner.asks:
            return self._admit(visit)
        return self._ask(visit, first_challenge(visit.manner, turn=secrets.randbelow(1_000), now_s=int(time.time())))

    def answer(
        self, session: str, answers: Mapping[str, str], *, customer_id: int, institution_id: int = 0, login_id: int = 0
    ) -> Outcome:
        """Judge the answers of a session, which they use up.

        Refuses a session that is over or another's with 331, missing and late answers with 185, wrong ones with 187.
        An existing login shows the code from then on.
        """
        waited = self.waiting.find(session)
        if waited is None or not _is_place(waited[0], customer_id, institution_id, login_id):
            raise session_over()
        self.waiting.take(session)
        visit, challenge = waited
        try:
            following = next_challenge(visit.manner, challenge, answers, now_s=int(time.time()))
        except Refusal as refusal:
            if visit.login_id is not None:
                self.bank.fail_login(self.bank.login(customer_id, visit.login_id), refusal.code)
            raise
        return self._ask(visit, following) if following else self._admit(visit)

    def expire_codes(self) -> None:
        """End the life of every token's code that is waited for."""
        for name in self.waiting.names():
            if (waited := self.waiting.find(name)) and waited[1].expires_at_s:
                self.waiting.replace(name, (waited[0], replace(waited[1], expires_at_s=0)))

    def expire_sessions(self) -> None:
        """End everything that is under way."""
        for shelf in (self.waiting, self.offers, self.consents):
            shelf.empty()

    # An existing login

    def refresh(self, login: Login) -> Outcome:
        """Aggregate a login with its person present: the bank may ask, and what only a person can clear is cleared."""
        if login.failing and login.failing not in MENDED_BY_PRESENCE:
            return self.bank.aggregate(login)
        manner = Manner.TEXT if login.failing in QUESTIONS and not login.manner.asks else login.manner
        return self.enter(
            Visit(
                customer_id=login.customer_id,
                institution_id=login.institution_id,
                name=login.username,
                manner=manner,
                login_id=login.id,
            )
        )

    def change_credentials(self, login: Login, values: Mapping[str, str]) -> None:
        """Keep what new credentials lead to, wrong ones too; the next aggregation tells."""
        institution = self.bank.institution(login.institution_id)
        refuse_legacy(institution)
        username, password = read_form(institution, values)
        code = code_of(username, password)
        if code:
            self.bank.keep_login(replace(login, credentials_code=code))
            return
        manner = manner_at(institution, manner_of(username, password))
        failing_code = 0 if login.failing_code in MENDED_BY_CREDENTIALS else login.failing_code
        self.bank.keep_login(replace(login, credentials_code=0, failing_code=failing_code, manner=manner))

    # Choosing accounts

    def activate(
        self, customer_id: int, institution_id: int, numbers: Mapping[int, str]
    ) -> tuple[Login, tuple[Account, ...]]:
        """Link accounts of one offer, by id with the number as offered ("" for as it is), which uses the offer up."""
        self.bank.customer(customer_id)
        self.bank.institution(institution_id)
        first_id = next(iter(numbers))
        name = self.offers.first(
            customer_id, lambda it: it.visit.institution_id == institution_id and first_id in it.ids.values()
        )
        offer = self.offers.find(name) if name else None
        if name is None or offer is None:
            raise no_such_account(customer_id, first_id)
        kinds = {account_id: kind for kind, account_id in offer.ids.items()}
        for account_id, number in numbers.items():
            if account_id not in kinds:
                raise no_such_account(customer_id, account_id)
            if number and number != self.number_of(offer.visit, kinds[account_id]):
                raise bad_request("expected each account with the number that was discovered")
        self.offers.take(name)
        return self.bank.link(
            customer_id,
            institution_id,
            name=offer.visit.name,
            kinds=[kind for kind in AccountKind if offer.ids.get(kind) in numbers],
            manner=offer.visit.manner,
            ids=offer.ids,
            is_oauth=offer.visit.is_oauth,
        )

    def number_of(self, visit: Visit, kind: AccountKind) -> str:
        """Return the number of an account that a visit is offered."""
        return self.bank.number_of(visit.customer_id, visit.institution_id, visit.name, kind)

    # Consents

    def begin_consent(self, consent: Consent) -> str:
        """Begin an OAuth session; returns its name, which the page of the bank has in its address."""
        return self.consents.put(consent.customer_id, consent)

    def consenting_number(self, consent: Consent, kind: AccountKind) -> str:
        """Return the number of an account that a consent would bring."""
        return self.bank.number_of(consent.customer_id, consent.institution_id, CONSENTING_NAME, kind)

    def decide(self, session: str, consent: Consent, decision: Decision, kinds: Sequence[AccountKind]) -> Consent:
        """Keep what the person decided on the bank's page; a login whose holder declines lacks consent at once."""
        code = secrets.token_urlsafe(32) if decision is Decision.ALLOWED else ""
        decided = replace(consent, decision=decision, code=code, kinds=tuple(kinds))
        self.consents.replace(session, decided)
        login = self.bank.pages.logins.get(consent.login_id or 0)
        if decision is Decision.DECLINED and login is not None:
            self.bank.fail_login(login, CONSENT_MISSING)
        return decided

    def end_consent(self, session: str, code: str, *, customer_id: int, institution_id: int) -> Offer | Login:
        """Take a consent for its code, once: accounts to choose from, or the existing login mended.

        Refuses a session that is over with 331, a decline with 10814, an open decision and a wrong code with 12003,
        and a login of which an account was left out with 945.
        """
        consent = self.consents.find(session)
        if consent is None or (consent.customer_id, consent.institution_id) != (customer_id, institution_id):
            raise session_over()
        if consent.decision is Decision.DECLINED:
            self.consents.take(session)
            raise unfinished_consent(10814, "The account holder declined.")
        if not consent.code or not hmac.compare_digest(_digest(code), _digest(consent.code)):
            raise unfinished_consent(12003, "The account holder has not allowed this yet, or the code is wrong.")
        self.consents.take(session)
        if consent.login_id is not None:
            return self._renew(self.bank.login(customer_id, consent.login_id), consent)
        visit = Visit(
            customer_id=customer_id,
            institution_id=institution_id,
            name=CONSENTING_NAME,
            manner=Manner.PLAIN,
            is_oauth=True,
        )
        return self._offer(visit, consent.kinds)

    def _renew(self, login: Login, consent: Consent) -> Login:
        if not {account.kind for account in self.bank.pages.accounts_of(login.id)} <= set(consent.kinds):
            self.bank.fail_login(login, CONSENT_MISSING)
            raise aggregation_failed(CONSENT_MISSING)
        renewed = replace(login, manner=Manner.PLAIN, credentials_code=0)
        self.bank.keep_login(renewed)
        if login.failing_code and login.failing_code not in MENDED_BY_CONSENT:
            return self.bank.aggregate(renewed)
        return self.bank.fix_login(renewed)

    def _ask(self, visit: Visit, challenge: Challenge) -> Asked:
        return Asked(session=self.waiting.put(visit.customer_id, (visit, challenge)), challenge=challenge)

    def _admit(self, visit: Visit) -> Offer | Login:
        if visit.login_id is None:
            return self._offer(visit, tuple(AccountKind))
        login = self.bank.login(visit.customer_id, visit.login_id)
        if login.failing and login.failing not in MENDED_BY_PRESENCE:
            return self.bank.aggregate(login)
        return self.bank.fix_login(login) if login.failing or login.status_code else self.bank.aggregate(login)

    def _offer(self, visit: Visit, kinds: Sequence[AccountKind]) -> Offer:
        offer = Offer(visit=visit, ids={kind: self.bank.pages.next_id() for kind in AccountKind if kind in kinds})
        self.offers.put(visit.customer_id, offer)
        return offer


def refuse_legacy(institution: Institution) -> None:
    """Refuse credentials at an institution that has a page of its own: 948 where it migrated, bad request elsewhere."""
    if institution.is_migrated:
        raise aggregation_failed(MIGRATED)
    if institution.is_oauth:
        raise bad_request("This institution takes no credentials here; its holder signs in on its own page.")


def manner_at(institution: Institution, manner: Manner) -> Manner:
    """Return a manner as an institution has it: where everything is asked for, nobody enters without a token."""
    return Manner.TOKEN if institution.asks_everything and manner is Manner.PLAIN else manner


def _is_place(visit: Visit, customer_id: int, institution_id: int, login_id: int) -> bool:
    if visit.customer_id != customer_id:
        return False
    return visit.login_id == login_id if login_id else visit.login_id is None and visit.institution_id == institution_id


def _digest(text: str) -> bytes:
    return hashlib.sha256(text.encode()).digest()
