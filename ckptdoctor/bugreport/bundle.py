"""Puts together what is attached to a bug report: a diagnosis, scripts that were run, the stack, all of it redacted."""

from __future__ import annotations

import io
import os
import re
import selectors
import signal
import subprocess
import tempfile
import time
import zipfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import msgspec

from ckptdoctor.bugreport import model_config, redact, repro, source, templates
from ckptdoctor.bugreport import private as private_names
from ckptdoctor.diagnose import diagnose, look
from ckptdoctor.environment import interpreter, pip_settings
from ckptdoctor.environment.process import environment
from ckptdoctor.errors import DoctorError, TargetError, UnobtainableError, UsageFault
from ckptdoctor.model.report import SCHEMA, Report
from ckptdoctor.model.version import __version__
from ckptdoctor.output import Style, render
from ckptdoctor.planning.request import Request
from ckptdoctor.store import locations, writing
from ckptdoctor.words.escape import one_line, plain

COLLECT_TIMEOUT = 120.0
"""Seconds that ``torch.utils.collect_env`` may take."""

RUN_TIMEOUT = 600.0
"""Seconds that a script may take; what imports a stack from a cold disk takes minutes."""

KEPT = 200_000
"""Bytes of a process's output that are kept, of its end."""

_EPOCH = (1980, 1, 1, 0, 0, 0)

Progress = Callable[[str], None]


class LeakError(DoctorError):
    """Something private would leave after all."""


@dataclass(frozen=True)
class Ran:
    """A script that was run in the target.

    Attributes:
        name: Its file name in the bundle.
        source: The script.
        rule: The finding that it is for.
        reproduced: Whether it ended as the finding says.
        words: How it ended, in one line.
        tail: The end of what it printed.
    """

    name: str
    source: str
    rule: str
    reproduced: bool
    words: str
    tail: str


@dataclass
class Bundle:
    """A finished bundle.

    Attributes:
        report: The diagnosis, redacted.
        members: Contents by file name, in the order in which they are packed.
        scripts: The scripts that were run.
        markdown: The Markdown to paste.
    """

    report: Report
    members: dict[str, str] = field(default_factory=dict)
    scripts: list[Ran] = field(default_factory=list)

    @property
    def markdown(self) -> str:
        """What is pasted into an issue."""
        return self.members["report.md"]


def require_place(output: str, force: bool) -> Path:
    """The file to write to, looked at before anything is run.

    Args:
        output: As the user gave it.
        force: Whether a file that is there may be replaced.

    Raises:
        UsageFault: It cannot be written there.
    """
    path = Path(output)
    if path.is_dir() or output.endswith(("/", os.sep)):
        raise UsageFault(f"{output} is a folder.", "give --output a file, such as ckptdoctor-report.zip")
    if path.suffix.lower() != ".zip":
        raise UsageFault(f"{output} is not a .zip file.", f"issue trackers take zip files: --output {output}.zip")
    if not path.parent.is_dir() or not os.access(path.parent, os.W_OK):
        raise UsageFault(f"{output} cannot be written.", "choose another --output")
    if os.path.lexists(path) and (not force or not path.is_file()):
        raise UsageFault(f"{output} is there already.", "choose another --output, or replace it with --force")
    return path


def make(request: Request, template: str = "", progress: Progress = lambda _: None) -> Bundle:
    """Diagnose, run the scripts, and put everything together; nothing is written.

    Args:
        request: What to diagnose.
        template: Whose issue form the Markdown follows, a name of ``catalog.templates``; empty for our own order.
        progress: Told what is going on, a few words at a time.

    Raises:
        DoctorError: There is nothing to report on.
        LeakError: A secret would be in the bundle.
    """
    report = _diagnose(request, progress)
    python = interpreter.find(request.python, os.environ)
    private = private_names.packages(report.environment)
    redactor = _redactor(report, python, private)
    scripts = [*_scripts(report)]
    beside: dict[str, str] = {}
    # Secrets in the user's own files are known before anything that may repeat them is written.
    for script, _, _ in scripts:
        for name, text in script.beside.items():
            source.learn(name, text, redactor)
    for file in _own_files(report):
        source.learn(file.name, file.read_text(encoding="utf-8", errors="replace"), redactor)
    for script, _, _ in scripts:
        beside |= {name: _own(name, text, report, redactor) for name, text in script.beside.items()}
    bundle = Bundle(_redacted(report, redactor, private))
    with tempfile.TemporaryDirectory(prefix="ckptdoctor-", ignore_cleanup_errors=True) as folder:
        target = _Target(python, report, Path(folder))
        for script, finding_rule, name in scripts:
            progress(f"running {name}")
            files = {
                name: source.clean(script.source, redactor)[0],
                **{other: beside[other] for other in script.beside},
            }
            bundle.scripts.append(_run(target, name, files, script, finding_rule, redactor))
        progress("collecting facts about the machine")
        collected = _without_versions(redactor.clean(target.collect_env()))
    markdown = templates.render(bundle.report, bundle.scripts, template)
    bundle.members = {
        "report.md": markdown,
        **{script.name: script.source for script in bundle.scripts},
        **beside,
        **{f"{Path(script.name).stem}.log": script.tail for script in bundle.scripts},
        "report.json": render("json", bundle.report, _STYLE),
        "packages.txt": redactor.clean(_packages(report, private)),
        "collect_env.txt": collected,
    }
    refuse_leaks(bundle.members, redactor)
    return bundle


