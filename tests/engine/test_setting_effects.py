"""What docs/settings.md says of changes is what the engine was seen to do, in test_site.py."""

from collections.abc import Mapping

import pytest

from scripts.setting_effects import EFFECTS
from tests.engine.test_site import SETTINGS

# What the made-up site shows no change of, or what takes more than a setting.
UNSEEN = {
    *("network.cidr", "machines.imageOwner", "machines.architecture", "machines.python"),
    *("loadBalancers.hostedZone", "loadBalancers.tls.certificate", "loadBalancers.tls.key"),
    *(f"loadBalancers.tls.acme.{name}" for name in ("directory", "contact", "authority")),
    *("loadBalancers.limits.burst", "appServers.folder", "database.restore"),
}


def roles(changes: Mapping[str, str], *kinds: str) -> set[str]:
    """Of the machines that these kinds of changes happen to."""
    names = [name for name, kind in changes.items() if kind in kinds]
    machines = [name.split()[1] for name in names if name.startswith("Instance ")]
    return {machine.rpartition("-")[0] for machine in machines}


@pytest.mark.parametrize("path", sorted(EFFECTS.keys() - UNSEEN))
def test_docs_say_of_a_setting_what_its_change_does(path: str) -> None:
    seen = [SETTINGS[one] for one in SETTINGS if one.startswith((f"{path}=", f"{path}."))]
    assert seen
    effect = EFFECTS[path]
    assert {role for one in seen for role in roles(one, "replace")} == effect.replaces
    assert {role for one in seen for role in roles(one, "create", "delete")} == effect.resizes
    for changes in seen if effect.followed else []:
        more = [name for name in changes if not name.startswith(("Parameter ", "Plan "))]
        assert all("authority" in name for name in more), "more than what machines follow"
