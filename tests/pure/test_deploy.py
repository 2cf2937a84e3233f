"""deploy/ says what is true of the code: settings, probes, metrics, log lines, the image's files."""

import re
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client import Counter, Gauge, Histogram

from bankfeed import metrics
from bankfeed.sealing import KEY_BYTES, write_key
from bankfeed.settings import LocalSettings, Settings

ROOT = Path(__file__).parents[2]
BASE = ROOT / "deploy/kubernetes/base"
DEPLOYMENTS = ("bankfeed-ingress", "bankfeed-worker")
PROCESSES = (*DEPLOYMENTS, "bankfeed-schema")
KNOWN_SETTINGS = Settings.names().keys() | LocalSettings.names().keys()


def list_documents() -> list[dict[str, Any]]:
    """Every object that the base's kustomization names."""
    files = yaml.safe_load((BASE / "kustomization.yaml").read_text())["resources"]
    return [document for file in files for document in yaml.safe_load_all((BASE / file).read_text())]


def get_document(name: str, *kinds: str) -> dict[str, Any]:
    return next(each for each in list_documents() if each["metadata"]["name"] == name and each["kind"] in kinds)


def get_pod(name: str) -> dict[str, Any]:
    pod: dict[str, Any] = get_document(name, "Deployment", "Job")["spec"]["template"]["spec"]
    return pod


def get_container(name: str) -> dict[str, Any]:
    (container,) = get_pod(name)["containers"]
    return dict(container)


def read_settings_map() -> dict[str, str]:
    lines = (BASE / "settings.env").read_text().splitlines()
    return dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))


