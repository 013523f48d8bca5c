"""Every command of README.md and docs/ is one that the real thing understands.

Those that only look are run, too: tests/lab/test_docs_commands.py.
"""

import pytest

from tests.scripts import docs_aws
from tests.scripts.docs_commands import (
    Simple,
    Written,
    commands,
    documented,
    take_apart,
    variants,
)
from tests.scripts.docs_rules import HARMLESS, IN_MACHINE, LISTED, complaint

DOCUMENTED = documented()


def of(text: str, *, fenced: bool = True) -> str:
    """What is wrong with a command."""
    return complaint(Written("page.md", 1, text, fenced))


def test_every_command_of_the_documentation_is_understood() -> None:
    wrong = [f"{one}\n    {why}" for one in DOCUMENTED if (why := complaint(one))]
    assert not wrong, "\n".join(wrong)


def test_the_documentation_has_commands_of_every_kind() -> None:
    first = {simple.words[0] for one in DOCUMENTED for simple in take_apart(one.text)}
    assert first >= {"make", "pulumi", "python", "aws", "journalctl", "systemctl", "curl"}
    assert {"README.md", "docs/operations.md", "docs/security.md"} <= {d.file for d in DOCUMENTED}


@pytest.mark.parametrize("text", [*IN_MACHINE, *HARMLESS, *LISTED])
def test_what_is_let_through_by_its_words_is_still_there(text: str) -> None:
    assert text in {one.text for one in DOCUMENTED}


PAGE = """\
Say `make up`, or `make`, or `an-option`; `STACK=dev make url` too.

```sh
make status   # all is well, or `make logs` says why
# nothing here
aws logs start-query --log-group-name /x \\
  --query-string 'a | b'
```

```
a picture: make up
pulumi up
```

```python
make = 1
```

| `python -m scripts.rotate authority [database\\|app-servers]` |
"""


def test_commands_are_found_with_their_lines() -> None:
    assert [(one.line, one.text, one.fenced) for one in commands("page.md", PAGE)] == [
        (1, "make up", False),
        (1, "STACK=dev make url", False),
        (4, "make logs", False),
        (4, "make status", True),
        (6, "aws logs start-query --log-group-name /x --query-string 'a | b'", True),
        (12, "pulumi up", True),
        (19, "python -m scripts.rotate authority [database|app-servers]", False),
    ]


def test_a_line_is_taken_apart_as_a_shell_does() -> None:
    assert take_apart('STACK=a make up && curl "$(make -s url)" | head < file') == [
        Simple(("make", "-s", "url")),
        Simple(("make", "up"), {"STACK": "a"}),
        Simple(("curl", "SUBSTITUTED")),
        Simple(("head",), fed=True),
    ]
    assert take_apart("pulumi config set a 'x; y # z'")[0].words[-1] == "x; y # z"


def test_what_may_be_left_out_is_two_commands() -> None:
    assert variants("verify [ID]") == ["verify", "verify ID"]
    assert variants("rotate [a|b-c]") == ["rotate", "rotate a", "rotate b-c"]


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("python -m scripts.status --wach", "unrecognized arguments: --wach"),
        ("python -m scripts.rotate password root", "invalid choice: 'root'"),
        ("python -m scripts.restore", "required: --to"),
        ("python -m scripts.statu", "there is no module scripts.statu"),
        ("python -m scripts.columns", "has no parser"),
        ("python -m lab stat", "invalid choice: 'stat'"),
        ("python -m benchmarks.scale --counts two", "invalid int value: 'two'"),
        ("make fly", "fly"),
        ("make shell", "NAME is missing"),
        ("make logs NAMES=database-1", "the Makefile has no NAMES"),
        ("STAK=dev make up", "the Makefile has no STAK"),
        ("aws ec3 describe-instances", "no service ec3"),
        ("aws ec2 describe-instance", "no operation describe-instance"),
        ("aws ec2 describe-instances --filter Name=a", "has no --filter"),
        ("aws ec2 describe-instances i-1", "takes options alone"),
        ("aws ec2 terminate-instances --dry-run", "wants --instance-ids"),
        ("aws ec2 terminate-instances --instance-ids", "wants a value"),
        ("aws ec2 modify-instance-attribute --instance-id i --no-kernel", "has no --no-kernel"),
        ("aws logs tail /site/prod --folow", "has no --folow"),
        ("pulumi config set appServers.count 3", "wants --path"),
        ("pulumi config set --path appServers.cont 3", "there is no cont"),
        ("pulumi config set --path appServers.count 300", "allowed is 1 to 64"),
        ("pulumi config set --path appServers.count", "does not take"),
        ("pulumi config rm --path site:database.restore.keep", "there is no keep"),
        ("pulumi up --fresh", "not tried with `pulumi up --fresh`"),
        ("pulumi import x", "not tried with `pulumi import x`"),
        ("pulumi stack output uri", "no output uri"),
        ("systemctl stop everything", "no rule knows `systemctl stop everything`"),
        ("make up && rm -rf /", "no rule knows `rm -rf /`"),
        ('eval "$(make -s environment)"', "environment"),
        ("make 'up", "a shell does not read it"),
    ],
)
def test_a_command_that_is_wrong_is_found(text: str, why: str) -> None:
    assert why in of(text)


@pytest.mark.parametrize(
    "text",
    [
        "python -m scripts.status --watch --json",
        "python -m scripts.shell database-1 -- ls -l",
        "make logs NAME=database-1",
        "STACK=dev make up",
        "aws ec2 modify-instance-attribute --no-disable-api-termination --instance-id …",
        "aws ec2 describe-instances --region eu-west-1 --query 'Reservations[].Instances[]'",
        "aws logs tail /site/prod --follow",
        "pulumi config set --path site:database.volumeSize …",
        "pulumi config set --path --secret site:loadBalancers.tls.key < key.pem",
        "pulumi config set deletionProtection false && pulumi up",
    ],
)
def test_a_command_that_is_right_is_not(text: str) -> None:
    assert of(text) == ""


def test_a_sentence_may_name_a_command_by_half() -> None:
    for text in ("make shell", "aws ec2 stop-instances", "python -m scripts.restore"):
        assert of(text)
        assert of(text, fenced=False) == ""


def test_an_aws_command_becomes_the_request_that_it_is() -> None:
    words = ["--filters", "Name=tag:Role,Values=a,b", "Name=x,Values=c", "--max-results", "5"]
    assert docs_aws.request("ec2", "describe-addresses-attribute", words[-2:]) == {"MaxResults": 5}
    assert docs_aws.request("ec2", "describe-instances", [*words, "--region", "eu-west-1"]) == {
        "Filters": [
            {"Name": "tag:Role", "Values": ["a", "b"]},
            {"Name": "x", "Values": ["c"]},
        ],
        "MaxResults": 5,
    }


def test_nothing_of_a_script_runs_but_its_parser(capsys: pytest.CaptureFixture[str]) -> None:
    assert of("python -m scripts.drill --list") == ""
    assert capsys.readouterr().out == ""
