"""What the environment of runs must offer beside data and weights: loggers that can log, and a folder for features."""

import configparser
import contextlib
import importlib.util
import inspect
import netrc
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from lamm_cl.clip.cache_folder import default_folder, distrust
from lamm_cl.errors import UsageError, unknown
from lamm_cl.experiments.spec import Environment
from lamm_cl.files import check_writable

_SILENT = ("offline", "disabled", "dryrun")


def check_loggers(loggers: Mapping[Any, Mapping[str, Any]]) -> None:
    """Refuse loggers that would fail in every run.

    Raises:
        UsageError: A package is not installed, W&B has no such option, or nobody is logged in to it.
    """
    if "tensorboard" in loggers:
        require_tensorboard()
    if "wandb" not in loggers:
        return
    require_wandb()
    import wandb

    options = loggers["wandb"]
    choices = inspect.signature(wandb.init).parameters
    for name in options:
        if name not in choices:
            raise unknown("option of logger wandb", name, choices)
    if not _may_log(options):
        raise UsageError(
            "logger 'wandb' has no API key: run `wandb login`, set WANDB_API_KEY, or let it write to the runs' "
            "directories only with WANDB_MODE=offline or loggers.wandb.mode=offline."
        )


def require_tensorboard() -> None:
    """Raise UsageError where TensorBoard is not installed."""
    if importlib.util.find_spec("tensorboard") is None:
        raise UsageError("logger 'tensorboard' needs the package: pip install 'lamm_cl[tensorboard]'.")


def require_wandb() -> None:
    """Raise UsageError where W&B is not installed."""
    if importlib.util.find_spec("wandb") is None:
        raise UsageError("logger 'wandb' needs the package: pip install 'lamm_cl[wandb]'.")


def _may_log(options: Mapping[str, Any]) -> bool:
    """Whether W&B will find a key or wants none; in doubt, when it is told more than we read, it will."""
    if stays_here(options):
        return True
    if {"settings", "anonymous"} & set(options) or os.environ.get("WANDB_IDENTITY_TOKEN_FILE"):
        return True
    if os.environ.get("WANDB_API_KEY"):
        return True
    server = wandb_server()
    return "api_key" in _stored_settings() or _in_netrc(urlsplit(server).hostname or server)


def stays_here(options: Mapping[str, Any]) -> bool:
    """Whether W&B sends nothing, by its options, the environment, or what `wandb offline` has stored."""
    mode = options.get("mode", os.environ.get("WANDB_MODE"))
    return mode in _SILENT or (mode is None and _stored_settings().get("mode") in _SILENT)


def wandb_server() -> str:
    """Return the address that W&B sends to."""
    return os.environ.get("WANDB_BASE_URL") or _stored_settings().get("base_url") or "https://api.wandb.ai"


def _stored_settings() -> dict[str, str]:
    """Return what `wandb login` and `wandb offline` keep for the user."""
    folder = Path(os.environ.get("WANDB_CONFIG_DIR") or "~/.config/wandb").expanduser()
    parser = configparser.ConfigParser(interpolation=None)
    with contextlib.suppress(configparser.Error, OSError, UnicodeDecodeError):
        parser.read([folder / "settings", Path("wandb") / "settings"])
    return dict(parser["default"]) if parser.has_section("default") else {}


def _in_netrc(host: str) -> bool:
    given = os.environ.get("NETRC")
    for path in [Path(given)] if given else [Path("~/.netrc"), Path("~/_netrc")]:
        with contextlib.suppress(OSError, UnicodeDecodeError, netrc.NetrcParseError):
            if netrc.netrc(path.expanduser()).authenticators(host):
                return True
    return False


def cache_folder(environment: Environment) -> Path | None:
    """Return the folder of cached image features; None where the config says `cache: false`."""
    if environment.cache is False:
        return None
    return Path(environment.cache).expanduser() if isinstance(environment.cache, str) else default_folder()


def cache_trouble(environment: Environment) -> str | None:
    """Say why image features can't be kept on disk, None when they can; runs go on without."""
    folder = cache_folder(environment)
    try:
        if folder is not None:
            check_writable(folder)
            if reason := distrust(folder):
                return f"the feature cache {folder} is not used: {reason}. Image features are computed in every run."
    except OSError as error:
        return (
            f"the feature cache {folder} can't be used ({error.strerror}): image features are computed again in every "
            "run. Set `cache` or LAMM_CL_CACHE to a folder that can be written."
        )
    return None
