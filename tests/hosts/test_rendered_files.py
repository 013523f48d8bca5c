"""Every rendered file is accepted by the real program of the machine image."""

from pathlib import Path

import pytest

from hosts import app_server, database, load_balancer, monitoring
from hosts.app_server import render as app_server_files
from hosts.database import render as database_files
from hosts.database import tunables
from hosts.database.tunables import Tunables
from hosts.load_balancer import files
from hosts.load_balancer import render as load_balancer_files
from hosts.monitoring import render as monitoring_files
from lab import image
from tests import certificates
from tests.hosts import values

pytestmark = pytest.mark.usefixtures("machine_image")

UNITS = "root/etc/systemd/system"

LOAD_BALANCERS = {
    "ordinary": values.load_balancer_options(),
    "least connections": values.load_balancer_options(distribution="least-connections"),
    "active-passive": values.load_balancer_options(distribution="active-passive"),
    "two addresses": values.load_balancer_options(addresses=["eipalloc-1", "eipalloc-2"]),
    "smallest": values.load_balancer_options(
        connections_per_server=1, connections=100, connect_timeout=0.05, queue_timeout=0.1
    ),
    "largest": values.load_balancer_options(
        connections_per_server=1023,
        connections=8000,
        request_timeout=3600.0,
        client_timeout=3600.0,
        keep_alive_timeout=3600.0,
        tunnel_timeout=86400.0,
        health_path="/a/rather/long/path-to_health.check?deep=1&x=%20",
        hosts=["www.example.org", "*.example.org"],
    ),
    "without limits": values.load_balancer_options(limits=values.UNLIMITED, hsts=0),
    "a certificate by ACME": values.load_balancer_options(
        acme=values.ACME, hosts=[values.ACME.domain]
    ),
}
APP_SERVERS = {
    "ordinary": values.app_server_options(),
    "percent of memory": values.app_server_options(memory_max="80%"),
    "smallest": values.app_server_options(threads=1, memory_max="64M", request_timeout=0.5),
    "largest": values.app_server_options(
        threads=512,
        workers=16,
        memory_max="64G",
        request_timeout=3600.0,
        module="some.package.config_1.wsgi:make_application",
        environment={
            f"SETTING_{number}": 'a "value" with $signs \\ and `ticks`' for number in range(9)
        },
    ),
}
DATABASES = {
    "ordinary": values.database_options(),
    "replica": values.database_options(ordinal=2),
    "longest": values.database_options(ordinal=9, database="d" * 64),
}
TUNABLES = {  # connections, MiB of buffer pool and of redo log
    "ordinary": (300, 1024, 1024),
    "smallest": (10, 8, 100),
    "largest": (100_000, 1_048_576, 131_072),
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder that another user of the image can look into."""
    tmp_path.chmod(0o755)
    return tmp_path


def complaints(said: str) -> list[str]:
    """What HAProxy warns of, but that there is no network where it is asked."""
    return [
        line
        for line in said.splitlines()
        if ("[WARNING]" in line or "[ALERT]" in line) and "can't connect socket" not in line
    ]


def run(folder: Path, name: str, content: str, target: str, *argv: str) -> str:
    """Runs a program of the image on a file; what it said, if it accepted the file."""
    file = folder / name
    file.write_text(content)
    done = image.run(list(argv), {file: target})
    said = done.stdout + done.stderr
    assert done.returncode == 0, f"{' '.join(argv)}: {said}\n{content}"
    return said


def check_load_balancer(folder: Path, options: load_balancer.Options) -> str:
    """What HAProxy says of both parts of a load balancer's configuration, if it accepts them."""
    key, certificate = certificates.server("www.example.org")
    memory = {
        files.CERTIFICATE: key + certificates.pem(certificate),
        files.APP_SERVERS: certificates.pem(certificates.authority()[1]),
        files.CHALLENGE_MAP: "thumbprint abc\n",
        Path("/etc/haproxy/haproxy.cfg"): load_balancer_files.haproxy_cfg(
            values.facts("load-balancer"), options
        ),
    }
    binds = {Path("hosts").resolve(): "/opt/site/hosts"}
    for path, content in memory.items():
        file = folder / path.name
        file.write_text(content)
        binds[file] = str(path)
    command = ["haproxy", "-c", "-f", load_balancer_files.EDGE, "-f", "/etc/haproxy/haproxy.cfg"]
    done = image.run(command, binds)
    said = done.stdout + done.stderr
    assert done.returncode == 0, said
    return said


@pytest.mark.parametrize("case", LOAD_BALANCERS)
def test_haproxy_accepts_the_load_balancers_configuration(case: str, folder: Path) -> None:
    assert not complaints(check_load_balancer(folder, LOAD_BALANCERS[case]))


def test_haproxy_refuses_a_configuration_that_is_wrong(folder: Path) -> None:
    with pytest.raises(AssertionError, match="words"):
        check_load_balancer(folder, values.load_balancer_options(health_path="/two words"))


@pytest.mark.parametrize("long", [False, True])
def test_haproxy_accepts_the_application_servers_configuration(long: bool, folder: Path) -> None:
    text = app_server_files.haproxy_cfg(values.facts("app-server", long=long))
    said = run(
        folder, "h", text, "/etc/haproxy/site.cfg", "haproxy", "-c", "-f", "/etc/haproxy/site.cfg"
    )
    assert not complaints(said)


@pytest.mark.parametrize("case", DATABASES)
def test_mysqld_accepts_its_configuration_without_a_warning(case: str, folder: Path) -> None:
    text = database_files.my_cnf(values.facts("database"), DATABASES[case])
    said = run(
        folder,
        "my.cnf",
        text,
        "/etc/mysql/mysql.conf.d/zz-site.cnf",
        "sh",
        "-c",
        "mkdir -p /var/lib/mysql/data &&"
        " mysqld --user=mysql --log-error-verbosity=2 --validate-config",
    )
    assert "[ERROR]" not in said
    assert "[Warning]" not in said


@pytest.mark.parametrize("case", TUNABLES)
def test_mysqld_accepts_what_the_settings_make_of_it(case: str, folder: Path) -> None:
    connections, pool, redo_log = TUNABLES[case]
    wanted = Tunables(
        replication="semi-synchronous",
        lease=3.0,
        max_replica_lag=5.0,
        max_failover_lag=5.0,
        variables={
            "max_connections": connections,
            "innodb_buffer_pool_size": pool << 20,
            "innodb_redo_log_capacity": redo_log << 20,
        },
    )
    said = run(
        folder,
        "tunables.cnf",
        tunables.text(wanted),
        "/etc/mysql/mysql.conf.d/zzz-tunables.cnf",
        "sh",
        "-c",
        "mkdir -p /var/lib/mysql/data &&"
        " mysqld --user=mysql --log-error-verbosity=2 --open-files-limit=200000 --validate-config",
    )
    assert "[ERROR]" not in said
    assert "[Warning]" not in said


def test_mysqld_refuses_a_setting_that_it_does_not_know(folder: Path) -> None:
    text = database_files.my_cnf(values.facts("database"), values.database_options())
    with pytest.raises(AssertionError, match="unknown variable"):
        run(
            folder,
            "my.cnf",
            text + "no_such_setting = 1\n",
            "/etc/mysql/mysql.conf.d/zz-site.cnf",
            "sh",
            "-c",
            "mkdir -p /var/lib/mysql/data && mysqld --user=mysql --validate-config",
        )


def verify(folder: Path, unit: str, content: str) -> None:
    """systemd's own opinion of a unit, or of a drop-in to one."""
    said = run(
        folder,
        "unit",
        content,
        f"/etc/systemd/system/{unit}",
        "systemd-analyze",
        "verify",
        "--man=no",
        "--recursive-errors=no",
        unit.split("/", maxsplit=1)[0].removesuffix(".d"),
    )
    assert not said, said


@pytest.mark.parametrize("case", APP_SERVERS)
def test_systemd_accepts_the_applications_unit(case: str, folder: Path) -> None:
    facts = values.facts("app-server")
    verify(folder, "site-app.service", app_server_files.unit(facts, APP_SERVERS[case]))


@pytest.mark.parametrize(
    ("unit", "file"),
    [
        ("site-agent.service", f"hosts/base/{UNITS}/site-agent.service"),
        ("nftables.service.d/site.conf", f"hosts/base/{UNITS}/nftables.service.d/site.conf"),
        ("haproxy.service.d/site.conf", f"hosts/app_server/{UNITS}/haproxy.service.d/site.conf"),
        ("mysql.service.d/site.conf", f"hosts/database/{UNITS}/mysql.service.d/site.conf"),
        ("site-backup.service", f"hosts/database/{UNITS}/site-backup.service"),
        ("site-logs.service", f"hosts/base/{UNITS}/site-logs.service"),
        *(
            (
                f"prometheus-{name}.service.d/site.conf",
                f"hosts/{role}/{UNITS}/prometheus-{name}.service.d/site.conf",
            )
            for role, name in (
                ("base", "node-exporter"),
                ("database", "mysqld-exporter"),
                ("monitoring", "alertmanager"),
            )
        ),
    ],
)
def test_systemd_accepts_the_other_units(unit: str, file: str, folder: Path) -> None:
    verify(folder, unit, Path(file).read_text())


def test_systemd_accepts_what_is_added_to_haproxys_unit(folder: Path) -> None:
    unit = load_balancer_files.unit(values.load_balancer_options(request_timeout=0.5))
    assert "\nTimeoutStopSec=6\n" in unit
    verify(folder, "haproxy.service.d/site.conf", unit)


def test_systemd_accepts_what_is_added_to_prometheus_unit(folder: Path) -> None:
    unit = monitoring_files.unit(values.monitoring_options(retention=3650))
    assert " --storage.tsdb.retention.time=3650d " in unit
    verify(folder, "prometheus.service.d/site.conf", unit)


def test_systemd_accepts_the_guards_units() -> None:
    units = {Path(f"hosts/database/{UNITS}/{name}"): name for name in database_files.GUARD}
    binds = {path: f"/etc/systemd/system/{name}" for path, name in units.items()}
    done = image.run(["systemd-analyze", "verify", "--man=no", *units.values()], binds)
    assert (done.returncode, done.stdout + done.stderr) == (0, "")


def test_systemd_accepts_the_mount_of_the_volume(folder: Path) -> None:
    verify(folder, "var-lib-mysql.mount", database_files.mount_unit(values.database_options()))


def test_systemd_refuses_a_unit_with_a_setting_that_it_does_not_know(folder: Path) -> None:
    with pytest.raises(AssertionError, match="NoSuchSetting"):
        verify(folder, "site-app.service", "[Service]\nExecStart=/bin/true\nNoSuchSetting=1\n")


def every_user_data() -> dict[str, str]:
    """The user data of every case, ordinary and with everything at its longest."""
    found: dict[str, str] = {}
    for long in (False, True):
        kind = "longest " if long else ""
        for case, options in LOAD_BALANCERS.items():
            machine = values.facts("load-balancer", long=long)
            found[f"{kind}load balancer, {case}"] = load_balancer.user_data(machine, options)
        for case, options in APP_SERVERS.items():
            machine = values.facts("app-server", long=long)
            found[f"{kind}application server, {case}"] = app_server.user_data(machine, options)
        for case, options in DATABASES.items():
            machine = values.facts("database", long=long)
            found[f"{kind}database, {case}"] = database.user_data(machine, options)
        for webhook in (False, True):
            machine = values.facts("monitoring", long=long)
            options = values.monitoring_options(webhook=webhook)
            name = f"{kind}monitoring machine, {'to a URL' if webhook else 'ordinary'}"
            found[name] = monitoring.user_data(machine, options)
    return found


def test_cloud_init_accepts_the_user_data_of_every_machine(folder: Path) -> None:
    texts = folder / "texts"
    texts.mkdir(mode=0o755)
    for number, text in enumerate(every_user_data().values()):
        (texts / f"{number}").write_text(text)
    done = image.run(
        ["sh", "-c", "for f in /srv/texts/*; do cloud-init schema -c $f || exit 1; done"],
        {texts: "/srv/texts"},
        timeout=120,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("Valid schema") == len(every_user_data())


def test_cloud_init_refuses_user_data_that_is_wrong(folder: Path) -> None:
    text = load_balancer.user_data(values.facts("load-balancer"), values.load_balancer_options())
    wrong = text.replace("permissions: '0644'", "permissions: [0644]")
    with pytest.raises(AssertionError):
        run(folder, "u", wrong, "/srv/u", "cloud-init", "schema", "-c", "/srv/u")


@pytest.mark.parametrize("machine", every_user_data())
def test_user_data_is_less_than_16_kib(machine: str) -> None:
    assert len(every_user_data()[machine].encode()) < 16 * 1024


def test_the_applications_environment_is_read_as_it_was_written(folder: Path) -> None:
    """By a shell, whose double quotes systemd's EnvironmentFile follows."""
    awkward = {
        "A": 'say "hi"',
        "B": "$HOME `id` \\n",
        "C": "  spaces  ",
        "D": "ünïcode #;",
        "E": "",
    }
    (folder / "app.env").write_text(app_server_files.environment_file(awkward))
    shell = image.run(
        ["sh", "-c", 'set -a; . /srv/app.env; printf "%s|" "$A" "$B" "$C" "$D" "$E"'],
        {folder / "app.env": "/srv/app.env"},
    )
    assert shell.stdout == "|".join(awkward.values()) + "|"
