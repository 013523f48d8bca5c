"""The lab's one daemon: `python -m lab.cloud --state .lab --port 5555`.

It is AWS for the site: its API (moto), its network, its metadata service and its
resolver, and it starts and stops the machines that the API is asked for. On SIGTERM
everything that it made goes. What an earlier one left behind goes when it starts.
"""

import argparse
import json
import logging
import os
import shutil
import signal
import socket
import sys
import threading
from pathlib import Path

from lab import dns, image, namespaces, network, paths

log = logging.getLogger("lab")

IMAGE_NAME = "site-lab-debian-unstable-amd64"
IMAGE_ID = "ami-0123456789abcdef0"
_ACCOUNT = "123456789012"


def prepare_moto(state: Path) -> None:
    """Say to moto, before it is imported, what account it is: its one machine image above all."""
    state.mkdir(parents=True, exist_ok=True)
    images = state / "images.json"
    images.write_text(
        json.dumps(
            [
                {
                    "ami_id": IMAGE_ID,
                    "name": IMAGE_NAME,
                    "description": "The lab's machine image: Debian unstable",
                    "owner_id": _ACCOUNT,
                    "architecture": "x86_64",
                    "virtualization_type": "hvm",
                    "hypervisor": "xen",
                    "root_device_name": "/dev/xvda",
                    "root_device_type": "ebs",
                }
            ]
        )
    )
    os.environ |= {
        "MOTO_AMIS_PATH": str(images),
        "MOTO_ENABLE_AMI_VALIDATION": "true",
        "MOTO_EC2_ENABLE_INSTANCE_TYPE_VALIDATION": "true",
        "MOTO_IAM_LOAD_MANAGED_POLICIES": "true",
    }


def _claim() -> socket.socket:
    """Be the only lab of this machine while the socket lives."""
    claim = socket.socket(socket.AF_UNIX)
    try:
        claim.bind("\0site-lab")
    except OSError:
        sys.exit("Another lab runs on this machine; `make down` in its directory ends it.")
    return claim


def main() -> None:
    """Run until told to stop."""
    parser = argparse.ArgumentParser(prog="python -m lab.cloud", description=__doc__)
    parser.add_argument("--state", type=Path, default=paths.state(), help="the lab's directory")
    parser.add_argument("--port", type=int, default=5555, help="of the AWS API, on 127.0.0.1")
    parser.add_argument("--image", type=Path, help="another root directory for the machines")
    arguments = parser.parse_args()
    os.environ["LAB_STATE"] = str(arguments.state.resolve())
    logging.basicConfig(format="%(asctime)s %(levelname)s %(message)s", level=logging.INFO)
    logging.getLogger("botocore").setLevel(logging.WARNING)
    paths.state().mkdir(parents=True, exist_ok=True)
    root: Path = arguments.image or image.path()
    if not root.is_dir():
        sys.exit(f"There is no machine image at {root}; `make up` builds it.")
    stopped = threading.Event()

    def stop(_number: int, _frame: object) -> None:
        stopped.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, stop)
    alone = _claim()
    try:
        home = namespaces.listen("127.0.0.1", arguments.port)
    except OSError as error:
        sys.exit(f"The lab cannot listen on 127.0.0.1:{arguments.port}: {error.strerror}.")
    own = paths.state() / "cloud"
    prepare_moto(own)
    from lab.daemon import Daemon, clear  # noqa: PLC0415 - it imports moto, which looks now

    daemon = Daemon(own, root)
    try:
        clear()
        daemon.start(home)
    except (network.NetworkError, dns.ResolverError) as error:
        daemon.stop()
        shutil.rmtree(own)
        sys.exit(str(error))
    log.info("The lab's AWS is at http://127.0.0.1:%d.", arguments.port)
    stopped.wait()
    log.info("Stopping.")
    daemon.stop()
    shutil.rmtree(own)
    log.info("Stopped.")
    logging.shutdown()
    alone.close()
    # Threads that serve a connection would hold up the exit.
    os._exit(0)


if __name__ == "__main__":
    main()
