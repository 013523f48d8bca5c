"""The files of a load balancer."""

import math
from pathlib import Path

from hosts.base.cloud_config import File, cloud_config
from hosts.base.facts import MachineFacts
from hosts.base.template import milliseconds, render
from hosts.load_balancer.files import APP_SERVERS, CERTIFICATE, CHALLENGE_MAP
from hosts.load_balancer.options import Options

HERE = Path(__file__).parent
PACKAGES = ("haproxy", "iproute2", "nftables", "openssl", "python3-boto3")
FOR_ACME = ("python3-acme",)
EDGE = "/opt/site/hosts/load_balancer/edge.cfg"
"""The part of HAProxy's configuration that is the same everywhere: it comes with the programs."""


def haproxy_cfg(facts: MachineFacts, options: Options) -> str:
    """HAProxy's configuration."""
    return render(
        HERE / "haproxy.cfg.j2",
        options=options,
        facts=facts,
        ms=milliseconds,
        edge=EDGE,
        certificate=CERTIFICATE,
        app_servers=APP_SERVERS,
        challenge_map=CHALLENGE_MAP,
    )


def unit(options: Options) -> str:
    """What this program adds to haproxy.service."""
    stop = math.ceil(options.request_timeout) + 5
    return render(HERE / "haproxy.service.conf.j2", edge=EDGE, stop=stop)


def user_data(machine: MachineFacts, options: Options) -> str:
    """The cloud-config of a load balancer."""
    files = (
        File("/etc/haproxy/haproxy.cfg", haproxy_cfg(machine, options)),
        File("/etc/systemd/system/haproxy.service.d/site.conf", unit(options)),
    )
    packages = PACKAGES + (FOR_ACME if options.acme else ())
    return cloud_config(machine, options, packages=packages, files=files)
