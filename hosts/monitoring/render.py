"""The files of the monitoring machine."""

from pathlib import Path

from hosts.base.cloud_config import File, cloud_config
from hosts.base.facts import MachineFacts
from hosts.base.template import render
from hosts.monitoring.files import PAGE, RULES, WEBHOOK
from hosts.monitoring.options import Options
from hosts.monitoring.relay import PORT

HERE = Path(__file__).parent
PACKAGES = ("prometheus", "prometheus-alertmanager", "python3-boto3")


def prometheus_yml(facts: MachineFacts) -> str:
    """What Prometheus asks, and how often."""
    return render(HERE / "prometheus.yml.j2", facts=facts, rules=RULES)


def alertmanager_yml(options: Options) -> str:
    """Whom Alertmanager tells."""
    return render(HERE / "alertmanager.yml.j2", options=options, relay=PORT, webhook=str(WEBHOOK))


def unit(options: Options) -> str:
    """What this program adds to prometheus.service."""
    return render(HERE / "prometheus.service.conf.j2", options=options, page=PAGE)


def user_data(machine: MachineFacts, options: Options) -> str:
    """The cloud-config of the monitoring machine."""
    files = (
        File("/etc/prometheus/prometheus.yml", prometheus_yml(machine)),
        File("/etc/prometheus/alertmanager.yml", alertmanager_yml(options)),
        File("/etc/systemd/system/prometheus.service.d/site.conf", unit(options)),
    )
    return cloud_config(machine, options, packages=PACKAGES, files=files)
