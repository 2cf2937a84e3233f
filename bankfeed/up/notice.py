"""What `bankfeed up` prints once everything runs: addresses, the login, what to try next."""

import shlex
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from bankfeed.settings import ROOT

QUICKSTART = "docs/quickstart.py"
EXAMPLE = "deploy/examples/ledgersync-account-added.txt"


@dataclass(frozen=True, slots=True, kw_only=True)
class Notice:
    """What a person is told.

    `password` None where it is not known here; `data` None where it is the usual folder; `mailbox_url` None where e-mail
    goes to a server of the person's own.
    """

    ingress_url: str
    worker_url: str
    desk_url: str
    mailbox_url: str | None
    ledgersync_address: str
    finicity_address: str
    email: str
    password: str | None
    logs: Sequence[Path]
    data: Path | None
    seconds: float

    def lines(self) -> tuple[str, ...]:
        """Return the lines; ingress's address is the first, and `ready` stands on the last."""
        command = self._command()
        return (
            f"ingress   {self.ingress_url}",
            f"rest api  {self.ingress_url}/api/v1/docs",
            f"webhooks  {self.ledgersync_address}",
            f"          {self.finicity_address}  (signed: X-Finicity-Signature)",
            f"metrics   {self.ingress_url}/metrics  {self.worker_url}/metrics",
            f"finbank   {self.desk_url}  (break and mend banks here)",
            "          its banks take the username demo and the password go",
            *([] if self.mailbox_url is None else [f"mailbox   {self.mailbox_url}  (e-mail that is sent here)"]),
            f"login     {self.email}  {self.password or '(the password of its first start)'}",
            f"          sign in at {self.ingress_url}/",
            f"logs      {'  '.join(_shown(log) for log in self.logs)}",
            "",
            "Try next, in another terminal:",
            f"  {command} listen    # see the webhooks that a subscriber gets, each verified",
            f"  {command} status    # see the connections, and what waits",
            *self._quickstart(),
            f"  curl --data-binary @{shlex.quote(_shown(ROOT / EXAMPLE))} {self.ledgersync_address}",
            "",
            f"ready after {self.seconds:.1f} s; Ctrl-C stops everything and keeps the data",
        )

    def _quickstart(self) -> tuple[str, ...]:
        """Return the line that runs the API's example, where the password is known."""
        if self.password is None:
            return ()
        python, example = (shlex.quote(_shown(path)) for path in (Path(sys.executable), ROOT / QUICKSTART))
        return (f"  {python} {example} {self.ingress_url} {self.email} {self.password}",)

    def _command(self) -> str:
        script = Path(sys.executable).with_name("bankfeed")
        python = f"{shlex.quote(_shown(Path(sys.executable)))} -m bankfeed.cli"
        command = shlex.quote(_shown(script)) if script.exists() else python
        return command if self.data is None else f"BANKFEED_DATA={shlex.quote(str(self.data))} {command}"


def _shown(path: Path) -> str:
    """Return a path as it is shortest to type: from where we are, if it is below."""
    here = Path.cwd()
    return str(path.relative_to(here)) if path.is_relative_to(here) else str(path)