def write(members: Mapping[str, str], path: Path, force: bool) -> None:
    """Pack files into a zip file, whole or not at all.

    Args:
        members: Contents by file name, in the order in which they are packed.
        path: Where to.
        force: Whether a file that is there may be replaced.

    Raises:
        UsageFault: It cannot be written.
    """
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, text in members.items():
            entry = zipfile.ZipInfo(name, _EPOCH)
            entry.compress_type, entry.external_attr = zipfile.ZIP_DEFLATED, 0o644 << 16
            archive.writestr(entry, text.encode("utf-8", "backslashreplace"))
    if not force and os.path.lexists(path):
        raise UsageFault(f"{path} is there already.", "choose another --output, or replace it with --force")
    writing.write(path, content.getvalue())


def refuse_leaks(members: Mapping[str, str], redactor: redact.Redactor) -> None:
    """The last guard: no value that an environment variable holds secret is in any file, or in its name.

    Raises:
        LeakError: One is.
    """
    found = {(leak, name) for name, text in members.items() for leak in redactor.leaks(f"{name}\n{text}")}
    if found:
        leaks, files = (", ".join(sorted({pair[which] for pair in found})) for which in (0, 1))
        raise LeakError(
            f"Secrets would still be in the report ({one_line(leaks, 300)}, in {one_line(files, 300)}): nothing was written.",
            "please report this, without the file; unset those variables to make the report all the same",
        )


def _diagnose(request: Request, progress: Progress) -> Report:
    """The diagnosis; of a stack that cannot even be probed, what is installed and why not."""
    try:
        return diagnose(request, progress)
    except (UnobtainableError, UsageFault):
        raise
    except TargetError as error:
        # What was asked for by name and is not there is the question's fault, and no report on the target.
        options = request.options
        if options.models or options.functions or options.engines:
            raise
        try:
            found = look(request, progress)
        except DoctorError:
            raise error from None
        if not found.version("torch"):
            raise
        return Report(
            SCHEMA, __version__, "error", error.message, found, (), (), notes=(error.hint,) if error.hint else ()
        )


def _scripts(report: Report) -> Iterable[tuple[repro.Repro, str, str]]:
    """A script for each of the first faults, with its rule and its file's name."""
    made = 0
    for finding in report.findings:
        if finding.severity != "error" or made == repro.LIMIT:
            continue
        name = f"repro-{made + 1}.py" if made else "repro.py"
        script = repro.make(report, made, finding, name)
        if script is not None:
            made += 1
            yield script, finding.rule, name


def _own(name: str, text: str, report: Report, redactor: redact.Redactor) -> str:
    """A file of the user's own, as it may be shown."""
    if not name.endswith(".py"):
        transformers = next((one.location for one in report.environment.packages if one.name == "transformers"), "")
        return redactor.clean(model_config.reduced(text, transformers))
    return source.clean(text, redactor)[0]


def _own_files(report: Report) -> Iterable[Path]:
    """The user's own files that a report quotes."""
    places = [frame for probe in report.probes if probe.evidence.error for frame in probe.evidence.error.frames]
    places += [probe.evidence.loaded.place for probe in report.probes if probe.evidence.loaded]
    here = Path.cwd()
    for file in sorted({place.file for place in places if not place.package}):
        path = Path(file)
        if path.suffix == ".py" and os.access(path, os.R_OK) and (path.is_relative_to(here) or "-packages" not in file):
            yield path


def _without_versions(text: str) -> str:
    """A listing without the releases of packages that are not named in it."""
    return re.sub(rf"({private_names.PACKAGE}\S*(?:==?|[ \t@]+)(?:@[ \t]*)?)[^\s,;)]+", r"\g<1><version>", text)


