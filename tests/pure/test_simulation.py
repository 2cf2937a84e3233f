"""The feed simulator: its knobs bite, its numbers follow from the seed, and its report finds what is planted."""

import doctest
import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from datetime import timedelta
from itertools import pairwise

import pytest
from click.testing import CliRunner

from bankfeed.model import FeedKind, Known, Pull, TransactionId, TransactionState
from bankfeed.reconcile import Changes
from bankfeed.replay.play import Replay
from bankfeed.replay.steps import read_steps
from bankfeed.sandbox.shares import CALM, Shares
from bankfeed.sandbox.simulate import main
from bankfeed.sandbox.simulation.export import export_lines
from bankfeed.sandbox.simulation.feeds import Habits, Ids, draw_feed
from bankfeed.sandbox.simulation.history import Recipe, Told, tell_history
from bankfeed.sandbox.simulation.people import Diligence
from bankfeed.sandbox.simulation.report import CaseKind, Report
from bankfeed.sandbox.simulation.run import run_account, watch_account
from bankfeed.sandbox.simulation.store import Store
from bench import simulated

PLAIN = Habits(
    delta=0.0,
    without_pending_ids=0.0,
    positional_ids=0.0,
    reused_ids=0.0,
    narrow=0.0,
    names_pending=0.0,
    most_pulls_a_day=1,
)
PENDING, ACTIVE = TransactionState.PENDING, TransactionState.ACTIVE
DAYS = 30
FIRST_FIGURES = (125, "-55.88")


def tell(shares: Shares = CALM, habits: Habits = PLAIN, *, days: int = DAYS, number: int = 1) -> list[Told]:
    """Tell the history of a card account."""
    return list(tell_history(1, number, Recipe(days=days, shares=shares, habits=habits)))


def reports(history: list[Told]) -> Iterator[tuple[str, TransactionState, str]]:
    """List movement, state and text of everything that is reported."""
    for told in history:
        for movement, row in zip(told.movements, told.pull.rows, strict=True):
            yield movement, row.state, row.values.description


def texts_of(shares: Shares) -> dict[str, set[str]]:
    """Return the texts under which each purchase of the simulated days shows."""
    texts: dict[str, set[str]] = {}
    for movement, _, text in reports(tell(shares)):
        texts.setdefault(movement, set()).add(text)
    return texts


def share_of(history: list[Told], is_so: Callable[[Told], bool]) -> float:
    return sum(map(is_so, history)) / len(history)


def test_same_seed_same_history() -> None:
    """A history follows from seed, account and recipe; another seed tells another one."""
    recipe = Recipe(days=20)
    first, again, other = (list(tell_history(seed, 2, recipe)) for seed in (1, 1, 2))
    assert first == again
    assert first != other


def test_the_first_figures_of_a_seed_are_known() -> None:
    """The numbers are the same on every machine; drawing otherwise changes every figure that was ever told."""
    told = next(tell_history(1, 1, Recipe(days=1)))
    assert (len(told.pull.rows), str(told.pull.rows[0].values.amount)) == FIRST_FIGURES


@pytest.mark.parametrize("share", [0.0, 1.0])
def test_every_list_may_be_lost_or_none(share: float) -> None:
    """After the first days a share of 1 empties every list, a share of 0 none."""
    late = tell(replace(CALM, empty=share))[10:]
    assert share_of(late, lambda told: not told.pull.rows) == share


@pytest.mark.parametrize("share", [0.0, 1.0])
def test_every_pending_may_vanish_or_none(share: float) -> None:
    """With a share of 1 no purchase that showed as pending is ever listed as posted; with 0 none stays pending."""
    states: dict[str, set[TransactionState]] = {}
    for movement, state, _ in reports(tell(replace(CALM, pending=1.0, vanishes=share), days=40)):
        states.setdefault(movement, set()).add(state)
    seen = [found for found in states.values() if PENDING in found]
    assert len(seen) > 20
    assert (sum(ACTIVE in found for found in seen) == 0) == bool(share)


@pytest.mark.parametrize("share", [0.0, 1.0])
def test_every_pending_may_stand_beside_its_posting_or_none(share: float) -> None:
    """The share of pendings listed together with their postings decides whether a list has both."""
    history = tell(replace(CALM, pending=1.0, keeps_id=0.0, together=share))
    assert any(len(set(told.movements)) < len(told.movements) for told in history) == bool(share)


