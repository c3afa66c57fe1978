"""Writes the JSON schemas that kubeconform checks the chart against: `schemas.py FOLDER`.

Those of Kubernetes come from a package that ships them, those of KEDA and of the Prometheus
operator are made of models that packages ship. All are strict: a field that a resource does not
have is a mistake.
"""  # noqa: INP001 - a script, outside of a package

import json
import sys
from importlib.resources import files
from pathlib import Path
from typing import Any

from cloudcoil.models.keda import v1alpha1 as keda
from cloudcoil.models.prometheus_operator import v1 as monitoring

KUBERNETES = ("1.30.0", "1.37.0")
"""The oldest that the chart says it runs on, and the newest that has a schema."""

CUSTOM = {
    "scaledobject-keda-v1alpha1": keda.ScaledObject,
    "triggerauthentication-keda-v1alpha1": keda.TriggerAuthentication,
    "servicemonitor-monitoring-v1": monitoring.ServiceMonitor,
    "prometheusrule-monitoring-v1": monitoring.PrometheusRule,
}


def strict(schema: Any) -> Any:
    """The schema with no room for unknown fields, but in objects that are maps."""
    if isinstance(schema, list):
        return [strict(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    parts = {key: strict(part) for key, part in schema.items()}
    if "properties" in parts and "additionalProperties" not in parts:
        parts["additionalProperties"] = False
    return parts


def main(folder: Path) -> None:
    """Write `VERSION/KIND-GROUP-VERSION.json` for each version of Kubernetes, and `custom/`."""
    shipped = files("kubernetes_validate") / "kubernetes-json-schema"
    for version in KUBERNETES:
        place = folder / version
        place.mkdir(parents=True, exist_ok=True)
        for file in (shipped / f"v{version}-local-strict").iterdir():
            schema = json.loads(file.read_text())
            # Its references go by an address on the web; beside each other they need none.
            schema.pop("$id", None)
            text = json.dumps(schema).replace('"/api/_definitions.json', '"_definitions.json')
            (place / file.name).write_text(text)
    place = folder / "custom"
    place.mkdir(parents=True, exist_ok=True)
    for name, model in CUSTOM.items():
        text = json.dumps(strict(model.model_json_schema(by_alias=True)))
        (place / f"{name}.json").write_text(text)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
