"""The texts say what is true: commands that exist, links that resolve, a README of one screen."""

import re
import subprocess
import tomllib
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from bankfeed.cli import commands

ROOT = Path(__file__).parents[2]
TEXTS = (
    *("README.md", "CHANGELOG.md", "CONTRIBUTING.md", "DECISIONS.md"),
    *("bench/README.md", "deploy/README.md", "deploy/RUNBOOK.md", "docs/webhooks.md"),
)
LINK = re.compile(r"!?\[[^\]]*\]\(([^)\s]+)\)")
CODE = re.compile(r"```\w*\n(.*?)```|`([^`\n]+)`", re.DOTALL)


def read(text: str) -> str:
    return (ROOT / text).read_text()


def list_code(text: str) -> Iterator[str]:
    """Every line of code that a text shows, in blocks and in sentences."""
    for block, inline in CODE.findall(read(text)):
        yield from (block or inline).splitlines()


def list_after(text: str, *programs: str) -> set[str]:
    """The word that follows one of the programs, wherever the text shows it being called."""
    names = "|".join(re.escape(program) for program in programs)
    calls = re.compile(rf"(?:^|[\s(])(?:{names}) +([a-z][\w-]*)")
    return {word for line in list_code(text) for word in calls.findall(line.split("#")[0])}


def list_run_commands() -> set[str]:
    """What `./run help` names."""
    said = subprocess.run([ROOT / "run", "help"], capture_output=True, text=True, check=True).stdout
    return set(re.findall(r"^  ([a-z-]+)  ", said, re.MULTILINE))


def list_anchors(text: str) -> set[str]:
    heads = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {re.sub(r"[^\w -]", "", head.lower()).replace(" ", "-") for head in heads}


@pytest.mark.parametrize("text", TEXTS)
def test_each_command_of_run_exists(text: str) -> None:
    """`make X` and `./run X` in a text are commands of ./run."""
    assert list_after(text, "make", "./run") - list_run_commands() == set()


def test_make_knows_the_commands_of_run() -> None:
    """The Makefile has the commands that ./run has, and no other."""
    targets = re.search(r"^COMMANDS := (.+)$", read("Makefile"), re.MULTILINE)
    assert targets
    assert set(targets[1].split()) == list_run_commands()


@pytest.mark.parametrize("text", TEXTS)
def test_each_command_of_bankfeed_exists(text: str) -> None:
    """`bankfeed X` in a text is a command, with the options that the text gives it."""
    assert list_after(text, "bankfeed", ".venv/bin/bankfeed", "bankfeed.cli") - commands.commands.keys() == set()


def find_command(command: click.Command, words: str) -> click.Command:
    """Go on to the command of a group that the next word names."""
    first = words.split()[:1]
    return command.commands.get(first[0], command) if isinstance(command, click.Group) and first else command


def list_options(command: click.Command) -> set[str]:
    options = (parameter for parameter in command.params if isinstance(parameter, click.Option))
    return {name for option in options for name in option.opts}


@pytest.mark.parametrize("text", TEXTS)
def test_each_option_of_bankfeed_exists(text: str) -> None:
    """An option beside a command of bankfeed is one that the command takes."""
    for line in list_code(text):
        called = re.search(r"\bbankfeed(?:\.cli)? ([a-z-]+)(.*)", line.split("#")[0])
        if called and called[1] in commands.commands:
            known = list_options(find_command(commands.commands[called[1]], called[2]))
            assert set(re.findall(r"(?<=\s)--[a-z-]+", called[2])) - known == set()


@pytest.mark.parametrize("text", TEXTS)
def test_each_link_resolves(text: str) -> None:
    """A relative link leads to a file that is there, and its anchor to a heading in it."""
    for target in LINK.findall(read(text)):
        if re.match(r"[a-z]+:", target):
            continue
        path, _, anchor = target.partition("#")
        linked = (ROOT / text).parent / path if path else ROOT / text
        assert linked.exists(), target
        assert not anchor or anchor in list_anchors(linked.read_text()), target


@pytest.mark.parametrize("text", TEXTS)
def test_each_path_exists(text: str) -> None:
    """A path that a text shows as code is there, unless it is one that is made."""
    made = ("bench/results.json",)
    shown = {
        path
        for line in list_code(text)
        for path in re.findall(r"(?:bankfeed|bench|deploy|ingress|tests|worker)/[\w./-]*", line)
    }
    assert [path for path in sorted(shown) if path not in made and not (ROOT / path.rstrip(".")).exists()] == []


def test_the_readme_fits_one_screen() -> None:
    """What it is, for whom, the two commands, the picture and what next; not more."""
    assert len(read("README.md").splitlines()) <= 60
    assert {"run", "test"} <= list_after("README.md", "make")


def test_a_decision_is_short_and_newest_comes_first() -> None:
    """An entry has at most 15 lines, and the days do not go up."""
    entries = re.split(r"^## ", read("DECISIONS.md"), flags=re.MULTILINE)[1:]
    assert [entry.split("\n")[0] for entry in entries if len(entry.strip().splitlines()) > 15] == []
    days = [entry[:10] for entry in entries]
    assert days == sorted(days, reverse=True)


def test_the_licence_is_the_one_of_the_project() -> None:
    """LICENSE holds the whole of the licence that pyproject.toml names."""
    assert tomllib.loads(read("pyproject.toml"))["project"]["license"] == "Apache-2.0"
    licence = read("LICENSE")
    assert "Version 2.0, January 2004" in licence
    assert licence.rstrip().endswith("limitations under the License.")


def test_the_changelog_has_a_place_for_what_is_new() -> None:
    """Keep a Changelog: the first section is Unreleased, and each group has one of the known words."""
    heads = re.findall(r"^(##+) (.+)$", read("CHANGELOG.md"), re.MULTILINE)
    assert heads[0] == ("##", "Unreleased")
    groups = {head for level, head in heads if level == "###"}
    assert groups <= {"Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"}