@pytest.mark.parametrize("share", [0.0, 1.0])
def test_every_row_may_get_a_new_id_in_one_night_or_none(share: float) -> None:
    """In the night of new ids the share of renamed rows decides; with 1 no posted row keeps its id."""
    history = tell(replace(CALM, renamed_account=1.0, renamed_row=share), days=50)
    kept = [ids_kept(before, after) for before, after in pairwise(history)]
    assert min(kept) == 1 - share


def ids_kept(before: Told, after: Told) -> float:
    """Return the part of the rows posted before that are listed again and still bear their id."""
    ids = {
        movement: row.aggregator_id
        for movement, row in zip(before.movements, before.pull.rows, strict=True)
        if row.state is ACTIVE
    }
    again = [(ids[m], row) for m, row in zip(after.movements, after.pull.rows, strict=True) if m in ids]
    return sum(row.aggregator_id == row_id for row_id, row in again) / len(again)


@pytest.mark.parametrize("share", [0.0, 1.0])
def test_every_window_may_be_narrow_or_none(share: float) -> None:
    """The share of narrow windows decides how far a pull reaches back."""
    history = tell(habits=replace(PLAIN, narrow=share, narrow_days=15))
    assert share_of(history, lambda told: told.pull.to_on - told.pull.from_on == timedelta(days=15)) == share


@pytest.mark.parametrize("share", [0.0, 1.0])
def test_every_account_may_be_a_delta_or_none(share: float) -> None:
    """The share of delta feeds decides the kind of an account."""
    kinds = {draw_feed(1, number, replace(PLAIN, delta=share)).kind for number in range(1, 20)}
    assert kinds == {FeedKind.DELTA if share else FeedKind.FULL}


@pytest.mark.parametrize(
    ("habits", "ids"),
    [
        (PLAIN, Ids.OWN),
        (replace(PLAIN, positional_ids=1.0), Ids.POSITIONAL),
        (replace(PLAIN, reused_ids=1.0), Ids.REUSED),
        (replace(PLAIN, without_pending_ids=1.0), Ids.NONE_ON_PENDING),
    ],
)
def test_every_account_may_have_odd_ids_or_none(habits: Habits, ids: Ids) -> None:
    """Each share of odd ids decides what an account's ids are like."""
    assert {draw_feed(1, number, habits).ids for number in range(1, 20)} == {ids}


def test_ids_may_be_places_in_the_list() -> None:
    """Positional ids count the rows of each list from 1."""
    rows = tell(habits=replace(PLAIN, positional_ids=1.0))[-1].pull.rows
    assert [row.aggregator_id for row in rows] == [str(n) for n in range(1, len(rows) + 1)]


def test_ids_may_be_missing_on_pendings() -> None:
    """Where pendings carry no id, every posted row still has one."""
    rows = [row for told in tell(habits=replace(PLAIN, without_pending_ids=1.0)) for row in told.pull.rows]
    assert {(row.state, row.aggregator_id is None) for row in rows} == {(PENDING, True), (ACTIVE, False)}


def test_ids_may_come_again() -> None:
    """Reused ids stand under different movements in the course of a history."""
    bearers: dict[str | None, set[str]] = {}
    for told in tell(habits=replace(PLAIN, reused_ids=1.0), days=60):
        for movement, row in zip(told.movements, told.pull.rows, strict=True):
            bearers.setdefault(row.aggregator_id, set()).add(movement)
    assert max(map(len, bearers.values())) > 1


def test_every_posting_names_its_pending_or_none() -> None:
    """In a delta the share of named pendings decides; a row that is named is told as gone."""
    habits = replace(PLAIN, delta=1.0)
    shares = replace(CALM, keeps_id=0.0)
    named = [tell(shares, replace(habits, names_pending=share)) for share in (0.0, 1.0)]
    links = [[row.pending_id for told in history for row in told.pull.rows if row.pending_id] for history in named]
    removed = {row_id for told in named[1] for row_id in told.pull.removed_ids}
    assert links[0] == []
    assert len(links[1]) > 10
    assert set(links[1]) <= removed


