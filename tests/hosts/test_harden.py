"""What is done to a machine before its agent starts, and what the real programs make of it."""

import subprocess
from pathlib import Path
from typing import Any

import pytest

from hosts.base import MachineFacts, bundle, firewall, harden
from hosts.base.harden import SHM, STOPPED, commands, install, mount_shm
from lab import image
from tests.hosts import values

BASE = bundle.HOSTS / "base/root"
SYSCTLS = BASE / "etc/sysctl.d/90-site.conf"
MODULES = BASE / "etc/modprobe.d/site.conf"
NOT_IN_EVERY_KERNEL = ("kernel/yama/", "kernel/kexec_load_disabled", "kernel/sysrq")


def inside(script: str) -> subprocess.CompletedProcess[str]:
    """A shell in the image, with the files of every machine in their places."""
    binds = {path: f"/{path.relative_to(BASE)}" for path in BASE.rglob("*") if path.is_file()}
    return image.run(["sh", "-ec", script], binds)


def settings() -> dict[str, str]:
    """Kernel variables as the file names them, as paths below /proc/sys."""
    lines = [line for line in SYSCTLS.read_text().splitlines() if line and line[0] != "#"]
    pairs = [line.split(" = ") for line in lines]
    return {name.replace(".", "/"): value for name, value in pairs}


def test_files_are_put_at_their_places_and_those_that_are_new_are_named(tmp_path: Path) -> None:
    base, role, to = tmp_path / "base", tmp_path / "role", tmp_path / "to"
    (base / "etc/sudoers.d").mkdir(parents=True)
    (base / "etc/sudoers.d/site").write_text("Defaults use_pty\n")
    (role / "etc/haproxy").mkdir(parents=True)
    (role / "etc/haproxy/x").write_text("x")
    assert install([base, role, tmp_path / "none"], to) == {"etc/sudoers.d/site", "etc/haproxy/x"}
    assert (to / "etc/haproxy/x").read_text() == "x"
    assert (to / "etc/sudoers.d/site").stat().st_mode & 0o777 == 0o440
    assert (to / "etc/haproxy/x").stat().st_mode & 0o777 == 0o644
    assert install([base, role], to) == set(), "they are there"
    (role / "etc/haproxy/x").write_text("y")
    assert install([base, role], to) == {"etc/haproxy/x"}
    assert sorted(path.name for path in to.rglob("*") if path.is_file()) == ["site", "x"]


@pytest.mark.parametrize("role", bundle.ROLES)
def test_no_two_files_of_a_machine_have_the_same_place(role: str) -> None:
    places = [
        [path.relative_to(root) for path in root.rglob("*") if path.is_file()]
        for root in (BASE, bundle.HOSTS / bundle.folder(role) / "root")
    ]
    assert places[0]
    assert not {*places[0]} & {*places[1]}


def test_shared_memory_is_mounted_as_fstab_says_once(tmp_path: Path) -> None:
    fstab = tmp_path / "fstab"
    assert mount_shm(fstab)
    root = "LABEL=cloudimg-rootfs / ext4 discard,errors=remount-ro 0 1"
    fstab.write_text(f"# comment\n{root}\ntmpfs /dev/shm tmpfs defaults 0 0\n")
    assert mount_shm(fstab)
    assert fstab.read_text() == f"# comment\n{root}\n{SHM}\n"
    assert not mount_shm(fstab)


def test_only_what_changed_is_started_anew() -> None:
    def restarted(*changed: str) -> set[str]:
        return {c[-1] for c in commands({*changed}) if "try-restart" in c}

    assert restarted() == set()
    assert restarted("etc/chrony/chrony.conf", "etc/apt/apt.conf.d/60site") == {"chrony.service"}
    assert restarted("etc/sysctl.d/90-site.conf") == {"systemd-sysctl.service"}


def test_nothing_listens_for_ssh() -> None:
    (mask,) = [command for command in commands(set()) if "mask" in command]
    assert {"ssh.service", "ssh.socket"} <= {*mask}
    assert {*STOPPED} <= {*mask}


