"""Imports go one way: the rules of the house, over the import statements of every file."""

import ast
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
REPLAY = ("book", "fields", "journal", "play", "prose", "questions", "report", "steps")  # all but what reads and prints
PURE = (
    *(
        f"bankfeed.{noun}"
        for noun in (
            "model",
            "money",
            "reconcile",
            "ledger",
            "night",
            "schedule",
            "sealing",
            "signing",
            "health",
            "errors",
        )
    ),
    *("bankfeed.case_words", "bankfeed.repair", "bankfeed.repair_words"),
    *(
        "bankfeed.bodies",
        "bankfeed.cursor",
        "bankfeed.finding",
        "bankfeed.letters",
        "bankfeed.people",
        "bankfeed.redaction",
    ),
    *(f"bankfeed.replay.{noun}" for noun in REPLAY),
)
PURE_MAY = (
    *("base64", "binascii", "bisect", "collections", "csv", "dataclasses", "datetime", "decimal", "enum", "fractions"),
    *("functools", "hashlib", "hmac", "itertools", "math", "operator", "re", "typing", "unicodedata"),
)
LIBRARIES = {
    "rapidfuzz": ("bankfeed.reconcile", "bankfeed.finding"),
    "cryptography": ("bankfeed.sealing", "bankfeed.signing"),
    "jwt": ("bankfeed.signing",),
    "msgspec": ("bankfeed.bodies", "bankfeed.cursor", "bankfeed.replay.steps"),
}
CLOCKS = ("datetime.now", "datetime.utcnow", "datetime.today", "date.today")
ENVIRONMENT = ("os.environ", "os.environb", "os.getenv", "os.putenv")


@dataclass(frozen=True, slots=True, kw_only=True)
class Use:
    """What a line of a module imports (`from a import b` is a.b) or, where not `is_import`, looks up (a.b)."""

    module: str
    line: int
    name: str
    is_import: bool = True


def is_in(name: str, *packages: str) -> bool:
    return any(name == package or name.startswith(f"{package}.") for package in packages)


def only(name: str, *modules: str) -> Callable[[Use], bool]:
    """Only these modules may use that name."""
    return lambda use: is_in(use.name, name) and not is_in(use.module, *modules)


def never(modules: str, *names: str) -> Callable[[Use], bool]:
    """These modules may not use those names."""
    return lambda use: is_in(use.module, modules) and is_in(use.name, *names)


def is_impure(use: Use) -> bool:
    libraries = [library for library, modules in LIBRARIES.items() if is_in(use.module, *modules)]
    if not is_in(use.module, *PURE):
        return False
    return not is_in(use.name, *PURE, *PURE_MAY, *libraries) if use.is_import else use.name in CLOCKS


def needs_installed(use: Use) -> bool:
    known = ("bankfeed.local", "bankfeed.errors")
    is_own = is_in(use.name, *known)
    return is_in(use.module, "bankfeed.local") and is_in(use.name, "bankfeed", *INSTALLED) and not is_own


INSTALLED = ("aiohttp", "arq", "asyncpg", "click", "msgspec", "orjson", "redis", "rich", "stamina", "structlog")
RULES: dict[str, Callable[[Use], bool]] = {
    "bankfeed imports neither ingress nor worker": never("bankfeed", "ingress", "worker"),
    "ingress does not import worker": never("ingress", "worker"),
    "worker does not import ingress": never("worker", "ingress"),
    "nobody imports tests or benchmarks": lambda use: is_in(use.name, "tests", "bench"),
    "only the sandbox imports the sandbox": only("bankfeed.sandbox", "bankfeed.sandbox"),
    "pure modules import each other, and nothing with a clock, randomness or I/O": is_impure,
    "db does not know the aggregators": never("bankfeed.db", "bankfeed.aggregators"),
    "the aggregators do not know db": never("bankfeed.aggregators", "bankfeed.db"),
    "asyncpg is for db and runtime": only("asyncpg", "bankfeed.db", "bankfeed.runtime"),
    "mail goes out through one door": only("aiosmtplib", "worker.mail_server"),
    "arq is for jobs, runtime and worker": only("arq", "bankfeed.jobs", "bankfeed.runtime", "worker"),
    "local servers need nothing installed": needs_installed,
}
LOOKUPS: dict[str, Callable[[Use], bool]] = {
    "pure modules look at no clock": is_impure,
    **{f"{name} is for settings": only(name, "bankfeed.settings", "bankfeed.sandbox.settings") for name in ENVIRONMENT},
}


