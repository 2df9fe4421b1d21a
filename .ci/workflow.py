"""Runs the commands of a GitHub Actions workflow here, one after the other, until one fails.

Usage: workflow.py WORKFLOW.yml, in the project that it is for. What is done by an action of GitHub's own (`uses`) is named and
left out. Exit codes: that of the command that failed, 0 when none did.
"""

import subprocess
import sys
from pathlib import Path

import yaml


def main(path: Path) -> int:
    """Run what each job runs."""
    workflow = yaml.safe_load(path.read_text(encoding="utf-8"))
    for name, job in workflow["jobs"].items():
        for step in job["steps"]:
            if "run" not in step:
                print(f"{name}: left out: {step['uses']}", flush=True)
                continue
            print(f"{name}: {step['run']}", flush=True)
            # As GitHub does where no shell is named.
            if status := subprocess.run(["bash", "-e", "-c", step["run"]], check=False).returncode:
                return status
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
