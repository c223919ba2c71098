"""A job that is observed while each part of the observer fails in turn, and one that is trained in a fork."""

import json
import multiprocessing
import os
import sys
import tempfile
from pathlib import Path

import scenarios
import torch

sys.path.insert(0, os.environ["NO_TOUCH"])
PARTS = ("samples.take", "arriving._not_finite", "replaced.find", "passed.find", "kept.evidence", "jobs_model.find")


def fail(*args, **kwargs):
    raise KeyError("a fault of the observer's own")


def sound():
    return scenarios.run(scenarios.JOBS["sound"])


def observed(train):
    """What ``train`` returns, and what its processes reported."""
    import _ckptdoctor_hook as hook

    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "settings.json").write_text(json.dumps({"steps": 2, "catalog": json.loads(os.environ["CATALOG"])}))
        observer = hook.probes("observer.observer").start(folder)
        trained = train()
        observer.end()
        return trained, [json.loads(file.read_text()) for file in Path(folder).glob("process-*")]


def forked():
    child = multiprocessing.get_context("fork").Process(target=sound)
    child.start()
    child.join()
    return list(torch.utils.data.DataLoader(list(range(8)), num_workers=2))


def main():
    import _ckptdoctor_hook as hook

    expected, before = scenarios.digest(sound()), scenarios.left()
    for part in PARTS:
        module, _, name = part.partition(".")
        home = hook.probes(f"observer.{module}")
        own = getattr(home, name)
        setattr(home, name, fail)
        trained, (told,) = observed(sound)
        setattr(home, name, own)
        same = all(torch.equal(a, b) for a, b in zip(expected, scenarios.digest(trained), strict=True))
        clean = scenarios.left() == before and not scenarios.hooks_of(trained)
        print(json.dumps({"part": part, "same": same, "clean": clean, "ended": told["ended"], "why": told["why"]}))
    print(json.dumps({"part": "fork", "told": [(one["ended"], len(one["steps"])) for one in observed(forked)[1]]}))


if __name__ == "__main__":
    main()
