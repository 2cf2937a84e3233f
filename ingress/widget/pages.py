"""The widget's HTML: what a session shows, put into words. Whatever comes from a bank or a browser is escaped."""

from base64 import b64encode
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlencode, urlsplit

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from bankfeed.db.institution import Institution
from bankfeed.db.widget import Outcome, WidgetKind, WidgetSession, WidgetStep
from bankfeed.db.widget_login import Arrived, Login
from bankfeed.health import ConnectionState, Meaning, Step, read_code
from bankfeed.repair import Step as RepairStep
from bankfeed.repair import StepName
from ingress.widget.visit import Visit

FOLDER: Final = Path(__file__).parent
DOWN: Final = {"offline": "cannot be reached now", "maintenance": "under maintenance now"}
CHECKED: Final = (WidgetStep.TROUBLE, WidgetStep.CREDENTIALS, WidgetStep.CONSENT, WidgetStep.CHALLENGE)
"""The pages that lead to the guided repair, where a bank account is repaired."""
_LINKING: Final = (
    ("Bank", (WidgetStep.INSTITUTION, WidgetStep.KNOWN, WidgetStep.PREPARE)),
    ("Sign in", (WidgetStep.CREDENTIALS, WidgetStep.CONSENT, WidgetStep.TROUBLE)),
    ("Confirm", (WidgetStep.CHALLENGE,)),
    ("Accounts", (WidgetStep.ACCOUNTS,)),
    ("Done", (WidgetStep.DONE,)),
)
_REPAIRING: Final = (
    ("What is wrong", (WidgetStep.TROUBLE, WidgetStep.CHECK, WidgetStep.SUPPORT)),
    ("Sign in", (WidgetStep.CREDENTIALS, WidgetStep.CONSENT)),
    ("Confirm", (WidgetStep.CHALLENGE,)),
    ("Done", (WidgetStep.DONE, WidgetStep.ACCOUNTS)),
)
_TITLES: Final = {
    WidgetStep.INSTITUTION: "Link a bank",
    WidgetStep.KNOWN: "{bank} is linked already",
    WidgetStep.PREPARE: "Link {bank}",
    WidgetStep.CREDENTIALS: "Sign in to {bank}",
    WidgetStep.CONSENT: "Sign in at {bank}'s own page",
    WidgetStep.CHALLENGE: "{bank} asks",
    WidgetStep.ACCOUNTS: "Choose accounts",
    WidgetStep.TROUBLE: "{bank} did not let us in",
    WidgetStep.CHECK: "Let us find out what is wrong",
    WidgetStep.SUPPORT: "Support helps you",
    WidgetStep.DONE: "Done",
    WidgetStep.LEFT: "Nothing was changed",
}
_DONE_WORDS: Final = {
    Outcome.LINKED: "{bank} is linked. Its transactions come in by themselves from now on.",
    Outcome.UPDATED: "{bank} was linked already; its sign-in is renewed and everything else stays as it was.",
    Outcome.REPAIRED: "{bank} works again. What is new there comes in within some minutes.",
    Outcome.REPORTED: "Support has what it needs and will reach you.",
    Outcome.HANDED_OVER: "You go on at the aggregator's own page.",
    Outcome.LEFT: "You left before the end, and nothing of it was kept.",
    Outcome.EXPIRED: "The time was over before the end, and nothing of it was kept.",
}
_REMEDIES: Final = {
    StepName.CREDENTIALS: "credentials",
    StepName.CREDENTIALS_AGAIN: "credentials",
    StepName.CONSENT: "consent",
    StepName.CONSENT_AGAIN: "consent",
    StepName.CHALLENGE: "again",
    StepName.CHALLENGE_AGAIN: "again",
    StepName.REFRESH: "again",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Shown:
    """All that a page is made of."""

    session: WidgetSession
    path: str
    institution: Institution | None
    login: Login | None
    visit: Visit
    meaning: Meaning | None = None
    step: RepairStep | None = None
    known: Sequence[Login] = ()
    search: str = ""
    found: Sequence[Institution] = ()
    arrived: Arrived | None = None
    frames: Sequence[str] = ()


class Pages:
    """Renders the widget's pages."""

    def __init__(self) -> None:
        environment = Environment(
            loader=FileSystemLoader(FOLDER),
            autoescape=True,
            auto_reload=False,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        environment.filters |= {
            "data_url": write_data_url,
            "digits": lambda accounts: ", ".join(f"\N{HORIZONTAL ELLIPSIS}{number}" for number, _ in accounts),
            "down_words": lambda status: DOWN.get(status, ""),
            "host": find_host,
            "is_down": lambda status: status in DOWN,
            "kind_words": write_kind,
            "time_left": write_time_left,
        }
        self._page = environment.get_template("page.html")
        self._notice = environment.get_template("notice.html")
        self.style = (FOLDER / "widget.css").read_bytes()
        self.module = (FOLDER / "widget.js").read_bytes()

    def notice(self, title: str, sentence: str, *, way_back: str = "") -> str:
        """Say one thing."""
        return self._notice.render(title=title, sentence=sentence, way_back=way_back)

    def page(self, shown: Shown) -> str:
        """Write the page that a session is at."""
        session, visit = shown.session, shown.visit
        bank = shown.institution.name if shown.institution else shown.login.name if shown.login else "The bank"
        is_open = session.ended_at is None
        expires_at = visit.challenge.expires_at if visit.challenge else None
        meaning = shown.meaning
        values: dict[str, Any] = {
            "session": session,
            "path": shown.path,
            "title": _write_title(session, bank),
            "bank": bank,
            "bank_url": (shown.institution.sign_in_url or shown.institution.url) if shown.institution else "",
            "is_oauth": bool(shown.institution and shown.institution.is_oauth),
            "is_down": _write_down(shown.institution),
            "works_now": shown.login is not None and shown.login.state == ConnectionState.ACTIVE,
            "visit": visit,
            "login": shown.login,
            "known": shown.known,
            "search": shown.search,
            "found": shown.found,
            "step": shown.step,
            "meaning": meaning,
            "code": session.status_code
            if session.status_code is not None or not shown.login
            else shown.login.status_code,
            "remedy": find_remedy(session, meaning, shown.step),
            "seconds_left": None if expires_at is None else int((expires_at - session.now).total_seconds()),
            "problem": _write_problem(session),
            "progress": list_progress(session),
            "is_working": session.is_working,
            "watches": session.is_working
            or session.step is WidgetStep.CONSENT
            or (shown.arrived and not shown.arrived.is_updated),
            "seen": write_seen(session, shown.arrived),
            "arrived": shown.arrived,
            "done_words": _DONE_WORDS.get(session.outcome, "").format(bank=bank) if session.outcome else "",
            "way_back": write_way_back(session),
            "ended_for": " ".join(shown.frames) if session.outcome else "",
            "can_check": is_open and not session.is_working and shown.login is not None and session.step in CHECKED,
            "can_leave": session.can_leave,
            "can_go_back": is_open and not session.is_working and _can_go_back(session),
            "template": f"{WidgetStep.DONE if session.step is WidgetStep.LEFT else session.step}.html",
        }
        return self._page.render(values)


@cache
def load_pages() -> Pages:
    """Return the pages, read once."""
    return Pages()


def list_progress(session: WidgetSession) -> list[tuple[str, str]]:
    """List the steps of a session, each with done, now or later."""
    steps = _REPAIRING if session.kind is WidgetKind.FIX else _LINKING
    at = next((n for n, (_, names) in enumerate(steps) if session.step in names), len(steps))
    return [(name, "done" if n < at else "now" if n == at else "later") for n, (name, _) in enumerate(steps)]


def find_remedy(session: WidgetSession, meaning: Meaning | None, step: RepairStep | None) -> str:
    """Say which button a page of trouble has."""
    if session.step is WidgetStep.CHECK:
        return _REMEDIES.get(step.name, "") if step is not None else ""
    if meaning is None:
        return ""
    return str(meaning.step) if meaning.step in (Step.CREDENTIALS, Step.CONSENT, Step.CHALLENGE, Step.AT_BANK) else ""


def write_seen(session: WidgetSession, arrived: Arrived | None) -> str:
    """Write what a page compares to know that there is something new to show."""
    came = "" if arrived is None else f" {arrived.accounts} {arrived.transactions} {arrived.is_updated:d}"
    return f"{session.version} {session.is_working:d}{came}"


def write_way_back(session: WidgetSession) -> str:
    """Write where a session leads when it has ended, with how it ended; "" where nowhere."""
    if not session.redirect_uri or session.outcome is None:
        return ""
    said = {"outcome": session.outcome.value, "widgetSessionId": str(session.id)}
    said |= {"bankAccountId": str(session.connection_id)} if session.connection_id is not None else {}
    separator = "&" if "?" in session.redirect_uri else "?"
    return f"{session.redirect_uri}{separator}{urlencode(said)}"


def find_host(url: str) -> str:
    """Return the host of an institution's page; "" where there is none.

    >>> find_host("https://finbank.example/login"), find_host("http://[bad")
    ('finbank.example', '')
    """
    try:
        return urlsplit(url).hostname or ""
    except ValueError:
        return ""


def write_data_url(picture: bytes) -> str:
    """Write a picture into the page; what it is was looked at when it came."""
    kind = "png" if picture.startswith(b"\x89PNG") else "gif" if picture.startswith(b"GIF8") else "jpeg"
    return f"data:image/{kind};base64,{b64encode(picture).decode()}"


def write_kind(kind: str) -> str:
    """Write an aggregator's word for a kind of account as people do.

    >>> write_kind("creditCard")
    'credit card'
    """
    return "".join(f" {letter.lower()}" if letter.isupper() else letter for letter in kind)


def write_time_left(seconds: int) -> str:
    """Write how long a code is still good.

    >>> write_time_left(150)
    'The code is good for another 2 min 30 s.'
    """
    if seconds <= 0:
        return "The code has run out: ask the bank for a new one."
    return f"The code is good for another {seconds // 60} min {seconds % 60} s."


def _write_title(session: WidgetSession, bank: str) -> str:
    if session.outcome is Outcome.EXPIRED:
        return "The time is over"
    if session.step is WidgetStep.TROUBLE and session.kind is WidgetKind.FIX and session.status_code is None:
        return bank
    return _TITLES[session.step].format(bank=bank)


def _write_problem(session: WidgetSession) -> str:
    if session.is_working or session.ended_at is not None:
        return ""
    if session.is_cut_off:
        return "That took too long or was interrupted. Nothing was lost: try again."
    is_refused = session.step in (WidgetStep.CREDENTIALS, WidgetStep.CONSENT) and session.status_code is not None
    return read_code(session.status_code).words if is_refused else session.message


def _write_down(institution: Institution | None) -> str:
    if institution is None or institution.status not in DOWN:
        return ""
    return f"{institution.name} says that it {'is ' if institution.status == 'maintenance' else ''}{DOWN[institution.status]}: it may not answer."


def _can_go_back(session: WidgetSession) -> bool:
    at_bank = session.step not in (WidgetStep.INSTITUTION, WidgetStep.DONE, WidgetStep.LEFT)
    return session.kind is WidgetKind.ADD and session.connection_id is None and at_bank
