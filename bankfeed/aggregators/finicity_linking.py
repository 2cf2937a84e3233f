"""Linking through Finicity with a person present: in our own widget, call by call, or in Finicity's, Connect.

The calls are those that Finicity had before Connect (forms, discovery, MFA-Session, interactive refresh); today's
documents have Connect only, and the nearest to them is what Finbank answers. Credentials and answers go through and
are kept nowhere: every call that carries one is private, so that no error shows it.
"""

from collections.abc import Mapping, Sequence
from typing import Final

from bankfeed.aggregators import ListedAccount
from bankfeed.aggregators.finicity_http import Answer, Ask, FinicityConfig, FinicityHttp
from bankfeed.aggregators.finicity_linking_wire import (
    MAX_ANSWER_BYTES,
    ChallengeStruct,
    ConsentAnswer,
    FormAnswer,
    FoundAnswer,
    WidgetAnswer,
    check_session,
    read_challenge,
    read_consent,
    read_form,
    read_link,
    read_linked,
    read_offer,
)
from bankfeed.aggregators.finicity_wire import AccountsAnswer, Unreadable
from bankfeed.aggregators.linking import Challenge, Consent, FormField, Offer, OfferedAccount, OwnWidget
from bankfeed.errors import AggregatorError

_BANK_ASKS: Final = 203
_TAKES_NO_CREDENTIALS: Final = frozenset({14020})
_HAS_MIGRATED: Final = frozenset({948})
_PRESENT: Final = {"Interactive": "true"}


class FinicityLinking:
    """The half of `Finicity` that links. Both halves share one configuration and one HTTP session."""

    def __init__(self, config: FinicityConfig, http: FinicityHttp) -> None:
        self._config = config
        self._http = http

    @property
    def has_own_widget(self) -> bool:
        """Tell whether people link in Connect (`make_widget_url`) and not in our widget."""
        return self._config.has_own_widget

    async def find_form(self, institution_ref: str) -> tuple[FormField, ...] | None:
        """Return what an institution asks for; None where its holders sign in on its own page.

        Raises AggregatorError where there is no such institution.
        """
        path = ("aggregation", "v1", "institutions", institution_ref, "loginForm")
        answer = await self._http.send(Ask(to="show a login form", path=path, max_bytes=MAX_ANSWER_BYTES))
        if answer.is_refusal(400, _TAKES_NO_CREDENTIALS) or answer.is_refusal(500, _HAS_MIGRATED):
            return None
        return answer.read_into(FormAnswer, read_form)

    async def discover(
        self, customer_ref: str, institution_ref: str, credentials: Mapping[str, str]
    ) -> Challenge | Offer:
        """Sign in with a form filled in, and list the accounts there; nothing is linked.

        Raises StillAsking where the bank takes longer than we wait: discovering again waits for the rest.
        """
        path = _institution_path(customer_ref, institution_ref)
        return _read_discovery(await self._visit("find accounts", path, _write_credentials(credentials)))

    async def answer_discovery(
        self, customer_ref: str, institution_ref: str, session: str, answers: Sequence[tuple[str, str]]
    ) -> Challenge | Offer:
        """Answer what a discovery asked. The session is used up, whatever comes of it."""
        path = (*_institution_path(customer_ref, institution_ref), "mfa")
        return _read_discovery(await self._answer("answer what finding accounts asked", path, session, answers))

    async def link(
        self, customer_ref: str, institution_ref: str, chosen: Sequence[OfferedAccount]
    ) -> tuple[ListedAccount, ...]:
        """Link accounts of an offer, which is used up.

        Where no answer comes, the customer's accounts tell what became of it. Raises NoSuchAccount where the offer is over or not this customer's.
        """
        accounts = [{"id": it.account_ref, "number": it.number, "name": it.name, "type": it.type} for it in chosen]
        ask = Ask(
            to="link accounts",
            path=_institution_path(customer_ref, institution_ref, version="v2"),
            method="PUT",
            body={"accounts": accounts},
            max_bytes=MAX_ANSWER_BYTES,
            is_private=True,
        )
        return (await self._http.send(ask)).read_into(AccountsAnswer, read_linked)

    async def change_credentials(self, customer_ref: str, login_ref: str, credentials: Mapping[str, str]) -> None:
        """Give a login other credentials; whether they are right, the next refresh tells."""
        ask = Ask(
            to="change a login's credentials",
            path=("aggregation", "v1", "customers", customer_ref, "institutionLogins", login_ref),
            method="PUT",
            body=_write_credentials(credentials),
            is_private=True,
        )
        (await self._http.send(ask)).check()

    async def refresh_with_person(self, customer_ref: str, login_ref: str) -> Challenge | tuple[ListedAccount, ...]:
        """Have the bank asked now for one login; return what it asks, or the login's accounts.

        Raises StillAsking where it takes longer than we wait, or runs already; NoSuchAccount where the login is gone.
        """
        ask = Ask(
            to="refresh a login with its person",
            path=login_path(customer_ref, login_ref),
            method="POST",
            headers=_PRESENT,
            timeout_s=self._config.bank_refresh_timeout_s,
            max_bytes=MAX_ANSWER_BYTES,
            goes_on=True,
            is_private=True,
        )
        return _read_refresh(await self._http.send(ask))

    async def answer_refresh(
        self, customer_ref: str, login_ref: str, session: str, answers: Sequence[tuple[str, str]]
    ) -> Challenge | tuple[ListedAccount, ...]:
        """Answer what such a refresh asked. The session is used up, whatever comes of it."""
        path = (*login_path(customer_ref, login_ref), "mfa")
        return _read_refresh(await self._answer("answer what a refresh asked", path, session, answers))

    async def begin_consent(
        self, customer_ref: str, institution_ref: str, *, back_to: str, state: str, login_ref: str | None = None
    ) -> Consent:
        """Begin a consent on an institution's own page; `login_ref` renews that login."""
        renewed = {} if login_ref is None else {"institutionLoginId": login_ref}
        ask = Ask(
            to="begin a consent",
            path=_consent_path(customer_ref, institution_ref),
            method="POST",
            body={"redirectUri": back_to, "state": state, **renewed},
            max_bytes=MAX_ANSWER_BYTES,
            is_private=True,
        )
        return (await self._http.send(ask)).read_into(ConsentAnswer, read_consent)

    async def end_consent(
        self, customer_ref: str, institution_ref: str, session: str, code: str
    ) -> Offer | tuple[ListedAccount, ...]:
        """Hand in a consent's code, once: an offer, or the accounts of the login that was renewed.

        Codes: 10814 where the holder declined, 12003 for a wrong code, 945 where an account was left out, 331 where the
        session is over.
        """
        path = (*_consent_path(customer_ref, institution_ref), session)
        answer = await self._visit("end a consent", path, {"code": code})
        return _read_offer(answer) if answer.read(FoundAnswer).is_offer else _read_linked(answer)

    async def make_widget_url(self, wanted: OwnWidget) -> str:
        """Return the address of Connect: single use, two hours. A login to repair goes before a chosen institution."""
        kind, chosen = _widget_of(wanted)
        optional = {"redirectUri": wanted.redirect_uri, "webhook": wanted.webhook}
        ask = Ask(
            to="make an address of Connect",
            path=("connect", "v2", "generate", *kind),
            method="POST",
            body={
                "partnerId": self._config.partner_id,
                "customerId": wanted.customer_ref,
                **chosen,
                **{name: text for name, text in optional.items() if text},
                "webhookContentType": "application/json",
                "singleUseUrl": True,
            },
            max_bytes=MAX_ANSWER_BYTES,
            is_private=True,
        )
        schemes = ("https", "http") if self._config.base_url.startswith("http:") else ("https",)
        return (await self._http.send(ask)).read_into(WidgetAnswer, lambda it: read_link(it.link, *schemes))

    async def _answer(self, to: str, path: tuple[str, ...], session: str, answers: Sequence[tuple[str, str]]) -> Answer:
        try:
            headers = {"MFA-Session": check_session(session)}
        except Unreadable as error:
            raise AggregatorError(f"cannot {to}: {error}", is_retryable=False) from None
        questions = [{"text": text, "answer": answer} for text, answer in answers]
        return await self._visit(to, path, {"questions": questions}, headers=headers)

    async def _visit(
        self, to: str, path: tuple[str, ...], body: Mapping[str, object], headers: Mapping[str, str] | None = None
    ) -> Answer:
        return await self._http.send(
            Ask(
                to=to,
                path=path,
                method="POST",
                headers=headers or {},
                body=body,
                timeout_s=self._config.bank_refresh_timeout_s,
                max_bytes=MAX_ANSWER_BYTES,
                goes_on=True,
                is_private=True,
            )
        )