def test_what_an_image_does_not_have_is_no_reason_to_fail(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    said = {"mount": (32, "not mounted"), "mask": (harden.NOT_LOADED, "ssh.service not loaded")}

    def run(command: tuple[str, ...], **_: object) -> subprocess.CompletedProcess[str]:
        code, text = next((what for word, what in said.items() if word in command), (0, ""))
        return subprocess.CompletedProcess(command, code, "", text)

    def load() -> tuple[MachineFacts, dict[str, Any]]:
        return values.facts("app-server"), {}

    def nothing_new(*_: object) -> set[str]:
        return set()

    monkeypatch.setattr(harden, "load", load)
    monkeypatch.setattr(harden, "install", nothing_new)
    monkeypatch.setattr(harden, "mount_shm", nothing_new)
    monkeypatch.setattr(subprocess, "run", run)
    harden.main()
    printed = capsys.readouterr().out
    assert printed.count("harden:") == 1
    assert "not mounted" in printed


def test_every_kernel_variable_exists() -> None:
    for name in settings():
        here = [*Path("/proc/sys").glob(name)]
        assert here or name.startswith(NOT_IN_EVERY_KERNEL), name


@pytest.mark.usefixtures("machine_image")
def test_the_network_is_as_the_file_says_for_every_interface() -> None:
    # The rest of the kernel is everyone's who shares it: only what is of this name space is set.
    show = " ".join(
        f"/proc/sys/{name}" for name in settings() if name.startswith(("net/ipv4/", "net/ipv6/"))
    )
    done = inside(
        "ip link add eth0 type veth peer name eth1\n"
        "/usr/lib/systemd/systemd-sysctl --strict --prefix=/net /etc/sysctl.d/90-site.conf\n"
        f"for file in {show}; do echo $file $(cat $file); done"
    )
    assert done.returncode == 0, done.stderr
    found = dict(line.split() for line in done.stdout.splitlines())
    assert found["/proc/sys/net/ipv4/conf/eth0/rp_filter"] == "1"
    for name, value in settings().items():
        if name.startswith(("net/ipv4/", "net/ipv6/")):
            matching = {file: is_ for file, is_ in found.items() if Path(file[10:]).match(name)}
            assert set(matching.values()) == {value}, matching


def test_a_module_that_is_not_to_be_loaded_is_so_however_it_is_asked_for() -> None:
    lines = [line.split() for line in MODULES.read_text().splitlines() if line and line[0] != "#"]
    installed = {line[1] for line in lines if line[0] == "install" and line[2:] == ["/bin/false"]}
    blacklisted = {line[1] for line in lines if line[0] == "blacklist"}
    assert installed == blacklisted
    assert {"cramfs", "usb-storage", "dccp", "sctp"} <= installed
    assert "squashfs" not in installed, "Session Manager's agent is a snap"


@pytest.mark.usefixtures("machine_image")
def test_chronyd_asks_amazon_and_nobody_else() -> None:
    done = inside("chronyd -p -f /etc/chrony/chrony.conf")
    assert done.returncode == 0, done.stderr
    sources = [line for line in done.stdout.splitlines() if line.split()[0] in ("server", "pool")]
    assert sources == ["server 169.254.169.123 prefer iburst minpoll 4 maxpoll 4"]


@pytest.mark.usefixtures("machine_image")
def test_only_security_updates_install_themselves() -> None:
    done = inside(
        "apt-config dump Unattended-Upgrade; apt-config dump DPkg::Options;"
        " apt-config dump APT::Periodic"
    )
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    origins = [line for line in lines if "Origins-Pattern::" in line or "Allowed-Origins" in line]
    assert len(origins) == 4
    assert all("-security" in line for line in origins)
    assert 'DPkg::Options:: "--force-confold";' in lines
    assert 'APT::Periodic::Unattended-Upgrade "1";' in lines


@pytest.mark.usefixtures("machine_image")
def test_what_the_agent_says_of_reboots_reaches_unattended_upgrades(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    told = tmp_path / "apt.conf"
    told.write_text('Unattended-Upgrade::Automatic-Reboot "true";\n')
    done = image.run(
        ["sh", "-ec", "APT_CONFIG=/srv/apt.conf apt-config dump Unattended-Upgrade"],
        {told: "/srv/apt.conf", BASE / "etc/apt/apt.conf.d/60site": "/etc/apt/apt.conf.d/60site"},
    )
    assert 'Unattended-Upgrade::Automatic-Reboot "true";' in done.stdout


@pytest.mark.usefixtures("machine_image")
def test_stopping_the_firewalls_unit_opens_nothing() -> None:
    done = inside(
        "systemd-analyze verify --man=no nftables.service 2>&1; systemctl cat nftables.service"
    )
    assert done.returncode == 0, done.stdout
    stops = [line for line in done.stdout.splitlines() if line.startswith("ExecStop")]
    assert stops[-1] == "ExecStop="
    starts = [line for line in done.stdout.splitlines() if line.startswith("ExecStart")]
    assert starts[-2] == "ExecStart="
    assert "/etc/site/firewall.nft" in starts[-1]


@pytest.mark.usefixtures("machine_image")
@pytest.mark.parametrize(
    ("rules", "then"),
    [
        (firewall.rules([], "10.0.0.2"), ["0", "table inet site"]),
        ("table inet site { chain in { nonsense", ["1", "table inet closed"]),
    ],
    ids=["good", "broken"],
)
def test_rules_that_nft_does_not_take_leave_the_machine_shut(
    rules: str, then: list[str], tmp_path: Path
) -> None:
    drop_in = (BASE / "etc/systemd/system/nftables.service.d/site.conf").read_text()
    (command,) = [
        line.removeprefix("ExecStart=")
        for line in drop_in.splitlines()
        if line.startswith("ExecStart=/")
    ]
    file = tmp_path / "firewall.nft"
    file.write_text(rules)
    closed = "etc/site/closed.nft"
    done = image.run(
        ["sh", "-c", f"{command} 2>/dev/null; echo $?; nft list tables"],
        {file: "/etc/site/firewall.nft", BASE / closed: f"/{closed}"},
    )
    assert done.stdout.splitlines() == then
