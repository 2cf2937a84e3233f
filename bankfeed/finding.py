"""Finding an institution by what somebody types: half a name, a URL, letters swapped or missing. Pure; all in memory.

An `Index` is built once and searched many times; one that changed is built anew. Every search goes from the sure to the
unsure and stops when it has enough: names and hosts that are the text, that begin with it, whose words begin with its
words, and last what is a slip or two of the pen away. The last looks at every word and at every beginning of a name that
there is, in rapidfuzz's C: at 15,000 names that takes a millisecond or two, and misses nothing, as posting lists of trigrams
do where a short word has letters swapped.
"""

import re
import unicodedata
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Final

from rapidfuzz import process
from rapidfuzz.distance import OSA

MAX_TEXT_CHARS: Final = 100  # of what is typed; the rest is not looked at
MAX_WORDS: Final = 8
ENOUGH: Final = 5  # found without a slip: then no slip is looked for
LEAST_LETTERS: Final = 4  # of a text that may hold a slip
LONGEST_CUT: Final = 8  # letters of a text that are compared with all, before the rest is with those that are near
MARGIN: Final = (0, 2, 4, 4)
LAST: Final = "\U0010ffff"  # sorts after every text that begins alike

_GENERIC: Final = frozenset(
    {"and", "bank", "banking", "banks", "card", "cards", "co", "credit", "cu", "fcu", "fsb", "inc"}
    | {"na", "of", "online", "personal", "the", "union", "usa"}
)
"""Words that many type and few names have: without its place in a name such a word is a slip, and no reason to give up."""
_NO_LABELS: Final = frozenset(
    {"accounts", "app", "bank", "com", "coop", "example", "gov", "login", "my", "net", "online", "org", "secure", "www"}
)
_URL: Final = re.compile(r"^(?:[a-z][a-z0-9+.-]*://)?(?:[^/@]*@)?(?:www\d?\.)?([^/:?#\s]+\.[^/:?#\s]*)")
_APOSTROPHES: Final = str.maketrans("", "", "'`\u2018\u2019\u02bc")
_PARTS: Final = re.compile(r"[^\W_]+")


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """What is found: its id, its name, where it lives on the web, and whether it can be used now."""

    id: int
    name: str
    url: str = ""
    is_online: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class _Typed:
    """What was typed, read: its words, all of them without spaces, and the host where it is a URL, else ""."""

    words: tuple[str, ...]
    whole: str
    host: str


@dataclass(frozen=True, slots=True)
class _Keys:
    """Texts in order, each with the entries (by rank) that have it."""

    texts: tuple[str, ...]
    ranks: tuple[tuple[int, ...], ...]

    def range(self, prefix: str) -> tuple[int, int]:
        """Return where the texts that begin so stand."""
        return bisect_left(self.texts, prefix), bisect_left(self.texts, prefix + LAST)

    def find(self, text: str) -> tuple[int, ...]:
        """Return the entries that have this very text."""
        at = bisect_left(self.texts, text)
        return self.ranks[at] if at < len(self.texts) and self.texts[at] == text else ()

    def find_prefix(self, prefix: str) -> set[int]:
        """Return the entries that have a text which begins so."""
        first, end = self.range(prefix)
        return set(chain.from_iterable(self.ranks[first:end]))


class _Slips:
    """The texts of some keys, by their beginnings of each length, to be compared with what may hold slips of the pen."""

    def __init__(self, keys: _Keys) -> None:
        self._keys = keys
        self._cuts = {size: _cut(keys.texts, size) for size in range(LEAST_LETTERS, LONGEST_CUT + 1)}

    def find(self, typed: str) -> dict[int, int]:
        """Return the entries with a text, or the beginning of one, at most so many slips away; each with how many.

        Somebody may still be typing, so a text is compared up to about the length that was typed: one that is n slips away
        is n letters longer or shorter there, at most.
        """
        most = count_slips(len(typed))
        if not most:
            return {}
        spans = self._find_spans(typed[:LONGEST_CUT], most)
        texts = list(chain.from_iterable(self._keys.texts[first:end] for first, end in spans))
        places = list(chain.from_iterable(range(first, end) for first, end in spans))
        least: dict[int, int] = {}
        for size in range(len(typed) - most, len(typed) + most + 1):
            cut = [text[:size] for text in texts]
            for _, count, n in process.extract(typed, cut, scorer=OSA.distance, score_cutoff=most, limit=None):
                least[n] = min(count, least.get(n, count))
        slips: dict[int, int] = {}
        for count in range(most, -1, -1):  # what is nearer is written over what is farther
            near = chain.from_iterable(self._keys.ranks[places[n]] for n, own in least.items() if own == count)
            slips.update(dict.fromkeys(near, count))
        return slips

    def _find_spans(self, start: str, most: int) -> list[tuple[int, int]]:
        """Find the texts whose beginnings may be near; none of those that are is left out."""
        cuts, firsts = self._cuts[len(start)]
        near = process.extract(start, cuts, scorer=OSA.distance, score_cutoff=MARGIN[most], limit=None)
        return [(firsts[n], firsts[n + 1]) for _, _, n in near]


