"""`python -m tests.torture`: torture for some minutes and print the account in one line; 1 where something differs."""

import argparse
import asyncio
import random
import shutil
import signal
import sys
from dataclasses import replace

import uvloop

from tests.torture.plan import Plan
from tests.torture.run import Outcome, torture

SHORT_S = 12.0
MOST_DIFFERENCES = 40


def main() -> int:
    """Read the arguments and run."""
    plan = _read_plan()
    for text in _skipped():
        _say(text)
    _say(
        f"seed {plan.seed}: {plan.seconds:.0f} s, {plan.ingresses} ingresses, {plan.workers} workers, {plan.logins} logins"
    )
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        outcome = runner.run(_until_stopped(plan))
    sys.stdout.write(outcome.line() + "\n")
    if not outcome.is_good:
        _explain(outcome)
    return not outcome.is_good


def _read_plan() -> Plan:
    parser = argparse.ArgumentParser(prog="python -m tests.torture", description=__doc__)
    parser.add_argument("--minutes", type=float, default=5.0, help="how long faults happen (default: 5)")
    parser.add_argument("--seed", type=int, help="what to draw them from (default: any)")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--ingresses", type=int, default=2)
    parser.add_argument(
        "--short", action="store_true", help="every failpoint once, with few accounts, in half a minute"
    )
    given = parser.parse_args()
    seed = random.SystemRandom().randrange(10_000) if given.seed is None else given.seed
    plan = Plan(seed=seed, seconds=given.minutes * 60, workers=given.workers, ingresses=given.ingresses)
    if given.short:
        return replace(plan, seconds=SHORT_S, clients=4, logins_per_client=1, every_failpoint=True)
    return plan


async def _until_stopped(plan: Plan) -> Outcome:
    """Run; SIGTERM ends it like Ctrl-C, so that nothing is left behind."""
    task = asyncio.current_task()
    assert task is not None
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    return await torture(plan, _say)


def _skipped() -> list[str]:
    """Say which faults cannot be had on this machine."""
    skipped = []
    if shutil.which("pgbouncer") is None:
        skipped.append("skipped: PgBouncer in transaction mode, as no pgbouncer is installed here")
    skipped.append(
        "skipped: datetime.now an hour off, which is C (time.time and the times of signed events are set off)"
    )
    return skipped


def _explain(outcome: Outcome) -> None:
    differences = outcome.balance.differences
    for difference in differences[:MOST_DIFFERENCES]:
        _say(f"  {difference}")
    if len(differences) > MOST_DIFFERENCES:
        _say(f"  and {len(differences) - MOST_DIFFERENCES} more")
    if outcome.logs is not None:
        _say(f"the logs are in {outcome.logs}")
    _say(f"repeat it with --seed {outcome.plan.seed}")


def _say(text: str) -> None:
    sys.stderr.write(f"{text}\n")


if __name__ == "__main__":
    sys.exit(main())
