"""Finding an institution by what somebody types."""

import random
from time import process_time

import pytest

from bankfeed.finding import Entry, Index, find_host
from bench.institutions import KNOWN, make_entries, misspell

SIZE = 15_000
MOST_MS = 20.0  # at the 99th percentile; a busy machine takes several times what an idle one does
ENTRIES = make_entries(SIZE)


@pytest.fixture(scope="module")
def index() -> Index:
    """All of them."""
    return Index(ENTRIES)


def names(index: Index, text: str, limit: int = 10) -> list[str]:
    return [ENTRIES[found - 1].name for found in index.search(text, limit=limit)]


def small(*entries: str | Entry) -> Index:
    return Index(
        each if isinstance(each, Entry) else Entry(id=n, name=each, url="") for n, each in enumerate(entries, start=1)
    )


@pytest.mark.parametrize("name", KNOWN)
def test_a_name_finds_itself_first(index: Index, name: str) -> None:
    """The whole name, whatever its case, is found before all others."""
    assert name == names(index, name.upper())[0]


@pytest.mark.parametrize(
    ("typed", "name"),
    [
        ("chsae", "Chase"),
        ("wels fargo", "Wells Fargo"),
        ("wellsfargo", "Wells Fargo"),
        ("wellsfrago", "Wells Fargo"),
        ("wells farg", "Wells Fargo"),
        ("fargo", "Wells Fargo"),
        ("fagro", "Wells Fargo"),
        ("bankofamerica", "Bank of America"),
        ("bankofamrica", "Bank of America"),
        ("bank of ameri", "Bank of America"),
        ("america bank", "Bank of America"),
        ("captial one", "Capital One"),
        ("capitol on", "Capital One"),
        ("us bank", "U.S. Bank"),
        ("u.s. bank", "U.S. Bank"),
        ("m&t", "M&T Bank"),
        ("m and t bank", "M&T Bank"),
        ("credit agricole", "Crédit Agricole"),
        ("CRÉDIT AGRICOLE", "Crédit Agricole"),
        ("macys", "Macy's Credit Card"),
        ("macy\N{RIGHT SINGLE QUOTATION MARK}s", "Macy's Credit Card"),
        ("nvay federal", "Navy Federal Credit Union"),
        ("navy fed cu", "Navy Federal Credit Union"),
        ("amrican expres", "American Express"),
        ("chalres schwab", "Charles Schwab"),
        ("schwab", "Charles Schwab"),
        ("shwab", "Charles Schwab"),
        ("chase jpmorgan", "JPMorgan Chase Bank"),
        ("citbnk", "Citibank"),
        ("wellsfargo.ex", "Wells Fargo"),
        ("https://www.wellsfargo.example/login?next=/", "Wells Fargo"),
        ("online.wellsfargo.example", "Wells Fargo"),
        ("wellsfrago.example", "Wells Fargo"),
    ],
)
def test_slips_and_beginnings_find(index: Index, typed: str, name: str) -> None:
    """Wrong, missing and swapped letters, missing spaces, accents, and what is still being typed lead to the name."""
    assert name == names(index, typed)[0]


def test_sure_comes_before_unsure() -> None:
    """Prefix before the beginning of a word before a slip; before all of them the very name, beside which none guesses."""
    entries = ("Grand Harbor Bank", "Hrabor Savings", "Harbor Trust")
    assert [3, 1, 2] == small(*entries).search("harbor", limit=9)
    assert [4, 3, 1] == small(*entries, "Harbor").search("harbor", limit=9)


def test_fewer_slips_come_first() -> None:
    """Of two that are not what was typed, the nearer one."""
    index = small("Harborstone", "Harborstane", "Harborstine")
    assert [2, 3, 1] == index.search("harborstanne", limit=9)


def test_who_is_online_comes_first_and_then_the_shorter() -> None:
    """Within a tier, what can be used now, then the shorter name; the tier counts more."""
    index = small(
        Entry(id=1, name="Pine Bank", is_online=False),
        Entry(id=2, name="Pine Bank of Springfield"),
        Entry(id=3, name="Pine Bank Omaha"),
        Entry(id=4, name="Lone Pine Bank"),
    )
    assert [3, 2, 1, 4] == index.search("pine", limit=9)


def test_a_host_is_found_though_the_name_is_another() -> None:
    """The part of a host that tells whose it is, counts as a name, with or without what is around it."""
    index = small(Entry(id=1, name="United Services Association", url="https://www.usaq.example"), "Other Bank")
    for typed in ("usaq", "usaq.example", "USAQ.EXAMPLE/login", "https://usaq.example", "usqa"):
        assert [1] == index.search(typed, limit=9), typed