class Index:
    """Entries, searchable. Immutable; 15,000 of them take less than half a second to build."""

    def __init__(self, entries: Iterable[Entry]) -> None:
        known = sorted(entries, key=_order)
        words = [fold(entry.name).split() for entry in known]
        wholes = ["".join(own) for own in words]
        labels = [
            [label for label in _labels(entry.url) if not whole.startswith(label)]
            for entry, whole in zip(known, wholes, strict=True)
        ]
        self._ids = tuple(entry.id for entry in known)
        self._names = _collect((whole, rank) for rank, whole in enumerate(wholes))
        self._hosts = _collect((find_host(entry.url), rank) for rank, entry in enumerate(known))
        self._labels = _collect((label, rank) for rank, own in enumerate(labels) for label in own)
        self._words = _collect((word, rank) for rank, own in enumerate(words) for word in dict.fromkeys(own))
        self._slips_of_starts = tuple(_Slips(keys) for keys in (self._names, self._labels))
        self._slips_of_words = _Slips(self._words)

    def __len__(self) -> int:
        return len(self._ids)

    def search(self, text: str, *, limit: int, accept: Callable[[int], bool] | None = None) -> list[int]:
        """Return ids, the best first, at most `limit`; those only that `accept` takes, where it is given.

        Exact before prefix before the beginnings of words; among equals the one that is online, then the shorter name.
        Slips of the pen are looked for where the text as it stands finds little. One without a letter or digit finds nothing.
        """
        typed = _read(text)
        if not typed.whole:
            return []
        tiers = (self._exact, self._prefixed, self._worded)
        sure = chain.from_iterable(tier(typed) for tier in tiers)
        found = self._take(sure, {}, limit=limit, accept=accept)
        if not self._exact(typed) and len(found) < min(limit, ENOUGH):
            found = self._take(self._slipped(typed), found, limit=limit, accept=accept)
        return [self._ids[rank] for rank in found]

    def _take(
        self, ranks: Iterable[int], found: dict[int, None], *, limit: int, accept: Callable[[int], bool] | None
    ) -> dict[int, None]:
        """Add to what was found, in order, what is not among it yet, until there is enough."""
        for rank in ranks:
            if rank not in found and (accept is None or accept(self._ids[rank])):
                found[rank] = None
                if len(found) == limit:
                    break
        return found

    def _exact(self, typed: _Typed) -> list[int]:
        return sorted({*self._names.find(typed.whole), *(self._hosts.find(typed.host) if typed.host else ())})

    def _prefixed(self, typed: _Typed) -> list[int]:
        ranks = self._names.find_prefix(typed.whole)
        return sorted(ranks | self._hosts.find_prefix(typed.host) if typed.host else ranks)

    def _worded(self, typed: _Typed) -> list[int]:
        """List the entries of which some word begins with each word that was typed, in any order; or a part of the host."""
        spans = [self._words.range(word) for word in typed.words]
        holders = [self._words.ranks[first:end] for first, end in spans]
        first, *others = sorted(holders, key=lambda lists: sum(map(len, lists)))
        ranks = set(chain.from_iterable(first))
        for lists in others:
            if ranks:
                ranks.intersection_update(chain.from_iterable(lists))
        return sorted(ranks | self._labels.find_prefix(typed.whole))

    def _slipped(self, typed: _Typed) -> Iterator[int]:
        """List the entries that a few slips lead to, the fewest first: by words, or as a whole, where spaces do not count."""
        counts = [self._slip_by_words(typed)]
        if len(counts[0]) < ENOUGH:
            counts += [starts.find(typed.whole) for starts in self._slips_of_starts]
        for count in range(count_slips(len(typed.whole)) + 1):
            yield from sorted({rank for slips in counts for rank, own in slips.items() if own == count})

    def _slip_by_words(self, typed: _Typed) -> dict[int, int]:
        """Compare word by word, in any order. A word that begins some name's word is right, unless that finds nothing."""
        needed = [word for word in typed.words if word not in _GENERIC]
        right = {word: self._words.find_prefix(word) for word in needed}
        near = {word: self._slips_of_words.find(word) for word in needed if not right[word]}
        slips = self._add_up(typed, [ranks for ranks in right.values() if ranks], list(near.values()))
        if not slips and near.keys() < right.keys():
            guessed = (near.get(word) or self._slips_of_words.find(word) for word in needed)
            slips = self._add_up(typed, [], list(guessed))
        return slips

    def _add_up(self, typed: _Typed, right: Sequence[set[int]], near: Sequence[Mapping[int, int]]) -> dict[int, int]:
        """Add up the slips of each entry that has all that is right or near; a generic word that it has not is one too."""
        if not right and not near:
            return {}
        ranks = set.intersection(*sorted((*right, *map(set, near)), key=len))
        slips = {rank: sum(own[rank] for own in near) for rank in ranks}
        for generic in _GENERIC.intersection(typed.words):
            for rank in ranks.difference(self._words.find_prefix(generic)):
                slips[rank] += 1
        most = count_slips(len(typed.whole))
        return {rank: count for rank, count in slips.items() if count <= most}


