"""Sweeps: loops that alone would do all the work, were no wake-up ever to arrive. Safe to run twice, in any replica."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from time import monotonic

from bankfeed import metrics
from bankfeed.db import arrival, connection, delivery, inbox, institution_health, mail, schema, widget
from bankfeed.errors import Unavailable
from bankfeed.jobs import Wake
from bankfeed.logs import get_logger
from bankfeed.widgets import end_left
from worker.context import Context
from worker.erasure import erase_clients
from worker.institutions import Listing
from worker.lane import Works
from worker.notices import tell_notices
from worker.notify import tell_everybody

RECEIVED_DAYS = 14
BATCH_ROWS = 1_000
WEEKS_AHEAD = 8
HOUSEKEEPING_S = 3600
OVERDUE_S = 60
ERASURE_S = 300
NOTICES_S = 60
NOTIFY_S = 15
WIDGETS_S = 60
MAIL_DAYS = 30


@dataclass(slots=True)
class Sweeper:
    """Drains every lane each `sweep_s`, asks for scheduled updates, erases clients, tells notices, keeps house hourly, lists institutions daily."""

    context: Context
    lanes: Sequence[Works]
    last_good_at: float = field(default_factory=monotonic)

    def is_alive(self) -> bool:
        """Tell whether the event loop still comes round; Postgres being away is no reason to be restarted."""
        return monotonic() - self.last_good_at < 10 * self.context.settings.sweep_s + 60

    async def run(self) -> None:
        """Sweep until cancelled."""
        await asyncio.gather(
            self._every(self.context.settings.sweep_s, self._sweep),
            self._every(OVERDUE_S, self._end_overdue),
            self._every(HOUSEKEEPING_S, self._keep_house),
            self._every(ERASURE_S, self._erase),
            self._every(NOTICES_S, self._tell_notices),
            self._every(NOTIFY_S, self._notify),
            self._every(WIDGETS_S, self._end_left_widgets),
            self._every(HOUSEKEEPING_S, Listing(self.context).run),
        )

    async def _every(self, seconds: float, work: Callable[[], Awaitable[None]]) -> None:
        while True:
            try:
                await work()
            except Unavailable as error:
                get_logger().warning("sweep.waits", reason=str(error))
            except Exception:  # noqa: BLE001 - one broken sweep must not end them all
                get_logger().exception("sweep.broken")
            self.last_good_at = monotonic()
            await asyncio.sleep(seconds)

    async def _sweep(self) -> None:
        async with self.context.database.queue() as conn:
            asked = await connection.request_due_updates(
                conn, update_hours=self.context.settings.update_hours, limit=BATCH_ROWS
            )
        if asked:
            get_logger().info("connections.updates_due", connections=asked)
        for lane in self.lanes:
            lane.start()
        await self._measure()

    async def _end_overdue(self) -> None:
        """Fail, batch after batch, deliveries that will not be attempted any more."""
        count = 0
        while True:
            async with self.context.database.queue_statement() as conn:
                ended = await delivery.end_overdue_deliveries(conn, limit=BATCH_ROWS)
            count += ended
            if ended < BATCH_ROWS:
                break
        if count:
            get_logger().info("deliveries.over", deliveries=count)

    async def _erase(self) -> None:
        await erase_clients(self.context.database)

    async def _end_left_widgets(self) -> None:
        if await end_left(self.context.database):
            self.context.waker.wake(Wake.DELIVER)

    async def _notify(self) -> None:
        await tell_everybody(self.context)

    async def _tell_notices(self) -> None:
        await tell_notices(self.context)

    async def _measure(self) -> None:
        async with self.context.database.queue() as conn:
            waiting = await inbox.get_inbox_state(conn)
            outbox = await delivery.get_outbox_state(conn)
            breakers = await delivery.get_breaker_state(conn)
            due = await connection.count_due_connections(conn)
            oldest_s = await connection.find_oldest_due_s(conn)
            banks = await institution_health.count_breakers(conn)
        metrics.INBOX_BACKLOG.labels("waiting").set(waiting.waiting)
        metrics.INBOX_BACKLOG.labels("set_aside").set(waiting.set_aside)
        metrics.INBOX_OLDEST.set(waiting.oldest_age_s)
        metrics.OUTBOX_BACKLOG.labels("due").set(outbox.due)
        metrics.OUTBOX_BACKLOG.labels("later").set(outbox.later)
        metrics.OUTBOX_OLDEST.set(outbox.oldest_due_age_s)
        for state, count in (
            ("throttled", breakers.throttled),
            ("open", breakers.open),
            ("half_open", breakers.half_open),
        ):
            metrics.BREAKERS.labels(state).set(count)
        metrics.CONNECTIONS_DUE.set(due)
        metrics.CONNECTIONS_OLDEST.set(oldest_s)
        metrics.INSTITUTION_BREAKERS.labels("open").set(banks.open)
        metrics.INSTITUTION_BREAKERS.labels("half_open").set(banks.half_open)

    async def _keep_house(self) -> None:
        """Make partitions ahead, drop those past their time, forget old event ids in bounded batches."""
        settings = self.context.settings
        async with self.context.database.queue() as conn:
            made = await schema.make_partitions(conn, weeks_ahead=WEEKS_AHEAD)
        async with self.context.database.queue() as conn:
            dropped = await schema.drop_partitions(
                conn,
                inbox_days=settings.inbox_days,
                outbox_days=settings.outbox_days,
                audit_days=settings.audit_days,
            )
        async with self.context.database.queue() as conn:
            forgotten = await schema.delete_old_requests(conn, limit=BATCH_ROWS)
        while True:
            async with self.context.database.queue() as conn:
                count = await arrival.delete_received(conn, days=RECEIVED_DAYS, limit=BATCH_ROWS)
            forgotten += count
            if count < BATCH_ROWS:
                break
        await self._forget_mails()
        async with self.context.database.queue() as conn:
            await widget.delete_old_sessions(conn, days=settings.outbox_days, limit=BATCH_ROWS)
        if made or dropped or forgotten:
            get_logger().info("house.kept", partitions_made=made, partitions_dropped=dropped, ids_forgotten=forgotten)

    async def _forget_mails(self) -> None:
        while True:
            async with self.context.database.queue() as conn:
                if await mail.delete_old_mails(conn, days=MAIL_DAYS, limit=BATCH_ROWS) < BATCH_ROWS:
                    return
