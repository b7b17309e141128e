"""Texts that tell one class from another, and their features."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from lamm_cl.clip.feature_backbone import Backbone
from lamm_cl.errors import UsageError, check_known

Pairs = Mapping[str, Mapping[str, Sequence[str]]]
BATCH = 256


class PairTexts:
    """Sentences about a class as against another one, encoded when they are first asked for.

    Args:
        backbone: encodes them.
        pairs: class name -> name of another class -> sentences.
        names: the classes, by class id.

    Raises:
        UsageError: a class, or a pair of classes, has no sentence, or there is one of a class that is none.
    """

    def __init__(self, backbone: Backbone, pairs: Pairs, names: Sequence[str]) -> None:
        self._backbone = backbone
        self._features: dict[str, Tensor] = {}
        _check(pairs, names)
        self._texts = [{j: list(pairs[a][b]) for j, b in enumerate(names) if a != b} for a in names]
        self._listed = [[(j, r) for j, texts in own.items() for r in range(len(texts))] for own in self._texts]

    def listed(self, class_id: int) -> list[tuple[int, int]]:
        """Return (other class, number of the sentence) of all sentences about a class."""
        return self._listed[class_id]

    def features(self, wanted: Sequence[tuple[int, int, int]]) -> Tensor:
        """Return features (n, E), not normalised, of sentences (class, other class, number), counted round."""
        texts = [self._texts[a][b][r % len(self._texts[a][b])] for a, b, r in wanted]
        missing = [text for text in dict.fromkeys(texts) if text not in self._features]
        for start in range(0, len(missing), BATCH):
            some = missing[start : start + BATCH]
            self._features.update(zip(some, self.encode(some), strict=True))
        return torch.stack([self._features[text] for text in texts])

    @torch.no_grad()
    def encode(self, texts: Sequence[str]) -> Tensor:
        """Return features (n, E), not normalised; a sentence that the text window does not hold is cut off."""
        tower = self._backbone.text
        room = tower.words.room
        return tower.encode(tower.layout([tower.words.ids(text)[:room] for text in texts]))


def _check(pairs: Pairs, names: Sequence[str]) -> None:
    check_known("class in the descriptions", pairs, names)
    for name in names:
        others = pairs.get(name, {})
        check_known(f"class that descriptions tell from {name!r}", others, names)
        missing = [other for other in names if other != name and not others.get(other)]
        if missing:
            raise UsageError(
                f"descriptions have no sentence that tells {name!r} from {missing[0]!r}: give every class its sentences"
            )
