"""Where each token of many prompts sits once what they share is stored once and the rest is packed without padding."""

from bisect import bisect_left
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from lamm_cl.errors import UsageError

MOST = 4  # buckets of sequences that are padded together: attention computes padding as well
A_CALL = 32  # what another bucket costs, in padded tokens (measured: one core, text of width 512)


def slot(index: int) -> int:
    """Return the code that stands for learned vector `index` in a token sequence (vocabulary ids are >= 0)."""
    return -1 - index


@dataclass(frozen=True, eq=False)
class Layout:
    """Token sequences of n prompts: a shared prefix of P codes, then packed suffixes, T codes in all.

    A code is a vocabulary id, or `slot(k)` for row k of the learned vectors given at encoding time.
    A text tower with a causal mask needs nothing behind the token that is read, so a sequence ends there.
    """

    prefix: Tensor  # (P,) codes shared by all prompts
    suffix: Tensor  # (T,) codes of all suffixes, one prompt after the other
    lengths: Tensor  # (n,) number of codes in each suffix, at least 1
    tail: int  # code that follows every sequence up to the text window (padding), for towers that read it
    window: int  # number of positions of the text tower
    beginning: tuple[int, ...]  # the prefix's codes once more, as plain numbers (without waiting for any device)
    ends: Tensor  # (n,) row of the code that is read in each suffix
    first: int = 0  # number of the first prompt, where these are some of more
    groups: int = 1  # of prompts alike, one after the other, each with a beginning of its own

    @classmethod
    def of(cls, sequences: Sequence[list[int]], window: int, tail: int = 0) -> "Layout":
        """Build the layout of `sequences`; the prefix is whatever all of them share.

        Raises:
            UsageError: a sequence is longer than the window.
        """
        longest = max(len(sequence) for sequence in sequences)
        if longest > window:
            raise UsageError(
                f"a prompt of {longest} tokens is longer than the text window of {window}: "
                "use a shorter class name, template or context"
            )
        # What the first and the last in order share, all share; the code that is read stays in the suffix.
        pairs = zip(min(sequences), max(sequences), strict=False)
        shared = next((i for i, (a, b) in enumerate(pairs) if a != b), longest)
        shared = min(shared, min(len(sequence) for sequence in sequences) - 1)
        rest = [sequence[shared:] for sequence in sequences]
        lengths = torch.tensor([len(codes) for codes in rest], dtype=torch.long)
        return cls(
            prefix=torch.tensor(sequences[0][:shared], dtype=torch.long),
            suffix=torch.tensor([code for codes in rest for code in codes], dtype=torch.long),
            lengths=lengths,
            ends=lengths - 1,
            tail=tail,
            window=window,
            beginning=tuple(sequences[0][:shared]),
        )

    def to(self, device: torch.device) -> "Layout":
        """Return the same layout with its tensors on `device`."""
        if self.prefix.device == device:
            return self
        return replace(
            self, **{name: getattr(self, name).to(device) for name in ("prefix", "suffix", "lengths", "ends")}
        )

    def filled(self) -> "Layout":
        """Return the same prompts with suffixes of one length, filled up with `tail`: nothing reads what is behind.

        Packed and padded form are then the same, so that no layer needs to go from one to the other. A GPU computes
        some more rows sooner than it starts two more operations.
        """
        suffix = self.codes[:, self.shared : self.shared + self.widest].flatten()
        even = torch.full_like(self.lengths, self.widest)
        return replace(self, suffix=suffix, lengths=even)

    def part(self, start: int, stop: int) -> "Layout":
        """Return the layout of prompts start..stop-1, with the same prefix."""
        first, last = int(self.starts[start]), int(self.starts[stop - 1] + self.lengths[stop - 1])
        lengths, ends = self.lengths[start:stop], self.ends[start:stop]
        return replace(self, suffix=self.suffix[first:last], lengths=lengths, ends=ends, first=self.first + start)

    def opened(self, keep: int) -> tuple["Layout", Tensor]:
        """Return the same prompts sharing no more than their first `keep` positions (kept for the next call).

        Returns:
            The layout, and for each of its packed rows the row (T',) of this layout's prefix and suffix, one after the
            other.
        """
        key = "opened", keep
        if key not in self.known:
            every = torch.cat([self.prefix, self.suffix])
            own = torch.arange(keep, self.shared, device=every.device)
            rests = torch.split(torch.arange(self.shared, len(every), device=every.device), self.lengths.tolist())
            rows = torch.cat([part for rest in rests for part in (own, rest)])
            layout = replace(
                self,
                prefix=self.prefix[:keep],
                suffix=every[rows],
                lengths=self.lengths + len(own),
                beginning=self.beginning[:keep],
                ends=self.ends + len(own),
            )
            self.known[key] = layout, rows
        found: tuple[Layout, Tensor] = self.known[key]
        return found

    def repeated(self, groups: int) -> "Layout":
        """Return the layout of so many groups of these prompts (kept for the next call)."""
        if groups == 1:
            return self
        key = "repeated", groups
        if key not in self.known:
            many = {name: getattr(self, name).repeat(groups) for name in ("suffix", "lengths", "ends")}
            self.known[key] = replace(self, **many, groups=groups)
        found: Layout = self.known[key]
        return found

    def parts(self, size: int) -> list["Layout"]:
        """Return the layouts of consecutive groups of at most `size` prompts (kept for the next call)."""
        key = "parts", size
        if key not in self.known:
            self.known[key] = [self.part(i, min(i + size, self.n)) for i in range(0, self.n, size)]
        found: list[Layout] = self.known[key]
        return found

    @property
    def n(self) -> int:
        """Number of prompts."""
        return len(self.lengths)

    @property
    def shared(self) -> int:
        """Number of shared codes P."""
        return len(self.prefix)

    @property
    def lead(self) -> int:
        """Number of rows of the beginnings of all groups."""
        return self.groups * self.shared

    @cached_property
    def widest(self) -> int:
        """Length M of the longest suffix."""
        return int(self.lengths.max())

    @cached_property
    def shortest(self) -> int:
        """Length of the shortest suffix, up to the code that is read."""
        return int(self.ends.min()) + 1

    @cached_property
    def starts(self) -> Tensor:
        """(n,) packed row at which each suffix starts."""
        return torch.cumsum(self.lengths, 0) - self.lengths

    @cached_property
    def last(self) -> Tensor:
        """(n,) packed row of each prompt's code that is read."""
        return self.starts + self.ends

    @cached_property
    def last_of_all(self) -> Tensor:
        """(n,) the same row where the beginnings stand before all packed rows."""
        return self.last + self.lead

    @cached_property
    def position(self) -> Tensor:
        """(T,) position in the text window for each packed row."""
        return self.shared + torch.arange(len(self.suffix), device=self.suffix.device) - self.starts[self.prompt]

    @cached_property
    def prompt(self) -> Tensor:
        """(T,) number of the prompt that each packed row is of."""
        return torch.arange(self.n, device=self.lengths.device).repeat_interleave(self.lengths)

    @cached_property
    def whole(self) -> "Bucket":
        """All prompts, padded to the longest."""
        return Bucket.of(self, range(self.n), self.widest)

    @cached_property
    def buckets(self) -> list["Bucket"]:
        """Groups of prompts of like lengths, each padded to its own longest."""
        if self.lengths.is_cuda:  # there padding costs less than further calls
            return [self.whole]
        count = self.n // self.groups
        lengths = self.lengths[:count].tolist()
        starts = range(0, self.n, count)
        return [
            Bucket.of(self, [start + i for start in starts for i in members], max(lengths[i] for i in members))
            for members in buckets(lengths)
        ]

    @cached_property
    def packed(self) -> Tensor | None:
        """(T,) place of each packed row in the padded forms of all buckets, in their order; None where they are one."""
        if len(self.suffix) == self.n * self.widest:
            return None
        packed, start = torch.empty_like(self.suffix), 0
        for bucket in self.buckets:
            packed[bucket.rows] = start + bucket.places
            start += len(bucket.padded)
        return packed

    def padded(self, packed: Tensor) -> Tensor:
        """Turn packed rows (T, D) into prompts of one length (n, M, D)."""
        padded = packed if self.packed is None else packed.index_select(0, self.whole.padded)
        return padded.view(self.n, self.widest, -1)

    @cached_property
    def together(self) -> Tensor:
        """Rows of the first beginning of each group, and of all rests, where each prompt has a beginning of its own."""
        rows = torch.arange(self.n * (self.shared + self.widest), device=self.lengths.device)
        prompts = rows.view(self.groups, -1, self.shared + self.widest)
        return torch.cat([prompts[:, 0, : self.shared].flatten(), prompts[:, :, self.shared :].flatten()])

    @cached_property
    def last_mask(self) -> Tensor:
        """(n, 1, P + M) True where the code of each prompt that is read may look."""
        every = torch.arange(self.shared + self.widest, device=self.lengths.device)
        return every <= self.read[:, None, None]

    @cached_property
    def known(self) -> dict[Any, Any]:
        """What others derive from this layout and keep with it, by a key of theirs."""
        return {}

    @cached_property
    def parsed(self) -> list[tuple[Tensor, Tensor, Tensor]]:
        """Of prefix and suffix: vocabulary ids, 0 where a learned vector stands; where one does; which one it is."""
        slots = [(codes < 0).nonzero().squeeze(1) for codes in (self.prefix, self.suffix)]
        both = zip((self.prefix, self.suffix), slots, strict=True)
        return [(codes.clamp(min=0), rows, -1 - codes[rows]) for codes, rows in both]

    @cached_property
    def codes(self) -> Tensor:
        """(n, window) all codes, filled up to the window with `tail`."""
        return self.spread(torch.cat([self.prefix, self.suffix]), self.window, self.tail)

    @cached_property
    def read(self) -> Tensor:
        """(n,) position of each prompt's code that is read in the text window."""
        return self.shared + self.ends

    def spread(self, rows: Tensor, length: int, fill: int = 0) -> Tensor:
        """Turn the rows of prefix and suffixes (P + T, ...) into prompts (n, length, ...), filled up behind each."""
        full = rows.new_full((self.n, length, *rows.shape[1:]), fill)
        full[:, : self.shared] = rows[: self.shared]
        full[self.prompt, self.position] = rows[self.shared :]
        return full