def list_files() -> Iterator[tuple[Path, str]]:
    for folder in ("bankfeed", "ingress", "worker"):
        for path in sorted((ROOT / folder).rglob("*.py")):
            yield path, ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def list_uses(module: str, text: str) -> Iterator[Use]:
    for node in ast.walk(ast.parse(text)):
        match node:
            case ast.Import():
                yield from (Use(module=module, line=node.lineno, name=alias.name) for alias in node.names)
            case ast.ImportFrom():
                package = node.module or "" if not node.level else f"{module}.{node.module or ''}".rstrip(".")
                names = [f"{package}.{alias.name}" for alias in node.names]
                yield from (Use(module=module, line=node.lineno, name=name) for name in names)
                # `from os import environ` is a look-up too
                yield from (Use(module=module, line=node.lineno, name=name, is_import=False) for name in names)
            case ast.Attribute():
                yield Use(module=module, line=node.lineno, name=ast.unparse(node), is_import=False)


def find_breaches(module: str, text: str, *, file: str = "") -> list[str]:
    """List what breaks a rule, as file:line: name: rule."""
    return [
        f"{file or module}:{use.line}: {use.name}: {rule}"
        for use in list_uses(module, text)
        for rule, is_broken in (RULES if use.is_import else LOOKUPS).items()
        if is_broken(use)
    ]


@pytest.mark.parametrize("folder", ["bankfeed", "ingress", "worker"])
def test_the_house_keeps_its_rules(folder: str) -> None:
    """No file imports what its place in the house forbids."""
    files = [(path, module) for path, module in list_files() if is_in(module, folder)]
    assert files
    assert [] == [
        breach
        for path, module in files
        for breach in find_breaches(module, path.read_text(), file=str(path.relative_to(ROOT)))
    ]


@pytest.mark.parametrize(
    ("module", "text"),
    [
        ("bankfeed.runtime", "from worker import app"),
        ("ingress.app", "import worker.app"),
        ("worker.app", "from ingress.intake import Intake"),
        ("bankfeed.cli", "from tests.seed import make_tenant"),
        ("worker.refresh", "from bankfeed import sandbox"),
        ("bankfeed.money", "import random"),
        ("bankfeed.reconcile.board", "from bankfeed.db import account"),
        ("bankfeed.reconcile.board", "import asyncio"),
        ("bankfeed.schedule", "import rapidfuzz"),
        ("bankfeed.health", "seen_at = datetime.now(UTC)"),
        ("bankfeed.replay.book", "from bankfeed.replay.show import run_replay"),
        ("bankfeed.db.doubt", "from bankfeed.aggregators import Aggregator"),
        ("bankfeed.aggregators.finicity", "from bankfeed.db.account import lock_account"),
        ("worker.commit", "import asyncpg"),
        ("ingress.app", "from arq.connections import ArqRedis"),
        ("bankfeed.logs", "level = os.environ['LEVEL']"),
        ("worker.app", "from os import getenv"),
        ("bankfeed.local.server", "import orjson"),
    ],
)
def test_each_rule_bites(module: str, text: str) -> None:
    """A module that breaks a rule is named with its line and the rule."""
    breaches = find_breaches(module, f'"""A module."""\n\n{text}\n')
    assert breaches
    assert all(breach.startswith(f"{module}:3: ") for breach in breaches)


@pytest.mark.parametrize(
    ("module", "text"),
    [
        ("worker.app", "from arq.worker import Worker"),
        ("bankfeed.sandbox.app", "from bankfeed.sandbox.world import World"),
        ("bankfeed.reconcile.texts", "from rapidfuzz import fuzz"),
        ("bankfeed.signing", "import jwt"),
        ("bankfeed.db.doubt", "from bankfeed.reconcile import Doubt"),
        ("bankfeed.reconcile.board", "now = board.now"),
    ],
)
def test_what_is_allowed_passes(module: str, text: str) -> None:
    """The rules do not forbid what the design allows."""
    assert [] == find_breaches(module, text)