@pytest.mark.parametrize(
    ("shares", "has_text"),
    [
        (Shares(prefixed=1.0), lambda text: text.upper().startswith(("POS ", "DEBIT ", "CHECKCARD "))),
        (Shares(processor=1.0, prefixed=0.0), lambda text: text.upper().startswith(("SQ *", "TST* ", "PAYPAL *"))),
        (Shares(truncated=1.0, prefixed=0.0), lambda text: len(text) <= 20),
        (Shares(cased=1.0), lambda text: not text.isupper()),
        (Shares(suffixed=1.0, truncated=0.0), lambda text: text[-1].isdigit() or text[-3] == " "),
    ],
)
def test_texts_change_as_asked(shares: Shares, has_text: Callable[[str], bool]) -> None:
    """A kind of change with a share of 1 shows on every text that changes."""
    always = replace(shares, changes_text=1.0, reversed=0.0, pending=1.0, vanishes=0.0, late=0.0)
    changed = [text for movement, state, text in reports(tell(always)) if state is ACTIVE and is_purchase(movement)]
    assert len(changed) > 20
    assert all(map(has_text, changed))


def test_texts_stay_where_none_change() -> None:
    """With no share of changes each purchase keeps its text; with all of them none does."""
    kept = texts_of(replace(CALM, pending=1.0))
    assert {len(texts) for texts in kept.values()} == {1}
    changed = texts_of(replace(CALM, pending=1.0, changes_text=1.0))
    assert 2 in {len(texts) for texts in changed.values()}


@pytest.mark.parametrize("share", [0.0, 1.0])
def test_every_purchase_may_be_made_twice_or_none(share: float) -> None:
    """The share of repeated purchases decides; both have shop, price and day in common."""
    looks: dict[str, list[tuple[object, ...]]] = {}
    last = tell(replace(CALM, repeated=share))[-1]
    for movement, row in zip(last.movements, last.pull.rows, strict=True):
        if is_purchase(movement) and row.values.transacted_on <= last.pull.to_on - timedelta(days=20):
            values = row.values
            look = (values.amount, values.transacted_on, values.description)
            looks.setdefault(movement.removesuffix("/again"), []).append(look)
    assert len(looks) > 20
    assert {len(same) - 1 for same in looks.values()} == {share}
    assert {len(set(same)) for same in looks.values()} == {1}


def is_purchase(movement: str) -> bool:
    return movement.removesuffix("/again")[-1].isdigit()


def run(make_store: Callable[[], Store] = Store, *, days: int = 40, number: int = 1) -> Report:
    recipe = Recipe(days=days, shares=CALM, habits=PLAIN, diligence=Diligence(books=1.0))
    return run_account(1, number, recipe, make_store=make_store)


def test_a_calm_bank_is_exact() -> None:
    """Without oddities nothing is wrong, and nothing is doubted."""
    figures = run().figures
    assert figures.is_exact
    assert (figures.links_right, figures.doubts) == (figures.links, 0)
    assert figures.links > 20
    assert figures.links_while_pending > 5


class Tampered(Store):
    """A store that makes one mistake, in its twentieth pull."""

    def __init__(self, mistake: Callable[[Store, Known], None], choose: Callable[[Known], bool]) -> None:
        super().__init__()
        self._left = 20
        self._mistake = mistake
        self._choose = choose

    def pull(self, pull: Pull) -> Changes:
        plan = super().pull(pull)
        self._left -= 1
        if self._left == 0:
            self._mistake(self, next(row for row in self.rows.values() if row.is_visible and self._choose(row)))
        return plan


def drop(store: Store, row: Known) -> None:
    store.rows[row_id(row)] = replace(row, state=TransactionState.SHADOW)


def make_pending(store: Store, row: Known) -> None:
    store.rows[row_id(row)] = replace(row, state=PENDING)


def move_link(store: Store, row: Known) -> None:
    other = next(each for each in store.rows.values() if each.bank_values.amount != row.bank_values.amount)
    store.rows[row_id(row)] = replace(row, entries=())
    store.rows[row_id(other)] = replace(other, entries=(*other.entries, *row.entries))


def lose_link(store: Store, row: Known) -> None:
    store.rows[row_id(row)] = replace(row, entries=())


def row_id(row: Known) -> TransactionId:
    assert row.id is not None
    return row.id


def is_posted(row: Known) -> bool:
    return row.state is ACTIVE


def is_booked(row: Known) -> bool:
    return row.state is ACTIVE and bool(row.entries)


class Doubling(Store):
    """A store that takes one row for two, in its twentieth pull."""

    def __init__(self) -> None:
        super().__init__()
        self._left = 20

    def pull(self, pull: Pull) -> Changes:
        self._left -= 1
        if self._left == 0:
            pull = replace(pull, rows=(*pull.rows, replace(pull.rows[-1], aggregator_id=None)), counted_rows=None)
        return super().pull(pull)


