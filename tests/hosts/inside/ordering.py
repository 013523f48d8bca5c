"""A certificate by ACME from pebble, with the site's own HAProxy answering. Prints JSON.

`www.site.test` is this machine by /etc/hosts, as DNS would have it. Pebble refuses three nonces in
ten here: any authority may, at any time.
"""

import ctypes
import json
import os
import ssl
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

sys.path[:0] = ["/opt/site", "/srv/inside", "/srv"]

from edge import FACTS, Ssm, fingerprint, listens, start, wait  # noqa: E402
from fakes import MemoryTable  # noqa: E402

from hosts.app_server import certificate as own  # noqa: E402
from hosts.base import certificate  # noqa: E402
from hosts.base.lease import Lease  # noqa: E402
from hosts.load_balancer import acme_order, renewal  # noqa: E402
from hosts.load_balancer.certificate import EDGE  # noqa: E402
from hosts.load_balancer.options import Acme  # noqa: E402
from hosts.load_balancer.renewal import TIMES, Renewal  # noqa: E402

GIVEN = json.loads(Path("/srv/given.json").read_text())
DOMAIN = "www.site.test"
ELSEWHERE = "elsewhere.site.test"
"""Which leads to where nobody is."""
PORT = 14000
DIRECTORY = f"https://localhost:{PORT}/dir"
PR_SET_MDWE, REFUSE = 65, 1
Found = dict[str, Any]


class Pebble:
    """An ACME server."""

    def __init__(self) -> None:
        private, public = certificate.signed(GIVEN["pebble"], ["localhost"], ["127.0.0.1"], 30)
        Path("/run/pebble.key").write_text(private)
        Path("/run/pebble.crt").write_text(public)
        Path("/run/pebble.json").write_text(
            json.dumps(
                {
                    "pebble": {
                        "listenAddress": f"127.0.0.1:{PORT}",
                        "managementListenAddress": "127.0.0.1:15000",
                        "certificate": "/run/pebble.crt",
                        "privateKey": "/run/pebble.key",
                        "httpPort": 80,
                        "tlsPort": 443,
                        "ocspResponderURL": "",
                        "externalAccountBindingRequired": False,
                    }
                }
            )
        )
        self.log = Path("/run/pebble.log")
        with self.log.open("a") as log:
            self._process = subprocess.Popen(
                ["pebble", "-config", "/run/pebble.json"],
                stdout=log,
                stderr=log,
                env={**os.environ, "PEBBLE_VA_NOSLEEP": "1", "PEBBLE_WFE_NONCEREJECT": "30"},
            )
        wait(lambda: listens(PORT), "pebble starts")

    def stop(self) -> None:
        self._process.terminate()
        self._process.wait()

    def orders(self) -> int:
        return self.log.read_text().count("Added order")


def machine(ssm: Any, table: MemoryTable, name: str, domain: str = DOMAIN, **more: Any) -> Renewal:
    """One load balancer's part."""
    acme = Acme(domain=domain, directory=DIRECTORY, contact="a@example.org", authority=True)
    lease = Lease(table, f"certificate-{domain}", name, TIMES)
    return Renewal(acme, ssm, FACTS.parameter, lease, **more)


def nothing(_domain: str, _key: str) -> str:
    """The site does not look whether it is seen."""
    return ""


def first(found: Found, ssm: Ssm, pebble: Pebble, machines: list[Renewal], keeper: Any) -> None:
    """From nothing; each machine looks in its turn, and one orders."""
    for one in machines * 2:
        one.turn()
    pem = ssm.get_parameter(Name=FACTS.parameter(EDGE))["Parameter"]["Value"]
    keeper.turn()
    found["first"] = {
        "orders": pebble.orders(),
        "trouble": [one.trouble for one in machines],
        "for the domain": certificate.covers(pem, DOMAIN),
        "certificates": len(certificate.fingerprints(pem)),
        "self-signed": certificate.look(pem).self_signed,
        "served": fingerprint(443) == certificate.fingerprints(pem)[0],
        "detail": keeper.detail(),
        "due": renewal.due(
            pem, Acme(domain=DOMAIN, directory=DIRECTORY, contact="", authority=True), time.time()
        ),
        "the key is another than the account's": GIVEN["account"] not in pem,
        "verified by pebble's root": verified(pem),
    }


def verified(pem: str) -> bool:
    """Whether it is of the authority that pebble says it is."""
    trust = ssl.create_default_context(cafile="/run/pebble-authority.pem")
    url = "https://localhost:15000/roots/0"
    with urllib.request.urlopen(url, context=trust) as answer:
        root = answer.read().decode()
    Path("/run/root.pem").write_text(root)
    Path("/run/chain.pem").write_text(certificate.certificates(pem))
    done = subprocess.run(
        ["openssl", "verify", "-CAfile", "/run/root.pem", "-untrusted", "/run/chain.pem"],
        input=certificate.certificates(pem, most=1),
        text=True,
        capture_output=True,
        check=False,
    )
    return done.returncode == 0


