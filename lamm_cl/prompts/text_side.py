"""The text side of a prompted CLIP: which prompts to encode, which to remember, in which groups."""

from collections.abc import Sequence
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lamm_cl.clip import low_rank
from lamm_cl.clip.backbone import ClipBackbone
from lamm_cl.clip.precision import lasting, number_type
from lamm_cl.clip.prompts_layout import Layout, slot
from lamm_cl.clip.text_engine import Injection
from lamm_cl.clip.text_tower import TextTower
from lamm_cl.clip.words import Prompts, spoken
from lamm_cl.errors import UsageError
from lamm_cl.prompts.context import Context
from lamm_cl.prompts.deep import Deep
from lamm_cl.prompts.deltas import Deltas
from lamm_cl.prompts.labels import FixedLabels
from lamm_cl.prompts.matching import Side, averaged
from lamm_cl.prompts.vectors import trains
from lamm_cl.prompts.wording import TextBank, Wording, body

Ids = tuple[int, ...]
LAYOUTS = 256  # kept at once: label spaces that are drawn anew at each step must not fill the memory


class TextSide:
    """Encodes the classes of a prompted CLIP.

    Features that no trainable value reaches are computed once and remembered. Classes that were learned together are
    always encoded together, so that an old class's features are the same bits before and after later classes.
    """

    def __init__(
        self,
        backbone: ClipBackbone,
        context: Context,
        labels: FixedLabels,
        deep: Deep,
        template: Wording | Sequence[Wording],  # around the original names (zero-shot features); several are averaged
        *,
        dtype: torch.dtype,  # of the features
        average: bool = False,  # whether a class's prompts are averaged to one feature
        tokens: bool = False,  # whether features of single tokens are wanted
        together: bool = False,  # whether those of the original names in the current context come with the learned ones
        unit: bool = True,  # whether the features are normalised; otherwise they are not averaged either
        deltas: Deltas | None = None,  # of the tower's matrices
    ) -> None:
        self.context, self.labels, self.deep, self.deltas = context, labels, deep, deltas
        self._shared = [context, deep, *([] if deltas is None else [deltas.text])]  # what reaches every class
        self.templates = (template,) if isinstance(template, Wording) else tuple(template)
        self.dtype, self.average, self.tokens, self.together = dtype, average and unit, tokens, together
        self._scaled = partial(F.normalize, dim=-1) if unit else nn.Identity()
        self.names: tuple[str, ...] = ()
        self.groups: list[Ids] = []  # classes that were learned together, in order
        self._backbone = backbone
        self._layouts: dict[tuple[Ids, int, bool, bool], list[tuple[list[int], Layout]]] = {}
        self._constant: dict[int, Tensor] = {}
        self._original: dict[TextBank | None, Tensor] = {}  # of all classes
        self._joined: dict[TextBank | None, tuple[Ids, Tensor]] = {}  # of those, what was asked for last
        self._snapshot: tuple[Ids, Tensor | None, Side, Tensor | None] | None = None
        self._prompts: Prompts = {}
        self._computed_in: torch.dtype | None = None  # autocast's type when the features were computed

    def add(self, names: Sequence[str], distinct: bool = True) -> None:
        """Add classes; where `distinct`, no two may have the same prompt.

        Raises:
            UsageError: a name is empty, does not fit the text window, or gives the prompt of another class.
        """
        self.tower.words.check_names(names)
        before, self.names = self.names, (*self.names, *names)
        self.forget()
        try:
            self._check(range(len(before), len(self.names)), distinct)
        except UsageError:
            self.names = before
            raise

    def forget(self) -> None:
        """Drop everything remembered (values or classes have changed)."""
        self._layouts.clear()
        self._forget_features()

    def _forget_features(self) -> None:
        self._constant.clear()
        self._original.clear()
        self._joined.clear()
        self._snapshot = None

    def encode(self, columns: Ids) -> tuple[Side, Tensor | None]:
        """Return the classes' features (n, v, E), normalised, and where `together` what `current` returns.

        Without gradients, features are remembered as long as no value has changed.
        """
        self._follow_autocast()
        if torch.is_grad_enabled():
            return self._encode(columns)
        with lasting():
            values = [value.detach().flatten() for part in (self.labels, *self._shared) for value in part.parameters()]
            # Joined, since each look at a value on a GPU waits for it. Counts of writes won't do: `.data` leaves none.
            now = torch.cat(values) if values else None
            if self._snapshot is not None:
                known, old, side, teacher = self._snapshot
                same = old is now is None or (old is not None and now is not None and torch.equal(old, now))
                if known == columns and same:
                    return side, teacher
            side, teacher = self._encode(columns)
            self._snapshot = (columns, now, side, teacher)
            return side, teacher

    def encode_for_images(self, columns: Ids, contexts: Tensor) -> Side:
        """Return features (batch, n, 1, E) of classes whose context (batch, n_ctx, D) depends on the image."""
        with lasting():
            features = self._variant(columns, 0, contexts=contexts)[0]
        return Side(self._scaled(features)[:, :, None])

    def original(self, columns: Ids, bank: TextBank | None = None) -> Tensor:
        """Return zero-shot features (n, E) of the original names in the templates of a bank, without gradient.

        None is `templates`, whose features are normalised, averaged and normalised again.
        """
        self._follow_autocast()
        unit = bank is None or bank.unit
        with lasting(), torch.no_grad():
            known = self._original.get(bank)
            if known is None:
                every = range(len(self.names))
                rows = [self.templates if bank is None else bank.wordings(c) for c in every]
                found = [self._in_wordings([row[i] for row in rows], every) for i in range(len(rows[0]))]
                found = [F.normalize(features, dim=-1) for features in found] if unit else found
                known = torch.stack(found).mean(0) if len(found) > 1 else found[0]
                known = known if unit and len(found) == 1 else F.normalize(known, dim=-1)
                self._original[bank] = known
            if self._joined.get(bank, ((), None))[0] != columns:
                self._joined[bank] = columns, torch.stack([known[c] for c in columns])
        return self._joined[bank][1]

    def _in_wordings(self, wordings: Sequence[Wording], class_ids: Sequence[int]) -> Tensor:
        """Return features (n, E) of original names, each in its own words; not normalised."""
        found: dict[int, Tensor] = {}
        for members in _alike(wordings):
            bodies = [body(self.tower.words, wordings[i], self.names[class_ids[i]]) for i in members]
            found.update(zip(members, self.tower.encode(self.tower.layout(bodies)).to(self.dtype), strict=True))
        return torch.stack([found[i] for i in range(len(class_ids))])

    def current(self, columns: Ids) -> Tensor:
        """Return features (n, E) of the original names in the current context, without gradient."""
        with lasting(), torch.no_grad():
            return F.normalize(self._variant(columns, 0, original=True)[0], dim=-1)

    def _follow_autocast(self) -> None:
        """Drop features that were computed in another number type."""
        now = number_type(self.tower.device)
        if now != self._computed_in:
            self._computed_in = now
            self._forget_features()

    def _check(self, class_ids: Sequence[int], distinct: bool) -> None:
        """Check that prompts fit the text window and, where `distinct`, are no other class's, before any work."""
        limit = self.tower.words.room
        for variant in range(self.context.variants):
            for class_id, codes in zip(class_ids, self._bodies(class_ids, variant, labels=False), strict=True):
                if len(codes) > limit:
                    raise UsageError(
                        f"class name {self.names[class_id]!r} makes a prompt of {len(codes)} tokens, but "
                        f"the text window holds {limit}: shorten the name, the template or the context"
                    )

        if distinct:
            names = [(self.names[c], self.context.wording(c, 0)) for c in class_ids]
            texts = [(name, f"{words.before} {spoken(name)}{words.after}".strip()) for name, words in names]
            self._prompts = self.tower.words.check_distinct(texts, self._prompts)

    @property
    def tower(self) -> TextTower:
        """The frozen text tower."""
        return self._backbone.text

    def _encode(self, columns: Ids) -> tuple[Side, Tensor | None]:
        if self.tokens:
            return self._with_tokens(columns), None
        if trains(*self._shared):
            return self._live(columns)
        moving = self.labels.token_classes.trainable
        if moving and columns in self.groups and moving.intersection(columns):
            return Side(self._live(columns)[0].features), None
        grouped = {c for group in self.groups for c in group}
        unlearned = tuple(c for c in range(len(self.names)) if c not in grouped)
        features: dict[int, Tensor] = {}  # (v, E)
        for group in [*self.groups, unlearned]:
            wanted = set(group).intersection(columns)
            if wanted and moving.intersection(group):
                features.update(zip(group, self._live(group)[0].features, strict=True))
            elif wanted:  # nothing trainable reaches them
                if not wanted <= self._constant.keys():
                    with torch.no_grad():
                        self._constant.update(zip(group, self._live(group)[0].features, strict=True))
                features |= {c: self._constant[c] for c in wanted}
        return Side(torch.stack([features[c] for c in columns])), None

    def _given_deltas(self) -> low_rank.Deltas:
        return low_rank.NOWHERE if self.deltas is None else self.deltas.of("text")

    def _live(self, columns: Ids) -> tuple[Side, Tensor | None]:
        """Encode classes with whatever gradients there are."""
        variants, teacher = [], None
        both = self.together and trains(*self._shared)
        for variant in range(self.context.variants):
            features, current = self._variant(columns, variant, teacher=both)
            variants.append(self._scaled(features))
            teacher = current if variant == 0 else teacher
        stack = torch.stack(variants, 1) if len(variants) > 1 else variants[0].unsqueeze(1)
        if self.average and stack.shape[1] > 1:
            stack = averaged(stack, self.context.counts(columns))
        return Side(stack), None if teacher is None else F.normalize(teacher, dim=-1)

    def _with_tokens(self, columns: Ids) -> Side:
        """Encode classes together with the features of single tokens."""
        features, tokens, reads, same = [], [], [], []
        deltas = self._given_deltas()
        for variant in range(self.context.variants):
            [(_, layout)] = self._layout(columns, variant, original=False, teacher=False)
            learned = self._learned(columns, variant)
            deep = self.deep.text(variant)
            found, every = self.tower.encode_tokens(layout, learned, deep, deltas=deltas)
            features.append(self._scaled(found.to(self.dtype)))
            tokens.append(F.normalize(every.to(self.dtype), dim=-1))
            reads.append(layout.read)
            same.append(self.tower.same_tokens(layout, deep, deltas))
        # The released code takes the tokens before the first prompt's full stop, and as many of every other prompt.
        length = torch.stack([reads[0] - 1, *(read + 1 for read in reads[1:])]).amin(0)
        longest = int(length.max()) if not length.is_cuda else max(t.shape[1] for t in tokens)
        padded = [F.pad(t[:, :longest], (0, 0, 0, max(0, longest - t.shape[1]))) for t in tokens]
        used = torch.arange(longest, device=length.device)[None] < length[:, None]
        return Side(torch.stack(features, 1), torch.stack(padded, 1), used, min(*same, longest))

    def _variant(
        self,
        columns: Ids,
        variant: int,
        original: bool = False,
        teacher: bool = False,
        contexts: Tensor | None = None,
    ) -> tuple[Tensor, Tensor | None]:
        """Encode one prompt of each class: features (n, E), not normalised; with names as words, where `original`.

        With the `contexts` (batch, n_ctx, D) of images they are (batch, n, E); as `teacher`, the features of the
        original names come beside them, from the same pass.
        """
        deep, deltas = self.deep.text(variant), self._given_deltas()
        pieces: list[tuple[list[int], Tensor, Tensor | None]] = []
        for members, layout in self._layout(columns, variant, original, teacher):
            ids = tuple(columns[i] for i in members)
            learned, injection = self._learned(ids, variant), self._injected(ids, 2 if teacher else 1)
            found = self.tower.encode(layout, learned, deep, groups=contexts, deltas=deltas, injection=injection)
            found, n = found.to(self.dtype), len(members)
            pieces.append((members, found[..., :n, :], found[..., n:, :] if teacher else None))
        if len(pieces) == 1:
            return pieces[0][1], pieces[0][2]
        place = torch.tensor([i for members, _, _ in pieces for i in members], device=self.tower.device).argsort()
        features = torch.cat([piece[1] for piece in pieces], -2)[..., place, :]
        return features, None

    def _injected(self, columns: Ids, times: int) -> Injection | None:
        """Return what the context makes of the classes' zero-shot features, for each class `times` prompts."""
        bank = self.context.bank
        if bank is None:
            return None
        tokens = self.context.class_tokens(self.original(columns, bank))
        return Injection(self.context.layer, tokens.repeat(times, 1, 1))

    def _learned(self, columns: Ids, variant: int) -> Tensor:
        """Return the vectors (K, D) for the slots of a layout: first the context's, then the labels'."""
        context = self.context.vectors(variant, columns)
        learned = [c for c, length in zip(columns, self.labels.lengths(columns), strict=True) if length]
        none = torch.empty(0, self.tower.width, dtype=self.dtype, device=self.tower.device)
        labels = self.labels.joined(learned) if learned else none
        return labels if context is None else torch.cat([context, labels])

    def _layout(self, columns: Ids, variant: int, original: bool, teacher: bool) -> list[tuple[list[int], Layout]]:
        """Return, for each wording, the places of its classes in `columns` and the layout of their prompts."""
        key = (columns, variant, original, teacher)
        if key not in self._layouts:
            if len(self._layouts) >= LAYOUTS:
                del self._layouts[next(iter(self._layouts))]
            self._layouts[key] = self._build(columns, variant, original, teacher)
        return self._layouts[key]

    def _build(self, columns: Ids, variant: int, original: bool, teacher: bool) -> list[tuple[list[int], Layout]]:
        found = []
        for members in _alike([self.context.wording(class_id, variant) for class_id in columns]):
            ids = [columns[place] for place in members]
            own = self._bodies(ids, variant, labels=not original)
            bodies = [*own, *self._bodies(ids, variant, labels=False)] if teacher else own
            found.append((members, self.tower.layout(bodies)))
        return found

    def _bodies(self, class_ids: Sequence[int], variant: int, labels: bool) -> list[list[int]]:
        """Write the prompts of some classes; slots count the context's vectors first, then each class's label."""
        context = self.context
        lengths = self.labels.lengths(class_ids)
        own = context.class_specific
        free = context.n_ctx * (len(class_ids) if own else 1)
        bodies = []
        for row, (class_id, length) in enumerate(zip(class_ids, lengths, strict=True)):
            first = row * context.n_ctx if own else 0
            vectors = [slot(first + i) for i in range(context.n_ctx)]
            label = [slot(free + i) for i in range(length)] if labels else ()
            free += length
            wording, name = context.wording(class_id, variant), self.names[class_id]
            bodies.append(body(self.tower.words, wording, name, vectors, label, self.labels.place, context.position))
        return bodies


def _alike(wordings: Sequence[Wording]) -> list[list[int]]:
    """Return the places of the wordings that have the same words before the name, together."""
    places: dict[str, list[int]] = {}
    for place, wording in enumerate(wordings):
        places.setdefault(wording.before, []).append(place)
    return list(places.values())
