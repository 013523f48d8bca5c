"""The files of a database machine."""

from pathlib import Path

from hosts.base.cloud_config import File, cloud_config
from hosts.base.facts import MachineFacts
from hosts.base.template import render
from hosts.database.options import Options

HERE = Path(__file__).parent
GUARD = ("site-database-guard.socket", "site-database-guard.service")
"""Its units, like all that is the same on every database machine, are below `root`."""
PACKAGES = (
    *("e2fsprogs", "mysql-server", "openssl", "prometheus-mysqld-exporter"),
    *("python3-boto3", "python3-pymysql"),
)


def my_cnf(facts: MachineFacts, options: Options) -> str:
    """mysqld's configuration."""
    return render(HERE / "my.cnf.j2", facts=facts, options=options)


def device(volume: str) -> str:
    """The name that EC2's udev rules give to the disk of an EBS volume."""
    return f"/dev/disk/by-id/nvme-Amazon_Elastic_Block_Store_{volume.replace('-', '')}"


def mount_unit(options: Options) -> str:
    """var-lib-mysql.mount."""
    return render(HERE / "var-lib-mysql.mount.j2", device=device(options.volume))


def user_data(machine: MachineFacts, options: Options) -> str:
    """The cloud-config of a database machine."""
    files = (
        File("/etc/mysql/mysql.conf.d/zz-site.cnf", my_cnf(machine, options)),
        File("/etc/systemd/system/var-lib-mysql.mount", mount_unit(options)),
    )
    return cloud_config(machine, options, packages=PACKAGES, files=files)
