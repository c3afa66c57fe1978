"""Ask the known vulnerabilities of all locked dependencies, and never take silence for none.

Exit status 0: all were looked up, none is known to be vulnerable. 1: some are. 3: some could not be
looked up, as where no service answers; pip-audit itself would call that success.
"""  # noqa: INP001 - a script, outside of a package

import json
import subprocess
import sys

VULNERABLE, UNKNOWN = 1, 3


def main(locks: list[str]) -> int:
    """Audit lock files."""
    verdicts = [audit(lock) for lock in locks]
    return VULNERABLE if VULNERABLE in verdicts else max(verdicts)


def audit(lock: str) -> int:
    """Audit one lock file and say what was found."""
    options = ["--require-hashes", "--disable-pip", "--progress-spinner=off", "--format=json"]
    command = [sys.executable, "-m", "pip_audit", *options, "--requirement", lock]
    asked = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
    try:
        packages = json.loads(asked.stdout)["dependencies"]
    except ValueError:
        return said(lock, "NOT AUDITED: pip-audit says why above", UNKNOWN)
    skipped = [package["name"] for package in packages if "skip_reason" in package]
    found = [
        f"{package['name']} {package['version']}: {fault['id']}, fixed in {fault['fix_versions']}"
        for package in packages
        for fault in package.get("vulns", [])
    ]
    if found:
        return said(lock, "VULNERABLE:\n  " + "\n  ".join(found), VULNERABLE)
    if skipped:
        looked_up = f"{len(skipped)} of {len(packages)} packages could not be looked up"
        return said(lock, f"NOT AUDITED: {looked_up}", UNKNOWN)
    return said(lock, f"{len(packages)} packages, none known to be vulnerable", asked.returncode)


def said(lock: str, verdict: str, status: int) -> int:
    """Say a verdict and return its status."""
    sys.stdout.write(f"audit of {lock}: {verdict}\n")
    return status


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
