"""Seeds named by what they depend on, so that nothing else can change them."""

import hashlib


def seed_for(*parts: str | int) -> int:
    """Return a 63-bit seed that is a function of `parts` alone.

    `seed_for("order", "digits", 1)` is the same in every process, on every machine, in any order of runs.
    """
    text = "\x1f".join(str(part) for part in parts)
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "little") >> 1
