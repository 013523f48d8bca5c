#!/usr/bin/python3
"""Fetches this machine's programs, checks them, hardens it, starts its agent; reports failures."""

import hashlib
import io
import json
import os
import shutil
import subprocess
import sys
import tarfile
import time
from pathlib import Path
from typing import Any, cast

import boto3
from botocore.config import Config

client: Any = cast(Any, boto3).client

MACHINE = Path("/etc/site/machine.json")
INSTANCE = Path("/var/lib/cloud/data/instance-id")
LOG = Path("/var/log/cloud-init-output.log")
METADATA = {"AWS_METADATA_SERVICE_NUM_ATTEMPTS": "10", "AWS_METADATA_SERVICE_TIMEOUT": "3"}
"""For the role's credentials botocore asks once and waits a second; a machine that is busy with its
own start, or a metadata service that is with others', may take longer."""


def fetch(machine: dict[str, Any], bundle: dict[str, str]) -> bytes:
    """The bytes of a bundle, if they are the ones that the machine was told of."""
    config = Config(connect_timeout=3, read_timeout=20, retries={"total_max_attempts": 8})
    s3 = client("s3", region_name=machine["region"], config=config)
    body: bytes = s3.get_object(Bucket=machine["bucket"], Key=bundle["key"])["Body"].read()
    digest = hashlib.sha256(body).hexdigest()
    if digest != bundle["sha256"]:
        raise ValueError(f"{bundle['key']} has the digest {digest}, not {bundle['sha256']}")
    return body


def unpack(body: bytes, path: Path) -> None:
    """Puts an archive in the place of a folder, whole or not at all."""
    new = path.with_name(f".{path.name}.new")
    shutil.rmtree(new, ignore_errors=True)
    new.mkdir(parents=True, mode=0o755)
    with tarfile.open(fileobj=io.BytesIO(body), mode="r:gz") as tar:
        tar.extractall(new, filter="data")  # nothing outside the folder, no devices, no owners
    shutil.rmtree(path, ignore_errors=True)
    new.rename(path)


def report(machine: dict[str, Any], error: str) -> None:
    """Says in `coordination` that this machine failed, with the tail of its log."""
    log = LOG.read_text(errors="replace")[-3000:] if LOG.exists() else ""
    client("dynamodb", region_name=machine["region"]).update_item(
        TableName=machine["table"],
        Key={"id": {"S": "machine/" + INSTANCE.read_text().strip()}},
        UpdateExpression="SET #n=:n, #r=:r, #s=:s, detail=:d, updated=:u",
        ExpressionAttributeNames={"#n": "name", "#r": "role", "#s": "state"},
        ExpressionAttributeValues={
            ":n": {"S": machine["name"]},
            ":r": {"S": machine["role"]},
            ":s": {"S": "failed"},
            ":d": {"S": f"boot: {error}\n{log}".strip()},
            ":u": {"N": str(int(time.time()))},
        },
    )


def harden() -> None:
    """Puts the machine's own files into place, before anything listens."""
    environment = {**os.environ, "PYTHONPATH": "/opt/site"}
    subprocess.run(["/usr/bin/python3", "-m", "hosts.base.harden"], check=True, env=environment)


def agent() -> None:
    """Starts the agent. It reports for itself from here on, unless it cannot even start."""
    for verb in (["enable", "site-agent"], ["restart", "site-agent"]):
        if subprocess.run(["systemctl", *verb], check=False).returncode:
            journal = ["journalctl", "-u", "site-agent", "-n", "30", "-o", "cat", "--no-pager"]
            log = subprocess.run(journal, capture_output=True, text=True, check=False).stdout
            raise RuntimeError(f"site-agent.service does not start\n{log}")


def main() -> None:
    """Exits with 1, having reported why, if the machine cannot come up.

    Leaves a file, named on its command line, if it can.
    """
    if Path("/etc/environment").exists():
        for line in Path("/etc/environment").read_text().splitlines():
            name, found, value = line.partition("=")
            if found and not name.startswith("#"):
                os.environ.setdefault(name.strip(), value.strip().strip("\"'"))
    os.environ.update(METADATA)
    machine = json.loads(MACHINE.read_text())
    try:
        for bundle in machine["bundles"]:
            unpack(fetch(machine, bundle), Path(bundle["path"]))
        harden()
        agent()
        for path in sys.argv[1:]:
            Path(path).touch()
    except Exception as error:  # noqa: BLE001 whatever it is, the operator is waiting to be told
        print(f"boot: {type(error).__name__}: {error}", file=sys.stderr, flush=True)
        report(machine, f"{type(error).__name__}: {error}")
        sys.exit(1)


if __name__ == "__main__":
    main()
