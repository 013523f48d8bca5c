"""Where backups are kept, who may write them, and what becomes of them in the end."""

import json
from pathlib import Path
from typing import Any

import pulumi
import pytest

from components import settings
from hosts.database.backup.schedule import Settings
from tests.components import recorder
from tests.components.recorder import Recording
from tests.components.test_roles import facts, may

RESTORE = {
    "id": "20261122t213000",
    "to": "2026-11-22T21:30:00Z",
    "bucket": "site-test-backups-0000aaaa",
    "line": "database",
    "kept": ["first"],
}
OF_THE_BUCKET = (
    "Bucket",
    "BucketPublicAccessBlock",
    "BucketServerSideEncryptionConfiguration",
    "BucketPolicy",
    "BucketVersioning",
    "BucketLifecycleConfiguration",
)


@pytest.fixture(scope="module")
def site(an_app: Path) -> Recording:
    return recorder.site(recorder.with_app({"backups": {"every": 36, "retentionDays": 10}}, an_app))


@pytest.fixture(scope="module")
def restored(an_app: Path) -> Recording:
    given = {"database": {"restore": RESTORE}, "backups": {"snapshots": False}}
    return recorder.site(recorder.with_app(given, an_app))


def bucket(site: Recording) -> str:
    return site.one("Bucket", "backups").inputs["bucket"]


def test_the_bucket_is_the_stacks_own_and_no_earlier_stacks(site: Recording) -> None:
    name, _, unique = bucket(site).rpartition("-")
    assert name == "site-test-backups"
    assert len(unique) == 8
    stash = site.one("Stash", "backups")
    assert list(stash.options.ignoreChanges) == ["input"]


def test_the_bucket_keeps_versions_and_forgets_what_is_older_than_the_retention(
    site: Recording,
) -> None:
    versioning = site.one("BucketVersioning", "backups").inputs["versioningConfiguration"]
    assert versioning == {"status": "Enabled"}
    (rule,) = site.one("BucketLifecycleConfiguration", "backups").inputs["rules"]
    # Ten days, the backup before their first second, and a day.
    assert rule["expiration"] == {"days": 13}
    assert rule["filter"] == {"prefix": ""}
    assert rule["abortIncompleteMultipartUpload"] == {"daysAfterInitiation": 2}


def test_machines_may_write_read_and_list_backups_and_delete_none(site: Recording) -> None:
    statements = may(site, "database")
    arn = f"arn:aws:s3:::{bucket(site)}"
    assert statements["Backups"]["Resource"] == f"{arn}/database*"
    assert statements["ListBackups"]["Resource"] == [arn]
    allowed = {*statements["Backups"]["Action"], statements["ListBackups"]["Action"]}
    assert not any("Delete" in action for action in allowed)
    assert statements["Backups"]["Condition"] == {
        "StringEquals": {"aws:ResourceAccount": "123456789012"}
    }
    for role in ("app-server", "load-balancer"):
        assert "Backups" not in may(site, role)


def test_the_machines_are_told_in_the_words_of_their_program(site: Recording) -> None:
    parameter = site.one("Parameter", "backups-settings").inputs
    assert parameter["name"] == "/site/test/database/backups"
    assert parameter["type"] == "String"
    assert Settings.parse(parameter["value"]) == Settings(
        bucket=bucket(site), at="03:00", every=36, ship_every=10, verify=True
    )
    readable: Any = may(site, "database")["Parameters"]["Resource"]
    assert any(one.endswith("/database/backups") for one in readable)


def test_exactly_the_data_volumes_are_in_the_vault(site: Recording) -> None:
    (tag,) = site.one("Selection", "backups").inputs["selectionTags"]
    tags = {one.name: one.inputs.get("tags", {}) for one in site.every("Volume")}
    tagged = [name for name, own in tags.items() if own.get(tag["key"]) == tag["value"]]
    assert tagged == ["database-1", "database-2"]
    assert {r.name for r in site.every("Volume")} == set(tagged)
    for machine in site.every("Instance"):
        assert tag["key"] not in machine.inputs["rootBlockDevice"]["tags"]
    (rule,) = site.one("Plan", "backups").inputs["rules"]
    assert rule["schedule"] == "cron(0 3 * * ? *)"
    assert rule["lifecycle"] == {"deleteAfter": 10}
    assert rule["targetVaultName"] == site.one("Vault", "backups").inputs["name"]


