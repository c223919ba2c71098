"""Measuring combinations: what the store knows is taken from there, the rest is run and kept as it comes."""

from __future__ import annotations

import datetime
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import TracebackType

from ckptdoctor.matrix import judge
from ckptdoctor.matrix.claims import Claims
from ckptdoctor.matrix.combination import Base, Combination
from ckptdoctor.matrix.executor import Doing, Ended, Event, Executor, Looked, Probed, Refused, Task, TrainerAdded
from ckptdoctor.matrix.store import FACTS, Kept, Store, key
from ckptdoctor.model.compatibility import Run
from ckptdoctor.model.evidence import Environment, Evidence
from ckptdoctor.model.progress import SILENT, Progress
from ckptdoctor.planning.options import Options
from ckptdoctor.words.wording import counted


def today() -> str:
    """The date of what is measured now: of UTC, the same on all machines, YYYY-MM-DD."""
    return datetime.datetime.now(datetime.timezone.utc).date().isoformat()


@dataclass
class Measuring:
    """Runs combinations on one target. Use as a context manager."""

    target: Environment
    options: Options
    store: Store
    executor: Executor
    progress: Progress = SILENT
    requirements: Sequence[str] = ()
    """What is added to every combination."""
    refresh: bool = False
    """Run what the store knows again, once."""
    ran: int = 0
    """Combinations that were run, not taken from the store."""
    _claims: Claims = field(init=False)
    _keys: dict[Base, str] = field(default_factory=dict)
    _fresh: set[tuple[str, str]] = field(default_factory=set)
    """What was found out by this session, as base and item in the store."""

    def __post_init__(self) -> None:
        self._claims = Claims(self.store.path)

    def __enter__(self) -> Measuring:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self.executor.close()
        finally:
            self._claims.close()

    def measure(self, combinations: Sequence[Combination]) -> dict[Combination, Run]:
        """The run of every combination.

        Raises:
            UsageFault: The request makes no sense.
        """
        runs: dict[Combination, Run] = {}
        tasks = []
        for base, wanted in self._by_base(combinations).items():
            known = self._judged(wanted, self._known(base))
            runs |= known
            if left := tuple(one for one in wanted if one not in known):
                tasks.append(Task(base, left, self.options))
        self.progress.begins(sum(len(task.combinations) for task in tasks), "combination")
        return runs | self._run(tasks)

    def recall(self, combinations: Sequence[Combination]) -> dict[Combination, Run]:
        """The runs of those combinations that the store knows."""
        runs: dict[Combination, Run] = {}
        for base, wanted in self._by_base(combinations).items():
            runs |= self._judged(wanted, self._known(base))
        return runs

    def _by_base(self, combinations: Sequence[Combination]) -> dict[Base, list[Combination]]:
        found: dict[Base, list[Combination]] = {}
        for combination in combinations:
            found.setdefault(combination.base(self.requirements), []).append(combination)
        return found

    def _run(self, tasks: Sequence[Task]) -> dict[Combination, Run]:
        begun: dict[Base, tuple[Task, Kept]] = {}
        runs: dict[Combination, Run] = {}
        probing: dict[Base, tuple[Doing, int]] = {}

        def claim(task: Task) -> Task | None:
            """What is left of a task, now that no other run measures its base; nothing while one does."""
            if not self._claims.take(self._key(task.base)):
                return None
            kept = self._known(task.base)
            known = self._told(self._judged(task.combinations, kept))
            runs.update(known)
            self.ran += len(known) if task.base in begun else 0  # it was lost on the way, and is begun again
            left = tuple(one for one in task.combinations if one not in known)
            task = Task(task.base, left, task.options, tuple(kept.evidence))
            begun[task.base] = task, kept
            return task

        for event in self.executor.run(tasks, claim) if tasks else ():
            if isinstance(event, Doing):
                probing[event.base] = event, 0
                self.progress(_words(event, 0))
            elif isinstance(event, Ended):
                done = self._end(*begun[event.base])
                self._claims.release(self._key(event.base))
                self.ran += len(done)
                runs |= done
            else:
                self._keep(event, begun[event.base][1])
                doing, ended = probing.get(event.base, (None, 0))
                if isinstance(event, Probed) and doing is not None and doing.probes:
                    probing[event.base] = doing, ended + 1
                    self.progress(_words(doing, ended + 1))
        return runs

    def _keep(self, event: Event, kept: Kept) -> None:
        """Add what was found out to what is known of a base, and store it if it will be the same tomorrow."""
        name, item, lasts = self._key(event.base), FACTS, True
        if isinstance(event, Looked) and event.facts != kept.facts:
            kept.facts = event.facts
            self.store.keep_facts(name, event.facts)
        elif isinstance(event, TrainerAdded) and event.trainer != kept.trainers.get(item := event.requirement):
            kept.trainers[item] = event.trainer
            self.store.keep_trainer(name, item, event.trainer)
        elif isinstance(event, Refused):
            item, lasts = event.requirement, event.for_good
            kept.refused[item] = event.why
            if lasts:
                self.store.keep_refusal(name, item, event.why)
        elif isinstance(event, Probed):
            item, lasts = event.evidence.id, not event.evidence.is_lost  # the machine's doing?
            kept.evidence[item] = event.evidence
            if lasts:
                self.store.keep_evidence(name, event.evidence)
        else:
            return
        kept.made[item] = today()
        self._fresh.add((name, item))
        if self.refresh and not lasts:
            self.store.forget(name, item)

    def _end(self, task: Task, kept: Kept) -> dict[Combination, Run]:
        """Judge what a task was for, from what it found out and what was known before."""
        runs = self._judged(task.combinations, kept)
        for one in task.combinations:
            if one not in runs:  # however it was lost: without a result, the run would wait for ever
                runs[one] = Run(one.stack, one.model, "error", "Its run ended without a result.")
        return self._told(runs)

    def _told(self, runs: dict[Combination, Run]) -> dict[Combination, Run]:
        for run in runs.values():
            self.progress.done(run.verdict)
        return runs

    def _judged(self, wanted: Sequence[Combination], kept: Kept) -> dict[Combination, Run]:
        runs = {one: judge.run_of(one, kept, self.options) for one in wanted}
        return {one: run for one, run in runs.items() if run is not None}

    def _known(self, base: Base) -> Kept:
        name = self._key(base)
        return self.store.known(name, {item for base, item in self._fresh if base == name} if self.refresh else None)

    def _key(self, base: Base) -> str:
        if base not in self._keys:
            self._keys[base] = key(base, self.target, self.options)
        return self._keys[base]

    def evidence(self, combination: Combination) -> Mapping[str, Evidence]:
        """What is known of a combination's base, by the ids of probes; nothing is run."""
        return self._known(combination.base(self.requirements)).evidence

    def trainers(self, combinations: Mapping[Combination, Run]) -> dict[str, dict[str, list[str]]]:
        """``Requires-Dist`` of the trainers that were installed, by package and release."""
        found: dict[str, dict[str, list[str]]] = {}
        for base in {one.base(self.requirements) for one in combinations}:
            for trainer in self._known(base).trainers.values():
                found.setdefault(trainer.name, {})[trainer.version] = trainer.requires
        return found


def _words(doing: Doing, ended: int) -> str:
    """What goes on with a base, and how many of its probes have ended."""
    return f"{ended} of {counted(doing.probes, 'probe')} {doing.text}" if doing.probes else doing.text
