"""Reconciling a bank feed: from what is known and what was pulled to what changes. Pure.

No clock, no I/O, no randomness, no logging: the caller loads the known rows, says what time it is and writes the plan.
Equal input gives an equal plan, whatever the order of the rows.
"""

from collections.abc import Iterator, Sequence
from datetime import datetime

from bankfeed.model import Known, Pull, ShadowPolicy
from bankfeed.reconcile import claims, doubts, groups, identity, outcome, suspicion
from bankfeed.reconcile.balance import check_balance
from bankfeed.reconcile.board import Board
from bankfeed.reconcile.changes import Change, ChangeKind, Changes, Doubt, Past, Rule, Verdict
from bankfeed.reconcile.policy import erase_lingering, erase_shadows

__all__ = ["Change", "ChangeKind", "Changes", "Doubt", "Past", "Rule", "Verdict", "match", "reconcile"]

NEVER_PULLED = Past()


def reconcile(
    known: Sequence[Known],
    reported: Pull,
    *,
    now: datetime,
    past: Past = NEVER_PULLED,
    policy: ShadowPolicy = ShadowPolicy.HIDE,
) -> Changes:
    """Plan what a pull changes in one account.

    `known` holds at least: the account's rows dated in the pull's window and 14 days around it and around what it lists
    outside of it, all its visible pending rows, the rows that ever had an id of the pull, tombstones (removed in the
    last 30 days), all deleted rows of that span, and all that a person merged; for the balance, also those posted since `past.balance`. Anything more changes nothing. `policy`
    says only whether shadow rows keep their values. Safe to repeat: the same pull again has no rows.
    """
    refusal = _refuse(reported, past)
    if refusal is not None:
        return refusal
    board = match(known, reported, now=now, is_relinked=past.is_relinked)
    doubtful = suspicion.find_suspicion(board)
    if doubtful and not _is_confirmed(board, past):
        return Changes(verdict=Verdict.HELD, reason=doubtful)
    identity.let_merged_stand(board)
    settled = outcome.conclude(board)
    rows = erase_shadows(settled.changes, policy)
    rows += erase_lingering(outcome.list_lingering(board, settled), policy)
    return Changes(
        verdict=Verdict.APPLIED,
        rows=rows,
        doubts=doubts.find_doubts(board, settled),
        balance=check_balance(past.balance, reported, _before_after(known, rows), earliest_on=past.earliest_on),
    )


def match(known: Sequence[Known], reported: Pull, *, now: datetime, is_relinked: bool = False) -> Board:
    """Pair what is reported with what is known, the surest first, and conclude nothing yet."""
    board = Board(known, reported, now=now, is_relinked=is_relinked)
    identity.pair_ids_with_content(board)
    identity.pair_links(board)
    identity.pair_content(board)
    identity.pair_ids(board)
    claims.join_links(board)
    claims.claim_equal_amounts(board)
    groups.find_groups(board)
    claims.claim_changed_amounts(board)
    claims.claim_reissued(board)
    claims.weigh_equal_postings(board)
    identity.speak_for_survivors(board)
    return board


def _refuse(pull: Pull, past: Past) -> Changes | None:
    """Return what to answer to a pull that is not looked into: seen before, out of date or failed."""
    if pull.at == past.last_at or any(pull.at == held.at for held in past.held):
        return Changes(verdict=Verdict.REPEATED, reason="a pull of that moment was taken in before")
    if past.last_at is not None and pull.at < past.last_at:
        return Changes(verdict=Verdict.STALE, reason="a later pull was applied before")
    failure = suspicion.find_failure(pull)
    return Changes(verdict=Verdict.FAILED, reason=failure) if failure else None


def _is_confirmed(board: Board, past: Past) -> bool:
    """Tell whether a pull held earlier lacked the same rows."""
    return any(
        suspicion.agrees(board, match(board.olds, held, now=board.now))
        for held in past.held
        if suspicion.may_confirm(board.pull, held)
    )


def _before_after(known: Sequence[Known], rows: Sequence[Change]) -> Iterator[tuple[Known | None, Known | None]]:
    """Go through all known rows and all added ones, as they were and as they are."""
    changed = {change.before.id: change.after for change in rows if change.before is not None}
    for row in known:
        yield row, changed.get(row.id, row)
    for change in rows:
        if change.before is None:
            yield None, change.after
