"""Python files and modules that a config imports: methods, data and plugins of the user's own."""

import contextlib
import hashlib
import importlib
import importlib.util
import sys
import traceback
from collections.abc import Mapping, Sequence
from importlib.machinery import ModuleSpec
from pathlib import Path

from lamm_cl.errors import UsageError

_PREFIX = "lamm_cl_imported_"
_LOADED: dict[str, str] = {}  # what this process has imported -> digest of its content


def find(entry: str, folder: Path) -> str:
    """Return the absolute path of a .py file, from the config's folder, or the name of a module that is there."""
    if entry.endswith(".py"):
        path = (folder / Path(entry).expanduser()).resolve()
        if not path.is_file():
            raise UsageError(f"there is no file {path}.")
        return str(path)
    look_in(folder)
    _origin(entry)
    return entry


def look_in(folder: Path) -> None:
    """Let modules in a folder be imported, as those beside a script are."""
    if str(folder.resolve()) not in sys.path:
        sys.path.append(str(folder.resolve()))


def load(found: Sequence[str]) -> dict[str, str]:
    """Import files and modules that `find` returned, each once in a process.

    Returns the SHA-256 of the content of each, by file name or module name; raises `UsageError` where one cannot be
    imported, or has changed since this process imported it.
    """
    digests = {}
    for one in found:
        digest = _digest(one)
        if _LOADED.setdefault(one, digest) != digest:
            raise UsageError(f"{one} has changed since it was imported: start again, so that all runs use one version.")
        module = _module_name(one)
        if module not in sys.modules:
            _import(one, module)
        digests[shown_name(one)] = digest
    return digests


def check(found: Sequence[str], expected: Mapping[str, str]) -> None:
    """Import what a run needs; raises `UsageError` as `load` does, or where it differs from what was planned with."""
    for name, digest in load(found).items():
        if expected.get(name, digest) != digest:
            raise UsageError(f"{name} has changed since the run was planned: start the command again.")


def shown_name(one: str) -> str:
    """Return what an imported file or module is called wherever it lies."""
    return Path(one).name if one.endswith(".py") else one


def _known(module: str) -> ModuleSpec | None:
    with contextlib.suppress(ImportError, ValueError):
        return importlib.util.find_spec(module)
    return None


def _origin(module: str) -> Path:
    """Return the file of a module that is there."""
    known = _known(module)
    if known is None or known.origin is None:
        raise UsageError(
            f"there is no module {module!r} beside the config, in {Path.cwd()} or among what is installed."
        )
    return Path(known.origin)


def _module_name(one: str) -> str:
    """Return the name under which a file or module is imported: a file's is its own, unless another module has it.

    As for a script, what lies beside the file can be imported.
    """
    if not one.endswith(".py"):
        return one
    look_in(Path(one).parent)
    stem = Path(one).stem
    known = _known(stem)
    if known is not None and known.origin == one:
        return stem
    return f"{_PREFIX}{hashlib.sha256(one.encode()).hexdigest()[:8]}_{stem}"


def _import(one: str, name: str) -> None:
    try:
        if not name.startswith(_PREFIX):
            importlib.import_module(name)
            return
        spec = importlib.util.spec_from_file_location(name, one)
        assert spec is not None
        assert spec.loader is not None
        module = sys.modules[name] = importlib.util.module_from_spec(spec)
        try:
            spec.loader.exec_module(module)
        except BaseException:
            del sys.modules[name]
            raise
    except Exception as error:
        _LOADED.pop(one, None)
        where = traceback.extract_tb(error.__traceback__)[-1]
        place = f" (line {where.lineno} of {Path(where.filename).name})"
        raise UsageError(f"{one} cannot be imported: {type(error).__name__}: {error}{place}.") from error


def _digest(one: str) -> str:
    """Return the SHA-256 of a file, of a module's file, or of all Python files of a package."""
    file = Path(one) if one.endswith(".py") else _origin(one)
    package = file.name == "__init__.py" and not one.endswith(".py")
    files = sorted(file.parent.rglob("*.py")) if package else [file]
    digest = hashlib.sha256()
    for file in files:
        digest.update(hashlib.sha256(file.read_bytes()).digest())
    return digest.hexdigest()
