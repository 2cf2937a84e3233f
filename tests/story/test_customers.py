"""`bankfeed customers`: firms are made where nobody may register, and listed."""

import asyncio
import os
import pty
import subprocess
import sys

import asyncpg
import pytest
from argon2 import PasswordHasher

from tests.conftest import Urls
from tests.finbank import ROOT
from tests.story.test_cli import CLEAN, run

ADD = ("customers", "add", "--name", "Ann's books", "--email", "Ann@Firm.example")
PASSWORD = "correct horse battery"
WAIT_S = 30


def run_with_input(urls: Urls, text: str, *words: str) -> subprocess.CompletedProcess[str]:
    environ = {**CLEAN, "BANKFEED_DATA": "/nonexistent", "PYTHONPATH": str(ROOT), **urls.environ()}
    command = [sys.executable, "-m", "bankfeed.cli", *ADD, *words]
    return subprocess.run(
        command, cwd=ROOT, env=environ, input=text, capture_output=True, text=True, timeout=60, check=False
    )


async def find_hash(superuser: asyncpg.Connection) -> str:
    password_hash: str = await superuser.fetchval("SELECT password_hash FROM users WHERE email = 'ann@firm.example'")
    return password_hash


async def test_a_customer_is_made_with_its_owner(urls: Urls, superuser: asyncpg.Connection) -> None:
    """The password is read from standard input and not shown; the customer is of the deployment's environment."""
    made = run_with_input(urls, f"{PASSWORD}\n", "--password-stdin")
    assert (0, "") == (made.returncode, made.stderr)
    row = await superuser.fetchrow(
        "SELECT c.id, c.name, c.environment::text, u.role::text FROM customers c JOIN users u ON u.customer_id = c.id"
    )
    assert ("Ann's books", "sandbox", "owner") == tuple(row)[1:]
    assert [f"made customer {row['id']} (sandbox): Ann's books", "its owner: ann@firm.example"] == (
        made.stdout.splitlines()
    )
    assert PasswordHasher().verify(await find_hash(superuser), PASSWORD)
    assert [("system", "customer.added")] == [
        tuple(line) for line in await superuser.fetch("SELECT actor, action FROM audit_log")
    ]


async def test_without_a_terminal_a_password_is_made(urls: Urls, superuser: asyncpg.Connection) -> None:
    """It is printed this once, and is the one that counts."""
    made = run_with_input(urls, "")
    password = made.stdout.splitlines()[-1].removeprefix("password, shown only now: ")
    assert 24 == len(password)
    assert PasswordHasher().verify(await find_hash(superuser), password)


async def read_screen(terminal: int) -> str:
    """Wait for what a terminal shows next, "" once nobody writes to it any more."""
    loop = asyncio.get_running_loop()
    readable = asyncio.Event()
    loop.add_reader(terminal, readable.set)  # no thread: one that waits for ever would outlive a failed test
    try:
        async with asyncio.timeout(WAIT_S):
            await readable.wait()
    finally:
        loop.remove_reader(terminal)
    try:
        return os.read(terminal, 1000).decode()
    except OSError:  # the other side is closed
        return ""


async def test_at_a_terminal_it_is_asked_for_unseen(urls: Urls, superuser: asyncpg.Connection) -> None:
    """What is typed, twice, is not on the screen."""
    ours, theirs = pty.openpty()
    process = subprocess.Popen(  # noqa: ASYNC220 - a terminal of its own
        [sys.executable, "-m", "bankfeed.cli", *ADD],
        cwd=ROOT,
        env={**CLEAN, "BANKFEED_DATA": "/nonexistent", "PYTHONPATH": str(ROOT), **urls.environ()},
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        start_new_session=True,
    )
    os.close(theirs)
    shown = ""
    for prompt in ("one is made): ", "confirmation: "):  # what is typed before it is thrown away
        while not shown.endswith(prompt):
            shown += await read_screen(ours)
        os.write(ours, f"{PASSWORD}\n".encode())
    while more := await read_screen(ours):
        shown += more
    assert 0 == process.wait(30)
    os.close(ours)
    assert PASSWORD not in shown
    assert PasswordHasher().verify(await find_hash(superuser), PASSWORD)


@pytest.mark.parametrize(
    ("text", "words", "said"),
    [
        ("short\n", ("--password-stdin",), "expected a password of 10 to 200 characters, got 5"),
        ("", ("--password-stdin",), "expected the password as a line of standard input, got nothing"),
        ("", ("--email", "ann"), "expected an e-mail address like ann@firm.example"),
        ("", ("--name", " "), "expected --name to be the firm's name, got nothing"),
    ],
)
async def test_what_does_not_fit_makes_nothing(
    urls: Urls, superuser: asyncpg.Connection, text: str, words: tuple[str, ...], said: str
) -> None:
    """The command ends with 1 and one sentence."""
    refused = run_with_input(urls, text, *words)
    assert (1, "", f"bankfeed: {said}\n") == (refused.returncode, refused.stdout, refused.stderr)
    assert 0 == await superuser.fetchval("SELECT count(*) FROM customers")


async def test_an_address_is_one_person(urls: Urls, superuser: asyncpg.Connection) -> None:
    """Who is somebody's owner already is not made again, and no firm is left behind."""
    assert 0 == run_with_input(urls, "").returncode
    refused = run_with_input(urls, "")
    assert (1, "bankfeed: somebody has the e-mail address ann@firm.example already\n") == (
        refused.returncode,
        refused.stderr,
    )
    assert 1 == await superuser.fetchval("SELECT count(*) FROM customers")


async def test_customers_are_listed_with_their_owners(urls: Urls, owner: asyncpg.Connection) -> None:
    """Each has a line; where there is none, the command says so."""
    assert "there are no customers\n" == run("customers", "list", environ=urls.environ()).stdout
    assert 0 == run_with_input(urls, "").returncode
    other = run(
        *("customers", "add", "--name", "Other", "--email", "bob@other.example"),
        environ={**urls.environ(), "BANKFEED_ENVIRONMENT": "live"},
    )
    assert 0 == other.returncode
    shown = run("customers", "list", environ=urls.environ()).stdout.splitlines()
    assert [
        ["ID", "ENVIRONMENT", "NAME", "OWNERS"],
        ["sandbox", "Ann's", "books", "ann@firm.example"],
        ["live", "Other", "bob@other.example"],
    ] == [shown[0].split(), *(line.split()[1:] for line in shown[1:])]