def _redactor(report: Report, python: Path, private: Mapping[str, Sequence[str]]) -> redact.Redactor:
    found = report.environment
    names, people, remotes = private_names.repositories(Path.cwd())
    names |= {Path.cwd().name: redact.PROJECT} if len(Path.cwd().name) >= 6 else {}
    names |= {one: private_names.PACKAGE for name, more in private.items() for one in (name, *more)}
    prefix = Path(found.executable).parent.parent
    try:
        settings = pip_settings.read(prefix, os.environ)
        urls = [
            settings.index_url,
            *settings.extra_index_urls,
            *settings.find_links,
            *settings.trusted_hosts,
            settings.proxy,
        ]
    except (DoctorError, OSError, ValueError):
        urls = []
    return redact.Redactor(
        redact.facts(
            os.environ,
            dict(_folders(report, python)),
            filter(None, [*urls, *remotes]),
            {one.name: one.version for one in found.packages if one.name not in private},
            names,
            people,
        )
    )


def _folders(report: Report, python: Path) -> Iterable[tuple[str, str]]:
    """Folders that a report may name, and what stands for them; of those named twice the last one counts."""
    here = Path.cwd()
    for folder in (here, *here.parents):
        if folder == here or (folder / ".git").exists():
            yield str(folder), redact.PROJECT
    for probe in report.probes:
        where = probe.checkpoint_function.rpartition(":")[0]
        if where.endswith(".py") and os.sep in where:
            yield str(Path(where).parent), redact.PROJECT
        if os.sep in probe.model:
            yield probe.model, redact.MODEL
    yield str(locations.cache()), redact.CACHE
    yield str(locations.probes()), "<ckptdoctor>/probes"
    yield str(Path(__file__).resolve().parents[1]), "<ckptdoctor>"
    for name in (report.environment.executable, str(python)):
        # The interpreter of a virtual environment is a link: its folder is the one that was named.
        yield os.path.dirname(os.path.dirname(os.path.abspath(name))), redact.VENV  # noqa: PTH100, PTH120


def _redacted(report: Report, redactor: redact.Redactor, private: Mapping[str, Sequence[str]]) -> Report:
    shown = msgspec.structs.replace(
        report,
        environment=msgspec.structs.replace(
            report.environment, packages=private_names.without(report.environment, private)
        ),
    )
    plain_data = redactor.clean_json(_without_releases(msgspec.to_builtins(shown), private))
    return msgspec.convert(plain_data, Report)


def _without_releases(value: Any, private: Mapping[str, Sequence[str]]) -> Any:
    """Plain data in which the releases of private packages are not told: beside their names, and in fields of their own."""
    if isinstance(value, dict):
        releases = {
            key: "" if key == "version" and value.get("package") in private else one for key, one in value.items()
        }
        return {key: "" if key in private else _without_releases(one, private) for key, one in releases.items()}
    if isinstance(value, (list, tuple)):
        return [_without_releases(one, private) for one in value]
    if isinstance(value, str):
        for name in private:
            value = re.sub(rf"(?i)\b({re.escape(name)})(?:[ =@-]{{1,3}})v?\d[\w.+!-]*", r"\1", value)
    return value


def _packages(report: Report, private: Mapping[str, Sequence[str]]) -> str:
    named = private_names.without(report.environment, private)
    found = sorted({(one.name, one.version) for one in named}, key=lambda one: one[0].lower())
    left_out = f"# {len(private)} more, not installed from an index, not named here\n" if private else ""
    return "".join(f"{name}=={version}\n" for name, version in found) + left_out or "no package is installed\n"


def _run(
    target: _Target, name: str, files: Mapping[str, str], script: repro.Repro, rule: str, redactor: redact.Redactor
) -> Ran:
    # What it ends in was observed before anything was taken out of the files.
    expected = replace(
        script.expected, error=redactor.clean(script.expected.error), file=redactor.clean(script.expected.file)
    )
    ended = target.run_script(name, files)
    ended = replace(ended, output=redactor.clean(plain(ended.output)))
    reproduced, words = judge(expected, ended)
    originals = {name: script.source, **script.beside}
    if not reproduced and files != originals and judge(script.expected, target.run_script(name, originals))[0]:
        words += " (it does with what was taken out of its files as private)"
    return Ran(name, files[name], rule, reproduced, words, ended.output)