def login_path(customer_ref: str, login_ref: str) -> tuple[str, ...]:
    """Return the path of a login's accounts."""
    return ("aggregation", "v1", "customers", customer_ref, "institutionLogins", login_ref, "accounts")


def _institution_path(customer_ref: str, institution_ref: str, *, version: str = "v1") -> tuple[str, ...]:
    return ("aggregation", version, "customers", customer_ref, "institutions", institution_ref, "accounts")


def _consent_path(customer_ref: str, institution_ref: str) -> tuple[str, ...]:
    return ("aggregation", "v1", "customers", customer_ref, "institutions", institution_ref, "oauth")


def _write_credentials(credentials: Mapping[str, str]) -> dict[str, object]:
    return {"credentials": [{"id": field_id, "value": value} for field_id, value in credentials.items()]}


def _widget_of(wanted: OwnWidget) -> tuple[tuple[str, ...], dict[str, object]]:
    if wanted.login_ref is not None:
        return ("fix",), {"institutionLoginId": wanted.login_ref}
    if wanted.institution_ref is None:
        return (), {}
    if not (wanted.institution_ref.isascii() and wanted.institution_ref.isdigit()):
        text = f"cannot make an address of Connect: {wanted.institution_ref[:40]!r} is no institution of Finicity's"
        raise AggregatorError(text, is_retryable=False)
    return ("lite",), {"institutionId": int(wanted.institution_ref)}  # a number here alone


def _read_discovery(answer: Answer) -> Challenge | Offer:
    return _read_challenge(answer) if answer.status == _BANK_ASKS else _read_offer(answer)


def _read_refresh(answer: Answer) -> Challenge | tuple[ListedAccount, ...]:
    return _read_challenge(answer) if answer.status == _BANK_ASKS else _read_linked(answer)


def _read_challenge(answer: Answer) -> Challenge:
    return answer.read_into(ChallengeStruct, lambda it: read_challenge(it, answer.session))


def _read_offer(answer: Answer) -> Offer:
    return answer.read_into(FoundAnswer, read_offer)


def _read_linked(answer: Answer) -> tuple[ListedAccount, ...]:
    return answer.read_into(AccountsAnswer, read_linked)
