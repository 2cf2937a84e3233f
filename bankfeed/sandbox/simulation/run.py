"""One simulated account through the reconcile engine, judged after every pull. Pure.

Each reported row gets a mark of its own in `raw_amount`, which the engine keeps and reads only to order rows that are
equal in all else, so a stored row always says which reported one it took last. Marks are dealt at random for each pull:
they give no movement away.
"""

from collections.abc import Callable
from dataclasses import replace

from bankfeed.model import Pull
from bankfeed.reconcile import Verdict
from bankfeed.sandbox.lives import draw
from bankfeed.sandbox.simulation.history import Recipe, Told, tell_history
from bankfeed.sandbox.simulation.judge import judge
from bankfeed.sandbox.simulation.people import Person
from bankfeed.sandbox.simulation.report import Report
from bankfeed.sandbox.simulation.store import Store
from bankfeed.sandbox.simulation.watch import Watch


def run_account(seed: int, number: int, recipe: Recipe, *, make_store: Callable[[], Store] = Store) -> Report:
    """Run one account (numbered from 1) through all its pulls and judge what comes out."""
    return judge(watch_account(seed, number, recipe, make_store=make_store), recipe)


def watch_account(seed: int, number: int, recipe: Recipe, *, make_store: Callable[[], Store] = Store) -> Watch:
    """Run one account (numbered from 1) through all its pulls and return what was noted."""
    person = Person(seed=seed, diligence=recipe.diligence)
    watch = Watch(seed=seed, number=number, store=make_store(), person=person)
    for told in tell_history(seed, number, recipe):
        _take_pull(watch, told)
    return watch


def _take_pull(watch: Watch, told: Told) -> None:
    is_lost = not told.listed and bool(watch.truth.rows)
    plan = watch.store.pull(_mark(watch, told))
    watch.note_plan(told, plan, is_lost=is_lost)
    if plan.verdict is not Verdict.APPLIED:
        return
    visible = watch.visible()
    if is_lost:
        watch.truth.take_over(visible)
        return
    watch.truth.believe(told)
    watch.note_truth(told, watch.truth.compare([(movement, row.state) for _, row, movement in visible]))
    for row_id, movement in watch.person.choose(visible):
        watch.book(told, row_id, movement)


def _mark(watch: Watch, told: Told) -> Pull:
    first = len(watch.movements)
    marks = [f"m:{first + n:07d}" for n in range(len(told.movements))]
    draw(watch.seed, watch.number, told.pull.at, "marks").shuffle(marks)
    watch.movements.update(zip(marks, told.movements, strict=True))
    rows = tuple(replace(row, raw_amount=mark) for row, mark in zip(told.pull.rows, marks, strict=True))
    return replace(told.pull, rows=rows)