def test_a_host_alone_in_common_is_nothing() -> None:
    """What all hosts have in common finds nobody."""
    index = small(Entry(id=1, name="Pine", url="https://online.pine.com"))
    assert [] == index.search("online", limit=9)
    assert [] == index.search("https://www.com", limit=9)


def test_a_word_too_many_does_no_harm(index: Index) -> None:
    """Who types "bank" after a name that has none still finds it."""
    assert "Capital One" == names(index, "capital one bank")[0]
    assert "Chase" in names(index, "chase bank")


@pytest.mark.parametrize(
    "typed", ["oxakside", "oaksid", "okasde", "oaskid", "xoaksides", "oakside savngs", "oxaks", "oaks id"]
)
def test_a_slip_while_typing_is_one_too(typed: str) -> None:
    """Letters too many, missing, swapped: at the beginning, in the middle, and where the typing has come to."""
    assert [1] == small("Oakside Savings", "Prairie Credit Union").search(typed, limit=9)


def test_another_name_is_not_found() -> None:
    """What is more than two slips away, or shares a generic word only, is something else."""
    index = small("Prairie Credit Union")
    assert [] == index.search("quantum credit union", limit=9)
    assert [] == index.search("prxxxie", limit=9)
    assert [] == index.search("bank of", limit=9)


def test_three_letters_hold_no_slip() -> None:
    """Of so few letters one wrong one is another text."""
    assert [] == small("Ally Bank").search("ahl", limit=9)


@pytest.mark.parametrize("typed", ["", "   ", "?!.,", "\x00", "://", "."])
def test_nothing_typed_finds_nothing(index: Index, typed: str) -> None:
    """A text without a letter or digit finds nothing, and breaks nothing."""
    assert [] == index.search(typed, limit=10)


@pytest.mark.parametrize(
    "typed", ["a" * 10_000, "ab " * 5_000, "\N{GRINNING FACE}" * 50, "中国银行", "x" * 99 + ".com"]
)
def test_no_text_breaks_it(index: Index, typed: str) -> None:
    """Long texts and other scripts are answered too."""
    assert len(index.search(typed, limit=10)) <= 10


def test_other_scripts_are_found() -> None:
    """A name without a Latin letter is found by itself and by its beginning."""
    assert [1] == small("中国银行", "Bank").search("中国", limit=9)


@pytest.mark.parametrize("typed", ["ba", "bank of", "wels", "frist natoinal", "oxfrod bnak"])
def test_a_shorter_list_is_the_beginning_of_a_longer_one(index: Index, typed: str) -> None:
    """The limit cuts the same order off, wherever it cuts."""
    whole = index.search(typed, limit=400)
    assert len(set(whole)) == len(whole)
    for limit in (1, 3, 7, 50):
        assert whole[:limit] == index.search(typed, limit=limit)


def test_only_what_is_accepted_counts(index: Index) -> None:
    """A filter is applied before the limit, not after it."""
    odd = index.search("bank", limit=50, accept=lambda found: found % 2 == 1)
    assert 50 == len(odd)
    assert all(found % 2 for found in odd)


def test_an_empty_index_finds_nothing() -> None:
    """No entry, no answer."""
    assert [] == small().search("bank", limit=10)


def test_a_host_is_read_from_what_looks_like_one() -> None:
    """With or without scheme, user, port and path; a name is no host."""
    wanted = {
        "https://user@www2.pine.example:8443/a?b#c": "pine.example",
        "pine.example/login": "pine.example",
        "PINE.example": "pine.example",
        "Pine Bank": "",
        "pine": "",
    }
    assert wanted == {text: find_host(text) for text in wanted}


def test_most_misspelt_names_are_found(index: Index) -> None:
    """Of whole names with up to two slips, of banks that are online, nearly every one is among the first ten."""
    rng = random.Random(3)  # noqa: S311 - the same ones every time
    typed = []
    for entry in rng.sample(ENTRIES, 900):
        text = misspell(entry.name, rng)
        if entry.is_online and len(text) >= len(entry.name) - 2 >= 8:
            typed.append((entry.id, text))
    missed = [(ENTRIES[wanted - 1].name, text) for wanted, text in typed if wanted not in index.search(text, limit=10)]
    assert len(typed) > 60
    assert len(missed) <= len(typed) * 0.05, missed


def test_fifteen_thousand_are_answered_in_time(index: Index) -> None:
    """Beginnings and misspelt names, by this process's own time: the 99th percentile has room within the target."""
    rng = random.Random(11)  # noqa: S311 - the same ones every time
    times_ms = []
    for entry in rng.sample(ENTRIES, 500):
        text = misspell(entry.name, rng)
        began = process_time()
        index.search(text, limit=100)
        times_ms.append((process_time() - began) * 1000)
    assert MOST_MS > sorted(times_ms)[494]
