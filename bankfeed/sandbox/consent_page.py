"""The bank's own page, on which a person allows or declines. Pure: HTML, without script."""

from collections.abc import Iterable
from html import escape

from bankfeed.sandbox.accounts import NAMES, AccountKind
from bankfeed.sandbox.institutions import Institution

STYLE = (
    "body{font:1.0625rem/1.5 system-ui,sans-serif;max-width:32rem;margin:2rem auto;padding:0 1rem;color:#1c1c1c}"
    "fieldset{border:1px solid #767676;border-radius:.5rem;margin:1rem 0}"
    "label{display:block;padding:.5rem 0;min-height:2rem}"
    "input{width:1.25rem;height:1.25rem;vertical-align:-.2rem}"
    "button{font:inherit;min-height:2.75rem;padding:0 1.5rem;margin:0 .5rem .5rem 0;border-radius:.5rem;"
    "border:2px solid #0b5394;background:#fff;color:#0b5394}"
    "button.main{background:#0b5394;color:#fff}"
    ":focus-visible{outline:3px solid #c55a00;outline-offset:2px}"
    "[role=alert]{border-left:.25rem solid #b00020;padding:.5rem 1rem;background:#fdecee}"
)


def consent_page(institution: Institution, accounts: Iterable[tuple[AccountKind, str]], *, problem: str = "") -> str:
    """Write the page: accounts with the last digits of their number, all ticked, then Allow and Decline."""
    boxes = "".join(
        f'<label><input type="checkbox" name="accounts" value="{escape(kind)}" checked> '
        f"{escape(NAMES[kind])}, ending in {escape(number[-4:])}</label>"
        for kind, number in accounts
    )
    alert = f'<p role="alert">{escape(problem)}</p>' if problem else ""
    return _page(
        f"{institution.name}: share your accounts?",
        f"{alert}<p>A bookkeeping service asks to read the accounts that you tick: their names, balances and "
        "transactions. It cannot move money.</p>"
        f'<form method="post"><fieldset><legend>Accounts to share</legend>{boxes}</fieldset>'
        '<button class="main" name="decision" value="allow">Allow</button>'
        '<button name="decision" value="decline">Decline</button></form>',
    )


def closed_page() -> str:
    """Write the page of a session that is not open, or not any more."""
    return _page(
        "This page is no longer open",
        "<p>It was answered already, or it was open for too long. Go back to where you came from and start again.</p>",
    )


def _page(title: str, body: str) -> str:
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}</title><style>{STYLE}</style></head>"
        f"<body><main><h1>{escape(title)}</h1>{body}</main></body></html>"
    )
