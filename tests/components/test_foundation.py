"""What machines share: image, table, bucket, programs."""

from pathlib import Path

import pulumi
import pytest

from components import foundation, settings
from components.site import this_site
from tests.components.recorder import Recording, record


def made(
    recording: Recording | None = None, content: bytes = b"x", given: dict[str, str] | None = None
) -> Recording:
    def program() -> None:
        site = this_site(deletion_protection=False)
        machines = settings.Machines.model_validate(given or {})
        shared = foundation.Foundation(
            "foundation", site=site, settings=machines, logs=settings.Logs()
        )
        stored = shared.programs("app", content, "app-server", shared)
        pulumi.export("image", shared.image_id)
        pulumi.export("key", stored.key)

    return record(program, recording=recording)


def trigger(site: Recording) -> str:
    return site.one("Stash", "image").options.replacement_trigger.string_value


def test_the_newest_image_of_the_name_and_owner_is_taken() -> None:
    site = made(given={"image": "mine-*", "imageOwner": "self"})
    (asked,) = [a for token, a in site.invokes if token.endswith("getAmi")]
    assert asked["mostRecent"] is True
    assert asked["owners"] == ["self"]
    assert {f["name"]: f["values"] for f in asked["filters"]} == {
        "name": ["mine-*"],
        "architecture": ["x86_64"],
    }
    assert site.exports["image"] == "ami-0123456789abcdef0"


def test_a_newer_image_changes_only_what_the_stash_was_given() -> None:
    later = Recording()
    later.images = {"": "ami-newer"}
    before, after = made(), made(later)
    assert trigger(before) == trigger(after), "so the engine keeps the stash and what is in it"
    assert after.one("Stash", "image").inputs["input"] == "ami-newer"
    assert after.one("Stash", "image").options.ignoreChanges == []


@pytest.mark.parametrize(
    "change", [{"image": "other-*"}, {"imageOwner": "self"}, {"architecture": "arm64"}]
)
def test_another_image_setting_replaces_the_stash(change: dict[str, str]) -> None:
    assert trigger(made(given=change)) != trigger(made())


def test_an_image_that_is_not_there_is_said_with_the_setting(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def none(**_: object) -> None:
        msg = "Your query returned no results."
        raise Exception(msg)  # the SDK raises no narrower one

    monkeypatch.setattr("pulumi_aws.ec2.get_ami", none)
    with pytest.raises(pulumi.RunError, match=r"no machine image mine-\* of self for x86_64"):
        made(given={"image": "mine-*", "imageOwner": "self"})


def test_the_same_content_is_the_same_object_and_other_content_another() -> None:
    first, again, other = made(), made(), made(content=b"y")
    assert first.exports["key"] == again.exports["key"] != other.exports["key"]
    key = first.one("BucketObjectv2", "app").inputs["key"]
    assert key == first.exports["key"]
    # sha256 of "x"
    assert key == "app-2d711642b726b04401627ca9fbac32f5c8530fb1903cc4db02258717921a4881.tar.gz"


def test_an_archive_is_put_together_once(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(foundation, "PROJECT", tmp_path)
    made()
    (file,) = (tmp_path / ".build/bundles").iterdir()
    written = file.stat().st_mtime_ns
    made()
    assert file.read_bytes() == b"x"
    assert file.stat().st_mtime_ns == written


def test_the_table_costs_nothing_while_nothing_asks_it() -> None:
    table = made().one("Table", "coordination").inputs
    assert (table["name"], table["hashKey"], table["billingMode"]) == (
        "site-test-coordination",
        "id",
        "PAY_PER_REQUEST",
    )


def test_the_bucket_is_named_for_the_account_and_the_region() -> None:
    bucket = made().one("Bucket", "programs").inputs["bucket"]
    assert bucket == "site-test-programs-123456789012-eu-central-1"
