"""Published weights that may have to be fetched: found in the caches first, and never waited for in vain.

open_clip's own client waits 47 seconds for a host that refuses and for minutes for one that stays silent. Here
the host is asked once, for a few seconds, before the client starts.
"""

import hashlib
import os
import threading
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lamm_cl.errors import UsageError

Reach = Callable[[str], bool]
Download = Callable[..., str]
SECONDS = 5.0


def reachable(url: str, seconds: float = SECONDS) -> bool:
    """Whether the host of an http(s) address answers anything within `seconds` (proxy settings are respected)."""
    answers: list[bool] = []

    def ask() -> None:
        try:
            with urllib.request.urlopen(urllib.request.Request(url, method="HEAD"), timeout=seconds):
                answers.append(True)
        except urllib.error.HTTPError:
            answers.append(True)  # it answered, if only "no"
        except (OSError, ValueError):
            pass

    # In a thread: looking up a name has no time limit of its own.
    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    thread.join(seconds + 1)
    return bool(answers)


@dataclass(frozen=True)
class Network:
    """How files may be fetched; both functions are replaced in tests."""

    cache: str | None = None  # where fetched files are kept; None = the clients' own defaults
    reach: Reach = reachable
    download: Download | None = None  # fetches the file that an entry of open_clip describes; None = open_clip's own


def offline() -> bool:
    """Whether the user has asked Hugging Face's client to stay offline."""
    said = os.environ.get("HF_HUB_OFFLINE", os.environ.get("TRANSFORMERS_OFFLINE", ""))
    return said.strip().upper() in ("1", "ON", "YES", "TRUE")


def endpoint() -> str:
    """Return the address of the hub."""
    from huggingface_hub import constants

    return str(constants.ENDPOINT)


def pretrained_file(name: str, tag: str, network: Network) -> Path:
    """Return the file with the weights that open_clip lists as `tag` of the architecture `name`.

    Raises:
        UsageError: the file is in no cache and the hub can't be reached, with what to do.
    """
    from open_clip.pretrained import download_pretrained, get_pretrained_cfg

    settings = get_pretrained_cfg(name, tag)
    found = cached(settings, network.cache)
    if found is not None:
        return found
    where = endpoint() if settings.get("hf_hub") else str(settings.get("url", ""))
    ask_first(where, f"the weights {tag!r} of {name!r}", _by_hand(name, settings), network)
    try:
        return Path((network.download or download_pretrained)(settings, cache_dir=network.cache))
    except Exception as error:  # whatever the client raises, the user needs the same advice
        raise UsageError(
            f"the weights {tag!r} of {name!r} could not be fetched ({reason(error)}). {_by_hand(name, settings)}"
        ) from error


def reason(error: Exception) -> str:
    """Return what another library says went wrong, on one line."""
    return f"{type(error).__name__}: {error}".splitlines()[0][:300]


def ask_first(where: str, what: str, advice: str, network: Network) -> None:
    """Raise a UsageError at once when `what` would have to be fetched and `where` can't be reached."""
    if offline():
        raise UsageError(f"{what} are not on this machine, and HF_HUB_OFFLINE says to stay offline. {advice}")
    if not network.reach(where):
        raise UsageError(f"{what} are not on this machine, and {where} does not answer. {advice}")


def cached(settings: dict[str, Any], cache_dir: str | None = None) -> Path | None:
    """Return the file that open_clip's entry of weights describes if one of the clients has kept it, else None."""
    if settings.get("file"):
        return Path(settings["file"])
    if settings.get("hf_hub"):
        from huggingface_hub import try_to_load_from_cache

        repository, _, wanted = str(settings["hf_hub"]).rpartition("/")
        for name in _file_names(wanted):
            found = try_to_load_from_cache(repository, name, cache_dir=cache_dir)
            if isinstance(found, str) and Path(found).is_file():
                return Path(found)
    if settings.get("url"):
        url = str(settings["url"])
        kept = Path(cache_dir or "~/.cache/clip").expanduser() / url.rsplit("/", 1)[-1]
        if kept.is_file() and _expected(kept, url):
            return kept
    return None


def _file_names(wanted: str) -> list[str]:
    """List the names under which the hub may have the file, safetensors first, as open_clip's client does."""
    if not wanted:
        return ["open_clip_model.safetensors", "open_clip_pytorch_model.bin"]
    return [wanted.rsplit(".", 1)[0] + ".safetensors", wanted]


def _expected(file: Path, url: str) -> bool:
    """Whether a kept file has the check sum that its address promises (True where it promises none)."""
    parts = url.split("/")
    promised = parts[-2] if "openaipublic" in url else ""
    if "mlfoundations" in url:
        promised = file.stem.rsplit("-", 1)[-1]
    if not promised:
        return True
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest().startswith(promised)


def _by_hand(name: str, settings: dict[str, Any]) -> str:
    """Say what to do instead."""
    address = str(settings.get("url", ""))
    if settings.get("hf_hub"):
        repository, _, wanted = str(settings["hf_hub"]).rpartition("/")
        address = f"{endpoint()}/{repository} (file {_file_names(wanted)[0]})"
    return (
        f"Fetch {address} where there is a network, and give the file: pretrained='/path/to/file' with the name "
        f"{name!r}; or copy the cache of a machine that has it and set HF_HOME. The backbone 'tiny' needs nothing."
    )
