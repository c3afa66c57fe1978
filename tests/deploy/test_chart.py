"""The resources that helm renders from the chart, for each file of `deploy/helm/values`."""

import re
import subprocess
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import trustme
import typer.main
import yaml

from merganser.cli.main import app
from merganser.runtime.settings import (
    ApiSettings,
    ConsoleSettings,
    DecorationSettings,
    IngestSettings,
    PropertiesSettings,
    ResolverSettings,
    ScannerSettings,
    Settings,
)
from tests.support import ROOT

pytestmark = pytest.mark.deploy

HELM = ROOT / "deploy/helm"
SETS = sorted(file.stem for file in (HELM / "values").glob("*.yaml"))
SETTINGS: dict[str, type[Settings]] = {
    "ingest": IngestSettings,
    "resolver": ResolverSettings,
    "scanner": ScannerSettings,
    "properties": PropertiesSettings,
    "decoration": DecorationSettings,
    "api": ApiSettings,
    "console": ConsoleSettings,
    "topics": Settings,
    "migrate": Settings,
    "prune": Settings,
}
ON_KAFKA = {"ingest", "resolver", "console", "migrate"}
TRACED = {"ingest", "resolver"}
SECRETS = {"MERGANSER_DATABASE_URL": "postgresql://merganser:secret@postgres/merganser"}

COMPONENT = "app.kubernetes.io/component"


@cache
def values(name: str) -> Any:
    return yaml.safe_load((HELM / "values" / f"{name}.yaml").read_text())


@cache
def rendered(name: str) -> list[Any]:
    command = [
        *(str(ROOT / "deploy/tools/bin/helm"), "template", "merganser", str(HELM / "merganser")),
        *("--kube-version", "1.34.0", "--values", str(HELM / "values" / f"{name}.yaml")),
    ]
    result = subprocess.run(command, capture_output=True, check=False)
    assert result.returncode == 0, result.stderr.decode()
    return [resource for resource in yaml.safe_load_all(result.stdout) if resource]


def of_kind(name: str, kind: str) -> list[Any]:
    return [resource for resource in rendered(name) if resource["kind"] == kind]


def selected(labels: dict[str, str], resources: list[Any]) -> list[Any]:
    return [
        resource
        for resource in resources
        if labels.items() <= resource["metadata"]["labels"].items()
    ]


def pods(name: str) -> dict[str, Any]:
    """Return the pod template of each process."""
    found: dict[str, Any] = {}
    for resource in rendered(name):
        match resource["kind"]:
            case "Deployment" | "StatefulSet" | "Job":
                template = resource["spec"]["template"]
            case "CronJob":
                template = resource["spec"]["jobTemplate"]["spec"]["template"]
            case _:
                continue
        found[template["metadata"]["labels"][COMPONENT]] = template
    return found


def containers(name: str) -> Iterator[tuple[Any, Any]]:
    """Yield each container with the specification of its pod."""
    for pod in pods(name).values():
        spec = pod["spec"]
        for container in (*spec.get("initContainers", ()), *spec["containers"]):
            yield spec, container


def environment(container: Any) -> dict[str, str]:
    """Return the variables that a cluster creates from the container's `env`."""
    found: dict[str, str] = {}
    for variable in container["env"]:
        name = variable["name"]
        assert name not in found
        if "value" in variable:
            found[name] = variable["value"]
        elif "fieldRef" in variable["valueFrom"]:
            assert variable["valueFrom"]["fieldRef"] == {"fieldPath": "metadata.name"}
            found[name] = "the-pod"
        else:
            found[name] = SECRETS.get(name, "secret")
    return found