def test_snapshots_can_be_left_out(restored: Recording) -> None:
    assert [restored.of(kind) for kind in ("Vault", "Plan", "Selection")] == [[], [], []]


@pytest.mark.parametrize("final", [True, False])
def test_a_final_backup_outlives_the_stack_and_without_one_nothing_does(
    an_app: Path, final: bool
) -> None:
    site = recorder.site(recorder.with_app({"backups": {"finalBackup": final}}, an_app))
    for kind in OF_THE_BUCKET:
        assert site.one(kind, "backups").options.retainOnDelete is final, kind
    assert site.one("Bucket", "backups").inputs["forceDestroy"] is not final
    told = site.one("Command", "final-backup").inputs["environment"]
    assert told["SITE_FINAL_BACKUP"] == ("yes" if final else "no")
    assert told["SITE_BUCKET"] == bucket(site)
    assert told["SITE_LINE"] == "database"


def test_the_final_backup_is_taken_after_the_applications_and_before_the_databases_go(
    site: Recording,
) -> None:
    # Pulumi deletes what depends on something before it.
    final = site.one("Command", "final-backup")
    for name in ("database-1", "database-2"):
        assert site.one("Command", f"{name}-ready").urn in final.dependencies
    for kind in OF_THE_BUCKET:
        assert site.one(kind, "backups").urn in final.dependencies
    for name in ("app-server-1", "app-server-2"):
        assert final.urn in site.one("Command", f"{name}-ready").dependencies
    assert "scripts.backup final" in final.inputs["delete"]


def test_a_restored_pair_has_volumes_of_its_own_and_the_former_ones_stay(
    restored: Recording,
) -> None:
    volumes = {restored.ids[one.urn]: one.name for one in restored.every("Volume")}
    assert sorted(volumes.values()) == [
        "database-1",
        "database-1-20261122t213000",
        "database-2",
        "database-2-20261122t213000",
    ]
    attached = {
        one.name: volumes[one.inputs["volumeId"]] for one in restored.every("VolumeAttachment")
    }
    assert attached == {
        "database-1": "database-1-20261122t213000",
        "database-2": "database-2-20261122t213000",
    }
    for name, volume in attached.items():
        told = facts(restored, name)["options"]
        assert volumes[told["volume"]] == volume
        assert told["restore"] == {key: RESTORE[key] for key in ("id", "to", "bucket", "line")} | {
            "full": ""
        }


def test_a_restored_pair_reads_where_it_comes_from_and_writes_a_line_of_its_own(
    restored: Recording,
) -> None:
    allowed = may(restored, "database")
    assert allowed["RestoredFrom"]["Action"] == "s3:GetObject"
    assert allowed["RestoredFrom"]["Resource"] == f"arn:aws:s3:::{RESTORE['bucket']}/database*"
    assert allowed["Backups"]["Resource"] == f"arn:aws:s3:::{bucket(restored)}/database*"
    readable: Any = allowed["ListBackups"]["Resource"]
    assert set(readable) == {
        f"arn:aws:s3:::{name}" for name in (bucket(restored), RESTORE["bucket"])
    }
    assert restored.exports["backups"] == {
        "bucket": bucket(restored),
        "line": "database-20261122t213000",
    }


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"at": "3:00"}, 'site:backups.at is "3:00"; allowed is a time of the day in UTC'),
        ({"at": "24:00"}, "a time of the day in UTC"),
        ({"every": 0}, "site:backups.every is 0; allowed is 1 to 168"),
        ({"retentionDays": 0}, "1 to 3650"),
        ({"shipEvery": 0.5}, "1 to 300"),
        ({"finalBackup": "perhaps"}, "true or false"),
        ({"retention": 3}, "did you mean retentionDays?"),
    ],
)
def test_settings_that_cannot_be_are_refused(given: dict[str, object], said: str) -> None:
    with pytest.raises(pulumi.RunError) as refused:
        settings.parse({"deletionProtection": "false", "backups": json.dumps(given)})
    assert said in str(refused.value)


@pytest.mark.parametrize(
    "harm", [{"id": "A B"}, {"id": ""}, {"bucket": "x"}, {"line": "other"}, {"kept": ["/"]}]
)
def test_a_restore_point_that_cannot_be_is_refused(harm: dict[str, object]) -> None:
    text = json.dumps({"restore": {**RESTORE, **harm}})
    with pytest.raises(pulumi.RunError, match=r"site:database\.restore\."):
        settings.parse({"deletionProtection": "false", "database": text})
