"""Certificates that change under load, at both ends. Prints what clients saw, as JSON."""

import json
import socket
import ssl
import sys
from pathlib import Path
from typing import Any

sys.path[:0] = ["/opt/site", "/srv/inside"]

from edge import (  # noqa: E402
    APP,
    FACTS,
    PORT,
    HAProxy,
    Load,
    Ssm,
    application_server,
    fingerprint,
    start,
    wait,
)

from hosts.app_server import certificate as own  # noqa: E402
from hosts.base import certificate, parameters  # noqa: E402
from hosts.load_balancer.certificate import EDGE as PARAMETER  # noqa: E402
from hosts.load_balancer.certificate import Keeper  # noqa: E402
from hosts.load_balancer.files import CERTIFICATE  # noqa: E402

GIVEN = json.loads(Path("/srv/given.json").read_text())
SWAPS = 12
Found = dict[str, Any]


def trust() -> ssl.SSLContext:
    """A client that trusts every certificate of this test's, and verifies the address."""
    everything = Path("/run/everything.pem")
    everything.write_text("".join(certificate.certificates(pem) for pem in GIVEN["certificates"]))
    return ssl.create_default_context(cafile=everything)


def first(pem: str) -> str:
    return certificate.fingerprints(pem)[0]


def clients_certificate(found: Found, ssm: Ssm, keeper: Keeper, haproxy: HAProxy) -> None:
    """Given to the running HAProxy, again and again."""
    worker, shown, pem = haproxy.worker(), True, ""
    context = trust()
    with (
        socket.create_connection(("127.0.0.1", PORT), timeout=20) as plain,
        context.wrap_socket(plain, server_hostname="127.0.0.1") as old,
        Load(context) as load,
    ):
        for number in range(SWAPS):
            pem = GIVEN["certificates"][(number + 1) % len(GIVEN["certificates"])]
            ssm.set(PARAMETER, pem)
            keeper.turn()
            shown = shown and fingerprint(PORT) == first(pem)
            load.more(40)
        old.sendall(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
        answer = b""
        while part := old.recv(4096):
            answer += part
        ssm.set(PARAMETER, "nonsense")
        keeper.turn()
        found["of nonsense"] = keeper.detail()
        ssm.set(PARAMETER, GIVEN["mismatch"])
        keeper.turn()
        found["of another key"] = keeper.detail()
        found["kept"] = fingerprint(PORT) == first(pem)
        load.more(40)
        ssm.set(PARAMETER, GIVEN["certificates"][0])
        keeper.turn()
        found["well again"] = keeper.detail()
    found["swaps"] = {
        "sent": load.sent,
        "failed": load.failed,
        "each was shown to new connections": shown,
        "the connection from before": answer.split(b"\r\n")[0].decode(),
        "without a reload": haproxy.worker() == worker,
    }


def heals(found: Found, keeper: Keeper, haproxy: HAProxy) -> None:
    """A reload that read the file just before it changed: the next look sees to it."""
    file, now = CERTIFICATE, GIVEN["certificates"][0]
    parameters.write(GIVEN["certificates"][1], file)
    haproxy.reload()
    parameters.write(now, file)
    before = fingerprint(PORT)
    keeper.turn()
    found["a reload in between"] = [before == first(now), fingerprint(PORT) == first(now)]


def application_servers_certificate(found: Found, ssm: Ssm) -> None:
    """A new one for gunicorn, which is told nothing."""
    before = now = fingerprint(8443)
    pids = sorted(str(path) for path in APP.glob("worker-*"))
    with Load(trust()) as load:
        for _ in range(5):
            (parameters.FOLDER / own.SERVER).unlink()
            application_server(ssm)
            now = fingerprint(8443)
            load.more(60)
    found["application server"] = {
        "sent": load.sent,
        "failed": load.failed,
        "another one": before != now,
        "the same processes": pids == sorted(str(path) for path in APP.glob("worker-*")),
    }


def authorities(found: Found, ssm: Ssm, keeper: Keeper, haproxy: HAProxy) -> None:
    """The authority is exchanged: trusted beside the other, signs, is the only one."""
    one, two = GIVEN["authorities"]
    certificates = {key: certificate.certificates(key) for key in (one, two)}
    worker = haproxy.worker()
    keeper.turn()
    unchanged = haproxy.worker() == worker
    with Load(trust()) as load:
        for signing, trusted in ((one, (one, two)), (two, (two, one)), (two, (two,))):
            ssm.set(own.SIGNING, signing)
            ssm.set(own.TRUSTED, "\n".join(certificates[key] for key in trusted))
            keeper.turn()
            application_server(ssm)
            load.more(60)
    found["authorities"] = {
        "sent": load.sent,
        "failed": load.failed,
        "nothing new, no reload": unchanged,
        "detail": keeper.detail(),
    }


def impostors(found: Found, ssm: Ssm, haproxy: HAProxy) -> None:
    """A server with another authority's certificate, or with one for another name."""
    _, two = GIVEN["authorities"]
    for what, signing, names in (
        ("of the database's authority", GIVEN["database"], [f"app-server.{FACTS.zone}"]),
        ("for another name", two, [f"database.{FACTS.zone}"]),
    ):
        private, public = certificate.signed(signing, names, ["127.0.0.2"], 30)
        parameters.write(private + public, APP / own.SERVER)
        wait(lambda: haproxy.servers_up() == 503, f"down: {what}")
        (parameters.FOLDER / own.SERVER).unlink(missing_ok=True)
        application_server(ssm)
        wait(lambda: haproxy.servers_up() == 200, f"up again after {what}")
        found[f"a server with a certificate {what}"] = "refused"


def main() -> None:
    ssm = Ssm()
    ssm.set(PARAMETER, GIVEN["certificates"][0])
    ssm.set(own.SIGNING, GIVEN["authorities"][0])
    ssm.set(own.TRUSTED, certificate.certificates(GIVEN["authorities"][0]))
    proxy, keeping = start(ssm, Path("/srv/haproxy.cfg").read_text())
    answers: Found = {}
    clients_certificate(answers, ssm, keeping, proxy)
    heals(answers, keeping, proxy)
    application_servers_certificate(answers, ssm)
    authorities(answers, ssm, keeping, proxy)
    impostors(answers, ssm, proxy)
    answers["log"] = [line for line in proxy.log().splitlines() if "[ALERT]" in line]
    print(json.dumps(answers))


if __name__ == "__main__":
    main()