@dataclass(frozen=True)
class Bucket:
    """Some prompts of a layout, b of them, padded to the same length `widest` M."""

    shared: int
    widest: int
    padded: Tensor  # (b * M,) packed row for each place of the padded form (row 0 where there is none)
    rows: Tensor  # packed rows of these prompts
    places: Tensor  # for each of them, its place in the padded form
    _masks: dict[torch.dtype, Tensor] = field(default_factory=dict)

    def mask(self, dtype: torch.dtype) -> Tensor:
        """Return what is added to scores (M, P + M): 0, and -inf for what is behind a place; made once a type."""
        if dtype not in self._masks:
            shape = (self.widest, self.shared + self.widest)
            mask = torch.full(shape, -torch.inf, dtype=dtype, device=self.rows.device)
            self._masks[dtype] = mask.triu(self.shared + 1)
        return self._masks[dtype]

    @classmethod
    def of(cls, layout: Layout, members: Sequence[int], widest: int) -> "Bucket":
        """Pad the prompts `members` of a layout to the length `widest`."""
        device = layout.lengths.device
        chosen = torch.tensor(list(members), device=device)
        along = torch.arange(widest, device=device)
        real = (along[None] < layout.lengths[chosen][:, None]).flatten()
        rows = (layout.starts[chosen][:, None] + along[None]).flatten()
        return cls(
            shared=layout.shared,
            widest=widest,
            padded=torch.where(real, rows, torch.zeros_like(rows)),
            rows=rows[real],
            places=real.nonzero().squeeze(1),
        )


