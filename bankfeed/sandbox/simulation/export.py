"""A simulated history as a replay file: what `bankfeed replay` reads, a JSON object a line. Pure: it makes the lines."""

import json
from collections.abc import Iterator
from datetime import UTC, date, datetime
from typing import Any

from bankfeed.model import Known, Pull, Reported
from bankfeed.sandbox.simulation.feeds import draw_feed
from bankfeed.sandbox.simulation.history import Recipe, tell_history
from bankfeed.sandbox.simulation.run import watch_account
from bankfeed.sandbox.simulation.watch import Link

ACCOUNT = "a"


def export_lines(seed: int, number: int, recipe: Recipe) -> Iterator[str]:
    """Yield the lines of one account's history (numbered from 1), the person's bookings among its pulls."""
    account = draw_feed(seed, number, recipe.habits).account
    yield _line(
        op="account",
        account=ACCOUNT,
        institution=str(account.institution_id),
        name=f"seed {seed} account {number}",
        type=str(account.kind),
        number=account.number()[-4:],
        currency="USD",
    )
    links = watch_account(seed, number, recipe).links
    for told in tell_history(seed, number, recipe):
        yield _line(op="pull", account=ACCOUNT, **_pull(told.pull))
        for link in links:
            if link.at == told.pull.at:
                yield _line(op="link", account=ACCOUNT, at=_at(link.at), match=_match(link), entry=link.entry)


def _pull(pull: Pull) -> dict[str, Any]:
    optional = {"removed": list(pull.removed_ids)} if pull.removed_ids else {}
    return {
        "at": _at(pull.at),
        "kind": str(pull.kind),
        "from": pull.from_on.isoformat(),
        "to": pull.to_on.isoformat(),
        "complete": pull.is_complete,
        "transactions": [_row(row) for row in pull.rows],
        **optional,
    }


def _row(row: Reported) -> dict[str, Any]:
    values = row.values
    given = {
        "id": row.aggregator_id,
        "pending_id": row.pending_id,
        "status": str(row.state),
        "amount": str(values.amount),
        "date": values.transacted_on.isoformat(),
        "posted_date": _on(values.posted_on),
        "description": values.description,
        "memo": values.memo,
        "check_number": values.check_number,
    }
    return {name: value for name, value in given.items() if value}


def _match(link: Link) -> dict[str, str]:
    """Name the row that was booked by everything that a match may ask for."""
    row: Known = link.row
    match = {
        "status": str(row.state),
        "amount": str(row.values.amount),
        "date": row.values.transacted_on.isoformat(),
        "description": row.values.description,
    }
    return match | ({"id": row.aggregator_ids[-1]} if row.aggregator_ids else {})


def _on(on: date | None) -> str:
    return on.isoformat() if on else ""


def _at(at: datetime) -> str:
    return f"{at.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}"


def _line(**step: Any) -> str:
    return json.dumps(step, separators=(",", ":"))
