"""What else there is in the lab's internet while a test lasts: an ACME authority, and its DNS."""

import http.client
import json
import os
import ssl
import subprocess
from collections.abc import Generator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from lab import image, namespaces, network
from lab.namespaces import INTERNET
from tests import certificates
from tests.lab.site import eventually

ADDRESS = "203.0.113.20"
"""Of the authority, beside the clients'."""
PORT = 14000
MANAGEMENT = 15000
NAME = "acme.authority.test"


@dataclass(frozen=True)
class Authority:
    """Pebble, as the site sees it and as the test does."""

    directory: str
    """Its URL."""
    trust: str
    """Who vouches for the directory's own server, in PEM."""
    root: Path
    """Who vouches for the certificates that it gives."""
    log: Path

    def orders(self) -> int:
        """How many there were."""
        return self.log.read_text().count("Added order")


@contextmanager
def acme(
    folder: Path, names: Mapping[str, Sequence[str]], lifetime: int, where: str = INTERNET
) -> Generator[Authority]:
    """An authority that looks for these names at these addresses, validating each order anew.

    Its certificates last for `lifetime` seconds. `where` is the name space that it is in, which
    has its address while it is there.
    """
    authority = certificates.authority("pebble's own")
    key, own = certificates.server(NAME, signer=authority)
    (folder / "own.key").write_text(key)
    (folder / "own.pem").write_text(certificates.pem(own))
    (folder / "trust.pem").write_text(certificates.pem(authority[1]))
    made = Authority(
        directory=f"https://{NAME}:{PORT}/dir",
        trust=certificates.pem(authority[1]),
        root=folder / "root.pem",
        log=folder / "pebble.log",
    )
    with ExitStack() as stack:
        stack.enter_context(_address(where))
        stack.enter_context(_started(where, dns(folder, names), folder / "dns.log"))
        stack.enter_context(_started(where, pebble(folder, lifetime), made.log))
        made.root.write_text(
            eventually("pebble answers", lambda: _root(where, folder / "trust.pem"), 10)
        )
        yield made


def dns(folder: Path, names: Mapping[str, Sequence[str]]) -> list[str]:
    """What tells the authority where the names are, and knows no others."""
    hosts = folder / "hosts"
    lines = [f"{address} {name}\n" for name, several in names.items() for address in several]
    hosts.write_text("".join(lines))
    own = ("--no-hosts", "--no-resolv", "--bind-interfaces", "--user=root", "--pid-file=")
    where = (f"--listen-address={ADDRESS}", f"--addn-hosts={hosts}", "--address=/#/")
    return ["dnsmasq", "--keep-in-foreground", "--conf-file=/dev/null", *own, *where]


def pebble(folder: Path, lifetime: int) -> list[str]:
    """The machine image's, run by the image's own loader: this machine may have another libc."""
    settings = {
        "listenAddress": f"{ADDRESS}:{PORT}",
        "managementListenAddress": f"{ADDRESS}:{MANAGEMENT}",
        "certificate": str(folder / "own.pem"),
        "privateKey": str(folder / "own.key"),
        "httpPort": 80,
        "tlsPort": 443,
        "ocspResponderURL": "",
        "externalAccountBindingRequired": False,
        "profiles": {"default": {"description": "", "validityPeriod": lifetime}},
    }
    config = folder / "pebble.json"
    config.write_text(json.dumps({"pebble": settings}))
    usr = image.path() / "usr"
    loader = (usr / "lib64/ld-linux-x86-64.so.2", "--library-path", usr / "lib/x86_64-linux-gnu")
    asked = ("-config", config, "-dnsserver", f"{ADDRESS}:53")
    return [str(word) for word in (*loader, usr / "bin/pebble", *asked)]


@contextmanager
def _address(where: str) -> Generator[None]:
    ip = ["ip", "-netns", where, "address"]
    prefix = network.OUTSIDE.rpartition("/")[2]
    subprocess.run([*ip, "replace", f"{ADDRESS}/{prefix}", "dev", "eth0"], check=True)
    try:
        yield
    finally:
        subprocess.run([*ip, "del", f"{ADDRESS}/{prefix}", "dev", "eth0"], check=True)


@contextmanager
def _started(where: str, command: Sequence[str], log: Path) -> Generator[None]:
    # Every order is proved anew, and no time is spent on seeming slow.
    environment = os.environ | {"PEBBLE_VA_NOSLEEP": "1", "PEBBLE_AUTHZREUSE": "0"}
    with log.open("w") as file:
        process = subprocess.Popen(
            namespaces.inside(where, command),
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=subprocess.STDOUT,
            env=environment,
        )
    try:
        yield
    finally:
        process.terminate()
        process.wait(10)


def _root(where: str, trust: Path) -> str:
    """Whom clients of the authority's customers trust; empty while it does not answer."""

    def ask() -> str:
        context = ssl.create_default_context(cafile=trust)
        # By its address, where its certificate is for its name.
        context.check_hostname = False
        link = http.client.HTTPSConnection(ADDRESS, MANAGEMENT, timeout=5, context=context)
        try:
            link.request("GET", "/roots/0")
            return link.getresponse().read().decode()
        finally:
            link.close()

    try:
        return namespaces.call(where, ask)
    except OSError:
        return ""
