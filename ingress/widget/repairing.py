"""Where a guided repair is, for the widget's pages: what is wrong, which step comes next, what a report says. Pure."""

from collections.abc import Sequence

from bankfeed.db.institution import Institution
from bankfeed.db.widget import WidgetSession
from bankfeed.db.widget_login import Login
from bankfeed.health import ConnectionState, Meaning, describe, read_code
from bankfeed.repair import Bank, Step, Tried, next_step


def find_step(
    session: WidgetSession, institution: Institution | None, login: Login | None, tried: Sequence[Tried]
) -> Step | None:
    """Return where a guided repair is; None where there is no connection to repair."""
    meaning = find_meaning(session, login)
    if login is None or meaning is None:
        return None
    return next_step(meaning, tried, Bank(name=login.name) if institution is None else make_bank(institution))


def clean(text: str) -> str:
    """Return a text without what neither people type nor Postgres takes."""
    return "".join(letter for letter in text if letter.isprintable() or letter == "\n")


def find_meaning(session: WidgetSession, login: Login | None) -> Meaning | None:
    """Say what is wrong: what the bank said last in the session, else what is known of the connection; None where nothing is."""
    if session.status_code is not None:
        return read_code(session.status_code)
    if login is None:
        return None
    state = ConnectionState(login.state)
    return describe(state, login.status_code, is_received=state is ConnectionState.ACTIVE, repeats=login.code_repeats)


def make_bank(institution: Institution) -> Bank:
    """Say of an institution what a repair needs."""
    return Bank(
        name=institution.name,
        phone=institution.phone,
        email=institution.email,
        url=institution.sign_in_url or institution.url,
        is_oauth=institution.is_oauth,
    )
