"""Write the dashboards that Grafana and the chart read: `python -m deploy.grafana`."""

import json
from pathlib import Path

from deploy.grafana.processes import all_dashboards

FOLDER = Path(__file__).parent / "dashboards"

for name, model in all_dashboards().items():
    (FOLDER / f"{name}.json").write_text(json.dumps(model, indent=2) + "\n")
