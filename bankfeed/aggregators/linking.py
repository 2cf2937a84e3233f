"""Linking a bank with its person present: what an aggregator asks for, offers and answers. Values only.

Credentials and answers go through and are kept by nobody here; none of these values shows one when printed.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Protocol

from bankfeed.aggregators import Aggregator, ListedAccount


@dataclass(frozen=True, slots=True, kw_only=True)
class FormField:
    """One thing that a bank asks for. `is_masked` is typed unseen; `hint` says what is meant, "" where nothing does."""

    id: str
    name: str
    hint: str = ""
    is_masked: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class PictureChoice:
    """A picture to choose (PNG, JPEG or GIF), and what choosing it answers."""

    picture: bytes = field(repr=False)
    value: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """One question of a bank: answered in words, by one of `choices`, or by one of `pictures`. `picture` belongs to it."""

    text: str
    choices: tuple[str, ...] = ()
    picture: bytes | None = field(default=None, repr=False)
    pictures: tuple[PictureChoice, ...] = ()


class ChallengeKind(StrEnum):
    """The aggregator's own names of challenges, as its documents print them."""

    TEXT = "TFA_TEXT"
    IMAGE = "TFA_IMAGE"
    CHOICE = "TFA_CHOICE"
    MULTI = "TFA_MULTI"


@dataclass(frozen=True, slots=True, kw_only=True)
class Challenge:
    """What a bank wants to know before it goes on. `expires_at` is when a token's code ends, None where nothing ends.

    `session` names the visit at the aggregator until it is answered: a secret, good for minutes and once.
    """

    kind: ChallengeKind
    questions: tuple[Question, ...]
    session: str = field(repr=False)
    expires_at: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class OfferedAccount:
    """An account that may now be linked. `number` is as the aggregator wants it back, `number_display` for people."""

    account_ref: str
    name: str
    number: str = field(repr=False)
    number_display: str
    type: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Offer:
    """The accounts of a login that is not linked yet; none chosen, nothing was ever there."""

    accounts: tuple[OfferedAccount, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Consent:
    """An institution's own page, where its holder signs in and consents; the browser comes back with a code.

    `session` names it at the aggregator until the code is handed in: a secret.
    """

    link: str = field(repr=False)
    session: str = field(repr=False)


class Linking(Protocol):
    """What a connector can do with a person present. All calls raise AggregatorError, with the bank's code where it refused.

    A bank may take minutes (discovery up to 180 s): StillAsking says that it goes on there without us. Codes: 103 credentials refused; 185 a question went unanswered, 187 its
    answer was wrong, 331 the time for it is over; 948 the institution has a page of its own now; 10814 the holder declined,
    12003 the code of a consent is wrong.
    """

    async def find_form(self, institution_ref: str) -> tuple[FormField, ...] | None:
        """Return what an institution asks for, in its order; None where people sign in on its own page (`begin_consent`)."""

    async def discover(
        self, customer_ref: str, institution_ref: str, credentials: Mapping[str, str]
    ) -> Challenge | Offer:
        """Sign in with the form filled in (field id to value) and list the accounts there."""

    async def answer_discovery(
        self, customer_ref: str, institution_ref: str, session: str, answers: Sequence[tuple[str, str]]
    ) -> Challenge | Offer:
        """Answer what a discovery asked: (question's text, answer) in order. The session is used up."""

    async def link(
        self, customer_ref: str, institution_ref: str, chosen: Sequence[OfferedAccount]
    ) -> tuple[ListedAccount, ...]:
        """Link accounts of an offer, and return them as they are listed from now on."""

    async def change_credentials(self, customer_ref: str, login_ref: str, credentials: Mapping[str, str]) -> None:
        """Give a login other credentials; whether they are right, the next refresh tells."""

    async def refresh_with_person(self, customer_ref: str, login_ref: str) -> Challenge | tuple[ListedAccount, ...]:
        """Have the bank asked now for one login; return what it asks, or the login's accounts."""

    async def answer_refresh(
        self, customer_ref: str, login_ref: str, session: str, answers: Sequence[tuple[str, str]]
    ) -> Challenge | tuple[ListedAccount, ...]:
        """Answer what such a refresh asked. The session is used up."""

    async def begin_consent(
        self, customer_ref: str, institution_ref: str, *, back_to: str, state: str, login_ref: str | None = None
    ) -> Consent:
        """Begin a consent; the browser comes back to `back_to` with `state` and a code. `login_ref` renews that login."""

    async def end_consent(
        self, customer_ref: str, institution_ref: str, session: str, code: str
    ) -> Offer | tuple[ListedAccount, ...]:
        """Hand in a consent's code, once: an offer, or the accounts of the login that was renewed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OwnWidget:
    """What an aggregator's own widget is opened for: an institution already chosen, or a login to repair, or neither."""

    customer_ref: str
    institution_ref: str | None = None
    login_ref: str | None = None
    redirect_uri: str = ""
    webhook: str = field(default="", repr=False)


class Linker(Aggregator, Linking, Protocol):
    """A connector that links."""

    @property
    def has_own_widget(self) -> bool:
        """Tell whether people link in the aggregator's widget (`make_widget_url`) and not in ours."""

    async def make_widget_url(self, wanted: OwnWidget) -> str:
        """Return the address of the aggregator's own widget: single use, two hours."""
