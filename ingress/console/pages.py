"""The console's HTML and its two static files, read once at start."""

from functools import cache
from pathlib import Path
from typing import Any, Final

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from ingress.console.words import STATE_TITLES, describe_standing, describe_update, write_amount

FOLDER: Final = Path(__file__).parent
TEMPLATES: Final = ("console.html", "notice.html", "rows.html", "sign_in.html")


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
        environment.filters |= {"standing": describe_standing, "update": describe_update, "amount": write_amount}
        environment.globals["state_titles"] = STATE_TITLES
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
