"""Runs scripts in the environment, which is not modified."""

from __future__ import annotations

import os
import re
import selectors
import signal
import subprocess
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from ckptdoctor.bugreport.endings import Ended, last_error, otherwise
from ckptdoctor.environment.process import environment
from ckptdoctor.model.report import Report
from ckptdoctor.store import locations
from ckptdoctor.words.escape import plain

COLLECT_TIMEOUT = 120.0
"""Seconds that ``torch.utils.collect_env`` may take."""

RUN_TIMEOUT = 600.0
"""Seconds that a script may take; what imports a stack from a cold disk takes minutes."""

KEPT = 200_000
"""Bytes of a process's output that are kept, of its end."""


class Runner:
    """Runs scripts in the environment and leaves nothing behind: no compiled file, no temporary file, no process."""

    def __init__(self, python: Path, report: Report, folder: Path) -> None:
        self._python, self._folder = python, folder
        (folder / "tmp").mkdir()
        made = environment(os.environ, folder, locations.cache(), [])
        self._environ = {name: value for name, value in made.items() if not name.startswith("CKPTDOCTOR_")}
        overlays = str(locations.cache() / "overlays")
        added = [path for path in report.environment.paths if os.path.dirname(path) == overlays]  # noqa: PTH120
        paths = [*added, *filter(None, [self._environ.get("PYTHONPATH", "")])]
        self._environ |= {"PYTHONPATH": os.pathsep.join(paths)} if paths else {}
        self._environ |= _bytecode(report)

    def run_script(self, name: str, files: Mapping[str, str]) -> Ended:
        """Run one of some files, in a folder that holds nothing else."""
        work = Path(tempfile.mkdtemp(dir=self._folder))
        for other, text in files.items():
            (work / other).write_text(text, encoding="utf-8")
        ended = self._run([name], work, RUN_TIMEOUT)
        # The folder is private, and a maintainer runs the script in another one.
        return Ended(ended.status, re.sub(rf"{re.escape(str(work))}/?", "", ended.output))

    def collect_env(self) -> str:
        """What torch's own collector tells of the machine, or why it does not."""
        work = Path(tempfile.mkdtemp(dir=self._folder))
        ended = self._run(["-m", "torch.utils.collect_env"], work, COLLECT_TIMEOUT)
        begin = ended.output.find("Collecting environment information")
        if ended.status == 0 and begin >= 0:
            return plain(ended.output[begin:])
        raised, _ = last_error(ended.output)
        return f"torch.utils.collect_env told nothing: {otherwise(ended, raised)}\n\n{plain(ended.output)}"

    def _run(self, arguments: Sequence[str], work: Path, limit: float) -> Ended:
        try:
            process = subprocess.Popen(
                [str(self._python), *arguments],
                cwd=work,
                env=self._environ,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        except OSError as error:
            return Ended(None, f"{self._python} does not start: {error.strerror or error}")
        try:
            output = _read(process, limit)
            status = process.poll()
        finally:
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            if process.stdout:
                process.stdout.close()
        return Ended(status, output.decode("utf-8", "replace"))


def _read(process: subprocess.Popen[bytes], limit: float) -> bytes:
    """The end of what a process prints until it ends or its time is up; what it leaves behind is not waited for."""
    end, output = time.monotonic() + limit, b""
    if process.stdout is None:
        return output
    with selectors.DefaultSelector() as selector:
        selector.register(process.stdout, selectors.EVENT_READ)
        while time.monotonic() < end:
            ready = selector.select(0.2)
            data = os.read(process.stdout.fileno(), 65536) if ready else b""
            output = (output + data)[-KEPT:]
            if ready and not data:
                with suppress(subprocess.TimeoutExpired):
                    process.wait(timeout=max(end - time.monotonic(), 0))
                break
            if not ready and process.poll() is not None:
                break
    return output


def _bytecode(report: Report) -> dict[str, str]:
    """Where the compiled files of a target lie that has none of its own, if it was looked at before."""
    torch = next((one.location for one in report.environment.packages if one.name == "torch"), "")
    kept = locations.cache() / "bytecode"
    return {"PYTHONPYCACHEPREFIX": str(kept)} if torch and (kept / torch.lstrip("/") / "torch").is_dir() else {}
