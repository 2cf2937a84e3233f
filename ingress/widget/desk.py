"""What a person does on a page: looked at, then either a move within the session, or a call to the aggregator.

A call runs in a task of its own, so that nobody's browser holds it: it goes on when the browser goes away, and the page asks
how far it is. It holds the session by a token; were this process to end, the page offers to try again once its time is over.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, replace
from typing import Final
from uuid import UUID, uuid4

from bankfeed.aggregators.linking import Challenge, Linker, Offer, OfferedAccount
from bankfeed.cases import CaseRequest, open_case
from bankfeed.db import Database, client, widget, widget_login
from bankfeed.db.institution import Institution
from bankfeed.db.widget import Outcome, Place, WidgetKind, WidgetSession, WidgetStep
from bankfeed.db.widget_login import Login
from bankfeed.errors import AggregatorError, BadRequest, BankfeedError, NotFound, Unavailable
from bankfeed.jobs import Wake, Waker
from bankfeed.logs import get_logger
from bankfeed.model import CustomerId
from bankfeed.repair import MAX_TRIED, StepName, Tried
from bankfeed.settings import Settings
from bankfeed.widgets import note_ended, tell_ended
from ingress.api.catalogue import Catalogue
from ingress.widget.flow import NOT_AT_ALL, NOT_NOW, SOME_LOOK_LINKED, Errand
from ingress.widget.handover import make_link
from ingress.widget.ours import Ours
from ingress.widget.pages import CHECKED
from ingress.widget.repairing import clean, find_step
from ingress.widget.visit import Visit, seal, unseal

WORK_MARGIN_S: Final = 30  # beside what the bank may take: a token, an enrolment, what is written after it
GLANCE_S: Final = 1.5  # that a page waits for its call before it says that the bank is being asked
MOST_CALLS: Final = 200
MOST_TRIES: Final = 20
MOST_CHARS: Final = 256
MOST_CODE_CHARS: Final = 2_000
TOO_MANY: Final = "That was tried too often. Try again in an hour, or tell your bookkeeper."
BUSY: Final = "Too many banks are being asked at this moment. Try again in a minute."
CUT_OFF: Final = "That was interrupted. Nothing was lost: try again."
NOTHING_CHOSEN: Final = "Choose at least one account, or leave without linking."
RAN_OUT: Final = "The time to go on was over, so this begins anew."
EMPTY_FIELD: Final = "Fill in every field."
VISIT_S: Final = 1_800  # that an unfinished repair is kept
_REPAIRS: Final = (WidgetStep.TROUBLE, WidgetStep.CHECK)
_CALLS: Final[Mapping[str, tuple[WidgetStep, ...]]] = {
    "renew": (WidgetStep.KNOWN,),
    "another": (WidgetStep.KNOWN,),
    "again": (*_REPAIRS, WidgetStep.PREPARE, WidgetStep.CONSENT, WidgetStep.CHALLENGE),
    "credentials": _REPAIRS,
    "consent": _REPAIRS,
}
"""What only calls the bank, and on which pages."""


Call = Callable[[], Awaitable[Place]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """What the desk works with."""

    database: Database
    waker: Waker
    catalogue: Catalogue
    connectors: Mapping[str, Linker]


class Desk:
    """Takes what is posted, and runs the calls. Until `open` is called everything is Unavailable."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.signer = settings.signer()
        self.sealer = settings.sealer()
        self._parts: Parts | None = None
        self._calls: set[asyncio.Task[None]] = set()

    def open(self, parts: Parts) -> None:
        """Begin to work."""
        self._parts = parts

    async def close(self, *, limit_s: float) -> None:
        """Let calls go on for a moment, then cut them off: their pages offer to try again."""
        if self._calls:
            _, late = await asyncio.wait(self._calls, timeout=limit_s)
            for task in late:
                task.cancel()
            if late:
                await asyncio.wait(late, timeout=limit_s)

    @property
    def parts(self) -> Parts:
        """What it works with. Raises Unavailable."""
        if self._parts is None:
            raise Unavailable("starting")
        return self._parts

    async def find_session(self, customer_id: CustomerId, session_id: UUID) -> WidgetSession | None:
        """Return a session; None where it is forgotten."""
        async with self.parts.database.tenant(customer_id) as conn:
            return await widget.find_session(conn, customer_id, session_id)

    async def find_institution(self, session: WidgetSession) -> Institution | None:
        """Return the institution that a session is about; None where it is about none yet."""
        if session.institution_id is None:
            return None
        return await self.parts.catalogue.get(session.institution_id)

    async def find_login(self, session: WidgetSession) -> Login | None:
        """Return the connection that a session is about; None where there is none, or it is closed."""
        if session.connection_id is None:
            return None
        async with self.parts.database.tenant(session.customer_id) as conn:
            found = await widget_login.list_logins(conn, session.customer_id, connection_id=session.connection_id)
        return found[0] if found else None

    def read_visit(self, session: WidgetSession) -> Visit:
        """Open what a session keeps."""
        return unseal(self.sealer, session)

    # ------------------------------------------------------------------------------------------ opening

    async def begin(self, session: WidgetSession, *, base: str) -> str | None:
        """Begin a session that was just opened; return where the aggregator's own widget is, where it has one.

        Raises AggregatorError where that could not be had; the session is over then.
        """
        institution = await self.find_institution(session)
        connectors = self.parts.connectors
        connector = institution.connector if institution is not None else next(iter(connectors))
        if connector not in connectors:
            raise AggregatorError("this deployment has no connector for the institution", is_retryable=False)
        if connectors[connector].has_own_widget:
            ours = Ours(self.parts.database, connectors[connector], session, connector, institution)
            link = await make_link(ours, await self.find_login(session), base=base)
            await self.move(session, Place(step=WidgetStep.DONE, outcome=Outcome.HANDED_OVER))
            return link
        if session.step is WidgetStep.PREPARE and institution is not None:
            errand = await self._errand(session, institution, base=base)
            await self._call(session, errand.prepare)
        return None

    # ------------------------------------------------------------------------------------------ what is posted

    async def act(self, session: WidgetSession, form: Mapping[str, str], *, base: str) -> None:
        """Do what a page asks for. What does not fit the session as it is now does nothing: the page shows how it is."""
        action = form.get("action", "")
        if session.ended_at is not None or form.get("version") != str(session.version):
            return
        if action == "leave" and session.can_leave:
            await self.end(session, Outcome.LEFT)
        elif session.is_working:
            return
        elif action == "back" and session.kind is WidgetKind.ADD and session.connection_id is None:
            await self.move(session, Place(step=WidgetStep.INSTITUTION))
        elif action == "choose" and session.step is WidgetStep.INSTITUTION:
            await self._choose(session, form.get("institution", ""), base=base)
        elif (institution := await self.find_institution(session)) is not None:
            errand = await self._errand(session, institution, base=base)
            await self._act_at_bank(errand, self.read_visit(session), action, form)

    async def come_back(self, session: WidgetSession, code: str, *, base: str) -> bool:
        """Take what a bank's own page brought back, once; no code is a refusal there. False where nobody waits for it."""
        visit, institution = self.read_visit(session), await self.find_institution(session)
        is_awaited = session.step is WidgetStep.CONSENT and session.ended_at is None and not session.is_working
        if not is_awaited or visit.consent is None or institution is None:
            return False
        trying = (await self._errand(session, institution, base=base)).trying(StepName.CONSENT)
        end = trying.decline if not code else lambda: trying.end_consent(visit, code[:MOST_CODE_CHARS])
        await self._call(session, end)
        return True

    async def end(self, session: WidgetSession, outcome: Outcome) -> None:
        """End a session before it is done; nothing of it is kept. Not while accounts are being linked: that ends it."""
        if session.ended_at is None and not session.can_leave:
            return
        await self.move(session, Place(step=WidgetStep.LEFT, outcome=outcome))

    async def move(self, session: WidgetSession, place: Place) -> None:
        """Let a session go on, or end, without a call."""
        async with self.parts.database.tenant(session.customer_id) as conn:
            is_moved = await widget.move(conn, session, place)
            waiting = await tell_ended(conn, session, place) if is_moved else 0
        self._note(session, place, waiting, is_over=is_moved)

    async def _choose(self, session: WidgetSession, named: str, *, base: str) -> None:
        is_id = named.isascii() and named.isdigit() and len(named) < 19
        institution = await self.parts.catalogue.get(int(named)) if is_id else None
        if institution is None or institution.connector not in self.parts.connectors:
            return
        errand = await self._errand(session, institution, base=base)
        await self._call(session, errand.prepare)

    async def _act_at_bank(self, errand: Errand, visit: Visit, action: str, form: Mapping[str, str]) -> None:
        """Do what needs the bank, or the repair of its connection, where the page that the session is at has it."""
        step = errand.session.step
        if action == "another" and step is WidgetStep.KNOWN and visit.offer is not None:
            place = Place(step=WidgetStep.ACCOUNTS, visit=self._seal(errand.session, visit), message=SOME_LOOK_LINKED)
            await self.move(errand.session, place)
            return
        if (steps := _CALLS.get(action)) is not None and step in steps:
            call = await self._find_call(errand, visit, action, form)
            if call is not None:
                await self._call(errand.session, call, is_try=action in ("again", "renew"))
            return
        posted = {
            ("sign_in", WidgetStep.CREDENTIALS): self._sign_in,
            ("answer", WidgetStep.CHALLENGE): self._answer,
            ("link", WidgetStep.ACCOUNTS): self._link,
            **dict.fromkeys((("check", each) for each in CHECKED), self._check),
            ("checked", WidgetStep.CHECK): self._check,
            ("report", WidgetStep.SUPPORT): self._report,
        }
        if (take := posted.get((action, step))) is not None:
            await take(errand, visit, form)

    async def _find_call(self, errand: Errand, visit: Visit, action: str, form: Mapping[str, str]) -> Call | None:
        if action == "renew":
            logins = {str(each.connection_id): each for each in await errand.ours.list_logins()}
            chosen = logins.get(form.get("bank_account", ""))
            return None if chosen is None else lambda: errand.renew(chosen, visit)
        if action == "consent":
            return errand.ask_consent
        return self._again(errand, visit) if action == "again" else errand.ask_form

    def _again(self, errand: Errand, visit: Visit) -> Call:
        """Begin anew where something went wrong: with the form that was filled in, where there is one."""
        if errand.session.step is WidgetStep.CONSENT:
            return errand.ask_consent
        if errand.session.step is WidgetStep.PREPARE:
            return errand.prepare
        if errand.login is not None:
            return errand.trying(StepName.REFRESH).refresh
        if visit.credentials:
            return lambda: errand.sign_in(visit, visit.credentials)
        return errand.ask_form

    async def _sign_in(self, errand: Errand, visit: Visit, form: Mapping[str, str]) -> None:
        session = errand.session
        given = {field.id: form.get(f"field-{number}", "")[:MOST_CHARS] for number, field in enumerate(visit.form)}
        if not visit.form:
            await self._call(session, lambda: errand.ask_form(message=RAN_OUT))
        elif not all(given.values()):
            await self.move(session, Place(step=session.step, visit=self._seal(session, visit), message=EMPTY_FIELD))
        else:
            trying = errand.trying(StepName.CREDENTIALS)
            await self._call(session, lambda: trying.sign_in(visit, given), is_try=True)

    async def _answer(self, errand: Errand, visit: Visit, form: Mapping[str, str]) -> None:
        session, challenge = errand.session, visit.challenge
        if challenge is None:
            again = errand.refresh if errand.login is not None else lambda: errand.ask_form(message=RAN_OUT)
            await self._call(session, again)
            return
        answers = read_answers(challenge, form)
        trying = errand.trying(StepName.CHALLENGE)
        await self._call(session, lambda: trying.answer(visit, answers), is_try=True)

    async def _link(self, errand: Errand, visit: Visit, form: Mapping[str, str]) -> None:
        session, offer = errand.session, visit.offer
        if offer is None:
            await self._call(session, lambda: errand.ask_form(message=RAN_OUT))
            return
        chosen = read_chosen(offer, form)
        if chosen:
            await self._call(session, lambda: errand.link(visit, chosen), is_alone=True)
        elif visit.is_refresh:
            await self.move(session, Place(step=WidgetStep.DONE, outcome=Outcome.UPDATED))
        else:
            await self.move(session, Place(step=session.step, visit=self._seal(session, visit), message=NOTHING_CHOSEN))

    async def _check(self, errand: Errand, visit: Visit, form: Mapping[str, str]) -> None:
        """Go on in the guided repair: by the answer to the question that was shown, or from where it begins."""
        session, tried = errand.session, visit.tried
        shown = find_step(session, errand.institution, errand.login, tried)
        if shown is None:
            return
        given = next((each for each in shown.choices if each.answer == form.get("answer")), None)
        if form.get("action") == "checked" and given is not None:
            tried = (*tried, Tried(shown.name, given.answer))[-MAX_TRIED:]
            shown = find_step(session, errand.institution, errand.login, tried) or shown
        step = WidgetStep.SUPPORT if shown.name is StepName.CASE else WidgetStep.CHECK
        kept = seal(self.sealer, session, Visit(tried=tried))
        await self.move(session, Place(step=step, visit=kept, status_code=session.status_code, visit_s=VISIT_S))

    async def _report(self, errand: Errand, visit: Visit, form: Mapping[str, str]) -> None:
        """Open a support case with what was tried, and end the session with it."""
        session, login = errand.session, errand.login
        if login is None:
            return
        place = Place(step=WidgetStep.DONE, outcome=Outcome.REPORTED, status_code=session.status_code)
        try:
            async with self.parts.database.tenant(session.customer_id) as conn:
                if not await widget.move(conn, session, place):
                    return
                own = await client.get_client(conn, session.customer_id, session.client_id)
                wanted = CaseRequest(
                    client_id=session.client_id,
                    connection_id=login.connection_id,
                    tried=visit.tried,
                    telephone=clean(form.get("telephone", "")),
                    convenient_time=clean(form.get("convenient_time", "")),
                    note=clean(form.get("note", "")),
                    opened_by=f"client:{session.client_id}",
                    notify_email=own.email,
                )
                await open_case(conn, self.settings, session.customer_id, wanted)
                waiting = await tell_ended(conn, session, place)
        except BadRequest as error:
            shown = Place(step=session.step, visit=self._seal(session, visit), message=f"{error}.", visit_s=VISIT_S)
            await self.move(session, replace(shown, status_code=session.status_code))
            return
        self.parts.waker.wake(Wake.MAIL)
        self._note(session, place, waiting, is_over=True)

    # ------------------------------------------------------------------------------------------ calls

    async def _call(self, session: WidgetSession, call: Call, *, is_try: bool = False, is_alone: bool = False) -> None:
        """Begin a call under a token, and give it a moment: most have ended when the page is shown."""
        if is_try and await self._count_tries(session) >= MOST_TRIES:
            await self.move(session, Place(step=WidgetStep.TROUBLE, message=TOO_MANY))
            return
        if len(self._calls) >= MOST_CALLS:
            raise Unavailable(BUSY)
        token = uuid4()
        limit_s = self.settings.bank_refresh_s + WORK_MARGIN_S
        async with self.parts.database.tenant(session.customer_id) as conn:
            if is_alone:
                await widget.lock_linking(conn, session)
            if not await widget.begin_work(
                conn, session, token=token, limit_s=limit_s, is_try=is_try, is_alone=is_alone
            ):
                return
        task = asyncio.create_task(self._run(session, call, token, limit_s), name="widget call")
        self._calls.add(task)
        task.add_done_callback(self._calls.discard)
        await asyncio.wait({task}, timeout=GLANCE_S)

    async def _count_tries(self, session: WidgetSession) -> int:
        async with self.parts.database.tenant(session.customer_id) as conn:
            return await widget.count_tries(conn, session)

    async def _run(self, session: WidgetSession, call: Call, token: UUID, limit_s: float) -> None:
        try:
            async with asyncio.timeout(limit_s):
                place = await call()
        except asyncio.CancelledError:
            await asyncio.shield(self._end(session, Place(step=WidgetStep.TROUBLE, message=CUT_OFF), token))
            raise
        except (TimeoutError, Unavailable, AggregatorError):
            place = Place(step=WidgetStep.TROUBLE, message=NOT_NOW)
        except NotFound:
            place = Place(step=WidgetStep.TROUBLE, message=NOT_AT_ALL)
        except Exception:  # noqa: BLE001 - a bug must not leave a page waiting for ever
            get_logger().exception("widget.broken", session_id=str(session.id))
            place = Place(step=WidgetStep.TROUBLE, message=NOT_NOW)
        try:
            await self._end(session, place, token)
        except BankfeedError as error:  # its time runs out, and the page offers to try again
            get_logger().warning("widget.not_kept", session_id=str(session.id), reason=str(error))

    async def _end(self, session: WidgetSession, place: Place, token: UUID) -> None:
        async with self.parts.database.tenant(session.customer_id) as conn:
            is_kept = await widget.end_work(conn, session, place, token=token)
            waiting = await tell_ended(conn, session, place) if is_kept else 0
        self.parts.waker.wake(Wake.REFRESH)
        self._note(session, place, waiting, is_over=is_kept)

    def _note(self, session: WidgetSession, place: Place, waiting: int, *, is_over: bool) -> None:
        if waiting:
            self.parts.waker.wake(Wake.DELIVER)
        if is_over and place.outcome is not None:
            note_ended(session, place.outcome)

    async def _errand(self, session: WidgetSession, institution: Institution, *, base: str) -> Errand:
        linker = self.parts.connectors[institution.connector]
        return Errand(
            Ours(self.parts.database, linker, session, institution.connector, institution),
            linker,
            self.signer,
            self.sealer,
            session,
            institution,
            await self.find_login(session),
            f"{base}/widget/back",
            self.read_visit(session).tried,
        )

    def _seal(self, session: WidgetSession, visit: Visit) -> str:
        return seal(self.sealer, session, visit)


def read_answers(challenge: Challenge, form: Mapping[str, str]) -> list[tuple[str, str]]:
    """Read what was answered to each question, in order; what is missing is an empty answer, which the bank judges.

    A choice comes as its number, so that nothing but what was offered can be chosen.
    """
    answers = []
    for number, question in enumerate(challenge.questions):
        given = form.get(f"answer-{number}", "")[:MOST_CHARS]
        offered = question.choices or tuple(each.value for each in question.pictures)
        if offered:
            is_there = given.isascii() and given.isdigit() and len(given) < 4 and int(given) < len(offered)
            given = offered[int(given)] if is_there else ""
        answers.append((question.text, given))
    return answers


def read_chosen(offer: Offer, form: Mapping[str, str]) -> list[OfferedAccount]:
    """Read which of the offered accounts are ticked."""
    return [each for number, each in enumerate(offer.accounts) if form.get(f"account-{number}") == "on"]
