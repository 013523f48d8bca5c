"""The commands of the documentation that only look are run on the site that is up, as written.

What the others are held to: tests/scripts/test_docs_commands.py.
"""

import os
import re
import select
import signal
import subprocess
from collections.abc import Iterator

import pytest
from botocore import xform_name

from tests.lab.site import PROJECT, SLOWNESS, Site, eventually
from tests.scripts import docs_aws
from tests.scripts.docs_commands import documented, take_apart
from tests.scripts.docs_pulumi import PULUMI, UNKNOWN
from tests.scripts.docs_rules import HARMLESS, IN_MACHINE

LOOKING = re.compile(
    r"(\S*python -m (lab (status|url|ca)|scripts\.(status|leftovers|costs|diagram|logs|backup list"
    r"|drill --list|\w+ --help))"
    r"|make (status|url|ca|(logs|shell) NAME=)"
    r"|pulumi stack (output \w|--show-urns)"
    r"|aws \S+ (describe|list|get)-)"
)
NOT_HERE = {"aws service-quotas": "the lab has no quotas (docs/lab.md)"}
INSTEAD = {"--stack dev": "--stack lab", "--stack prod": "--stack lab"}
"""The one stack that there is stands for those on AWS."""
DRAWS = "python -m scripts.diagram"
"""Into docs/; with --json it draws nothing."""
STATUSES = {
    "scripts.status": (0, 1),
    "make status": (0, 1),
    "backup list": (0, 1),
    "scripts.leftovers": (1,),
}
"""Exit statuses that say how the site is, or (leftovers) that it is there; 0 of all others."""
ENDLESS = ("--watch", "--follow")
FIRST = 30
"""Seconds until such a command has said something."""


def looking() -> list[str]:
    """Each once, with nothing in it for the reader to fill in."""
    texts = dict.fromkeys(one.text for one in documented())
    return [
        text
        for text in texts
        if LOOKING.match(text)
        and UNKNOWN not in text
        and not any(text.startswith(one) for one in NOT_HERE)
    ]


TEXTS = looking()
AWS = [text for text in TEXTS if text.startswith("aws ")]
FOLLOWING = [text for text in TEXTS if any(option in text for option in ENDLESS)]
ENDING = [text for text in TEXTS if text not in {*AWS, *FOLLOWING}]
CURL = sorted({d.text for d in documented() if re.match(r"curl .*--cacert .*make -s", d.text)})


@pytest.fixture(scope="session")
def shell(running_site: Site) -> dict[str, str]:
    """What a reader's shell has when it did what the pages say first."""
    _ = running_site
    done = subprocess.run(
        ["bash", "-c", 'eval "$(make -s env)" && env -0'],
        cwd=PROJECT,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=True,
    )
    pairs = (line.partition("=") for line in done.stdout.split("\0") if "=" in line)
    return {name: value for name, _, value in pairs}


def typed(text: str, shell: dict[str, str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["bash", "-c", text],
        cwd=PROJECT,
        env=shell,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=60 * SLOWNESS,
    )


@pytest.mark.parametrize("text", ENDING)
def test_a_command_that_looks_says_something(site: Site, shell: dict[str, str], text: str) -> None:
    _ = site
    for written, meant in INSTEAD.items():
        text = text.replace(written, meant)
    done = typed(f"{text} --json" if text == DRAWS else text, shell)
    allowed = next((few for part, few in STATUSES.items() if part in text), (0,))
    assert done.returncode in allowed, done.stdout + done.stderr
    assert "Traceback" not in done.stderr, done.stderr
    # A shell that nobody types into ends, and has said nothing.
    assert done.stdout.strip() or text.startswith("make shell"), done.stderr


@pytest.fixture
def endless(site: Site, shell: dict[str, str], text: str) -> Iterator[subprocess.Popen[str]]:
    _ = site
    # One that is ignored here, as in the background, would be ignored there.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    with subprocess.Popen(
        ["bash", "-c", f"exec {text}"],
        cwd=PROJECT,
        env=shell,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as running:
        signal.signal(signal.SIGINT, before)
        yield running
        running.kill()


@pytest.mark.parametrize("text", FOLLOWING)
def test_a_command_that_follows_says_something_and_ends_when_asked(
    endless: subprocess.Popen[str], text: str
) -> None:
    assert endless.stdout
    ready, _, _ = select.select([endless.stdout], [], [], FIRST * SLOWNESS)
    assert ready, f"{text}: nothing within {FIRST * SLOWNESS:.0f} s"
    assert os.read(endless.stdout.fileno(), 1)
    endless.send_signal(signal.SIGINT)
    _, said = endless.communicate(timeout=FIRST * SLOWNESS)
    assert endless.returncode == 0, said


@pytest.mark.parametrize("text", AWS)
def test_an_aws_command_that_looks_is_answered(site: Site, text: str) -> None:
    """By boto3, which asks for the same: the `aws` command is not everywhere."""
    (command,) = take_apart(text)
    _, service, operation, *words = command.words
    call = getattr(site.client(service), xform_name(docs_aws.operation(service, operation).name))
    answer = call(**docs_aws.request(service, operation, words))
    del answer["ResponseMetadata"]
    assert any(answer.values()), "it finds something"


@pytest.mark.parametrize("text", IN_MACHINE)
def test_a_command_in_a_machine_says_something(site: Site, text: str) -> None:
    machines = [one.name for one in site.machines(IN_MACHINE[text])] or [IN_MACHINE[text]]
    assert any(site.run(name, "sh", "-c", text).strip() for name in machines)


@pytest.mark.parametrize("text", HARMLESS)
def test_after_a_command_that_is_harmless_all_serve_again(site: Site, text: str) -> None:
    site.run(HARMLESS[text], "sh", "-c", text)
    eventually("both application servers answer", lambda: len(site.in_turn()) == 2, 30)


def test_the_search_for_errors_finds_requests_as_haproxy_writes_them(site: Site) -> None:
    """There are no errors, it is hoped; the same search for successes."""
    (search,) = {d.text for d in documented() if "journalctl -u haproxy" in d.text}
    search = search.replace('"status": 5', '"status": 2')
    assert site.in_turn()
    assert '"status": 2' in site.run("load-balancer-1", "sh", "-c", search)


@pytest.mark.parametrize("text", CURL)
def test_a_request_is_answered_and_its_head_says_by_whom(
    site: Site, shell: dict[str, str], text: str
) -> None:
    _ = site
    done = typed(text, shell)
    assert done.returncode == 0, done.stderr
    assert done.stdout
    assert "x-served-by: app-server-" in done.stdout.lower() or " -i " not in text


@pytest.mark.parametrize("name", PULUMI)
def test_pulumi_has_the_commands_and_options_of_the_pages(
    running_site: Site, shell: dict[str, str], name: str
) -> None:
    _ = running_site
    done = typed(f"pulumi {name} --help", shell)
    assert done.returncode == 0, done.stderr
    missing = [option for option in PULUMI[name] if option not in done.stdout.split()]
    assert not missing, done.stdout
