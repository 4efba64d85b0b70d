"""What doctor says of the engine's plugins and of pinned AMIs: whose they are, how old, and the line to paste."""

# What is judged is made in doctor's own parts:
# pyright: reportPrivateUsage=false

from datetime import UTC, datetime, timedelta
from importlib import metadata
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from automation.account.questions import Image, image, newest_of_kind
from automation.commands.setup import _examination
from automation.environment import Environment
from automation.sites.doctor import Check, Examination, _Doctor, _plugins
from components.aws_facts import RegionFacts
from localcloud.plugins.install import install

AWS = metadata.version("pulumi_aws")
KIND = "Deep Learning Base OSS Nvidia Driver GPU AMI (Amazon Linux 2023)"
OWNER = "898082745236"


def installed(home: Path, version: str = AWS, *, name: str = "aws", text: bytes = b"\x7fELF, the official one") -> Path:
    """Puts a plugin where the engine looks for it."""
    executable = home / "plugins" / f"resource-{name}-v{version}" / f"pulumi-resource-{name}"
    executable.parent.mkdir(parents=True)
    executable.write_bytes(text)
    executable.chmod(0o755)
    return executable


def plugins(home: Path, *, on_local_cloud: bool = False) -> list[Check]:
    environment = SimpleNamespace(
        plugin_home=home, on_local_cloud=on_local_cloud, arguments="prod --local" if on_local_cloud else "prod"
    )
    return list(_plugins(cast("Environment", environment)))


@pytest.fixture(autouse=True)
def no_plugins_on_path(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A PATH of the test's own."""
    folder = tmp_path / "on-path"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder))
    for name in ("PULUMI_IGNORE_AMBIENT_PLUGINS", "PULUMI_DISABLE_AUTOMATIC_PLUGIN_ACQUISITION"):
        monkeypatch.delenv(name, raising=False)
    return folder


def test_missing_plugins_are_no_obstacle_where_the_engine_may_download_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    aws, command = plugins(tmp_path)
    assert (aws.state, command.state) == ("warning", "warning")
    assert aws.fix == "edge plan prod   # its engine downloads it"
    assert f"{metadata.version('pulumi_command')} is not in" in command.finding
    monkeypatch.setenv("PULUMI_DISABLE_AUTOMATIC_PLUGIN_ACQUISITION", "true")
    kept = plugins(tmp_path)[0]
    assert (kept.state, kept.fix) == ("failed", f"unset PULUMI_DISABLE_AUTOMATIC_PLUGIN_ACQUISITION; {aws.fix}")


def test_another_version_is_not_the_one_that_is_needed(tmp_path: Path) -> None:
    installed(tmp_path, "7.40.0")
    aws = plugins(tmp_path)[0]
    assert aws.state == "warning"
    assert "(there is 7.40.0)" in aws.finding


def test_a_download_that_was_cut_off_is_none(tmp_path: Path) -> None:
    folder = installed(tmp_path).parent
    folder.with_name(f"{folder.name}.partial").touch()
    assert plugins(tmp_path)[0].state == "warning"


def test_official_plugins_are_for_aws(tmp_path: Path) -> None:
    executable = installed(tmp_path)
    aws = plugins(tmp_path)[0]
    assert (aws.state, aws.finding) == ("ok", f"{AWS}, {executable}")


def test_the_local_clouds_own_are_for_the_local_cloud_alone(tmp_path: Path) -> None:
    install(tmp_path, Path("/usr/bin/python3"))
    assert [(each.state, each.fix) for each in plugins(tmp_path, on_local_cloud=True)] == [("ok", None)] * 2
    for each in plugins(tmp_path):
        assert each.state == "failed"
        assert "the local cloud's own, and not for AWS" in each.finding
        assert each.fix


def test_the_local_cloud_needs_its_own(tmp_path: Path) -> None:
    assert plugins(tmp_path, on_local_cloud=True)[0].fix == "edge up prod --local"
    installed(tmp_path)
    assert "not the local cloud's own" in plugins(tmp_path, on_local_cloud=True)[0].finding


