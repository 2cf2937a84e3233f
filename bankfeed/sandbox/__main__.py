"""`python -m bankfeed.sandbox`: start Finbank, say so in one line, stop on SIGTERM or SIGINT."""

import asyncio
import signal
import sys

from bankfeed.errors import SettingsError
from bankfeed.sandbox.app import start
from bankfeed.sandbox.settings import FinbankSettings, settings_from_environment


def main() -> int:
    """Run Finbank. Returns 2 when the settings cannot be used, with every problem on standard error."""
    try:
        settings = settings_from_environment()
    except SettingsError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    asyncio.run(_run(settings))
    return 0


async def _run(settings: FinbankSettings) -> None:
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopped.set)
    finbank = await start(settings)
    at = finbank.bank.clock.now().isoformat()
    sys.stdout.write(f"finbank.ready url={finbank.url} clock={settings.clock} bank_time={at}\n")
    sys.stdout.flush()
    waits = [asyncio.ensure_future(finbank.wait()), asyncio.ensure_future(stopped.wait())]
    done, pending = await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
    for task in pending:
        task.cancel()
    await finbank.close()
    for task in done:
        task.result()


if __name__ == "__main__":
    sys.exit(main())
