"""The tests' AWS API: `python -m tests.engine.api IMAGES` serves moto and prints its URL.

A process of its own, since moto reads what machine images there are when it is first imported. It
ends when its standard input does.
"""

import json
import os
import sys
from pathlib import Path

CANONICAL = "099720109477"
ACCOUNT = "123456789012"


def image(ami_id: str, name: str, owner: str, architecture: str) -> dict[str, str]:
    """A machine image in the form that moto reads."""
    return {
        "ami_id": ami_id,
        "name": name,
        "owner_id": owner,
        "architecture": architecture,
        "description": "",
        "virtualization_type": "hvm",
        "hypervisor": "xen",
        "root_device_name": "/dev/sda1",
        "root_device_type": "ebs",
    }


UBUNTU = "ubuntu/images/hvm-ssd-gp3/ubuntu-resolute-26.04-{}-server-20260423"
IMAGES = [
    image("ami-00000000000000001", "site-lab-test", ACCOUNT, "x86_64"),
    image("ami-00000000000000002", "site-other-test", ACCOUNT, "x86_64"),
    image("ami-00000000000000003", UBUNTU.format("amd64"), CANONICAL, "x86_64"),
    image("ami-00000000000000004", UBUNTU.format("arm64"), CANONICAL, "arm64"),
]


def main(images: Path) -> None:
    """Serve until standard input ends."""
    images.write_text(json.dumps(IMAGES))
    os.environ |= {
        "MOTO_AMIS_PATH": str(images),
        "MOTO_ENABLE_AMI_VALIDATION": "true",
        "MOTO_EC2_ENABLE_INSTANCE_TYPE_VALIDATION": "true",
        "MOTO_IAM_LOAD_MANAGED_POLICIES": "true",
    }
    from moto.server import ThreadedMotoServer  # noqa: PLC0415  after what it reads is set

    from lab import backup_model, interface_model, s3_model  # noqa: PLC0415

    interface_model.install()
    s3_model.install()
    backup_model.install()
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    print(f"http://{host}:{port}", flush=True)
    sys.stdin.read()
    server.stop()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