@pytest.mark.parametrize(
    ("make_store", "counted"),
    [
        (lambda: Tampered(drop, is_posted), "rows_missing"),
        (lambda: Tampered(make_pending, is_posted), "wrong_states"),
        (Doubling, "rows_too_many"),
    ],
)
def test_a_wrong_row_is_counted(make_store: Callable[[], Store], counted: str) -> None:
    """A store that loses, doubles or mistakes the state of a row once is found out, with the row's story."""
    report = run(make_store)
    figures = report.figures
    wrong = {"rows_missing": figures.rows_missing, "rows_too_many": figures.rows_too_many}
    wrong["wrong_states"] = figures.wrong_states
    assert wrong[counted] >= 1
    assert sum(count for name, count in wrong.items() if name != counted) == 0
    assert [case.kind for case in report.cases] == [CaseKind.ROW]
    assert any("added by new" in line for line in report.cases[0].story)


@pytest.mark.parametrize("mistake", [move_link, lose_link])
def test_a_wrong_link_is_counted(mistake: Callable[[Store, Known], None]) -> None:
    """A store that moves or loses an entry is found out: a wrong link that no doubt was raised about."""
    report = run(lambda: Tampered(mistake, is_booked))
    figures = report.figures
    assert (figures.links - figures.links_right, figures.links_wrong_undoubted) == (1, 1)
    assert figures.is_exact
    assert [case.kind for case in report.cases] == [CaseKind.LINK_UNDOUBTED]
    assert any("BOOKED as" in line for line in report.cases[0].story)


def test_marks_change_nothing() -> None:
    """A store fed with marked rows ends as one fed with the rows as they are told."""
    plain, marked = Store(), Store()
    for n, told in enumerate(tell(Shares(), number=2)):
        rows = tuple(replace(row, raw_amount=f"m:{n}:{place}") for place, row in enumerate(told.pull.rows))
        assert plain.pull(told.pull).verdict is marked.pull(replace(told.pull, rows=rows)).verdict
    assert [replace(row, raw_amount="") for row in marked.rows.values()] == list(plain.rows.values())


def test_a_held_pull_leaves_the_truth() -> None:
    """A lost list is held, and what should be in view stays what was told before."""
    recipe = Recipe(days=40, shares=replace(CALM, empty=0.2), habits=PLAIN)
    figures = run_account(1, 1, recipe).figures
    assert figures.lost_lists > figures.believed_lists
    assert figures.applied == figures.pulls - figures.lost_lists + figures.believed_lists
    assert figures.is_exact


def test_a_written_history_reads_as_it_ran() -> None:
    """A replay file has the account, every pull with its rows, and every booking after the pull that it followed."""
    recipe = Recipe(days=20)
    steps = [json.loads(line) for line in export_lines(1, 1, recipe)]
    links = run_account(1, 1, recipe).figures.links
    assert steps[0]["op"] == "account"
    assert [len(step["transactions"]) for step in steps if step["op"] == "pull"] == [
        len(told.pull.rows) for told in tell_history(1, 1, recipe)
    ]
    assert sum(step["op"] == "link" for step in steps) == links > 0
    times = [step["at"] for step in steps[1:]]
    assert times == sorted(times)


def test_a_written_history_ends_where_the_simulation_did() -> None:
    """Replayed from its file, an account ends with the same rows, ids and entries."""
    recipe = Recipe(days=30)
    content = "\n".join(export_lines(1, 2, recipe)).encode()
    replayed = Replay().play(read_steps(content)).book.rows("a")
    assert ends(watch_account(1, 2, recipe).store.rows.values()) == ends(replayed)


def ends(rows: Iterable[Known]) -> list[tuple[object, ...]]:
    """Return what counts of each row, in an order of its own."""
    return sorted((row.state, row.values.transacted_on, row.values.amount, *_words(row)) for row in rows)


def _words(row: Known) -> tuple[object, ...]:
    return row.values.description, row.aggregator_ids, row.entries


def test_the_command_prints_figures_for_programs() -> None:
    """--json prints the figures; a seed that is no number ends with 2."""
    answer = CliRunner().invoke(main, ["--accounts", "1", "--days", "3", "--seeds", "1", "--json"])
    assert json.loads(answer.stdout)["figures"]["accounts"] == 1
    refused = CliRunner().invoke(main, ["--seeds", "one"])
    assert refused.exit_code == 2
    assert "expected --seeds" in refused.stderr


def test_the_examples_of_the_benchmark_run() -> None:
    """Every example in its docstrings gives what it says."""
    ran = doctest.testmod(simulated)
    assert ran.attempted > 0
    assert ran.failed == 0
