"""docs/settings.md is what the models, Pulumi.yaml and the stack files say.

What it says of changes is held against the engine in tests/engine/test_setting_effects.py.
"""

from scripts import settings_page
from scripts.setting_effects import EFFECTS

PAGE = settings_page.PAGE.read_text()


def test_the_page_is_as_make_docs_writes_it() -> None:
    assert settings_page.page() == PAGE, "run `make docs`"


def test_every_setting_says_what_its_change_does() -> None:
    assert set(EFFECTS) == {setting.path for setting in settings_page.settings()}
    assert "" not in map(str, EFFECTS.values())


def test_every_setting_is_described() -> None:
    assert set(settings_page.described()) == set(EFFECTS)


def test_what_is_allowed_is_said_of_everything_that_is_not_free_text() -> None:
    unsaid = {one.path for one in settings_page.settings() if not settings_page.allowed(one)}
    assert unsaid == {"loadBalancers.tls.certificate", "loadBalancers.tls.key"}


def test_a_row_has_the_default_the_limits_and_what_the_stacks_set() -> None:
    (row,) = [line for line in PAGE.splitlines() if line.startswith("| `volumeSize`")]
    cells = [cell.strip() for cell in row.strip("|").split(" | ")]
    assert cells[2:5] == ["whole number", "`20`", "1 to 16384"]
    assert cells[6] == "dev `10`, prod `200`, lab `2`"


def test_a_secret_of_a_stack_file_is_not_shown() -> None:
    assert settings_page.shown({"secure": "v1:abc"}) == "(a secret)"
    assert settings_page.shown("prod") == "`prod`"