def test_what_is_on_path_comes_first(tmp_path: Path, no_plugins_on_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    installed(tmp_path)
    ambient = no_plugins_on_path / "pulumi-resource-aws"
    ambient.write_bytes(b"another")
    ambient.chmod(0o755)
    aws = plugins(tmp_path)[0]
    assert aws.state == "warning"
    assert f"{ambient} is on PATH and comes first" in aws.finding
    monkeypatch.setenv("PULUMI_IGNORE_AMBIENT_PLUGINS", "true")
    assert plugins(tmp_path)[0].state == "ok"


# AMIs


class Ec2:
    """Knows images as DescribeImages shows them, and filters as EC2 does as far as doctor asks."""

    def __init__(self, *images: dict[str, Any]) -> None:
        self._images = images

    def describe_images(self, **asked: list[Any]) -> dict[str, Any]:
        if ids := asked.get("ImageIds"):
            return {"Images": [each for each in self._images if each["ImageId"] in ids]}
        name = next(each["Values"][0] for each in asked["Filters"] if each["Name"] == "name")
        assert name.endswith("*")
        found = [each for each in self._images if each["Name"].startswith(name[:-1]) and each["OwnerId"] in asked["Owners"]]
        return {"Images": found}


def ami(number: int, days: int, name: str | None = None, owner: str = OWNER) -> dict[str, Any]:
    made = datetime.now(UTC) - timedelta(days=days, hours=1)
    name = name or f"{KIND} {made:%Y%m%d}"
    return {"ImageId": f"ami-0000000{number}", "Name": name, "CreationDate": f"{made:%Y-%m-%dT%H:%M:%S}.000Z", "OwnerId": owner}


def pinned(*images: dict[str, Any]) -> Check:
    """What doctor says of the first of these images where the config pins it."""
    ec2 = Ec2(*images)

    def client(service: str, region: str) -> Ec2:
        assert (service, region) == ("ec2", "us-west-2")
        return ec2

    examined = object.__new__(_Doctor)
    host = SimpleNamespace(amis={"us-west-2": images[0]["ImageId"]})
    environment = SimpleNamespace(name="prod", aws_client=client)
    vars(examined).update(
        _environment=environment, _client=client, _outputs={}, _problems=[], _validated=SimpleNamespace(host=host)
    )
    return examined._image("us-west-2", RegionFacts({}, ami=images[0]["ImageId"]))


def test_a_newer_image_of_the_kind_is_told_with_the_line_to_paste() -> None:
    check = pinned(ami(1, 40), ami(2, 3), ami(3, 12))
    assert (check.state, check.finding) == (
        "ok",
        "ami-00000001, 40 days old, pinned; a newer one of its kind: ami-00000002, 3 days old",
    )
    assert check.fix
    assert check.fix.startswith("edge config ENV host.amis.us-west-2 ami-00000002   # replaces")


def test_an_old_pin_is_a_warning() -> None:
    assert pinned(ami(1, 91), ami(2, 3)).state == "warning"
    assert pinned(ami(1, 91)).state == "warning"


def test_the_newest_of_its_kind_needs_nothing() -> None:
    check = pinned(ami(2, 3), ami(1, 40))
    assert (check.state, check.fix) == ("ok", None)
    assert "no newer one of its kind" in check.finding


def test_images_of_others_and_of_other_kinds_do_not_count() -> None:
    others = ami(2, 3, owner="111122223333"), ami(3, 3, "Deep Learning Base OSS Nvidia Driver GPU AMI (Ubuntu 22.04) 20991231")
    assert "no newer one" in pinned(ami(1, 40), *others).finding
    assert "no newer one" in pinned(ami(1, 40), ami(2, 3, f"{KIND} with more 20991231")).finding


def test_an_image_whose_name_has_no_date_is_of_no_known_kind() -> None:
    check = pinned(ami(1, 40, "our own golden image"), ami(2, 3, "our own golden image 2"))
    assert "whether there is a newer one is unknown" in check.finding
    assert check.state == "ok"


def test_of_an_aws_that_says_nothing_more_nothing_is_known() -> None:
    def refused(**_: object) -> None:
        raise LookupError

    def client(*_: str) -> Any:
        return SimpleNamespace(describe_images=refused)

    one = Image("ami-1", f"{KIND} 20260101", datetime.now(UTC), OWNER)
    assert newest_of_kind(client, "us-west-2", one) is None
    assert image(client, "us-west-2", "ami-1") is None


def test_what_is_wrong_stands_first_and_what_is_well_takes_a_line() -> None:
    checks = (
        Check("Python", "ok", "3.11.7"),
        Check("volume types", "unknown", "AWS has no API for them"),
        Check("account", "failed", "no credentials", "aws sts get-caller-identity"),
        Check("model", "ok", "is known"),
    )
    found = Examination("prod", checks)
    assert list(_examination(found, in_full=False)) == [
        "failed   account: no credentials",
        "           -> aws sts get-caller-identity",
        "unknown  volume types: AWS has no API for them",
        "ok       Python, model",
    ]
    assert "ok       Python: 3.11.7" in list(_examination(found, in_full=True))