@dataclass(frozen=True)
class Ended:
    """How a process ended.

    Attributes:
        status: Its exit status, negative for a signal; ``None`` when it had to be stopped.
        output: The end of all that it printed.
    """

    status: int | None
    output: str

    @property
    def words(self) -> str:
        """In one line."""
        if self.status is None:
            return "it did not come to an end in time"
        if self.status < 0:
            with suppress(ValueError):
                return f"killed by {signal.Signals(-self.status).name}"
        return f"the process ended with exit status {self.status}"


_RAISED = re.compile(r"^([A-Za-z_][\w.]*)(?::\s|$)")
_FRAME = re.compile(r'^\s+File "(.+)", line (\d+)(?:, in .*)?$')


def judge(expected: repro.Expected, ended: Ended) -> tuple[bool, str]:
    """Whether a script ended as it should, and how it ended in one line.

    The same fault is the same error at the same line; of a fault that raises nothing, the same assertion; of one that
    ends its process, the same end during the step.
    """
    raised, frames = _last_error(ended.output)
    if expected.death:
        begun = "the step begins" in ended.output and "no fault" not in ended.output
        if expected.death == repro.HANGS:
            hung = begun and (ended.status is None or "Timeout (" in ended.output)
            return hung, "the step hangs" if hung else _otherwise(ended, raised)
        same = begun and not raised and ended.words in expected.death
        return same, ended.words if same else _otherwise(ended, raised)
    # Python adds hints ("Did you mean") behind a message.
    if not raised.startswith(expected.error):
        return False, _otherwise(ended, raised)
    if not expected.file:
        return True, one_line(raised, 200)
    here = any(f"/{file}".endswith(f"/{expected.file}") and line == expected.line for file, line in frames)
    at = f"{expected.file}:{expected.line}"
    return here, f"{one_line(raised, 200)}, {'at' if here else 'but not at'} {at}"


def _otherwise(ended: Ended, raised: str) -> str:
    last = raised or next((line for line in reversed(ended.output.splitlines()) if line.strip()), "")
    return f"{ended.words}{': ' if last else ''}{one_line(last, 200)}"


def _last_error(output: str) -> tuple[str, list[tuple[str, int]]]:
    """The last exception that was printed, its first line, and the frames of its traceback."""
    raised, inside = "", False
    frames: list[tuple[str, int]] = []
    # torch.distributed puts the rank before each line of a traceback.
    for line in re.sub(r"(?m)^\[rank\d+\]:[ ]?", "", output).splitlines():
        if line.startswith("Traceback (most recent call last):"):
            inside, raised, frames = True, "", []
        elif inside and (found := _FRAME.match(line)):
            frames.append((found[1].replace("\\", "/"), int(found[2])))
        elif inside and _RAISED.match(line):
            inside, raised = False, line.strip()
    return raised, frames


class _Target:
    """Runs things in the target, which stays as it is: no compiled file, no temporary file, no process is left behind."""

    def __init__(self, python: Path, report: Report, folder: Path) -> None:
        self._python, self._folder = python, folder
        (folder / "tmp").mkdir()
        made = environment(os.environ, folder, locations.cache(), [])
        self._environ = {name: value for name, value in made.items() if not name.startswith("CKPTDOCTOR_")}
        overlays = str(locations.cache() / "overlays")
        laid = [path for path in report.environment.paths if os.path.dirname(path) == overlays]  # noqa: PTH120
        paths = [*laid, *filter(None, [self._environ.get("PYTHONPATH", "")])]
        self._environ |= {"PYTHONPATH": os.pathsep.join(paths)} if paths else {}
        self._environ |= _bytecode(report)

    def run_script(self, name: str, files: Mapping[str, str]) -> Ended:
        """Run one of some files, in a folder that holds nothing else."""
        work = Path(tempfile.mkdtemp(dir=self._folder))
        for other, text in files.items():
            (work / other).write_text(text, encoding="utf-8")
        ended = self._run([name], work, RUN_TIMEOUT)
        # Where it was run is nobody's business, and a maintainer's folder is another one.
        return Ended(ended.status, re.sub(rf"{re.escape(str(work))}/?", "", ended.output))

    def collect_env(self) -> str:
        """What torch's own collector tells of the machine, or why it does not."""
        work = Path(tempfile.mkdtemp(dir=self._folder))
        ended = self._run(["-m", "torch.utils.collect_env"], work, COLLECT_TIMEOUT)
        begin = ended.output.find("Collecting environment information")
        if ended.status == 0 and begin >= 0:
            return plain(ended.output[begin:])
        raised, _ = _last_error(ended.output)
        return f"torch.utils.collect_env told nothing: {_otherwise(ended, raised)}\n\n{plain(ended.output)}"

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


_STYLE = Style(color=False, width=100, verbose=False, unicode=True)
