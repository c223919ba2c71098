"""What is run: a combination of releases, and the parts of which its environment is made."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import product

import msgspec

from ckptdoctor import catalog

ENVIRONMENT = ("python", "torch")
"""What cannot be added to a target: each release of it needs an environment of its own."""


class Base(msgspec.Struct, frozen=True, order=True):
    """The environment that several combinations share: all of them but the trainer."""

    python: str = ""
    """A version, for an environment of its own; empty for the target's."""
    torch: str = ""
    requirements: tuple[str, ...] = ()
    """Packages of the overlay; their dependencies are added too."""

    @property
    def is_target(self) -> bool:
        """Whether the packages are added to the target itself, not to an environment made for a torch or a Python."""
        return not self.python and not self.torch


class Combination(msgspec.Struct, frozen=True):
    """One release of everything that is varied, and the model to try it with."""

    releases: tuple[tuple[str, str], ...]
    """Package and release, in the order of the axes."""
    model: str = ""
    """A model family; empty for the one that fits."""

    @property
    def stack(self) -> dict[str, str]:
        """Releases by package."""
        return dict(self.releases)

    @property
    def trainer_requirement(self) -> str:
        """The trainer, as a requirement; empty where none is varied."""
        return next((f"{name}=={release}" for name, release in self.releases if catalog.is_trainer(name)), "")

    def base(self, requirements: Iterable[str] = ()) -> Base:
        """The rest of it, with more requirements that are the same for all."""
        stack = self.stack
        pins = [
            f"{name}=={release}"
            for name, release in self.releases
            if name not in (*ENVIRONMENT, *catalog.with_functions())
        ]
        return Base(stack.get("python", ""), stack.get("torch", ""), (*pins, *requirements))

    def __str__(self) -> str:
        """For people: ``transformers 4.51.3, llamafactory 0.9.2 (glm4)``."""
        text = ", ".join(f"{name} {release}" for name, release in self.releases)
        return f"{text} ({self.model})" if self.model else text


def combine(axes: Mapping[str, Iterable[str]], models: Iterable[str] = ()) -> list[Combination]:
    """Every combination of releases, for every model.

    Trainers are alternatives to each other: a run has one of them, so a combination has.
    """
    trainers = [(name, release) for name in axes if catalog.is_trainer(name) for release in axes[name]]
    others = [[(name, release) for release in axes[name]] for name in axes if not catalog.is_trainer(name)]
    choices = [*others, trainers] if trainers else others
    families = list(models) or [""]
    return [Combination(releases, model) for releases in product(*choices) for model in families]
