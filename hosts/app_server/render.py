"""The files of an application server."""

from collections.abc import Mapping
from pathlib import Path

from hosts.app_server.options import Options
from hosts.base.cloud_config import File, cloud_config
from hosts.base.facts import MachineFacts
from hosts.base.template import render

HERE = Path(__file__).parent
PACKAGES = ("gunicorn", "haproxy", "openssl", "python3-boto3", "python3-pymysql")
DATABASES = 16
"""The most database machines that are looked for."""


def haproxy_cfg(facts: MachineFacts) -> str:
    """The configuration of the HAProxy that knows the way to the database."""
    return render(HERE / "haproxy.cfg.j2", facts=facts, slots=DATABASES)


def unit(facts: MachineFacts, options: Options) -> str:
    """site-app.service."""
    return render(HERE / "site-app.service.j2", facts=facts, options=options)


def environment_file(environment: Mapping[str, str]) -> str:
    """The application's own settings as systemd's EnvironmentFile reads them."""
    lines = ["# The application's settings, from appServers.environment. No secrets here."]
    for name, value in sorted(environment.items()):
        if not name.isidentifier() or not name.isascii():
            raise ValueError(f"{name!r} cannot be the name of an environment variable")
        if any(ord(character) < ord(" ") for character in value):
            raise ValueError(
                f"the value of the environment variable {name} has a line break or another"
                " control character, which the machine's unit cannot hold"
            )
        escaped = value
        for special in '\\"$`':
            escaped = escaped.replace(special, "\\" + special)
        lines.append(f'{name}="{escaped}"')
    return "\n".join(lines) + "\n"


def user_data(machine: MachineFacts, options: Options) -> str:
    """The cloud-config of an application server."""
    files = (
        File("/etc/haproxy/haproxy.cfg", haproxy_cfg(machine)),
        File("/etc/systemd/system/site-app.service", unit(machine, options)),
        File("/etc/site/app.env", environment_file(options.environment)),
    )
    return cloud_config(machine, options, packages=PACKAGES, files=files)
