"""The files of a load balancer."""

from pathlib import Path

from hosts.base.cloud_config import File, cloud_config
from hosts.base.facts import MachineFacts
from hosts.base.template import milliseconds, render
from hosts.load_balancer.options import Options

HERE = Path(__file__).parent
PACKAGES = ("haproxy", "python3-boto3")


def haproxy_cfg(facts: MachineFacts, options: Options) -> str:
    """HAProxy's configuration."""
    return render(HERE / "haproxy.cfg.j2", options=options, facts=facts, ms=milliseconds)


def user_data(machine: MachineFacts, options: Options) -> str:
    """The cloud-config of a load balancer."""
    drop_in = (HERE / "haproxy.service.conf").read_text()
    files = (
        File("/etc/haproxy/haproxy.cfg", haproxy_cfg(machine, options)),
        File("/etc/systemd/system/haproxy.service.d/site.conf", drop_in),
    )
    return cloud_config(machine, options, packages=PACKAGES, files=files)
