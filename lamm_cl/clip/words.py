"""Words to token ids, with the start, end and padding tokens of any open_clip tokenizer known by name."""

from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache, partial
from typing import Any

from lamm_cl.errors import UsageError

Ids = tuple[int, ...]
Prompts = dict[Ids, str]  # class names by their prompts' ids
KNOWN = 2**14  # texts whose ids are kept: methods ask for the same ones at every stage, and mending encodings is dear
MARKERS = ("<start_of_text>", "<end_of_text>", "<|startoftext|>", "<|endoftext|>")


class Words:
    """The tokenizer of a text tower, seen as: head + body + end + padding up to the window.

    Args:
        tokenizer: an open_clip tokenizer: a callable from texts to (n, window) ids.
        module: the open_clip module that owns the positional embedding.
        pool: which token the tower reads ("argmax", "eos", "first", "last").

    Attributes:
        window, room: number of positions, and of those that are left to a text.
        head, pad: ids before the text (the start token, where there is one), and the one that fills the window.
        end: ids after the text, the last of which is read by towers that read the end token.
        start: first position after the head.
    """

    def __init__(self, tokenizer: Any, module: Any, pool: str) -> None:
        self._ids = lru_cache(KNOWN)(partial(_ids, tokenizer))
        declared = getattr(tokenizer, "context_length", None)
        positions = int(module.positional_embedding.shape[0])
        self.window = min(positions, int(declared)) if declared else positions
        probe, body = [int(i) for i in tokenizer(["a"], self.window)[0]], self.ids("a")
        at = next((i for i in range(len(probe)) if probe[i : i + len(body)] == body), None)
        if at is None:
            raise UsageError(
                f"cannot find a text inside what the tokenizer {type(tokenizer).__name__} returns: not supported"
            )
        self.head, rest = probe[:at], probe[at + len(body) :]
        self.pad = rest[-1]
        end = rest.copy()
        while end and end[-1] == self.pad:
            end.pop()
        # Where the end token and the padding are the same id, one of them is the end token that is read.
        self.end = end or ([self.pad] if pool in ("argmax", "eos") else [])
        self.start = len(self.head)
        self.room = self.window - len(self.head) - len(self.end)

    def ids(self, text: str) -> list[int]:
        """Return the ids of `text` alone, without start, end and padding."""
        return list(self._ids(text))

    def check_names(self, names: Sequence[str]) -> None:
        """Check that each name can stand in a prompt.

        Raises:
            UsageError: a name is empty or holds one of the tokenizer's own markers.
        """
        for name in names:
            if not isinstance(name, str) or not name.strip():
                raise UsageError(f"class name {name!r} is empty: give every class a name")
            if marker := next((m for m in MARKERS if m in name), None):
                raise UsageError(f"class name {name!r} holds the marker {marker!r}: rename the class")
            if not self.ids(spoken(name)):
                raise UsageError(f"class name {name!r} has no token: give the class a readable name")

    def check_distinct(self, prompts: Iterable[tuple[str, str]], known: Mapping[Ids, str] | None = None) -> Prompts:
        """Check that no two names give the same prompt: tokenizers tell less apart than people do.

        They mend encodings, resolve HTML's entities, and ignore case, kinds of white space and Unicode's spellings.
        Takes class names, each with the text of its prompt (one name may stand for several classes), and the prompts
        that were checked before; returns all prompts.

        Raises:
            UsageError: Names both class names.
        """
        found: Prompts = dict(known or {})
        for name, text in prompts:
            other = found.setdefault(tuple(self.ids(text)), name)
            if other != name:
                raise UsageError(
                    f"the class names {_shown(other)} and {_shown(name)} give the same prompt, and no model could tell "
                    "the classes apart: rename one of them"
                )
        return found


def _ids(tokenizer: Any, text: str) -> Ids:
    if hasattr(tokenizer, "encode"):
        return tuple(int(i) for i in tokenizer.encode(text))
    clean = getattr(tokenizer, "clean_fn", None)
    found = tokenizer.tokenizer([clean(text) if clean else text], add_special_tokens=False)["input_ids"][0]
    return tuple(int(i) for i in found)


def spoken(name: str) -> str:
    """Return the class name as it is written into a prompt: underscores become spaces."""
    return name.replace("_", " ").strip()


def _shown(name: str) -> str:
    """Show a name, and the codes of its letters where two names may look alike."""
    return repr(name) if name.isascii() else f"{name!r} ({name!a})"