def again(found: Found, ssm: Ssm, pebble: Pebble, table: MemoryTable) -> None:
    """At two thirds, by a machine that was not there before: the account is known."""
    before = ssm.get_parameter(Name=FACTS.parameter(EDGE))["Parameter"]["Value"]
    ends = certificate.look(before)
    late = ends.begins + 0.67 * (ends.ends - ends.begins)
    third = machine(ssm, table, "i-3", epoch=lambda: late)
    orders = pebble.orders()
    third.turn()
    after = ssm.get_parameter(Name=FACTS.parameter(EDGE))["Parameter"]["Value"]
    found["renewed"] = {
        "orders": pebble.orders() - orders,
        "another one": certificate.fingerprints(before)[0] != certificate.fingerprints(after)[0],
        "trouble": third.trouble,
    }


def refused(found: Found, ssm: Ssm, table: MemoryTable) -> None:
    """The authority does not see the site: what an operator reads."""
    before = ssm.get_parameter(Name=FACTS.parameter(EDGE))["Parameter"]["Value"]
    one = machine(ssm, table, "i-1", ELSEWHERE)
    one.turn()
    found["not seen"] = one.trouble
    one = machine(ssm, table, "i-1", ELSEWHERE, unseen=nothing)
    one.turn()
    found["refused"] = one.trouble
    found["refused, kept"] = (
        ssm.get_parameter(Name=FACTS.parameter(EDGE))["Parameter"]["Value"] == before
    )


def away(found: Found, ssm: Ssm, table: MemoryTable) -> None:
    """There is no authority."""
    one = machine(ssm, table, "i-1", "away.site.test", unseen=nothing)
    one.turn()
    found["away"] = one.trouble


class Stay(urllib.request.HTTPRedirectHandler):
    """Follows no redirect."""

    def redirect_request(self, *_: object, **__: object) -> None:
        """Makes none of it."""


def answers(found: Found) -> None:
    """HAProxy says it for any token that is one, and for nothing else."""
    expected = acme_order.thumbprint(GIVEN["account"])

    def ask(path: str) -> str:
        try:
            with urllib.request.build_opener(Stay).open(f"http://127.0.0.1{path}") as answer:
                return answer.read().decode()
        except urllib.error.HTTPError as error:
            return str(error.code)

    folder = acme_order.PATH
    token = "aB-_9" * 8
    found["answers"] = {
        "a token": ask(f"{folder}{token}") == f"{token}.{expected}",
        "a short one": ask(f"{folder}abc"),
        "a long one": ask(f"{folder}{token * 6}"),
        "in a folder": ask(f"{folder}{token}/{token}"),
        "none": ask(folder),
        "elsewhere": ask(f"/{token}"),
    }


def main() -> None:
    # As the agent's unit has it (MemoryDenyWriteExecute).
    libc = ctypes.CDLL(None, use_errno=True)
    assert libc.prctl(PR_SET_MDWE, REFUSE, 0, 0, 0) == 0, os.strerror(ctypes.get_errno())
    with Path("/etc/hosts").open("a") as hosts:
        hosts.write(f"127.0.0.1 {DOMAIN}\n198.51.100.1 {ELSEWHERE}\n")
    Path("/run/pebble-authority.pem").write_text(certificate.certificates(GIVEN["pebble"]))
    pebble = Pebble()
    ssm = Ssm()
    ssm.set(EDGE, GIVEN["certificate"])
    ssm.set(renewal.ACCOUNT, GIVEN["account"])
    ssm.set(renewal.AUTHORITY, certificate.certificates(GIVEN["pebble"]))
    ssm.set(own.SIGNING, GIVEN["authority"])
    ssm.set(own.TRUSTED, certificate.certificates(GIVEN["authority"]))
    table = MemoryTable()
    machines = [machine(ssm, table, name) for name in ("i-1", "i-2")]
    machines[0].prepare()
    _, keeper = start(ssm, Path("/srv/haproxy.cfg").read_text())
    found: Found = {}
    answers(found)
    first(found, ssm, pebble, machines, keeper)
    again(found, ssm, pebble, table)
    refused(found, ssm, table)
    pebble.stop()
    away(found, ssm, table)
    found["pebble"] = pebble.log.read_text()[-3000:]
    print(json.dumps(found))


if __name__ == "__main__":
    main()
