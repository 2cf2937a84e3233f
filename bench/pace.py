"""`python -m bench.pace`: the load generator at an even pace: requests leave when they are due, not when others are answered.

A request's time counts from when it was due. One that finds no free connection waits for one, and that wait counts: a
server that stops for a while is not spared the requests of that while.
"""

import asyncio
from collections import deque
from dataclasses import asdict
from time import perf_counter

import orjson
import uvloop

from bench.load import Load, Run, Sender, make_parser, run_load

TICK_S = 0.001


class PacedRun(Run):
    """One run at `rate` requests a second: which are due, and which connections are free."""

    def __init__(self, path: str, *, first: int, most: int, rate: float) -> None:
        super().__init__(path, first=first, most=most)
        self._rate = rate
        self._begun = 0  # how many have become due
        self._due: deque[float] = deque()
        self._free: deque[PacedSender] = deque()  # in turn: one that is never used the server closes

    async def keep_pace(self) -> None:
        """Send what is due, tick by tick, until the run is over."""
        began_at = perf_counter()
        while self.is_open:
            self.send_due(began_at=began_at, now=perf_counter())
            await asyncio.sleep(TICK_S)
        for sender in self._free:
            sender.end()

    def send_due(self, *, began_at: float, now: float) -> None:
        """Note what has become due since the run began, and send as much as there are free connections."""
        while (due_at := began_at + self._begun / self._rate) <= now:
            self._begun += 1
            self._due.append(due_at)
        while self._due and self._free:
            self._free.popleft().send(self._due.popleft())

    def take_due(self, sender: "PacedSender") -> float | None:
        """Return when the oldest waiting request was due; where none waits the sender is free, and None comes back."""
        if self._due:
            return self._due.popleft()
        self._free.append(sender)
        return None


class PacedSender(Sender):
    """One connection, which sends when it is told to."""

    def __init__(self, run: PacedRun) -> None:
        super().__init__(run)
        self._paced = run

    def send(self, due_at: float) -> None:
        """Send the next request; its time counts from when it was due."""
        super()._send()
        self._began_at = due_at

    def end(self) -> None:
        """Close the connection."""
        self._transport.close()

    def _send(self) -> None:
        if not self._run.is_open:
            self.end()
        elif (due_at := self._paced.take_due(self)) is not None:
            self.send(due_at)


async def run_paced(run: PacedRun, port: int, *, warm_s: float, measured_s: float) -> Load:
    """Keep the pace until the time is over, then wait for the answers on their way."""
    pace = asyncio.create_task(run.keep_pace())
    load = await run_load(run, port, warm_s=warm_s, measured_s=measured_s, make_sender=lambda: PacedSender(run))
    await pace
    return load


def main() -> None:
    """Read the arguments, run, print."""
    parser = make_parser("bench.pace", __doc__)
    parser.add_argument("--rate", type=float, required=True, help="requests a second")
    asked = parser.parse_args()

    async def start() -> Load:
        run = PacedRun(asked.path, first=asked.first, most=asked.most, rate=asked.rate)
        return await run_paced(run, asked.port, warm_s=asked.warm_s, measured_s=asked.measured_s)

    print(orjson.dumps(asdict(uvloop.run(start()))).decode())


if __name__ == "__main__":
    main()
