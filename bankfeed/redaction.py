"""Texts of strangers without what must not be kept: secrets and personal data. Pure.

For what a subscriber's server answered, and for the words of errors. A text is masked rather once too often: what is left is
for a person who looks for the cause of a failure. The law: whatever the text, the work is linear in its length. So each
pattern begins where nothing before it could have begun, takes a run whole or not at all (possessive), or is bounded.
"""

import re
from typing import Final

MASK: Final = "***"

# What names a secret wherever it stands in a longer key; those below only where they are the whole of it.
_NAMING_WORDS: Final = (
    "authorization|cookie|passw|passphrase|passcode|secret|token|credential|api[ _-]?key|access[_-]?key|private[_-]?key"
    "|signing[_-]?key|session[_-]?id"
)
_NAMING_KEYS: Final = "auth|pass|pwd|pin|otp|cvv|cvc|ssn|jwt"
# The letters that those begin with stand first, because most positions of a text are ruled out by one look.
_KEY: Final = re.compile(
    rf"(?=[acjopst])(?:(?:{_NAMING_WORDS})[\w.-]{{0,40}}+|(?<![\w.-])(?:{_NAMING_KEYS})(?![\w.-]))"
    r"(?:\\*+[\"'])?+\s*+(?:[:=]>?+|>)\s*+",
    re.ASCII | re.IGNORECASE,
)
_WHOLE_LINE: Final = re.compile(r"authorization|cookie", re.ASCII | re.IGNORECASE)
_LINE: Final = re.compile(r"(?:=\\*+[\"'][^\"'\r\n]*+[\"']?+|[^\r\n\"'<>\\])++")
_WORD: Final = re.compile(r"(?:[^\s&\"'<>\\,;){}\[\]]|[,;){}\[\]](?=[^\s&\"'<>\\,;(){}\[\]])|\\(?![nrtu\"'\\]))++")
_PLAIN: Final = re.compile(r"(?:null|true|false|none)(?![^\s&\"'<>\\,;){}\[\]])", re.IGNORECASE)
_OPENING: Final = re.compile(r"(\\*+)([\"'])")
_CLOSING: Final = {quote: re.compile(rf"(?<!\\)(\\*+){quote}") for quote in "\"'"}
_BRACKET: Final = re.compile(r"[\[\]{}]")

_SCHEME: Final = re.compile(
    r"\b(bearer|basic)(\s++|%20)(?!(?:token|auth(?:entication|orization)?|realm)\b)[\w.~+/=-]++",
    re.ASCII | re.IGNORECASE,
)
_OWN_SECRET: Final = re.compile(r"(wh(?:sec|sk)_|bf[kt]_)[\w+/=-]++", re.ASCII)
_JWT: Final = re.compile(r"(?<![\w-])eyJ[\w-]++(?:\.[\w-]*+)++", re.ASCII)
_URL: Final = re.compile(
    r"(:(?:\\?+/){2})((?:[^\s/?#\"'<>\\@]*+@)*+)([^\s?#\"'<>]*+)([?#][^\s\"'<>]++)?+",
)
_E_MAIL: Final = re.compile(r"(?<![\w.+-])[\w.+-]++(?:@|%40|\\u0040)[\w-]++(?:\.[\w-]++)*+", re.IGNORECASE)
_IBAN: Final = re.compile(
    r"(?<![A-Za-z0-9])[A-Z]{2}[0-9]{2}(?:[A-Z0-9]{11,30}|(?:[ -][A-Z0-9]{4}){2,7}(?:[ -][A-Z0-9]{1,3})?)(?![A-Za-z0-9])"
)
# What is full of digits and gives nobody away (a day or moment, a UUID, a hash), then nine digits and more.
_NUMBER: Final = re.compile(
    r"""
    (?=[0-9a-f])(?:
    (?P<harmless>
        (?<!\d)(?:19|20)\d\d-(?:0[1-9]|1[0-2])-(?:0[1-9]|[12]\d|3[01])(?!\d)(?:[T ]\d\d:\d\d(?::\d\d(?:[.,]\d{1,9})?)?(?!\d))?
      | (?<![0-9a-z])[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}(?![0-9a-z])
      | (?<![0-9a-z])(?=\d{0,8}[a-f])(?:[0-9a-f]{64}|[0-9a-f]{40}|[0-9a-f]{32})(?![0-9a-z])
    )
    | \d(?:[ \t\u00a0()-]{0,3}+\d){8,}+
    )
    """,
    re.VERBOSE | re.IGNORECASE,
)


def redact(text: str) -> str:
    """Return a text with its secrets and personal data masked.

    Secrets: values of keys that say so, in JSON or as key=value; Bearer and Basic credentials; signing secrets and keys of
    ours; JWTs; the user, password, query and fragment of URLs. Personal data: e-mail addresses, IBANs, and nine digits and
    more, whatever blanks, dashes and brackets are between them: cards, accounts, phones, social security numbers.

    >>> redact('{"error":"no card 4111 1111 1111 1111","password":"hunter2","at":"2026-11-21T10:00:00Z"}')
    '{"error":"no card ***","password":"***","at":"2026-11-21T10:00:00Z"}'
    """
    text = _URL.sub(_mask_url, text)
    text = _mask_values(text)
    text = _SCHEME.sub(rf"\1\2{MASK}", text)
    text = _OWN_SECRET.sub(rf"\1{MASK}", text)
    text = _JWT.sub(MASK, text)
    text = _E_MAIL.sub(MASK, text)
    text = _IBAN.sub(MASK, text)
    return _NUMBER.sub(_mask_number, text)


def _mask_url(url: re.Match[str]) -> str:
    slashes, user, rest, query = url.groups()
    return slashes + (f"{MASK}@" if user else "") + rest + (query[0] + MASK if query else "")


def _mask_number(number: re.Match[str]) -> str:
    return number[0] if number["harmless"] else MASK


def _mask_values(text: str) -> str:
    """Mask the value of each key that names a secret: what is in quotes or brackets whole, else the word, or the line."""
    kept: list[str] = []
    done = at = 0
    while key := _KEY.search(text, at):
        start, end = _find_value(text, key)
        if start < end:
            kept += (text[done:start], MASK)
            done = end
        at = end
    return "".join((*kept, text[done:]))


def _find_value(text: str, key: re.Match[str]) -> tuple[int, int]:
    """Return where the secret after a key begins and ends; the same place twice where there is none."""
    start = key.end()
    if opening := _OPENING.match(text, start):
        return opening.end(), _find_quote(text, opening)
    if text[start : start + 1] in ("[", "{"):
        return start, _find_closing(text, start)
    is_line = _WHOLE_LINE.match(key[0]) is not None
    word = None if _PLAIN.match(text, start) else (_LINE if is_line else _WORD).match(text, start)
    return start, start if word is None else word.end()


def _find_quote(text: str, opening: re.Match[str]) -> int:
    """Return where a quoted text ends: at the next such quote that has no more backslashes, or with all that is there."""
    escapes, quote = opening.groups()
    for closing in _CLOSING[quote].finditer(text, opening.end()):
        if len(closing[1]) <= len(escapes):
            return closing.start()
    return len(text)


def _find_closing(text: str, start: int) -> int:
    """Return where a bracket's other half ends, or the end of the text."""
    depth = 0
    for bracket in _BRACKET.finditer(text, start):
        depth += 1 if bracket[0] in "[{" else -1
        if not depth:
            return bracket.end()
    return len(text)