def fold(text: str) -> str:
    """Return a text as it is compared: words without case, accents and punctuation, "&" as "and".

    >>> fold("  Crédit Agricole—Côte d'Azur ")
    'credit agricole cote dazur'
    >>> fold("M&T Bank")
    'm and t bank'
    """
    bare = text if text.isascii() else unicodedata.normalize("NFKD", text.translate(_APOSTROPHES))
    if not bare.isascii():
        bare = "".join(letter for letter in bare if not unicodedata.combining(letter))
    return " ".join(_PARTS.findall(bare.translate(_APOSTROPHES).replace("&", " and ").casefold()))


def find_host(url: str) -> str:
    """Return the host of a URL or of what looks like one, without "www.", in lower case; "" where there is none.

    >>> find_host("https://www.Bank.example:443/login"), find_host("bank.example"), find_host("a bank")
    ('bank.example', 'bank.example', '')
    """
    match = _URL.match(url.strip().lower())
    return match[1] if match else ""


def count_slips(letters: int) -> int:
    """Return how many slips of the pen a text of so many letters may hold.

    >>> [count_slips(letters) for letters in (3, 4, 5, 6, 14, 15)]
    [0, 1, 1, 2, 2, 3]
    """
    return sum(letters >= least for least in (LEAST_LETTERS, 6, 15))


def _order(entry: Entry) -> tuple[bool, int, str, int]:
    name = fold(entry.name)
    return not entry.is_online, len(name), name, entry.id


def _read(text: str) -> _Typed:
    text = text[:MAX_TEXT_CHARS]
    host = find_host(text) if " " not in text.strip() else ""
    labels = _labels(host)
    words = labels or tuple(fold(text).split())
    return _Typed(words=words[:MAX_WORDS], whole="".join(words), host=host)


def _labels(url: str) -> tuple[str, ...]:
    """Return the parts of a host that tell whose it is: no "www", no "com"."""
    labels = find_host(url).rstrip(".").split(".")
    least = len(labels) - 2  # "co" of co.uk tells nothing, "td" of td.com all
    own = [label for n, label in enumerate(labels[:-1]) if label not in _NO_LABELS and len(label) > 1 + (n != least)]
    return tuple(dict.fromkeys("".join(_PARTS.findall(label)) for label in own))


def _collect(pairs: Iterable[tuple[str, int]]) -> _Keys:
    ranks_by_text: dict[str, list[int]] = {}
    for text, rank in pairs:
        if text:
            ranks_by_text.setdefault(text, []).append(rank)
    texts = sorted(ranks_by_text)
    return _Keys(tuple(texts), tuple(tuple(ranks_by_text[text]) for text in texts))


def _cut(texts: Sequence[str], size: int) -> tuple[list[str], list[int]]:
    """Return the distinct beginnings of texts in order, and where the texts of each stand: from one figure to the next."""
    cuts: list[str] = []
    firsts: list[int] = []
    last = ""
    for at, text in enumerate(texts):
        if (cut := text[:size]) != last:
            cuts.append(cut)
            firsts.append(at)
            last = cut
    return cuts, [*firsts, len(texts)]
