"""What the widget does at the aggregator: each function is one call, or a few in a row, and says where the session goes.

Nothing here holds a transaction during a call. A bank's refusal is no error: it is a page. Credentials and answers come in as
arguments, go to the aggregator, and are in no log line.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

from bankfeed.aggregators import ListedAccount
from bankfeed.aggregators.linking import Challenge, Linker, Offer, OfferedAccount
from bankfeed.db.institution import Institution
from bankfeed.db.widget import Outcome, Place, WidgetKind, WidgetSession, WidgetStep
from bankfeed.db.widget_login import Login
from bankfeed.errors import AggregatorError, StillAsking
from bankfeed.health import ConnectionState, Step, read_code
from bankfeed.links import Signer
from bankfeed.logs import get_logger
from bankfeed.model import ConnectionId
from bankfeed.repair import Answer, StepName, Tried
from bankfeed.sealing import Sealer
from bankfeed.standing import read_standing
from ingress.widget.links import write_consent_state
from ingress.widget.ours import Ours
from ingress.widget.same import find_rest, find_same
from ingress.widget.visit import NOTHING, Visit, seal

NOT_NOW: Final = "The bank could not be asked just now. Nothing was lost: try again in a moment."
NOT_AT_ALL: Final = "This bank cannot be linked at the moment. Your bookkeeper's support can tell you more."
TOO_SLOW: Final = "The bank has not answered in time. It goes on looking: ask again in a minute."
NO_SOURCE: Final = "Banks of this kind cannot be linked here yet. Your bookkeeper's support can tell you more."
KNOWN_ALREADY: Final = "These accounts are linked already. Sign in at the bank once more to renew them."
SOME_KNOWN: Final = "Your sign-in was renewed. These accounts are not linked yet: choose those to add."
SOME_LOOK_LINKED: Final = "Accounts that look like ones that are linked already are not ticked."
OFFER_OVER: Final = "The time to choose is over. Nothing was linked: sign in once more."
DECLINED: Final = 10814
_AGAIN: Final = {
    StepName.CREDENTIALS: StepName.CREDENTIALS_AGAIN,
    StepName.CHALLENGE: StepName.CHALLENGE_AGAIN,
    StepName.CONSENT: StepName.CONSENT_AGAIN,
}


@dataclass(frozen=True, slots=True)
class Errand:
    """One session on its way to the aggregator. `login` is the connection to repair or renew, None where one is to be made.

    `tried` is how far a guided repair has come; it goes along whatever page comes next.
    """

    ours: Ours
    linker: Linker
    signer: Signer
    sealer: Sealer
    session: WidgetSession
    institution: Institution
    login: Login | None
    back_to: str
    tried: tuple[Tried, ...] = ()

    def trying(self, name: StepName) -> "Errand":
        """Note that a remedy is tried: where the bank still refuses after it, the repair goes on from there."""
        done = {each.step for each in self.tried}
        name = _AGAIN.get(name, name) if name in done else name
        return self if name in done else replace(self, tried=(*self.tried, Tried(name, Answer.FAILED)))

    # ------------------------------------------------------------------------------------------ linking

    async def prepare(self) -> Place:
        """Find out what the bank asks for: its form, or its own page. Where it has one and is linked already, ask which login."""
        if self.login is None and self.institution.is_oauth and await self.ours.list_logins():
            return self._place(WidgetStep.KNOWN)
        return await self.ask_form()

    async def ask_form(self, *, message: str = "") -> Place:
        """Fetch the bank's form; where it has a page of its own, begin a consent there."""
        try:
            form = await self.linker.find_form(self.institution.ref)
        except AggregatorError as error:
            return self._trouble(error)
        if form is None:
            return await self.ask_consent(message=message)
        return self._place(WidgetStep.CREDENTIALS, Visit(form=form), message=message)

    async def sign_in(self, visit: Visit, credentials: Mapping[str, str]) -> Place:
        """Sign in at the bank: for a new login its accounts are found; one that exists is given these credentials and asked."""
        try:
            if self.login is not None:
                return await self._renew(self.login, credentials)
            customer_ref = await self.ours.enrol()
            if customer_ref is None:
                return self._place(WidgetStep.TROUBLE, message=NO_SOURCE)
            said = await self.linker.discover(customer_ref, self.institution.ref, credentials)
        except AggregatorError as error:
            return await self._refused_sign_in(visit, credentials, error)
        return await self._go_on(said, replace(visit, credentials=credentials))

    async def answer(self, visit: Visit, answers: Sequence[tuple[str, str]]) -> Place:
        """Answer what the bank asked."""
        challenge = visit.challenge
        assert challenge is not None
        try:
            if visit.is_refresh and self.login is not None:
                listed = await self.linker.answer_refresh(
                    self._customer_ref(), self.login.login_ref, challenge.session, answers
                )
                return await self._after_refresh(self.login, listed, visit)
            customer_ref = await self.ours.enrol() or ""
            said = await self.linker.answer_discovery(customer_ref, self.institution.ref, challenge.session, answers)
        except AggregatorError as error:
            return await self._refused_answer(visit, error)
        return await self._go_on(said, visit)

    async def link(self, visit: Visit, chosen: Sequence[OfferedAccount]) -> Place:
        """Link the chosen accounts: there, then here, with the refresh that brings their transactions.

        What was linked there already without our knowing of it, because an earlier call was cut off, is taken over. What another
        opening of the widget linked since the page was shown is left out.
        """
        try:
            customer_ref = await self.ours.enrol() or ""
            taken = await self.ours.take_over(customer_ref, chosen)
            logins = await self.ours.list_logins_with_accounts()
            free = find_rest(chosen, logins)
            rest = [each for each in chosen if each in free or each.account_ref in visit.linked]
            if await self.ours.is_over():
                return self._place(WidgetStep.LEFT)
            listed = await self.linker.link(customer_ref, self.institution.ref, rest) if rest else ()
        except AggregatorError as error:
            is_passing = error.code is not None or error.is_retryable
            return self._trouble(error) if is_passing else self._place(WidgetStep.TROUBLE, message=OFFER_OVER)
        connection_id = await self.ours.keep(customer_ref, listed) if listed else taken
        if connection_id is None:
            nearest = max(logins, key=lambda login: login.connection_id)
            return self._place(WidgetStep.DONE, connection_id=nearest.connection_id, outcome=Outcome.UPDATED)
        return self._place(WidgetStep.DONE, connection_id=connection_id, outcome=Outcome.LINKED)

    async def renew(self, login: Login, visit: Visit) -> Place:
        """Renew the login that the person says it is: with the credentials that were just used, else at the bank's own page."""
        errand = replace(self, login=login)
        if visit.offer is None or not visit.credentials:
            return await errand.ask_consent()
        try:
            rest = find_rest(visit.offer.accounts, await self.ours.list_logins_with_accounts())
        except AggregatorError as error:
            return self._trouble(error)
        return await errand.update(rest, visit.credentials)

    # ------------------------------------------------------------------------------------------ a bank's own page

    async def ask_consent(self, login: Login | None = None, *, message: str = "") -> Place:
        """Begin a consent at the bank's own page, to renew a login where there is one."""
        login = login or self.login
        try:
            customer_ref = login.customer_ref if login is not None else await self.ours.enrol()
            if customer_ref is None:
                return self._place(WidgetStep.TROUBLE, message=NO_SOURCE)
            consent = await self.linker.begin_consent(
                customer_ref,
                self.institution.ref,
                back_to=self.back_to,
                state=write_consent_state(self.signer, self.session.customer_id, self.session.id),
                login_ref=None if login is None else login.login_ref,
            )
        except AggregatorError as error:
            return self._trouble(error)
        connection_id = None if login is None else login.connection_id
        return self._place(WidgetStep.CONSENT, Visit(consent=consent), message=message, connection_id=connection_id)

    async def end_consent(self, visit: Visit, code: str) -> Place:
        """Hand in what the bank's page gave."""
        assert visit.consent is not None
        try:
            customer_ref = self._customer_ref() if self.login is not None else await self.ours.enrol() or ""
            said = await self.linker.end_consent(customer_ref, self.institution.ref, visit.consent.session, code)
        except AggregatorError as error:
            if self.login is not None:
                await self.ours.ask_refresh(self.login)
            return self._trouble(error)
        if isinstance(said, Offer):
            return await self._go_on(said, NOTHING)
        assert self.login is not None
        return await self._after_refresh(self.login, said, visit)

    async def decline(self) -> Place:
        """Note that its holder declined at the bank's own page; a login that exists has lost its consent by that."""
        if self.login is not None:
            await self.ours.ask_refresh(self.login)
        return self._place(WidgetStep.TROUBLE, code=DECLINED)

    # ------------------------------------------------------------------------------------------ a login that exists

    async def refresh(self) -> Place:
        """Have the bank asked now, with its person present to answer."""
        assert self.login is not None
        try:
            said = await self.linker.refresh_with_person(self._customer_ref(), self.login.login_ref)
        except AggregatorError as error:
            await self.ours.ask_refresh(self.login)
            return self._trouble(error)
        return await self._after_refresh(self.login, said, Visit())

    async def _renew(self, login: Login, credentials: Mapping[str, str]) -> Place:
        await self.linker.change_credentials(self._customer_ref(), login.login_ref, credentials)
        said = await self.linker.refresh_with_person(self._customer_ref(), login.login_ref)
        return await self._after_refresh(login, said, Visit())

    async def _after_refresh(self, login: Login, said: Challenge | Sequence[ListedAccount], visit: Visit) -> Place:
        """Go on with what the bank says of a login: it asks, it is well, or its code says what is missing."""
        if isinstance(said, Challenge):
            kept = Visit(challenge=said, is_refresh=True, offer=visit.offer)
            return self._place(WidgetStep.CHALLENGE, kept, connection_id=login.connection_id)
        code = read_standing(said).status_code
        if code:
            await self.ours.ask_refresh(login)
            return self._place(WidgetStep.TROUBLE, code=code, connection_id=login.connection_id)
        await self.ours.ask_refresh(login, is_repair=True)
        if visit.offer is not None:
            return self._offer_rest(login, visit.offer.accounts)
        is_fix = self.session.kind is WidgetKind.FIX
        outcome = Outcome.REPAIRED if is_fix else Outcome.UPDATED
        return self._place(WidgetStep.DONE, connection_id=login.connection_id, outcome=outcome)

    # ------------------------------------------------------------------------------------------ steps

    async def _go_on(self, said: Challenge | Offer, visit: Visit) -> Place:
        """Ask what the bank asks, or offer its accounts; a login that is linked already is updated, never a second one made."""
        credentials = visit.credentials
        if isinstance(said, Challenge):
            return self._place(WidgetStep.CHALLENGE, Visit(form=visit.form, challenge=said, credentials=credentials))
        try:
            logins = await self.ours.list_logins_with_accounts()
        except AggregatorError as error:
            return self._trouble(error)
        rest, same = find_rest(said.accounts, logins), find_same(logins, said)
        linked = tuple(each.account_ref for each in said.accounts if each not in rest)
        found = Visit(offer=said, credentials=credentials, linked=linked)
        if same and credentials:
            return await replace(self, login=same[0]).update(rest, credentials, beside=same[1:])
        if same and not rest:
            return await self.ask_consent(same[0], message=KNOWN_ALREADY)
        return self._place(WidgetStep.KNOWN if linked else WidgetStep.ACCOUNTS, found)

    async def update(
        self, rest: Sequence[OfferedAccount], credentials: Mapping[str, str], *, beside: Sequence[Login] = ()
    ) -> Place:
        """Give a login that is linked already its new credentials; where it did not work, the bank is asked with them at once.

        `beside` are further connections of the same login, which get them too. What is left is offered.
        """
        login = self.login
        assert login is not None
        if await self.ours.is_over():
            return self._place(WidgetStep.LEFT)
        try:
            for each in (login, *beside):
                await self.linker.change_credentials(self._customer_ref(), each.login_ref, credentials)
            if login.state == ConnectionState.ACTIVE:
                return self._offer_rest(login, rest)
            asked = await self.linker.refresh_with_person(self._customer_ref(), login.login_ref)
        except AggregatorError as error:
            await self.ours.ask_refresh(login)
            return replace(self._trouble(error), connection_id=login.connection_id)
        return await self._after_refresh(login, asked, Visit(offer=Offer(accounts=tuple(rest))))

    def _offer_rest(self, login: Login, rest: Sequence[OfferedAccount]) -> Place:
        if not rest:
            return self._place(WidgetStep.DONE, connection_id=login.connection_id, outcome=Outcome.UPDATED)
        visit = Visit(offer=Offer(accounts=tuple(rest)), is_refresh=True)
        return self._place(WidgetStep.ACCOUNTS, visit, message=SOME_KNOWN, connection_id=login.connection_id)

    async def _refused_sign_in(self, visit: Visit, credentials: Mapping[str, str], error: AggregatorError) -> Place:
        if self.login is not None:
            await self.ours.ask_refresh(self.login)
        if error.code is not None and read_code(error.code).step is Step.CONSENT:
            return replace(await self.ask_form(), status_code=error.code)
        if error.code is not None and read_code(error.code).step is Step.CREDENTIALS:
            return self._place(WidgetStep.CREDENTIALS, Visit(form=visit.form), code=error.code)
        return replace(self._trouble(error), visit=self._seal(Visit(form=visit.form, credentials=credentials)))

    async def _refused_answer(self, visit: Visit, error: AggregatorError) -> Place:
        if visit.is_refresh and self.login is not None:
            await self.ours.ask_refresh(self.login)
            return self._trouble(error)
        kept = Visit(form=visit.form, credentials=visit.credentials)
        return replace(self._trouble(error), visit=self._seal(kept))

    def _trouble(self, error: AggregatorError) -> Place:
        if error.code is not None and not isinstance(error, StillAsking):
            return self._place(WidgetStep.TROUBLE, code=error.code)
        get_logger().warning("widget.no_answer", session_id=str(self.session.id), reason=str(error)[:300])
        message = TOO_SLOW if isinstance(error, StillAsking) else NOT_NOW if error.is_retryable else NOT_AT_ALL
        return self._place(WidgetStep.TROUBLE, message=message)

    def _place(
        self,
        step: WidgetStep,
        visit: Visit = Visit(),  # noqa: B008 - an immutable value
        *,
        code: int | None = None,
        message: str = "",
        connection_id: ConnectionId | None = None,
        outcome: Outcome | None = None,
    ) -> Place:
        return Place(
            step=step,
            visit="" if outcome is not None else self._seal(visit),
            status_code=code,
            message=message,
            institution_id=self.institution.id,
            connection_id=connection_id,
            outcome=outcome,
        )

    def _seal(self, visit: Visit) -> str:
        return seal(self.sealer, self.session, replace(visit, tried=self.tried))

    def _customer_ref(self) -> str:
        assert self.login is not None
        if self.login.customer_ref is None:
            raise AggregatorError("the client is not enrolled at the aggregator", is_retryable=False)
        return self.login.customer_ref
