"""First-time set-up on a fresh machine, by step, for the README: `python -m benchmarks.setup`.

A clone of its own with no caches: not Go's build cache either. Downloads are as fast as the
package registries are.
"""

import argparse
import os
import re
import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks import readme
from benchmarks.readme import Figure
from tests.lab.site import PROJECT

STEP = re.compile(r"✓ (?P<what>.+?) (?P<length>(?:\d+ min )?[\d.]+ s)$", re.MULTILINE)


def main() -> None:
    argparse.ArgumentParser(prog="python -m benchmarks.setup", description=__doc__).parse_args()
    with TemporaryDirectory() as scratch:
        clone = Path(scratch) / "site"
        subprocess.run(["git", "clone", "--quiet", PROJECT, clone], check=True)
        # No pulumi on PATH, so that the CLI is built.
        path = os.pathsep.join(
            folder for folder in os.get_exec_path() if not (Path(folder) / "pulumi").exists()
        )
        cold = {"GOCACHE": f"{scratch}/go-build", "PATH": path}
        python = seconds("venv", clone, cold)
        said = make("install", clone, cold)
    steps = [Figure(found["what"], found["length"]) for found in STEP.finditer(said)]
    figures = [Figure("Python packages into `.venv`", f"{python:.0f} s"), *steps]
    sys.stdout.write(readme.table(figures))
    readme.write("setup", readme.table(figures))


def seconds(target: str, clone: Path, environment: dict[str, str]) -> float:
    begun = time.monotonic()
    make(target, clone, environment)
    return time.monotonic() - begun


def make(target: str, clone: Path, environment: dict[str, str]) -> str:
    run = subprocess.run(
        ["make", target],
        cwd=clone,
        env=os.environ | environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    if run.returncode:
        sys.exit(f"benchmarks.setup: make {target}:\n{run.stdout}\n{run.stderr}")
    return run.stdout


if __name__ == "__main__":
    main()
