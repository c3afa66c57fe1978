#!/usr/bin/env bash
# Checks every file of deploy/ that a tool can read without running it (deploy/README.md says which).
set -euo pipefail
cd "$(dirname "$0")"
export PATH="$PWD/tools/.venv/bin:$PWD/tools/bin:$PATH"

CHART=helm/merganser
KUBERNETES=1.34.0 # helm has no default version if it is built from source

say() { printf '\n== %s\n' "$*"; }

# Runs a command that must fail: it proves that the checks find mistakes.
refused() {
    if "$@" >/dev/null 2>&1; then
        echo "accepted, and should not be: $*"
        return 1
    fi
}

render() { # VALUES
    helm template merganser "$CHART" --namespace merganser --kube-version "$KUBERNETES" --values "$1"
}

mkdir -p tools/rendered

say shellcheck
shellcheck lint.sh tools/install.sh

say hadolint
hadolint Dockerfile

say "the Compose specification"
compose-check compose.yaml >/dev/null
sed 's/read_only:/readonly:/' compose.yaml >tools/rendered/wrong-compose.yaml
refused compose-check tools/rendered/wrong-compose.yaml

say promtool
promtool check config prometheus/prometheus.yaml
promtool check rules --lint=all --lint-fatal prometheus/rules/*.yaml
promtool test rules prometheus/tests/*.yaml

for values in helm/values/*.yaml; do
    say "helm: $values"
    # helm reports the chart's symbolic links to the rules and dashboards each time.
    helm lint "$CHART" --strict --quiet --kube-version "$KUBERNETES" --values "$values" 2> >(grep -v "symbolic link" >&2)
    rendered="tools/rendered/$(basename "$values")"
    render "$values" 2> >(grep -v "symbolic link" >&2) >"$rendered"
    for schemas in tools/schemas/[0-9]*; do
        kubeconform -strict -summary \
            -schema-location "$schemas/{{.ResourceKind}}{{.KindSuffix}}.json" \
            -schema-location "tools/schemas/custom/{{.ResourceKind}}{{.KindSuffix}}.json" \
            "$rendered"
    done
done
for values in helm/values/refused/*.yaml; do
    say "helm refuses: $values"
    refused render "$values"
done
