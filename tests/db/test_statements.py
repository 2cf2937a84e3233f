"""Every SQL literal of bankfeed/db, against a database made from schema.sql, as the role that runs it."""

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import asyncpg
import pytest

from tests.conftest import PASSWORD, Urls

FOLDER = Path(__file__).parents[2] / "bankfeed" / "db"
BEFORE_THE_SCHEMA = ("owner", "database", "schema")  # they set up, or look at who we are: no noun, and no tenant yet
RUNNERS = ("fetch", "fetchrow", "fetchval", "execute", "executemany", "cursor", "prepare")
ROLES = {  # what a docstring says -> who runs it
    "as the queue role": "bankfeed_queue",
    "as the schema's owner": "bankfeed_owner",
    "as superuser": "postgres",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Statement:
    """One SQL literal, and the role that runs it."""

    noun: str
    function: str
    line: int
    role: str
    sql: str

    def __str__(self) -> str:
        return f"{self.noun}.{self.function}"


def read_literal(node: ast.expr) -> str | None:
    return node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else None


def find_role(*docs: str | None) -> str:
    """Return the role that the first docstring which names one says; all that is not said is the app's."""
    for doc in docs:
        for words, role in ROLES.items():
            if words in " ".join((doc or "").split()):
                return role
    return "bankfeed_app"


def list_runs(function: ast.AsyncFunctionDef) -> Iterator[ast.Call]:
    for node in ast.walk(function):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in RUNNERS:
            yield node


def list_functions() -> Iterator[tuple[Path, ast.Module, ast.AsyncFunctionDef]]:
    for path in sorted(FOLDER.glob("*.py")):
        module = ast.parse(path.read_text())
        for node in ast.walk(module):
            if isinstance(node, ast.AsyncFunctionDef):
                yield path, module, node


def list_statements() -> Iterator[Statement]:
    for path, module, function in list_functions():
        for run in list_runs(function):
            if sql := read_literal(run.args[0]):
                yield Statement(
                    noun=path.stem,
                    function=function.name,
                    line=run.lineno,
                    role=find_role(ast.get_docstring(function), ast.get_docstring(module)),
                    sql=sql,
                )


STATEMENTS = list(list_statements())
NOUNS = [statement for statement in STATEMENTS if statement.noun not in BEFORE_THE_SCHEMA]
TENANT_TABLES = (
    *("users", "sessions", "clients", "change_counters", "enrolments", "connections", "accounts", "pulls"),
    *("transactions", "transaction_aliases", "acts", "transaction_changes", "doubts", "ledger_accounts"),
    *("ledger_entries", "ledger_lines", "events", "endpoints", "deliveries", "delivery_queue", "attempts"),
)


def test_there_are_statements() -> None:
    """The collector sees what is there; a change of style in db/ must not make these tests empty."""
    assert len(NOUNS) > 60
    assert {"account", "client", "connection", "delivery", "inbox", "transaction"} <= {each.noun for each in NOUNS}
    assert {"bankfeed_app", "bankfeed_queue", "bankfeed_owner"} <= {each.role for each in NOUNS}


@pytest.fixture
async def role_conn(urls: Urls, request: pytest.FixtureRequest) -> asyncpg.Connection:
    """A connection of the role named by the parameter."""
    role: str = request.param
    conn = await asyncpg.connect(
        {"bankfeed_app": urls.app, "bankfeed_queue": urls.queue, "bankfeed_owner": urls.owner}[role]
    )
    yield conn
    await conn.close()


@pytest.mark.parametrize("role_conn", ["bankfeed_app", "bankfeed_queue", "bankfeed_owner"], indirect=True)
async def test_every_statement_is_right_for_its_role(role_conn: asyncpg.Connection) -> None:
    """Names and types fit the schema, and its role may run it: Postgres checks privileges when it plans to execute."""
    role = await role_conn.fetchval("SELECT current_user::text")
    wrong = []
    for statement in NOUNS:
        if statement.role == role:
            try:
                await role_conn.prepare(statement.sql)
                await role_conn.execute(f"EXPLAIN (GENERIC_PLAN) {statement.sql}")
            except asyncpg.PostgresError as error:
                wrong.append(f"{statement} (line {statement.line}) as {role}: {error}")
    assert [] == wrong


async def test_the_check_of_privileges_bites(urls: Urls) -> None:
    """A plan for what a role may not read is refused: the test above means something."""
    conn = await asyncpg.connect(urls.queue, password=PASSWORD)
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await conn.execute("EXPLAIN (GENERIC_PLAN) SELECT body FROM inbox WHERE id = $1")
    await conn.close()


def test_a_function_has_one_literal() -> None:
    """One statement a function: what a function does is what its statement does."""
    names = [str(statement) for statement in NOUNS]
    assert [] == sorted({name for name in names if names.count(name) > 1})


def test_sql_is_written_as_literals() -> None:
    """No noun's statement is put together at run time."""
    assert [] == [
        f"{path.name}:{run.lineno}"
        for path, _, function in list_functions()
        for run in list_runs(function)
        if path.stem not in BEFORE_THE_SCHEMA and read_literal(run.args[0]) is None
    ]


@pytest.mark.parametrize("statement", [each for each in NOUNS if each.role == "bankfeed_app"], ids=str)
def test_the_app_names_its_tenant(statement: Statement) -> None:
    """Row-level security is the second lock; the first is a predicate, which the index needs as well."""
    touched = re.findall(rf"\b(?:FROM|JOIN|INTO|UPDATE|USING)\s+({'|'.join(TENANT_TABLES)})\b", statement.sql)
    assert not touched or "customer_id" in statement.sql


@pytest.mark.parametrize("statement", [each for each in NOUNS if "LIMIT" in each.sql], ids=str)
def test_what_is_limited_is_ordered(statement: Statement) -> None:
    """LIMIT without ORDER BY is any rows."""
    assert all("ORDER BY" in before for before in statement.sql.split("LIMIT")[:-1])


def test_no_statement_deletes_without_bounds() -> None:
    """A DELETE names its rows by key, or a bounded list of them."""
    deletes = [each for each in NOUNS if re.search(r"\bDELETE FROM\b", each.sql)]
    assert deletes
    assert [] == [
        str(each)
        for each in deletes
        if "LIMIT" not in each.sql and not re.search(r"_(id|sha256) = (\$|source\.id)", each.sql)
    ]