def buckets(lengths: Sequence[int]) -> list[list[int]]:
    """Group sequences of these lengths so that padding each group to its longest costs least.

    Returns:
        Indices of the sequences of each group, in order; groups of shorter sequences first.
    """
    counts = sorted(Counter(lengths).items())
    # best[k][j]: least cost of the j shortest lengths in k groups, and where the last group begins
    best: list[list[tuple[int, int]]] = [[(0, 0)] + [(1 << 62, 0)] * len(counts)]
    for _ in range(min(MOST, len(counts))):
        before, now = best[-1], [(1 << 62, 0)]
        for stop in range(1, len(counts) + 1):
            now.append(min((before[i][0] + _cost(counts[i:stop]), i) for i in range(stop)))
        best.append(now)
    count = min(range(1, len(best)), key=lambda k: best[k][-1][0])
    bounds: list[int] = []
    stop = len(counts)
    for k in range(count, 0, -1):
        bounds.insert(0, counts[stop - 1][0])
        stop = best[k][stop][1]
    groups: list[list[int]] = [[] for _ in bounds]
    for index, length in enumerate(lengths):
        groups[bisect_left(bounds, length)].append(index)
    return groups


def _cost(counts: Sequence[tuple[int, int]]) -> int:
    return counts[-1][0] * sum(number for _, number in counts) + A_CALL
