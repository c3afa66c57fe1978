#!/usr/bin/env bash
# Installs the checkers of deploy/ into this folder: from PyPI by hash, by the Go command (which checks them
# against the checksum database), and promtool from Debian. Only `make lint-deploy` needs them.
set -euo pipefail
cd "$(dirname "$0")"

command -v promtool >/dev/null || {
    echo "lint-deploy needs promtool and prometheus: installing Debian's"
    apt-get update --quiet && apt-get install --yes --quiet --no-install-recommends prometheus
} || { echo "lint-deploy needs promtool and prometheus 2.42 or newer: install Prometheus"; exit 1; }
command -v go >/dev/null || { echo "lint-deploy needs Go 1.24 or newer, to install helm and kubeconform"; exit 1; }

"${PYTHON:-python3}" -m venv .venv
.venv/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock

export GOBIN="$PWD/bin"
go install helm.sh/helm/v3/cmd/helm@v3.19.5
go install github.com/yannh/kubeconform/cmd/kubeconform@v0.7.0
go install github.com/compose-spec/compose-go/v2/cmd@v2.9.0
mv bin/cmd bin/compose-check

rm -rf schemas
.venv/bin/python schemas.py schemas