@pytest.fixture(scope="module")
def secret_files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The files that processes open at their start, by their path in the pod."""
    folder, authority = tmp_path_factory.mktemp("secrets"), trustme.CA()
    certificate = authority.issue_cert("merganser")
    authority.cert_pem.write_to_path(folder / "ca.crt")
    certificate.cert_chain_pems[0].write_to_path(folder / "tls.crt")
    certificate.private_key_pem.write_to_path(folder / "tls.key")
    return {
        "/etc/merganser/kafka-ca/ca.crt": str(folder / "ca.crt"),
        "/etc/merganser/kafka-certificate/tls.crt": str(folder / "tls.crt"),
        "/etc/merganser/kafka-certificate/tls.key": str(folder / "tls.key"),
    }


@pytest.mark.parametrize("name", SETS)
def test_a_process_accepts_its_settings(
    name: str, secret_files: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)  # it has no .env
    for _, container in containers(name):
        process, variables = container["name"], environment(container)
        own = values(name).get(process, {}).get("settings", {})
        for variable, value in {**values(name).get("settings", {}), **own}.items():
            assert variables[variable] == str(value)
        with monkeypatch.context() as patch:
            for variable, text in variables.items():
                patch.setenv(variable, secret_files.get(text, text))
            settings = SETTINGS[process].read()
        if isinstance(settings, ResolverSettings):
            assert settings.resolver_instance == "the-pod"
        assert bool(settings.otlp_endpoint) == ("tracing" in values(name) and process in TRACED)


@pytest.mark.parametrize("name", SETS)
def test_a_command_accepts_its_arguments(name: str) -> None:
    command = typer.main.get_group(app)
    with typer.Context(command) as context:
        for _, container in containers(name):
            known, chosen, arguments = command.resolve_command(context, list(container["args"]))
            assert known == container["name"]
            assert chosen is not None
            chosen.make_context(known, arguments)


@pytest.mark.parametrize("name", SETS)
def test_each_file_is_mounted(name: str) -> None:
    for spec, container in containers(name):
        mounts = {mount["name"]: mount["mountPath"] for mount in container.get("volumeMounts", ())}
        volumes = {volume["name"]: volume["secret"] for volume in spec.get("volumes", ())}
        assert mounts.keys() == volumes.keys()
        files = {
            f"{mounts[volume]}/{item['path']}"
            for volume, secret in volumes.items()
            for item in secret.get("items", ())
        }
        named = {text for text in environment(container).values() if text.startswith("/etc/")}
        assert named <= files
        for secret in values(name).get("files", ()):
            assert f"/etc/merganser/files/{secret}" in mounts.values()


@pytest.mark.parametrize("name", SETS)
def test_a_network_policy_allows_exactly_the_needed_ports(name: str) -> None:
    policies = of_kind(name, "NetworkPolicy")
    if not values(name).get("networkPolicy", {}).get("enabled", True):
        assert not policies
        return
    found = {policy["spec"]["podSelector"]["matchLabels"][COMPONENT]: policy for policy in policies}
    assert len(found) == len(policies)
    assert found.keys() == pods(name).keys()
    for process, pod in pods(name).items():
        selected = found[process]["spec"]["podSelector"]["matchLabels"]
        assert selected.items() <= pod["metadata"]["labels"].items()
        (rule,) = found[process]["spec"]["egress"]
        ports = {port["port"] for port in rule["ports"]}
        variables = environment(pod["spec"]["containers"][0])
        brokers = {
            int(broker.rpartition(":")[2])
            for broker in variables["MERGANSER_KAFKA_BOOTSTRAP"].split(",")
        }
        assert {53, 5432} <= ports
        assert bool(brokers & ports) == (process in ON_KAFKA)
        if endpoint := values(name).get("tracing", {}).get("endpoint"):
            assert (urlsplit(endpoint).port in ports) == (process in TRACED)


@pytest.mark.parametrize("name", SETS)
def test_exactly_the_pods_with_metrics_are_scraped(name: str) -> None:
    for monitor in of_kind(name, "ServiceMonitor"):
        (service,) = selected(monitor["spec"]["selector"]["matchLabels"], of_kind(name, "Service"))
        (endpoint,) = monitor["spec"]["endpoints"]
        (port,) = service["spec"]["ports"]
        assert endpoint["port"] == port["name"]
        assert service["spec"]["publishNotReadyAddresses"]
        scraped = {
            pod["metadata"]["labels"][COMPONENT]
            for pod in selected(service["spec"]["selector"], list(pods(name).values()))
            for open_port in pod["spec"]["containers"][0].get("ports", ())
            if open_port["name"] == port["targetPort"]
        }
        assert scraped == pods(name).keys() - {"migrate", "prune"}


@pytest.mark.parametrize("name", SETS)
def test_alerts_link_to_the_runbook_of_the_values(name: str) -> None:
    for resource in of_kind(name, "PrometheusRule"):
        alerts = [rule for group in resource["spec"]["groups"] for rule in group["rules"]]
        links = {rule["annotations"]["runbook_url"] for rule in alerts if "alert" in rule}
        assert links
        assert {link.split("#")[0] for link in links} == {values(name)["monitoring"]["runbook"]}


@pytest.mark.parametrize("name", SETS)
def test_resolvers_are_scaled_by_the_lag_of_their_topic(name: str) -> None:
    variables = environment(pods(name)["resolver"]["spec"]["containers"][0])
    for scaled in of_kind(name, "ScaledObject"):
        (trigger,) = scaled["spec"]["triggers"]
        metadata = trigger["metadata"]
        assert metadata["topic"] == variables["MERGANSER_TOPIC"]
        assert metadata["consumerGroup"] == variables["MERGANSER_CONSUMER_GROUP"]
        assert metadata["bootstrapServers"] == variables["MERGANSER_KAFKA_BOOTSTRAP"]
        assert int(metadata["lagThreshold"]) == values(name)["resolver"]["autoscaling"].get(
            "lag", 20_000
        )


@pytest.mark.parametrize("page", ["deploy/README.md", "docs/runbook.md"])
def test_kubectl_commands_in_documents_name_existing_resources(page: str) -> None:
    existing = {
        f"{kind.lower()}/{resource['metadata']['name']}"
        for kind in ("Deployment", "StatefulSet")
        for resource in of_kind("msk", kind)
    }
    text = (ROOT / page).read_text()
    names = re.findall(r"\b(?:deployment|statefulset)/merganser-[a-z]+", text)
    names += [f"statefulset/{name}" for name in re.findall(r"(merganser-[a-z]+)-0", text)]
    assert names
    assert set(names) <= existing


def test_only_values_with_prune_delete_old_events() -> None:
    arguments = {
        name: pods(name)["prune"]["spec"]["containers"][0]["args"]
        for name in SETS
        if "prune" in pods(name)
    }
    assert arguments == {
        "msk": ["prune", "--older-than", "400d", "--counted"],
        "strimzi": ["prune", "--older-than", "90d"],
    }


@pytest.mark.parametrize("name", SETS)
def test_an_ingress_routes_to_its_process(name: str) -> None:
    expected = {
        process
        for process in ("ingest", "api", "console")
        if values(name).get(process, {}).get("ingress", {}).get("enabled")
    }
    found = of_kind(name, "Ingress")
    assert {ingress["metadata"]["labels"][COMPONENT] for ingress in found} == expected
    for ingress in found:
        (rule,) = ingress["spec"]["rules"]
        (path,) = rule["http"]["paths"]
        named = path["backend"]["service"]
        (service,) = [
            service
            for service in of_kind(name, "Service")
            if service["metadata"]["name"] == named["name"]
        ]
        assert named["port"]["name"] in {port["name"] for port in service["spec"]["ports"]}
        (pod,) = selected(service["spec"]["selector"], list(pods(name).values()))
        process = pod["metadata"]["labels"][COMPONENT]
        assert process == ingress["metadata"]["labels"][COMPONENT]
        own = values(name)[process]["ingress"]
        assert rule["host"] == own["host"]
        tls = [(entry["hosts"], entry["secretName"]) for entry in ingress["spec"].get("tls", ())]
        assert tls == ([([own["host"]], own["tlsSecret"])] if "tlsSecret" in own else [])


def test_some_values_have_an_ingress() -> None:
    assert any(of_kind(name, "Ingress") for name in SETS)


def test_autoscaling_is_off_by_default() -> None:
    """Not every cluster has KEDA; deploy/README.md says how to enable autoscaling."""
    assert not of_kind("minimal", "ScaledObject")
    text = (ROOT / "deploy/README.md").read_text()
    assert "with `resolver.autoscaling.enabled`" in text


def test_the_console_is_off_by_default_and_knows_its_url() -> None:
    assert "console" not in pods("minimal")
    variables = environment(pods("strimzi")["console"]["spec"]["containers"][0])
    assert variables["MERGANSER_CONSOLE_URL"] == values("strimzi")["console"]["url"]
    (policy,) = [
        policy
        for policy in of_kind("strimzi", "NetworkPolicy")
        if policy["metadata"]["labels"][COMPONENT] == "console"
    ]
    _, pages = policy["spec"]["ingress"]
    assert pages["from"] == values("strimzi")["networkPolicy"]["viewers"]


MANAGED = {"confluent": (8 << 20, 3), "msk": (8 << 20, 3)}
"""The maximum bytes of a record and the minimum number of replicas of a topic, as documented for
Confluent Cloud, MSK Express and MSK Serverless (docs/managed-services.md)."""


@pytest.mark.parametrize("name", MANAGED)
def test_the_topics_obey_the_limits_of_a_managed_service(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    max_bytes, replicas = MANAGED[name]
    (container,) = pods(name)["migrate"]["spec"]["initContainers"]
    with monkeypatch.context() as patch:
        for variable, text in environment(container).items():
            patch.setenv(variable, text)
        settings = Settings.read()
    assert settings.topic_max_record <= max_bytes
    assert settings.dead_topic_max_record <= max_bytes
    assert settings.topic_replicas == replicas
