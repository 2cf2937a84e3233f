"""Finicity's JSON of linking, and how it is read into ours. Pure, and strict: a person acts on what comes out of here.

What goes back word for word (a field's id, a question's text, a choice, an account's number) is never mended: it fits
or is refused. Errors tell sizes and kinds, never what was in an answer, which might repeat what was typed.
"""

import re
from base64 import b64decode
from collections.abc import Sized
from typing import Final

import msgspec

from bankfeed.aggregators import ListedAccount
from bankfeed.aggregators.finicity_wire import (
    MAX_TEXT_CHARS,
    MAX_WORD_CHARS,
    AccountsAnswer,
    AccountStruct,
    Unreadable,
    clean,
    is_link,
    read_account,
    read_moment,
)
from bankfeed.aggregators.linking import (
    Challenge,
    ChallengeKind,
    Consent,
    FormField,
    Offer,
    OfferedAccount,
    PictureChoice,
    Question,
)

MAX_FIELDS: Final = 20
MAX_QUESTIONS: Final = 20
MAX_CHOICES: Final = 20
MAX_ACCOUNTS: Final = 100  # a firm's login has many
MAX_PICTURE_BYTES: Final = 256 * 1024
MAX_ANSWER_BYTES: Final = 8 * 1024 * 1024  # twenty of the largest pictures in Base64, and room for words

_MAX_CHOICE_CHARS: Final = 256
_MAX_LINK_CHARS: Final = 4_096
_PICTURES: Final = (b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"GIF87a", b"GIF89a")
_SESSION: Final = re.compile(r"[!-~]{1,512}")
_PATH_SESSION: Final = re.compile(r"[A-Za-z0-9_-]{1,512}")
_UNPRINTED: Final = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]")
_PENDING: Final = "pending"


class FieldStruct(msgspec.Struct, rename="camel"):
    """One field of a login form."""

    id: int | str
    name: str | None = None
    description: str | None = None
    instructions: str | None = None
    display_order: int | None = None
    mask: bool | str | None = None


class FormAnswer(msgspec.Struct, rename="camel"):
    """The answer to a request for a login form."""

    login_form: list[FieldStruct]


class PictureStruct(msgspec.Struct):
    """A picture in Base64, and what choosing it answers."""

    image: str
    value: int | str


class QuestionStruct(msgspec.Struct, rename="camel"):
    """One question, with choices or pictures where it has them."""

    text: str
    choices: list[str] | None = None
    image: str | None = None
    image_choices: list[PictureStruct] | None = None


class ChallengeStruct(msgspec.Struct, rename="camel"):
    """What a bank asks; `expires_at` is in epoch seconds."""

    type: str
    questions: list[QuestionStruct]
    expires_at: int | None = None


class OfferedStruct(msgspec.Struct, rename="camel"):
    """An account that was found and is not linked."""

    id: int | str
    type: str
    status: str | None = None
    number: int | str | None = None
    name: str | None = None
    account_number_display: str | None = None


class FoundAnswer(msgspec.Struct):
    """Accounts, which are on offer or linked."""

    accounts: list[OfferedStruct]

    @property
    def is_offer(self) -> bool:
        """Tell whether these are on offer; those of a login are all linked."""
        return not self.accounts or any(each.status == _PENDING for each in self.accounts)


class ConsentAnswer(msgspec.Struct, rename="camel"):
    """The answer to the beginning of a consent."""

    link: str
    oauth_session: str


class WidgetAnswer(msgspec.Struct):
    """The answer to a request for the address of Connect."""

    link: str


def read_form(answer: FormAnswer) -> tuple[FormField, ...]:
    """Read a form's fields in their order. A field is masked unless it says that it is not. Raises Unreadable."""
    _check_count(answer.login_form, "loginForm", "fields", most=MAX_FIELDS)
    ordered = sorted(answer.login_form, key=lambda it: (it.display_order is None, it.display_order or 0))
    fields = tuple(map(_read_field, ordered))
    if len({field.id for field in fields}) < len(fields):
        raise Unreadable("expected each field of loginForm once, got one twice")
    return fields


def read_challenge(struct: ChallengeStruct, session: str) -> Challenge:
    """Read what a bank asks, with the session that the answer's header names. Raises Unreadable."""
    if struct.type not in set(ChallengeKind):
        known = ", ".join(ChallengeKind)
        raise Unreadable(f"expected type to be one of {known}, got another word of {len(struct.type):,} characters")
    _check_count(struct.questions, "questions", "questions", most=MAX_QUESTIONS)
    return Challenge(
        kind=ChallengeKind(struct.type),
        questions=tuple(map(_read_question, struct.questions)),
        session=check_session(session),
        expires_at=read_moment(struct.expires_at, "expiresAt"),
    )


def check_session(session: str) -> str:
    """Return a session that can be a header's value. Raises Unreadable."""
    if not _SESSION.fullmatch(session):
        raise Unreadable(f"expected a session of 1 to 512 printable characters, got {len(session):,} characters")
    return session