def list_values(node: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Every leaf of a document with its path."""
    if isinstance(node, Mapping):
        for key, value in node.items():
            yield from list_values(value, f"{path}.{key}")
    elif isinstance(node, list):
        for value in node:
            yield from list_values(value, path)
    else:
        yield path, node


# Kubernetes


def test_every_manifest_is_in_the_base() -> None:
    """A file that the kustomization does not name would never be applied."""
    named = set(yaml.safe_load((BASE / "kustomization.yaml").read_text())["resources"])
    assert {file.name for file in BASE.glob("*.yaml")} - {"kustomization.yaml"} == named


def test_every_variable_is_a_setting() -> None:
    """A process refuses names it does not know, so a manifest must not set one."""
    from_manifests = {each["name"] for name in PROCESSES for each in get_container(name).get("env", ())}
    assert (from_manifests | read_settings_map().keys()) - KNOWN_SETTINGS == set()


@pytest.mark.parametrize("name", DEPLOYMENTS)
def test_a_process_gets_all_that_it_requires(name: str) -> None:
    """Without its two database URLs and the keys of secrets at rest a process ends at once."""
    required = {f"BANKFEED_{each.upper()}" for each in Settings.REQUIRED}
    assert required <= {each["name"] for each in get_container(name)["env"]}


def test_the_settings_map_can_be_used() -> None:
    """The ConfigMap's values are ones that a process accepts."""
    urls = {f"BANKFEED_{each.upper()}": "postgresql://role@db/bankfeed" for each in Settings.REQUIRED_BY_COMMANDS}
    keys = {"BANKFEED_SECRET_KEYS": write_key("k1", bytes(KEY_BYTES))}
    settings = Settings.for_process({**read_settings_map(), **urls, **keys})
    assert settings.host == "0.0.0.0"  # noqa: S104 - a pod is reached from outside of it


@pytest.mark.parametrize("name", DEPLOYMENTS)
def test_probes_ask_what_the_process_serves(name: str) -> None:
    """Liveness looks at the process alone, readiness at whether it wants work; both on its own port."""
    container = get_container(name)
    paths = {
        probe: container[probe]["httpGet"]["path"] for probe in ("startupProbe", "livenessProbe", "readinessProbe")
    }
    assert paths == {"startupProbe": "/healthz", "livenessProbe": "/healthz", "readinessProbe": "/readyz"}
    (port,) = container["ports"]
    setting = "BANKFEED_PORT" if name == "bankfeed-ingress" else "BANKFEED_WORKER_PORT"
    assert str(port["containerPort"]) == read_settings_map()[setting]
    assert {container[probe]["httpGet"]["port"] for probe in paths} == {port["name"]}


@pytest.mark.parametrize("name", DEPLOYMENTS)
def test_kubernetes_waits_longer_than_the_process_needs(name: str) -> None:
    """A kill before the end of the grace time would cut off work that was about to finish."""
    pre_stop = get_container(name).get("lifecycle", {}).get("preStop", {}).get("exec", {}).get("command", ["", "0"])
    needed_s = int(pre_stop[1]) + int(read_settings_map()["BANKFEED_GRACE_S"])
    assert get_pod(name)["terminationGracePeriodSeconds"] > needed_s + 10


@pytest.mark.parametrize("name", PROCESSES)
def test_a_container_may_do_nothing_it_need_not(name: str) -> None:
    """No root, no privileges, no writing, no token for the Kubernetes API."""
    pod, container = get_pod(name), get_container(name)
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["automountServiceAccountToken"] is False
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert container["resources"]["requests"].keys() == {"cpu", "memory"}
    assert "memory" in container["resources"]["limits"]


@pytest.mark.parametrize("name", PROCESSES)
def test_kubernetes_adds_no_variables(name: str) -> None:
    """The variables of a Service named bankfeed-ingress begin with BANKFEED_ and would be refused."""
    assert get_pod(name)["enableServiceLinks"] is False


def test_nothing_secret_stands_in_the_files() -> None:
    """Secrets are referred to; the ConfigMap and the manifests hold none."""
    assert not [document for document in list_documents() if document["kind"] == "Secret"]
    secret_names = {name for name, field in Settings.names().items() if "Secret" in str(field.type)}
    assert secret_names.isdisjoint(read_settings_map())
    for name in PROCESSES:
        for variable in get_container(name).get("env", ()):
            assert variable.keys() == {"name", "valueFrom"}
            assert variable["valueFrom"].keys() == {"secretKeyRef"}


def test_every_secret_key_is_documented() -> None:
    """Who makes the Secrets finds each name and key in the README."""
    readme = (ROOT / "deploy/README.md").read_text()
    refs = {value for name in PROCESSES for path, value in list_values(get_container(name)) if "secretKeyRef" in path}
    assert [ref for ref in refs if isinstance(ref, str) and f"`{ref}`" not in readme] == []


def test_both_processes_seal_with_the_same_keys() -> None:
    """What ingress seals the worker has to open: both take the keys from one place."""
    found = [
        variable["valueFrom"]["secretKeyRef"]
        for name in DEPLOYMENTS
        for variable in get_container(name)["env"]
        if variable["name"] == "BANKFEED_SECRET_KEYS"
    ]
    assert [{"name": "bankfeed", "key": "secret-keys"}] * 2 == found


def test_the_links_between_the_texts_lead_somewhere() -> None:
    """A heading that a text of deploy/ links to is there."""
    for name, text in ((name, (ROOT / "deploy" / name).read_text()) for name in ("README.md", "RUNBOOK.md")):
        for file, anchor in re.findall(r"\]\(([\w./]*)#([\w-]+)\)", text):
            headings = re.findall(r"^#+ (.+)$", (ROOT / "deploy" / (file or name)).read_text(), re.MULTILINE)
            assert anchor in {re.sub(r"[^\w -]", "", each).lower().replace(" ", "-") for each in headings}


@pytest.mark.parametrize("name", DEPLOYMENTS)
def test_a_drain_takes_one_at_a_time(name: str) -> None:
    """More than one replica, and a budget that selects exactly these pods."""
    deployment, budget = get_document(name, "Deployment"), get_document(name, "PodDisruptionBudget")
    assert deployment["spec"]["replicas"] >= 2
    assert budget["spec"] == {"maxUnavailable": 1, "selector": deployment["spec"]["selector"]}
    labels = deployment["spec"]["template"]["metadata"]["labels"]
    assert deployment["spec"]["selector"]["matchLabels"].items() <= labels.items()


def test_the_service_reaches_ingress() -> None:
    """The Service selects ingress' pods and names their port."""
    service, deployment = get_document("bankfeed-ingress", "Service"), get_document("bankfeed-ingress", "Deployment")
    assert service["spec"]["selector"] == deployment["spec"]["selector"]["matchLabels"]
    (port,) = get_container("bankfeed-ingress")["ports"]
    assert [each["targetPort"] for each in service["spec"]["ports"]] == [port["name"]]


@pytest.mark.skipif(shutil.which("kubectl") is None, reason="kubectl is not installed")
def test_kustomize_renders_the_base() -> None:
    """The base is one that kustomize accepts, and its settings become a ConfigMap."""
    made = subprocess.run(["kubectl", "kustomize", BASE], capture_output=True, text=True, check=True)
    kinds = sorted(document["kind"] for document in yaml.safe_load_all(made.stdout))
    assert kinds == sorted([*(each["kind"] for each in list_documents()), "ConfigMap"])


# the image


def test_the_image_copies_what_is_there_and_let_through() -> None:
    """Each COPY from the checkout names a path that exists and that the ignore file does not keep out."""
    dockerfile = (ROOT / "deploy/Dockerfile").read_text()
    ignore = (ROOT / "deploy/Dockerfile.dockerignore").read_text().splitlines()
    let_through = [line.removeprefix("!").rstrip("/") for line in ignore if line.startswith("!")]
    copied = [
        path for line in re.findall(r"^COPY (?!--from)(.+)$", dockerfile, re.MULTILINE) for path in line.split()[:-1]
    ]
    assert copied
    for path in copied:
        assert (ROOT / path).exists()
        assert any(fnmatch(path.rstrip("/"), pattern) for pattern in let_through)


def test_the_image_runs_as_a_number_without_a_shell() -> None:
    """runAsNonRoot can only judge a number; the entry is a program, not a line for a shell."""
    dockerfile = (ROOT / "deploy/Dockerfile").read_text()
    user = re.search(r"^USER (\d+):(\d+)$", dockerfile, re.MULTILINE)
    assert user
    assert int(user[1]) == get_pod("bankfeed-ingress")["securityContext"]["runAsUser"]
    assert re.search(r'^ENTRYPOINT \["python", "-m"\]$', dockerfile, re.MULTILINE)
    assert "--require-hashes -r requirements.lock" in dockerfile


@pytest.mark.parametrize("name", PROCESSES)
def test_the_arguments_name_a_module(name: str) -> None:
    """The image's entry is `python -m`; what follows is a module of the product."""
    module = get_container(name)["args"][0]
    path = ROOT.joinpath(*module.split("."))
    assert path.with_suffix(".py").exists() or (path / "__main__.py").exists()


# metrics


def list_declared() -> set[tuple[str, str, tuple[str, ...]]]:
    declared = [each for each in vars(metrics).values() if isinstance(each, Counter | Gauge | Histogram)]
    found = set()
    for metric in declared:
        (family,) = metric.describe()
        name = f"{family.name}_total" if family.type == "counter" else family.name
        found.add((name, family.type, tuple(metric._labelnames)))
    return found


def list_rows() -> list[list[str]]:
    """The cells of the metrics table, without back-quotes."""
    rows = [line for line in (ROOT / "deploy/README.md").read_text().splitlines() if "`bankfeed_" in line]
    return [[cell.strip() for cell in row.replace("`", "").strip("|").split("|")] for row in rows if row[0] == "|"]


def test_the_table_lists_every_metric_once() -> None:
    """Dashboards may rely on the table: each metric with its kind and its labels, and no other."""
    rows = list_rows()
    listed = {(name, kind, () if labels == "-" else tuple(labels.split(", "))) for _, _, name, kind, labels in rows}
    assert listed == list_declared()
    assert len(rows) == len(listed)


def test_the_log_lines_of_the_texts_are_written() -> None:
    """A log line that the table or the runbook names is one that the code writes."""
    code = "".join(
        path.read_text() for name in ("bankfeed", "ingress", "worker") for path in (ROOT / name).rglob("*.py")
    )
    runbook = (ROOT / "deploy/RUNBOOK.md").read_text()
    named = {log for _, log, *_ in list_rows()} - {"-"} | set(re.findall(r"`([a-z_]+\.[a-z_]+)`", runbook))
    assert [log for log in sorted(named) if f'"{log}"' not in code] == []


def test_the_metrics_of_the_runbook_exist() -> None:
    """Who is woken at night must not look for a metric that is not there."""
    runbook = (ROOT / "deploy/RUNBOOK.md").read_text()
    known = {name for name, _, _ in list_declared()}
    named = {re.sub(r"_(count|sum|bucket)$", "", name) for name in re.findall(r"`(bankfeed_[a-z_]+)", runbook)}
    roles = {"bankfeed_app", "bankfeed_owner", "bankfeed_queue"}
    assert named - roles - known == set()


def test_the_settings_of_the_texts_exist() -> None:
    """A setting that a text of deploy/ names is one that the processes know."""
    texts = "".join((ROOT / "deploy" / name).read_text() for name in ("README.md", "RUNBOOK.md"))
    assert set(re.findall(r"\bBANKFEED_[A-Z_]+", texts)) - KNOWN_SETTINGS == set()
