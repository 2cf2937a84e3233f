"""The mailbox's page, for people who try things out. Pure: HTML, without script; all that is in a letter is text."""

from collections.abc import Sequence
from html import escape
from typing import Final

from bankfeed.sandbox.mailbox import Letter

STYLE: Final = (
    "body{font:1.0625rem/1.5 system-ui,sans-serif;max-width:44rem;margin:2rem auto;padding:0 1rem;color:#1c1c1c}"
    "article{border:1px solid #767676;border-radius:.5rem;margin:1rem 0;padding:0 1rem}"
    "h2{font-size:1.125rem;overflow-wrap:anywhere}"
    "pre{font:inherit;white-space:pre-wrap;overflow-wrap:anywhere}"
)


def mailbox_page(letters: Sequence[Letter]) -> str:
    """Write the page: the letters as they are given."""
    shown = "".join(_show(letter) for letter in letters) or "<p>No letter has come yet.</p>"
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>Mailbox of the sandbox</title><style>{STYLE}</style></head>"
        "<body><main><h1>Mailbox of the sandbox</h1>"
        f"<p>E-mail that was sent here, the newest first. None of it left this machine.</p>{shown}</main></body></html>"
    )


def _show(letter: Letter) -> str:
    at = letter.at.isoformat(timespec="seconds")
    return (
        f"<article><h2>{escape(letter.subject)}</h2>"
        f'<p>To {escape(", ".join(letter.recipients))}, <time datetime="{at}">{letter.at:%Y-%m-%d %H:%M:%S} UTC</time></p>'
        f"<pre>{escape(letter.text)}</pre></article>"
    )
