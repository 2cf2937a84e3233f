"""How alike two descriptions are. Pure; every function's time grows with the length of its text and no faster."""

import re
import unicodedata
from dataclasses import dataclass

from rapidfuzz import fuzz

TEXT_CHARS = 500
"""The longest description that is kept."""

_KEY_CHARS = 200
_ALIKE_SCORE = 75.0
_SHORTENED_SCORE = 90.0
_SHORTENED_CHARS = 6
_PREFIX_CHARS = 4
_WORD_CHARS = 3
_NOT_A_WORD = re.compile(r"[\W_]+")
_NUMBER = re.compile(r"\d+")
_VOWELS = re.compile(r"(?<=\w)[aeiou]")
_PENDING = frozenset({"pending", "pend"})
_NO_TEXT = frozenset({"no description provided by institution"})
_GENERAL = frozenset(
    {"pos", "debit", "credit", "card", "visa", "purchase", "payment", "the", "and", "inc", "com", "www"}
)

# Costs are in days, since days are what they are weighed against.
_PREFIX_COST = 3.0
_ALIKE_COST = 4.0
_ALIKE_RANGE = 5.0
_SHORTENED_COST = 8.0
_NO_TEXT_COST = 12.0
_SHARED_COST = 17.0
_UNLIKE_COST = 30.0
_OTHER_NUMBER_COST = 11.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Likeness:
    """How two texts compare: `cost` in days, 0 where they are equal.

    `is_alike`: equal, one begins the other, or they are similar. `has_shared`: at least a word in common.
    `has_other_number`: each has a number that the other lacks.
    """

    cost: float
    is_alike: bool
    has_shared: bool
    has_other_number: bool


def clean(text: str, limit: int = TEXT_CHARS) -> str:
    r"""Return a text without control, format and direction marks, blanks collapsed, at most `limit` characters.

    >>> clean("  CORNER\x00  CAFE\u202e ")
    'CORNER CAFE'
    """
    few = " ".join(text.split())[: limit * 4]
    kept = "".join(c for c in few if c.isprintable() or unicodedata.category(c) == "Zs")
    return " ".join(kept.split())[:limit].rstrip()


def key(text: str) -> str:
    """Return what counts of a description: lower case, words only, without "pending". "" where nothing is said.

    >>> key("PENDING - Corner  CAFE #12")
    'corner cafe 12'
    """
    words = _NOT_A_WORD.sub(" ", text[:_KEY_CHARS].casefold()).split()
    joined = " ".join(word for word in words if word not in _PENDING)
    return "" if joined in _NO_TEXT else joined


def words_of(key_text: str) -> frozenset[str]:
    """Return a key's telling words: at least three letters, no numbers, none of those that every card row has."""
    return frozenset(
        word for word in key_text.split() if len(word) >= _WORD_CHARS and not word.isdigit() and word not in _GENERAL
    )


def compare(one: str, other: str) -> Likeness:
    """Compare two keys as `key` returns them.

    >>> compare("corner cafe", "corner cafe 0042").is_alike, compare("uber trip", "uber eats").is_alike
    (True, False)
    >>> compare("golden carp", "gldn carp boise id").is_alike
    True
    """
    if not one or not other:
        return Likeness(
            cost=0.0 if one == other else _NO_TEXT_COST, is_alike=False, has_shared=False, has_other_number=False
        )
    if one == other:
        return Likeness(cost=0.0, is_alike=True, has_shared=True, has_other_number=False)
    if _begins(one, other) or _begins(other, one):
        return Likeness(cost=_PREFIX_COST, is_alike=True, has_shared=True, has_other_number=False)
    score = fuzz.token_set_ratio(one, other)
    is_alike = score >= _ALIKE_SCORE or _is_shortened(one, other)
    has_shared = is_alike or bool(words_of(one) & words_of(other))
    has_other_number = _have_other_numbers(one, other)
    return Likeness(
        cost=_base_cost(score, is_alike=is_alike, has_shared=has_shared) + _OTHER_NUMBER_COST * has_other_number,
        is_alike=is_alike,
        has_shared=has_shared,
        has_other_number=has_other_number,
    )


def _begins(short: str, long: str) -> bool:
    head = short.replace(" ", "")
    return len(head) >= _PREFIX_CHARS and long.replace(" ", "").startswith(head)


def _is_shortened(one: str, other: str) -> bool:
    """Tell whether two keys are alike without their vowels, as banks shorten names: "gldn carp" for "golden carp"."""
    mine, theirs = _VOWELS.sub("", one), _VOWELS.sub("", other)
    if min(len(mine), len(theirs)) < _SHORTENED_CHARS:
        return False
    return fuzz.token_set_ratio(mine, theirs) >= _SHORTENED_SCORE


def _base_cost(score: float, *, is_alike: bool, has_shared: bool) -> float:
    if is_alike and score < _ALIKE_SCORE:
        return _SHORTENED_COST
    if is_alike:
        return _ALIKE_COST + _ALIKE_RANGE * (100.0 - score) / (100.0 - _ALIKE_SCORE)
    return _SHARED_COST if has_shared else _UNLIKE_COST


def _have_other_numbers(one: str, other: str) -> bool:
    numbers, others = set(_NUMBER.findall(one)), set(_NUMBER.findall(other))
    return bool(numbers - others) and bool(others - numbers)
