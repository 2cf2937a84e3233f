"""The two stores side by side: the same pulls and acts, and the same ending."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import orjson
import pytest

from bankfeed import acts
from bankfeed.errors import ActRefused
from bankfeed.model import ShadowPolicy
from bankfeed.replay.play import Replay
from bankfeed.replay.report import as_json, end
from bankfeed.replay.steps import read_steps
from tests.pure.history import read_history
from tests.worker.histories import ACTOR, Stored

ACTED_AT = datetime(2026, 3, 20, 12, tzinfo=UTC)


@dataclass(kw_only=True)
class Both:
    """One tenant in a database of its own, so that both stores number rows, acts, pulls and doubts alike."""

    stored: Stored
    replay: Replay = field(default_factory=Replay)
    acted_at: datetime = ACTED_AT

    async def read(self, text: str) -> None:
        """Take a history's steps in both; of a later text, those after the account's line."""
        steps = read_history(f"\n\n{text}").steps
        await self.play(steps)

    async def play(self, steps: Sequence[dict[str, Any]]) -> None:
        """Take steps of the replay format in both."""
        for step in read_steps(b"\n".join(orjson.dumps(step) for step in steps)):
            self.replay.play([step])
            await self.stored.play(step)

    async def act(self, name: str, *words: Any) -> int:
        """Do the same in both, a minute after the last time; return the act's id."""
        self.acted_at += timedelta(minutes=1)
        done = getattr(self.replay.book, name)(*words, at=self.acted_at)
        act_id: int = await getattr(acts, name)(
            self.stored.database, self.stored.tenant.customer_id, *words, actor=ACTOR, at=self.acted_at
        )
        assert done.id == act_id
        return act_id

    async def refuse(self, name: str, *words: Any) -> None:
        """See that neither does it, and that Postgres has nothing of it."""
        before = await self.stands()
        with pytest.raises(ActRefused):
            getattr(self.replay.book, name)(*words, at=self.acted_at)
        with pytest.raises(ActRefused):
            await getattr(acts, name)(
                self.stored.database, self.stored.tenant.customer_id, *words, actor=ACTOR, at=self.acted_at
            )
        assert before == await self.stands()

    async def stands(self) -> dict[str, Any]:
        """Return where both stand, having seen that it is the same."""
        in_memory, in_postgres = end(self.replay), await self.stored.end(ShadowPolicy.HIDE)
        expected, actual = (as_json(each, with_gone=True, with_steps=True) for each in (in_memory, in_postgres))
        assert {**expected, "events": []} == {**actual, "events": []}
        return {**expected, "events": []}
