"""The machine image as data: packages, files and units.

Whatever changes here changes `digest()`, and with it the image is built anew.
"""

import hashlib
import json

SUITE = "unstable"
"""Debian's suite with MySQL 9.7 LTS, HAProxy 3.2 LTS and Python 3.14."""

PACKAGES = (
    "systemd",
    "systemd-sysv",
    "libpam-systemd",
    "dbus",
    "cloud-init",
    "haproxy",
    "mysql-server",
    "gunicorn",
    "python3",
    "python3-acme",
    "python3-boto3",
    "python3-pymysql",
    "bsdutils",
    "ca-certificates",
    "chrony",
    "curl",
    "e2fsprogs",
    "iproute2",
    "iputils-ping",
    "less",
    "mount",
    "netcat-openbsd",
    "nftables",
    "openssl",
    "pebble",  # an ACME server, for tests
    "procps",
    "prometheus",
    "prometheus-alertmanager",
    "prometheus-mysqld-exporter",
    "prometheus-node-exporter",
    "socat",
    "unattended-upgrades",
    "util-linux",
)

ENDPOINTS = {
    "AWS_ENDPOINT_URL": "http://198.18.0.1:443",
    "AWS_ENDPOINT_URL_S3": "http://198.18.0.2:443",
    "AWS_ENDPOINT_URL_DYNAMODB": "http://198.18.0.3:443",
}
"""Where AWS is for a machine. botocore reads these; nothing else on a machine knows of them."""

_CLOUD_INIT = """\
# The machine is told what it is by EC2's metadata service, and by nothing else.
datasource_list: [Ec2]
# On EC2 cloud-init sees by DMI that it is there, and then speaks IMDSv2. A container has no DMI.
datasource_pkg_list: [lab_ec2]
datasource: {Ec2: {strict_id: false, timeout: 5, max_wait: 30}}
network: {config: disabled}
# The root file system is a layer over the image: there is nothing to grow.
growpart: {mode: "off"}
resize_rootfs: false
locale: false
# No SSH anywhere.
ssh_genkeytypes: []
"""

_DATASOURCE = """\
from cloudinit import sources
from cloudinit.sources import DataSourceEc2 as ec2

ec2.identify_platform = lambda: ec2.CloudNames.AWS
# Without the one that first asks for an address by DHCP: the machine has its own already.
ec2.datasources = [(ec2.DataSourceEc2, (sources.DEP_FILESYSTEM, sources.DEP_NETWORK))]
get_datasource_list = ec2.get_datasource_list
"""

_SYSTEMD = """\
[Manager]
DefaultEnvironment={environment}
DefaultTimeoutStopSec=20s
"""

_JOURNAL = """\
[Journal]
Storage=persistent
SystemMaxUse=64M
SystemMaxFileSize=8M
"""


def files() -> dict[str, str]:
    """What is written into the image: path to content."""
    pairs = [f"{name}={url}" for name, url in ENDPOINTS.items()]
    return {
        "/etc/environment": "\n".join(pairs) + "\n",
        "/etc/systemd/system.conf.d/lab.conf": _SYSTEMD.format(environment=" ".join(pairs)),
        "/etc/systemd/journald.conf.d/lab.conf": _JOURNAL,
        "/etc/cloud/cloud.cfg.d/99-lab.cfg": _CLOUD_INIT,
        "/usr/lib/python3/dist-packages/lab_ec2/__init__.py": "",
        "/usr/lib/python3/dist-packages/lab_ec2/DataSourceEc2.py": _DATASOURCE,
        "/etc/resolv.conf": "nameserver 169.254.169.253\noptions timeout:2 attempts:2\n",
        "/etc/hosts": "127.0.0.1 localhost\n::1 localhost\n",
        "/etc/hostname": "localhost\n",
    }


REMOVED = (
    # User data's `packages:` must be satisfied by what is in the image.
    "/etc/apt/sources.list",
    "/etc/apt/sources.list.d",
    "/etc/apt/apt.conf.d/99mmdebstrap",
    "/etc/dpkg/dpkg.cfg.d/99mmdebstrap",
    # Each machine has its own.
    "/etc/machine-id",
    "/var/lib/dbus/machine-id",
    "/var/lib/mysql/auto.cnf",
)
"""Paths that the packages made and a machine must not have."""

DISABLED = (
    "haproxy.service",
    "mysql.service",
    "nftables.service",
    "prometheus.service",
    "prometheus-alertmanager.service",
    "prometheus-mysqld-exporter.service",
    "prometheus-node-exporter.service",
)
"""Every package is in every image, so user data must start what its role needs.

On Ubuntu a package's service runs as soon as it is installed. User data that
enables and (re)starts its services by name is right for both.
"""

MASKED = (
    "apt-daily.timer",
    "apt-daily-upgrade.timer",
    "dpkg-db-backup.timer",
    "e2scrub_all.timer",
    "e2scrub_reap.service",
    "fstrim.timer",
    "unattended-upgrades.service",
    "systemd-pstore.service",
    "getty.target",
    "console-getty.service",
    "cloud-init-hotplugd.socket",
    # The lab's router gives a machine its address, as EC2's DHCP would.
    "systemd-networkd.service",
    "systemd-networkd.socket",
    "systemd-networkd-wait-online.service",
    "systemd-hibernate-clear.service",
)
"""Units with nothing to do in a machine that shares its kernel."""

DPKG_OPTIONS = (
    "force-unsafe-io",
    "path-exclude=/usr/share/doc/*",
    "path-exclude=/usr/share/man/*",
    "path-exclude=/usr/share/info/*",
    "path-exclude=/usr/share/locale/*",
)
"""How the packages are unpacked while the image is built, and only then."""


def digest() -> str:
    """Names the image that this recipe makes."""
    recipe = [SUITE, PACKAGES, files(), REMOVED, DISABLED, MASKED, DPKG_OPTIONS]
    return hashlib.sha256(json.dumps(recipe).encode()).hexdigest()[:12]
