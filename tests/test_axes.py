from __future__ import annotations

import pytest

from ckptdoctor.environment.releases import Release
from ckptdoctor.errors import TargetError, UsageFault
from ckptdoctor.matrix.axes import PYTHONS, parse, thin


class Shelf:
    """An index whose releases a test names; one with a ``!`` is yanked."""

    def __init__(self, **releases: str) -> None:
        self._releases = releases
        self.unread: dict[str, str] = {}

    def releases(self, name: str) -> list[Release]:
        return [
            Release(name, one.removesuffix("!"), yanked=one.endswith("!"))
            for one in self._releases[name.replace("-", "_")].split()
        ]


SHELF = Shelf(
    pack="0.9 1.0.0 1.0.1 1.1.0rc1 1.1.0 1.1.1! 1.1.2.dev0 1.1.2 1.1.2.post1 2.0.0",
    torch="2.12.0 2.13.0 2.13.0+cpu",
    more_pack="1 2",
    early="1.0rc1 1.0rc2",
)


def of(*vary: str, **options) -> list[str]:
    [axis] = parse(vary, SHELF, **options)
    return [release.version for release in axis.releases]


def test_a_range():
    assert of("pack>=1.0.1,<2") == ["1.0.1", "1.1.0", "1.1.2", "1.1.2.post1"]
    assert of("pack")[0] == "0.9"
    assert of("PACK<1") == ["0.9"]


def test_a_name_again_adds_to_its_axis():
    assert of("pack==2.0.0", "pack<1.0.1", "pack==1.0.0") == ["0.9", "1.0.0", "2.0.0"]


def test_names_are_normalised_and_in_order():
    axes = parse(["more_Pack", "pack<1", "More.pack==2"], SHELF)
    assert [axis.name for axis in axes] == ["more-pack", "pack"]


def test_prereleases_only_if_asked_for():
    assert "1.1.0rc1" not in of("pack")
    assert of("pack>=1.1.0rc1,<1.1.1") == ["1.1.0rc1", "1.1.0"]
    assert of("pack>=1.0.1,<1.1.1", pre=True) == ["1.0.1", "1.1.0rc1", "1.1.0"]


def test_yanked_only_if_asked_for():
    assert "1.1.1" not in of("pack")
    assert of("pack==1.1.1") == ["1.1.1"]
    assert of("pack>=1.1,<1.1.2", yanked=True) == ["1.1.0", "1.1.1"]
    assert of("pack==1.1.*") == ["1.1.0", "1.1.2", "1.1.2.post1"]


def test_one_build_of_a_release():
    assert of("torch==2.13.0") == ["2.13.0+cpu"]
    assert of("torch") == ["2.12.0", "2.13.0+cpu"]


def test_python_is_on_no_index():
    assert of("python>=3.12") == ["3.12", "3.13", "3.14"]
    assert of("python==3.11") == ["3.11"]
    assert of("python") == list(PYTHONS)
    with pytest.raises(UsageFault, match="No release of python matches") as caught:
        of("python==3.8")
    assert "3.9" in caught.value.hint


@pytest.mark.parametrize(
    ("every", "left"),
    [
        ("patch", ["0.9", "1.0.0", "1.0.1", "1.1.0", "1.1.2.post1", "2.0.0"]),
        ("minor", ["0.9", "1.0.1", "1.1.2.post1", "2.0.0"]),
        ("major", ["0.9", "1.1.2.post1", "2.0.0"]),
    ],
)
def test_thinned(every: str, left: list[str]):
    assert of("pack", every=every) == left
    assert [one.version for one in thin(parse(["pack"], SHELF)[0].releases, every)] == left


def test_pinned_ones_stay():
    assert of("pack", "pack==1.0.0", every="major") == ["0.9", "1.0.0", "1.1.2.post1", "2.0.0"]


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("pack[extra]>=1", "has extras"),
        ("pack @ https://host/pack.whl", "has a URL"),
        ("pack>=1; python_version<'4'", "has a marker"),
        ("pack=>1", "is no requirement"),
        ("", "is no requirement"),
    ],
)
def test_what_is_refused(text: str, why: str):
    with pytest.raises(UsageFault, match=why) as caught:
        of(text)
    assert "--vary" in caught.value.hint


def test_nothing_matches():
    with pytest.raises(UsageFault, match=r"No release of pack matches ==1\.0\.7") as caught:
        of("pack==1.0.7")
    assert caught.value.hint == "The nearest that there are: 1.0.0, 1.0.1, 1.1.0rc1 (a pre-release) and 1.1.0."
    with pytest.raises(UsageFault) as caught:
        of("pack>1.1.0,<1.1.2")
    assert "1.1.1 (yanked)" in caught.value.hint
    with pytest.raises(UsageFault, match="early has no release but special ones") as caught:
        of("early")
    assert "1.0rc2 (a pre-release)" in caught.value.hint


def test_what_an_index_that_did_not_answer_may_have_is_not_said_to_be_missing():
    shelf = Shelf(pack="1.0")
    shelf.unread["pack"] = "pypi.org cannot be reached."
    assert [one.version for one in parse(["pack"], shelf)[0].releases] == ["1.0"]
    with pytest.raises(
        TargetError, match=r"^pypi\.org cannot be reached\. The other indexes have no pack>=2\.$"
    ) as caught:
        parse(["pack>=2"], shelf)
    assert "network" in caught.value.hint