def read_offer(answer: FoundAnswer) -> Offer:
    """Read the accounts of a login that is not linked, each of status pending. Raises Unreadable."""
    _check_count(answer.accounts, "accounts", "accounts", least=0, most=MAX_ACCOUNTS)
    accounts = tuple(map(_read_offered, answer.accounts))
    if len({account.account_ref for account in accounts}) < len(accounts):
        raise Unreadable("expected each account once, got one twice")
    return Offer(accounts=accounts)


def read_linked(answer: AccountsAnswer) -> tuple[ListedAccount, ...]:
    """Read the accounts of one login. Raises Unreadable."""
    _check_count(answer.accounts, "accounts", "accounts", least=0, most=MAX_ACCOUNTS)
    return tuple(map(_read_linked, answer.accounts))


def read_consent(answer: ConsentAnswer) -> Consent:
    """Read where a person consents, and the session, which becomes part of a path. Raises Unreadable."""
    session = answer.oauth_session
    if not _PATH_SESSION.fullmatch(session):
        raise Unreadable(f"expected oauthSession to be 1 to 512 letters, digits, - and _, got {len(session):,} others")
    return Consent(link=read_link(answer.link, "https", "http"), session=session)


def read_link(link: str, *schemes: str) -> str:
    """Return an address that a browser may be sent to: of one of these schemes, whole, without a user in it.

    Raises Unreadable.
    """
    if len(link) > _MAX_LINK_CHARS or not is_link(link, *schemes):
        wanted = " or ".join(f"{scheme}://host/..." for scheme in schemes)
        raise Unreadable(f"expected link to be like {wanted}, got {len(link):,} characters that are not")
    return link


def _read_field(struct: FieldStruct) -> FormField:
    field_id = _check_word(str(struct.id), "a field's id", most=MAX_WORD_CHARS)
    name = clean(struct.name, MAX_TEXT_CHARS) or clean(struct.description, MAX_TEXT_CHARS)
    if not name:
        raise Unreadable("expected each field to have a name, got none")
    return FormField(
        id=field_id,
        name=name,
        hint=clean(struct.instructions, MAX_TEXT_CHARS),
        is_masked=str(struct.mask).strip().lower() != "false",
    )


def _read_question(struct: QuestionStruct) -> Question:
    choices, pictures = struct.choices or [], struct.image_choices or []
    _check_count(choices, "choices", "choices", least=0, most=MAX_CHOICES)
    _check_count(pictures, "imageChoices", "pictures", least=0, most=MAX_CHOICES)
    return Question(
        text=_check_word(struct.text, "a question's text", most=MAX_TEXT_CHARS),
        choices=tuple(_check_word(choice, "a choice", most=_MAX_CHOICE_CHARS) for choice in choices),
        picture=_read_picture(struct.image) if struct.image else None,
        pictures=tuple(_read_picture_choice(picture) for picture in pictures),
    )


def _read_picture_choice(struct: PictureStruct) -> PictureChoice:
    value = _check_word(str(struct.value), "a picture's value", most=_MAX_CHOICE_CHARS)
    return PictureChoice(picture=_read_picture(struct.image), value=value)


def _read_picture(text: str) -> bytes:
    if len(text) > -(-MAX_PICTURE_BYTES // 3) * 4:
        raise Unreadable(f"expected a picture of {MAX_PICTURE_BYTES:,} bytes at most, got {len(text):,} of Base64")
    try:
        picture = b64decode(text, validate=True)
    except ValueError:
        raise Unreadable(f"expected a picture in Base64, got {len(text):,} characters that are not") from None
    if len(picture) > MAX_PICTURE_BYTES:
        raise Unreadable(f"expected a picture of {MAX_PICTURE_BYTES:,} bytes at most, got {len(picture):,}")
    if not picture.startswith(_PICTURES):
        raise Unreadable(f"expected a picture to be PNG, JPEG or GIF, got {len(picture):,} bytes that are none")
    return picture


def _read_offered(struct: OfferedStruct) -> OfferedAccount:
    if struct.status != _PENDING:
        raise Unreadable("expected each account on offer to have the status pending, got another")
    number = "" if struct.number is None else str(struct.number)
    return OfferedAccount(
        account_ref=_check_word(str(struct.id), "an account's id", most=MAX_WORD_CHARS),
        name=clean(struct.name, MAX_TEXT_CHARS),
        number=_check_word(number, "an account's number", most=MAX_WORD_CHARS) if number else "",
        number_display=clean(struct.account_number_display, MAX_WORD_CHARS),
        type=_check_word(struct.type, "an account's type", most=MAX_WORD_CHARS),
    )


def _read_linked(struct: AccountStruct) -> ListedAccount:
    try:
        return read_account(struct)
    except Unreadable:
        raise Unreadable("expected each account as it is listed, got one with a field that cannot be read") from None


def _check_count(rows: Sized, name: str, noun: str, *, most: int, least: int = 1) -> None:
    if not least <= len(rows) <= most:
        raise Unreadable(f"expected {name} to hold {least} to {most} {noun}, got {len(rows):,}")


def _check_word(text: str, name: str, *, most: int) -> str:
    if not text.strip() or len(text) > most:
        raise Unreadable(f"expected {name} to be 1 to {most:,} characters, got {len(text.strip()):,}")
    if _UNPRINTED.search(text):
        raise Unreadable(f"expected {name} to be text, got a control character")
    return text
