"""The files of deploy/ against the project: ports, addresses, users, metrics."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from cnnlib.serving.app import create_recognize_app
from cnnlib.serving.prometheus import Metrics
from tests.serving.helpers import Named

DEPLOY = Path(__file__).resolve().parent.parent / "deploy"
KUBERNETES = DEPLOY / "kubernetes"
SUFFIXES = ("_bucket", "_count", "_sum")  # of what one histogram exposes


def text_of(name: str) -> str:
    return (DEPLOY / name).read_text(encoding="utf-8")


def loaded(name: str) -> dict[str, Any]:
    document = yaml.safe_load(text_of(name))
    assert isinstance(document, dict)
    return document


def dockerfile(word: str) -> list[str]:
    """Return what stands behind each instruction of a kind."""
    joined = text_of("Dockerfile").replace("\\\n", " ")
    return re.findall(rf"^{word} (.*)$", joined, re.MULTILINE)


@pytest.fixture(scope="module")
def paths() -> Iterator[set[str]]:
    """The addresses that the API answers."""
    app = create_recognize_app({"a": Named("a")})
    yield {rule.rule for rule in app.url_map.iter_rules()}
    app.extensions["service"].close()


@pytest.fixture
def deployment() -> dict[str, Any]:
    return loaded("kubernetes/deployment.yaml")


@pytest.fixture
def container(deployment: dict[str, Any]) -> dict[str, Any]:
    [only] = deployment["spec"]["template"]["spec"]["containers"]
    return dict(only)


# --- Kubernetes ---


def test_kubernetes_reaches_the_port_that_the_image_serves(deployment, container):
    [port] = container["ports"]
    [exposed] = dockerfile("EXPOSE")
    [command] = dockerfile("CMD")[-1:]
    assert str(port["containerPort"]) == exposed
    assert f"0.0.0.0:{exposed}" in json.loads(command)
    [of_service] = loaded("kubernetes/service.yaml")["spec"]["ports"]
    assert of_service["targetPort"] == port["name"]
    annotations = deployment["spec"]["template"]["metadata"]["annotations"]
    assert annotations["prometheus.io/port"] == exposed


def test_kubernetes_asks_for_health_where_the_api_answers(deployment, container, paths):
    [port] = container["ports"]
    probes = {name: container[f"{name}Probe"]["httpGet"] for name in PROBES}
    assert {name: probe["path"] for name, probe in probes.items()} == PROBES
    assert set(PROBES.values()) <= paths
    assert {probe["port"] for probe in probes.values()} == {port["name"]}
    annotations = deployment["spec"]["template"]["metadata"]["annotations"]
    assert annotations["prometheus.io/path"] in paths


PROBES = {
    "startup": "/health/ready",
    "readiness": "/health/ready",
    "liveness": "/health/live",  # a model that fails is not mended by a restart
}


def test_kubernetes_runs_the_image_and_the_user_of_the_dockerfile(deployment, container):
    page = DEPLOY.parent / "docs/en/deployment.md"
    built = re.findall(r"^docker build .* -t (\S+) \.$", page.read_text("utf-8"), re.MULTILINE)
    kustomization = loaded("kubernetes/kustomization.yaml")
    [image] = kustomization["images"]
    assert built[0] == container["image"] == image["name"]
    assert f"{image['newName']}:{image['newTag']}" in built
    [run] = [text for text in dockerfile("RUN") if "useradd" in text]
    words = shlex.split(run)
    pod = deployment["spec"]["template"]["spec"]["securityContext"]
    assert pod["runAsNonRoot"] is True
    assert str(pod["runAsUser"]) == words[words.index("--uid") + 1]
    assert dockerfile("USER") == [words[words.index("--uid") + 2]]


def test_kubernetes_lets_the_api_write_where_it_must(deployment, container):
    assert container["securityContext"]["readOnlyRootFilesystem"] is True
    assert [mount["mountPath"] for mount in container["volumeMounts"]] == ["/tmp"]
    assert "--read-only --tmpfs /tmp" in text_of("Dockerfile")
    volumes = {volume["name"] for volume in deployment["spec"]["template"]["spec"]["volumes"]}
    assert volumes == {mount["name"] for mount in container["volumeMounts"]}
    # What a pod is given on SIGTERM covers what gunicorn is given, after the pause before it.
    graceful = re.findall(r"^graceful_timeout = (\d+)", text_of("gunicorn.conf.py"), re.MULTILINE)
    pause = int(container["lifecycle"]["preStop"]["exec"]["command"][1])
    grace = deployment["spec"]["template"]["spec"]["terminationGracePeriodSeconds"]
    assert grace > int(graceful[0]) + pause


def test_kubernetes_files_name_each_other(deployment):
    labels = deployment["spec"]["template"]["metadata"]["labels"]
    assert deployment["spec"]["selector"]["matchLabels"] == labels
    assert loaded("kubernetes/service.yaml")["spec"]["selector"] == labels
    scaled = loaded("kubernetes/autoscaler.yaml")["spec"]["scaleTargetRef"]
    assert (scaled["kind"], scaled["name"]) == (deployment["kind"], deployment["metadata"]["name"])
    assert "replicas" not in deployment["spec"]  # or each apply would undo the autoscaler
    files = {file.name for file in KUBERNETES.iterdir()} - {"kustomization.yaml"}
    assert set(loaded("kubernetes/kustomization.yaml")["resources"]) == files


@pytest.mark.parametrize("name", ("deployment.yaml", "service.yaml", "autoscaler.yaml"))
def test_kubernetes_takes_the_files(name):
    reason = "pip install kubernetes-validate (some 20 MB of schemas) to check against the schemas"
    validator = pytest.importorskip("kubernetes_validate", reason=reason)
    validator.validate(loaded(f"kubernetes/{name}"), validator.latest_version(), strict=True)


# --- Prometheus and Grafana ---


def dashboard() -> dict[str, Any]:
    return dict(json.loads(text_of("grafana-dashboard.json")))


def expressions() -> list[str]:
    return [target["expr"] for panel in dashboard()["panels"] for target in panel["targets"]]


def exposed_metrics() -> dict[str, set[str]]:
    """Return the metrics of the API by name, each with its labels."""
    metrics = Metrics()
    metrics.observe_request("a", 200, 0.1)
    metrics.observe_batch("a", 1)
    metrics.set_pending_images("a", 1)
    metrics.count_dropped_upload("full")
    found = re.findall(r"^(\w+)\{(.*?)\} ", metrics.exposition().decode(), re.MULTILINE)
    return {name: set(re.findall(r'(\w+)="', labels)) for name, labels in found}


def test_the_dashboard_shows_what_the_api_exposes():
    known = exposed_metrics()
    named = {name for expr in expressions() for name in re.findall(r"captcha_\w+(?=\{)", expr)}
    assert named <= known.keys()
    # Each metric of the API is on it; of a histogram one of its series is enough.
    shown = {name.removesuffix(suffix) for name in named for suffix in SUFFIXES} | named
    assert {n for n in known if not n.endswith((*SUFFIXES, "_created"))} <= shown


def test_the_dashboard_groups_by_labels_that_there_are():
    known = set.union(*exposed_metrics().values()) | {"job", "instance"}  # of Prometheus
    for expr in expressions():
        grouped = ", ".join(re.findall(r"by \((.*?)\)", expr)).replace(",", " ").split()
        selected = re.findall(r"(\w+)(?:=~|!=|=)\"", expr)
        assert {*grouped, *selected} <= known


def test_prometheus_asks_the_machines_of_nginx_for_metrics(paths):
    [job] = loaded("prometheus.yml")["scrape_configs"]
    assert job["metrics_path"] in paths
    targets = [target for group in job["static_configs"] for target in group["targets"]]
    machines = re.findall(r"^ +server (\S+)", text_of("nginx-upstream.conf"), re.MULTILINE)
    assert targets == machines
    [port] = re.findall(r'^bind = ".*:(\d+)"', text_of("gunicorn.conf.py"), re.MULTILINE)
    assert {target.partition(":")[2] for target in targets} == {port}
    selected = set(re.findall(r'job="(\w+)"', text_of("grafana-dashboard.json").replace("\\", "")))
    assert selected == {job["job_name"]}


def test_the_upstream_takes_the_place_of_the_one_of_a_single_machine():
    [name] = re.findall(r"^upstream (\w+) \{", text_of("nginx.conf"), re.MULTILINE)
    assert re.findall(r"^upstream (\w+) \{", text_of("nginx-upstream.conf"), re.MULTILINE) == [name]
    assert f"proxy_pass http://{name};" in text_of("nginx.conf")
    # A POST is passed on only with this.
    [when] = re.findall(r"^ +proxy_next_upstream (.*);", text_of("nginx.conf"), re.MULTILINE)
    assert {"error", "timeout", "non_idempotent"} == set(when.split())
