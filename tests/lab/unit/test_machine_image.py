"""The recipe of the machine image: what must be in it, and when it is made anew."""

from pathlib import Path

import pytest

from lab import image, paths, recipe


def test_the_recipe_names_the_image(monkeypatch: pytest.MonkeyPatch) -> None:
    before = recipe.digest()
    assert before == recipe.digest()
    for change in ("PACKAGES", "MASKED", "DISABLED", "REMOVED", "DPKG_OPTIONS"):
        with monkeypatch.context() as patch:
            patch.setattr(recipe, change, (*getattr(recipe, change), "something-else"))
            assert recipe.digest() != before, change
    monkeypatch.setattr(recipe, "ENDPOINTS", {"AWS_ENDPOINT_URL": "http://elsewhere"})
    assert recipe.digest() != before


def test_no_package_is_listed_twice() -> None:
    assert len(set(recipe.PACKAGES)) == len(recipe.PACKAGES)


def test_aws_is_where_the_environment_says_for_services_and_for_people() -> None:
    files = recipe.files()
    for name, url in recipe.ENDPOINTS.items():
        assert f"{name}={url}\n" in files["/etc/environment"]
        assert f"{name}={url}" in files["/etc/systemd/system.conf.d/lab.conf"]


def test_a_missing_image_says_how_to_build_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("LAB_STATE", str(tmp_path))
    assert not image.ready()
    with pytest.raises(image.ImageError, match="make up"):
        image.run(["true"])


def test_images_of_earlier_recipes_are_pruned(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("LAB_STATE", str(tmp_path))
    for tree in (image.path(), paths.image("0123456789ab")):
        (tree / "etc").mkdir(parents=True)
    image.prune()
    assert [path.name for path in paths.cache().iterdir()] == [image.path().name]


def test_a_named_mirror_is_taken_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LAB_MIRROR", "http://mirror.example/debian")
    assert image.mirror() == "http://mirror.example/debian"


@pytest.mark.parametrize(
    ("listed", "expected"),
    [
        (
            "Debian-Security|http://a.example/debian-security/\nDebian|http://a.example/debian/\n",
            "http://a.example/debian/",
        ),
        ("Debian|copy:/media/debian/\n", "copy:/media/debian/"),
    ],
)
def test_the_mirror_is_the_one_of_this_machine(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, listed: str, expected: str
) -> None:
    monkeypatch.delenv("LAB_MIRROR", raising=False)
    _fake_apt(tmp_path, listed)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    assert image.mirror() == expected


def test_without_debian_in_the_sources_of_apt_the_user_is_told_of_the_variable(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv("LAB_MIRROR", raising=False)
    _fake_apt(tmp_path, "Ubuntu|http://u.example/ubuntu/\n")
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    with pytest.raises(image.ImageError, match="LAB_MIRROR"):
        image.mirror()


def _fake_apt(folder: Path, listed: str) -> None:
    program = folder / "apt-get"
    program.write_text(f"#!/bin/sh\nprintf '{listed}'\n".replace("\n'", "\\n'"))
    program.chmod(0o755)
