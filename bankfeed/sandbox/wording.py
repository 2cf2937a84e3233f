"""How a bank words the same shop differently once a purchase has posted. Pure."""

from random import Random

from bankfeed.sandbox.merchants import Merchant
from bankfeed.sandbox.shares import Shares

PREFIXES = ("POS ", "POS DEBIT ", "DEBIT CARD PURCHASE ", "CHECKCARD ")
PROCESSORS = ("SQ *", "TST* ", "PAYPAL *")
SUFFIXES = (" #{store} {place}", " {place}", " {place} US{store}", " {store}")
NARROW_CHARS = 20
ABBREVIATED_CHARS = 5


def plain_text(merchant: Merchant) -> str:
    """Return a shop's name as banks write it where they add nothing."""
    return merchant.name.upper()


def drawn_text(rng: Random, merchant: Merchant, shares: Shares) -> str:
    """Draw another wording of a shop's name; always the same number of draws, and never the plain name itself."""
    plain = plain_text(merchant)
    suffix = rng.choice(SUFFIXES).format(store=rng.randint(100, 9_999), place=merchant.place)
    prefix, processor = rng.choice(PREFIXES), rng.choice(PROCESSORS)
    rolls = [rng.random() for _ in range(6)]
    text = " ".join(map(abbreviate, plain.split())) if rolls[0] < shares.abbreviated else plain
    text = f"{processor}{text}" if rolls[1] < shares.processor else text
    is_bare = text == plain and rolls[2] >= shares.prefixed
    text = f"{text}{suffix}" if rolls[3] < shares.suffixed or is_bare else text
    text = text[:NARROW_CHARS].rstrip() if rolls[4] < shares.truncated else text
    text = f"{prefix}{text}" if rolls[2] < shares.prefixed else text
    text = text.title() if rolls[5] < shares.cased else text
    return text if text != plain else text.title()


def abbreviate(word: str) -> str:
    """Shorten a long word to its first letter and the consonants that follow.

    >>> abbreviate("MARKET"), abbreviate("PHARMACY"), abbreviate("LUNA")
    ('MRKT', 'PHRMC', 'LUNA')
    """
    if len(word) <= ABBREVIATED_CHARS:
        return word
    return (word[0] + "".join(letter for letter in word[1:] if letter not in "AEIOU"))[:ABBREVIATED_CHARS]
