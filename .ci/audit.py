"""Check all locked dependencies for known vulnerabilities.

Exit status 0: all were checked, and none is known to be vulnerable. 1: some are. 3: some could not
be checked, for example because the service does not answer; pip-audit itself returns 0 then.
"""  # noqa: INP001 - a script, outside of a package

import json
import subprocess
import sys

VULNERABLE, UNKNOWN = 1, 3


def main(locks: list[str]) -> int:
    """Audit lock files and return the exit status."""
    verdicts = [audit(lock) for lock in locks]
    return VULNERABLE if VULNERABLE in verdicts else max(verdicts)


def audit(lock: str) -> int:
    """Audit one lock file, print the result and return the exit status."""
    options = ["--require-hashes", "--disable-pip", "--progress-spinner=off", "--format=json"]
    command = [sys.executable, "-m", "pip_audit", *options, "--requirement", lock]
    result = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
    try:
        packages = json.loads(result.stdout)["dependencies"]
    except ValueError:
        return report(lock, "NOT AUDITED: the message of pip-audit is above", UNKNOWN)
    skipped = [package["name"] for package in packages if "skip_reason" in package]
    found = [
        f"{package['name']} {package['version']}: {fault['id']}, fixed in {fault['fix_versions']}"
        for package in packages
        for fault in package.get("vulns", [])
    ]
    if found:
        return report(lock, "VULNERABLE:\n  " + "\n  ".join(found), VULNERABLE)
    if skipped:
        looked_up = f"{len(skipped)} of {len(packages)} packages could not be looked up"
        return report(lock, f"NOT AUDITED: {looked_up}", UNKNOWN)
    return report(lock, f"{len(packages)} packages, none known to be vulnerable", result.returncode)


def report(lock: str, verdict: str, status: int) -> int:
    """Print a verdict and return its exit status."""
    sys.stdout.write(f"audit of {lock}: {verdict}\n")
    return status


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
