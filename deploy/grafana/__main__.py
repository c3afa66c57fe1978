"""Writes the dashboards that Grafana and the chart read: `python -m deploy.grafana`."""

import json
from pathlib import Path

from deploy.grafana.processes import every

PLACE = Path(__file__).parent / "dashboards"

for name, model in every().items():
    (PLACE / f"{name}.json").write_text(json.dumps(model, indent=2) + "\n")
