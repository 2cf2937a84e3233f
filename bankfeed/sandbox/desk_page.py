"""The page on which a person breaks and mends the pretend banks. Pure: HTML, without script; all that is not ours is text."""

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from typing import Final

from bankfeed.sandbox.book import Login
from bankfeed.sandbox.breaking import Button, list_bank_buttons, list_login_buttons
from bankfeed.sandbox.institutions import Institution, InstitutionStatus

STYLE: Final = (
    "body{font:1.0625rem/1.5 system-ui,sans-serif;max-width:44rem;margin:2rem auto;padding:0 1rem;color:#1c1c1c;background:#fff}"
    "section{border:1px solid #767676;border-radius:.5rem;margin:1rem 0;padding:0 1rem 1rem}"
    "h2{font-size:1.125rem;margin:.75rem 0 0;overflow-wrap:anywhere}h3{font-size:1rem;margin:1rem 0 0;overflow-wrap:anywhere}p{margin:.25rem 0}"
    "form{display:flex;flex-wrap:wrap;gap:.5rem;margin:.5rem 0 0}"
    "button{font:inherit;min-height:2.75rem;padding:0 1rem;border-radius:.5rem;border:2px solid #0b5394;background:#fff;color:#0b5394}"
    ":focus-visible{outline:3px solid #c55a00;outline-offset:2px}"
    "[role=status]{border-left:.25rem solid #0b5394;padding:.5rem 1rem;background:#eaf2fb}"
    ".bad{color:#b00020;font-weight:600}"
)
_STATUS_WORDS: Final = {
    InstitutionStatus.ONLINE: "works",
    InstitutionStatus.OFFLINE: "is down",
    InstitutionStatus.MAINTENANCE: "is under maintenance",
    InstitutionStatus.MIGRATING: "moves to a page of its own",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class ShownLogin:
    """A login with the username of whoever holds it, as the aggregator knows them, and how its accounts are called."""

    login: Login
    holder: str
    accounts: Sequence[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class ShownBank:
    """An institution with the logins there."""

    institution: Institution
    logins: Sequence[ShownLogin]


def desk_page(banks: Sequence[ShownBank], *, said: str) -> str:
    """Write the page; `said` is what was done just now, "" for nothing."""
    status = f'<p role="status">{escape(said)}</p>' if said else ""
    shown = "".join(_show_bank(bank) for bank in banks) or (
        "<p>Nobody has linked a bank yet. Link one in Bankfeed (search for FinBank; the username is demo, the password go), "
        "then look here again.</p>"
    )
    return _page(
        "Finbank: break and mend banks",
        "<p>What you do here happens at the pretend banks. Bankfeed hears of it within seconds, and says what it is and who "
        f'has to act.</p>{status}{shown}<p><a href="?">Look again</a></p>',
    )


def closed_page() -> str:
    """Write the page for who has not the whole address."""
    return _page("This page is not there", "<p>Open the address just as it was printed.</p>")


def _show_bank(bank: ShownBank) -> str:
    institution = bank.institution
    logins = "".join(_show_login(institution, each) for each in bank.logins)
    return (
        f'<section><h2 id="bank-{institution.id}">{escape(institution.name)} {_STATUS_WORDS[institution.status]}</h2>'
        f"{_form('institution', institution.id, f'bank-{institution.id}', list_bank_buttons(institution))}{logins}</section>"
    )


def _show_login(institution: Institution, shown: ShownLogin) -> str:
    login = shown.login
    code = f'<span class="bad">fails with code {login.failing}</span>' if login.failing else "works"
    return (
        f'<h3 id="login-{login.id}">Sign-in {escape(login.username)} of {escape(shown.holder)}</h3>'
        f"<p>{escape(', '.join(shown.accounts))}: {code}</p>"
        f"{_form('login', login.id, f'login-{login.id}', list_login_buttons(institution, login))}"
    )


def _form(name: str, number: int, heading: str, buttons: Sequence[Button]) -> str:
    shown = "".join(
        f'<button id="{each.act}-{number}" name="act" value="{each.act}" aria-labelledby="{each.act}-{number} {heading}">'
        f"{escape(each.words)}</button>"
        for each in buttons
    )
    return f'<form method="post"><input type="hidden" name="{name}" value="{number}">{shown}</form>'


def _page(title: str, body: str) -> str:
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}</title><style>{STYLE}</style></head>"
        f"<body><main><h1>{escape(title)}</h1>{body}</main></body></html>"
    )
