import re
import shutil
import subprocess
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
EXTRAS: dict[str, tuple[str, ...]] = {
    "requirements.lock": (),
    "requirements-local.lock": ("local",),
    "requirements-dev.lock": ("local", "dev"),
}
LOCKS = pytest.mark.parametrize("lock", EXTRAS)


def read_requirements(lock: str) -> list[str]:
    """Return the lock's requirements, each with its continued lines, without comments."""
    lines = [line for line in (ROOT / lock).read_text().splitlines() if line and not line.lstrip().startswith("#")]
    return "\n".join(lines).replace("\\\n", " ").split("\n")


def read_pins(lock: str) -> dict[str, set[str]]:
    """Return the versions that a lock pins by name; one name has several where markers divide them."""
    pins: dict[str, set[str]] = {}
    for requirement in read_requirements(lock):
        pinned = Requirement(requirement.split(" --hash=", 1)[0])
        for specifier in pinned.specifier:
            assert specifier.operator == "=="
            pins.setdefault(normalise(pinned.name), set()).add(specifier.version)
    return pins


def normalise(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def read_declared(lock: str) -> list[Requirement]:
    texts = [*PROJECT["dependencies"]]
    for extra in EXTRAS[lock]:
        texts += PROJECT["optional-dependencies"][extra]
    return [Requirement(text) for text in texts]


@LOCKS
def test_every_dependency_is_pinned_as_declared(lock: str) -> None:
    """What pyproject.toml declares is in the lock, in a version that it allows."""
    pins = read_pins(lock)
    for declared in read_declared(lock):
        versions = pins.get(normalise(declared.name), set())
        assert versions, f"{declared} is not in {lock}: run `./run lock`"
        assert all(declared.specifier.contains(version) for version in versions), f"{declared}: {versions} in {lock}"


@LOCKS
def test_every_requirement_has_hashes(lock: str) -> None:
    """Nothing is installed whose bytes are not known."""
    for requirement in read_requirements(lock):
        assert re.search(r" --hash=sha256:[0-9a-f]{64}( |$)", requirement), requirement


@LOCKS
def test_no_lock_names_a_host(lock: str) -> None:
    """Where packages come from is the machine's affair: no address, index or folder in a lock."""
    assert not re.search(
        r"://|--(extra-)?index|--find-links|--trusted-host|^-[if]\b| @ ", (ROOT / lock).read_text(), re.MULTILINE
    )


@pytest.mark.parametrize(("smaller", "larger"), [*zip([*EXTRAS][:-1], [*EXTRAS][1:], strict=True)])
def test_each_lock_adds_to_the_one_before(smaller: str, larger: str) -> None:
    """What is tested is what runs: the larger lock has all pins of the smaller one."""
    assert read_pins(smaller).items() <= read_pins(larger).items()


def test_no_uv_lock_in_the_repository() -> None:
    """A uv.lock names the host of every file; the repository has none."""
    if shutil.which("git") is None or not (ROOT / ".git").exists():
        pytest.skip("needs git and its repository")
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert not [path for path in listed.splitlines() if Path(path).name == "uv.lock"]
