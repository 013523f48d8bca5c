"""Real Pulumi, the stand-in plugins and a moto server of this test process's own; no machines."""

import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import boto3
import pytest

from lab import paths
from lab.engine import cli, home
from tests.engine.harness import ROOT, Workspace

REGION = "eu-central-1"


class Cloud:
    """The made-up AWS of the tests."""

    def __init__(self, endpoint: str) -> None:
        self.endpoint = endpoint
        self._clients: dict[str, Any] = {}

    def client(self, service: str) -> Any:
        """A client of the API, behind Pulumi's back."""
        if service not in self._clients:
            self._clients[service] = cast("Any", boto3).client(
                service,
                endpoint_url=self.endpoint,
                region_name=REGION,
                aws_access_key_id="test",
                aws_secret_access_key="test",
            )
        return self._clients[service]

    def reset(self) -> None:
        """Forget everything in it."""
        request = urllib.request.Request(f"{self.endpoint}/moto-api/reset", method="POST")  # noqa: S310
        with urllib.request.urlopen(request):  # noqa: S310  our own server on loopback
            pass


@pytest.fixture(scope="session")
def pulumi_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A PULUMI_HOME of the tests' own, with the stand-ins."""
    folder = tmp_path_factory.mktemp("pulumi-home")
    home.install(folder, cli.provide(paths.cache(), print))
    return folder


@pytest.fixture(scope="session")
def endpoint(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """One moto server on a free loopback port."""
    folder = tmp_path_factory.mktemp("api")
    with (folder / "log").open("w") as log:
        server = subprocess.Popen(
            [sys.executable, "-m", "tests.engine.api", str(folder / "images.json")],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
        )
        assert server.stdout is not None
        url = server.stdout.readline().strip()
        assert url, (folder / "log").read_text()
        yield url
        server.communicate()


@pytest.fixture(scope="session")
def whole_cloud(endpoint: str) -> Cloud:
    """The cloud of all tests."""
    return Cloud(endpoint)


@pytest.fixture
def cloud(whole_cloud: Cloud) -> Cloud:
    """An empty cloud."""
    whole_cloud.reset()
    return whole_cloud


@pytest.fixture
def workspace(tmp_path: Path, pulumi_home: Path, cloud: Cloud) -> Workspace:
    """A small project with a stack, for a program that the test writes."""
    space = Workspace(tmp_path / "project", pulumi_home, cloud.endpoint)
    space.init()
    return space
