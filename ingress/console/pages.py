"""The console's HTML and its two static files, read once at start."""

from functools import cache
from pathlib import Path
from typing import Any, Final

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from ingress.console import words

FOLDER: Final = Path(__file__).parent
TEMPLATES: Final = (
    *("bank_account.html", "banks.html", "cases.html", "console.html", "delete.html", "error_codes.html", "go_on.html"),
    *("notice.html", "rows.html", "sign_in.html"),
)


class Pages:
    """Renders the console's pages. Whatever comes from a bank or a browser is escaped."""

    def __init__(self) -> None:
        environment = Environment(
            loader=FileSystemLoader(FOLDER),
            autoescape=True,
            auto_reload=False,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        environment.filters |= {
            "amount": words.write_amount,
            "asking": words.describe_asking,
            "code": words.write_code,
            "helps": words.find_helps,
            "length": words.write_length,
            "meaning": words.read_meaning,
            "standing": words.describe_standing,
            "status": words.describe_status,
            "time": words.write_time,
            "update": words.describe_update,
        }
        environment.globals |= {
            "history_titles": words.HISTORY_TITLES,
            "owner_titles": words.OWNER_TITLES,
            "state_titles": words.STATE_TITLES,
        }
        self._templates = {name: environment.get_template(name) for name in TEMPLATES}
        self.style = (FOLDER / "console.css").read_bytes()
        self.module = (FOLDER / "console.js").read_bytes()

    def render(self, name: str, **values: Any) -> str:
        """Fill a template."""
        return self._templates[name].render(values)


@cache
def load_pages() -> Pages:
    """Return the pages, read once."""
    return Pages()
