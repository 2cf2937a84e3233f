"""What Finbank does wrong on purpose, when the control API says so: failing, slow and broken-off answers. Pure."""

from dataclasses import dataclass, field

from bankfeed.sandbox.refusals import Refusal


@dataclass(slots=True, kw_only=True)
class Faults:
    """The faults in force. `fail_path` limits failures to paths that hold it; `cut_times` counts lists still to cut."""

    fail_times: int = 0
    fail_status: int = 500
    fail_code: int = 325
    fail_path: str = ""
    slow_ms: int = 0
    cut_times: int = 0
    cut_accounts: set[int] = field(default_factory=set)

    def refuse(self, path: str) -> None:
        """Refuse this call if failures are left for its path."""
        if self.fail_times > 0 and self.fail_path in path:
            self.fail_times -= 1
            raise Refusal(self.fail_status, self.fail_code, "Finbank was told to fail this call.")

    def cut(self, account_id: int, *, start: int, rows: int) -> int | None:
        """Return how many rows of a page to show when its list is to break off here, None for the page as it is.

        The first page of a cut list is half of what it should be and promises more; the next one is refused.
        """
        if start > 1 and account_id in self.cut_accounts:
            self.cut_accounts.discard(account_id)
            raise Refusal(500, 500, "Finbank was told to break this list off.")
        if start > 1 or self.cut_times <= 0:
            return None
        self.cut_times -= 1
        self.cut_accounts.add(account_id)
        return rows // 2
