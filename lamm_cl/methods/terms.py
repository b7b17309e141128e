"""Terms of the objective: contrast, sentences, neighbours, references, and LAMM's hierarchical loss."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from lamm_cl.methods.objective import PREVIOUS, Batch, Term
from lamm_cl.methods.prompted_clip import PromptedOutput
from lamm_cl.methods.rehearsal import Gaussians, NoisyMeans
from lamm_cl.methods.stage import Step
from lamm_cl.prompts import losses
from lamm_cl.prompts.labels import Dialect
from lamm_cl.prompts.losses import DISTANCES, Distance
from lamm_cl.prompts.pair_texts import PairTexts
from lamm_cl.prompts.wording import TextBank
from lamm_cl.seeds import seed_for


class Contrast:
    """CLIP's symmetric cross entropy with one text an image: images of one class are negatives of each other.

    Args:
        scale: factor of the cosines, or what gives it, where it trains.
    """

    def __init__(self, scale: float | Callable[[], Tensor]) -> None:
        self._scale = scale

    def ce(self, batch: Batch) -> Tensor:
        """Return the mean of both directions, a scalar."""
        image, text = batch.output.image[:, 0], own_text(batch)
        scale = self._scale() if callable(self._scale) else self._scale
        return (diagonal(image, text, scale) + diagonal(text, image, scale)) / 2


def own_text(batch: Batch) -> Tensor:
    """Return the text feature (batch, E) of each image's class."""
    rows: Tensor = batch.output.text[:, 0][batch.keep][batch.rows]
    return rows


def diagonal(one: Tensor, other: Tensor, scale: float | Tensor = 1.0) -> Tensor:
    """Return the cross entropy of scale * one @ other^T, where row i belongs to column i."""
    return F.cross_entropy(scale * one @ other.T, torch.arange(len(one), device=one.device))


class Described:
    """ENGINE's further terms: contrast in the mini-batch with features of the frozen towers; cosines are not scaled.

    Args:
        means: knows the step, its images and their second view.
        texts: sentences that tell one class from another; None: there are none.
    """

    def __init__(self, means: NoisyMeans, texts: PairTexts | None) -> None:
        self._means, self._texts = means, texts

    def descriptions(self, batch: Batch) -> Tensor:
        """Return the term of the texts, each against one sentence about its class, drawn anew in each step."""
        step = self._means.step
        if step is None or self._texts is None:
            return batch.logits.new_zeros(())
        ids = torch.tensor(batch.output.columns, device=batch.rows.device)[batch.keep][batch.rows].tolist()
        wanted = []
        for place, class_id in enumerate(ids):
            listed = self._texts.listed(class_id)
            wanted.append((class_id, *listed[self.pick(len(listed), step, place)]))
        text = own_text(batch)
        return diagonal(text, F.normalize(self._texts.features(wanted).to(text), dim=-1))

    def second_view(self, batch: Batch) -> Tensor:
        """Return the term of the images, each against a second view of itself; older classes have none."""
        if self._means.view is None:
            return batch.logits.new_zeros(())
        image = batch.output.image[: self._means.real, 0]
        return diagonal(image, F.normalize(self._means.view.to(image), dim=-1))

    @staticmethod
    def pick(n: int, step: Step, place: int) -> int:
        """Return which of n sentences an item of the mini-batch gets."""
        return seed_for("sentence", *step.place, place) % n


class Neighbours:
    """Mean of relu(cos(f, new) - cos(f, old) + margin) over drawn features f of older classes (RAPF's hinge).

    Neighbours are pairs of an older class and a class of the stage whose text features, of length 1, are nearer than
    the threshold. Every step draws features of the older class of each pair, and none of the new one's.

    Args:
        gaussians: draw the features.
        threshold: Euclidean distance of text features.
        features: drawn for each pair.
        margin: of the hinge.
    """

    def __init__(self, gaussians: Gaussians, threshold: float, features: int, margin: float) -> None:
        self._gaussians, self._threshold, self._features, self._margin = gaussians, threshold, features, margin
        self._known: tuple[tuple[int, tuple[int, ...]], list[tuple[int, int]]] | None = None

    def hinge(self, batch: Batch) -> Tensor:
        """Return the term, a scalar; 0 outside of training steps, and where there are no neighbours."""
        step, output = self._gaussians.step, batch.output
        pairs = [] if step is None else self.pairs(output)
        if not pairs or not self._features:
            return batch.logits.new_zeros(())
        assert step is not None
        first = len(self._gaussians.turn(step))
        drawn = [self._gaussians.sample(old, self._features, step, first + k) for k, (old, _) in enumerate(pairs)]
        image = output.model.image_features(torch.cat(drawn).to(output.text))
        place = {class_id: row for row, class_id in enumerate(output.columns)}
        rows = torch.tensor([[place[c] for c in pair] for pair in pairs]).repeat_interleave(self._features, 0)
        old, new = (output.text[:, 0][rows[:, side].to(image.device)] for side in (0, 1))
        mean: Tensor = ((image * (new - old)).sum(1) + self._margin).relu().mean()
        return mean

    def pairs(self, output: PromptedOutput) -> list[tuple[int, int]]:
        """Return the neighbours (older class, class of the stage) among the columns of an output."""
        assert self._gaussians.step is not None
        stage = self._gaussians.step.stage
        key = stage.number, output.columns
        if output.text.requires_grad or self._known is None or self._known[0] != key:
            older = set(self._gaussians.older(stage))
            sides = [[c for c in output.columns if c in classes] for classes in (older, stage.classes)]
            place = {class_id: row for row, class_id in enumerate(output.columns)}
            text = output.text[:, 0].detach().float()  # the released code compares in single precision
            old, new = (text[[place[c] for c in side]] for side in sides)
            near = (torch.cdist(old, new) < self._threshold).nonzero().tolist() if len(old) and len(new) else []
            self._known = key, [(sides[0][row], sides[1][column]) for row, column in near]
        return self._known[1]


@dataclass(frozen=True)
class Reference:
    """The distance of a prompted CLIP's text features, image features or logits from a reference without gradient.

    Attributes:
        what: "text": features of every class of the label space; "image": features of the batch; "logits".
        distance: how far; see `lamm_cl.prompts.losses`.
        bank: the words around the names of zero-shot CLIP; None: the learner's own teacher.
        to: "zero_shot": CLIP without anything learned; "previous_stage": the learner as it was when the stage began.
            In the first stage nothing was learned before, so that zero-shot CLIP is the reference there.
    """

    what: Literal["text", "image", "logits"]
    distance: Distance
    bank: TextBank | None = None
    to: Literal["zero_shot", "previous_stage"] = "zero_shot"

    def term(self, batch: Batch) -> Tensor:
        """Return the distance, unweighted; of several prompts a class or an image, the mean."""
        output, keep = batch.output, batch.keep
        before = output.previous() if self.to == PREVIOUS else None
        if self.what == "text":
            learned = output.text[..., keep, :, :]
            fixed = output.zero_shot(self.bank)[keep][:, None] if before is None else before.text[..., keep, :, :]
        elif self.what == "image":
            learned = output.image
            fixed = output.zero_shot_image()[:, None] if before is None else before.image
        else:
            learned = batch.logits
            fixed = (output.zero_shot_logits(self.bank) if before is None else before.logits)[:, keep]
        with torch.autocast(learned.device.type, enabled=False):
            return DISTANCES[self.distance](learned, fixed)


@dataclass(frozen=True)
class GradientProjection:
    """Takes from the gradient of the loss what points against the gradient of the distance to zero-shot CLIP.

    For each tensor by itself: where a . b < 0, a - share * (a . b / |b|^2) b, and a otherwise (equation 5), a being the
    gradient of the whole loss and b that of `distance`, which is no part of the loss.

    Attributes:
        temperature: T, of both sides.
        share: of the component that is taken away: the paper's lambda.
    """

    temperature: float = 1.0
    share: float = 1.0

    def distance(self, batch: Batch) -> Tensor:
        """Return T^2 times the cross entropy of the logits with zero-shot CLIP's probabilities (equation 3).

        The entropy of the target, which has no gradient, is not subtracted: the released code does not either.
        """
        output = batch.output
        image, text = output.zero_shot_image(), output.zero_shot()
        with torch.autocast(image.device.type, enabled=False):
            teacher = (output.scale * image @ text.to(image.dtype).t())[:, batch.keep]
            return losses.knowledge_distillation(batch.logits, teacher, self.temperature, "zero_shot")

    def backward(
        self, loss: Tensor, distance: Tensor, parameters: Sequence[Tensor], retain_graph: bool = False
    ) -> None:
        """Set the gradients of `parameters`; a factor that loss and distance share is in them too.

        Args:
            loss: what is minimised, with whatever was added to it.
            distance: what `distance` returned.
            parameters: what trains.
            retain_graph: as torch's.
        """
        reached: Sequence[Tensor | None] = [None] * len(parameters)
        if distance.requires_grad:
            reached = torch.autograd.grad(distance, list(parameters), retain_graph=True, allow_unused=True)
        torch.autograd.backward(loss, retain_graph=retain_graph)
        for parameter, towards in zip(parameters, reached, strict=True):
            if parameter.grad is not None and towards is not None:
                parameter.grad.sub_(self._against(parameter.grad, towards).to(parameter.grad.dtype))

    def _against(self, gradient: Tensor, towards: Tensor) -> Tensor:
        """Return what is taken away; zeros where the two agree, or one of them is zero."""
        dtype = torch.promote_types(gradient.dtype, torch.float32)  # squares overflow in half precision
        a, b = gradient.to(dtype), towards.to(dtype)
        product, square = (a * b).sum(), (b * b).sum()
        # As factors, not branches: a device need not wait for the answer.
        return self.share * torch.where(product < 0, product / square, 0) * b


@dataclass(frozen=True)
class Hierarchical:
    """LAMM's three terms, on a prompted CLIP.

    Attributes:
        teacher: "original": features of the original names in the fixed template; "current": of the original names in
            the learned context as it is now (the released code of X+LAMM).
        dialect: "official" (the released code) or "paper"; what differs is in `lamm_cl/methods/README.md`.
        kd_target: see `losses.knowledge_distillation`.
    """

    teacher: Literal["original", "current"]
    dialect: Dialect
    kd_target: Literal["learned", "zero_shot"]

    def terms(self, lambda_wc: float, lambda_cos: float, lambda_kd: float) -> dict[str, tuple[Term, float]]:
        """Return the terms with their weights; the paper's weight of L_WC is 1 / shots."""
        return {"wc": (self.wc, lambda_wc), "cos": (self.cos, lambda_cos), "kd": (self.kd, lambda_kd)}

    def wc(self, batch: Batch) -> Tensor:
        """L_WC over the labels that train."""
        learned, anchors = batch.output.label_vectors()
        return losses.weight_consolidation(learned, anchors) if learned else batch.logits.new_zeros(())

    def cos(self, batch: Batch) -> Tensor:
        """L_COS over the label space."""
        text, teacher = batch.output.text, self._teacher(batch)
        if not batch.whole:
            text, teacher = text[..., batch.keep, :, :], teacher[batch.keep]
        # Features have length 1, but for what float16 rounds.
        distance = losses.cosine_distance(text, teacher, unit=text.dtype == teacher.dtype != torch.float16)
        if self.dialect == "official":
            return losses.cosine_of_batch(distance, batch.rows)
        return losses.cosine_of_classes(distance)

    def kd(self, batch: Batch) -> Tensor:
        """L_KD over the label space."""
        output = batch.output
        image = output.image[:, 0] if output.image.shape[1] == 1 else F.normalize(output.image.mean(1), dim=-1)
        with torch.autocast(image.device.type, enabled=False):  # as the learned logits
            teacher = output.scale * image @ self._teacher(batch).to(image.dtype).t()
        teacher = teacher if batch.whole else teacher[:, batch.keep]
        temperature = losses.OFFICIAL_TEMPERATURE if self.dialect == "official" else 1.0
        return losses.knowledge_distillation(batch.logits, teacher, temperature, self.kd_target)

    def _teacher(self, batch: Batch) -> Tensor:
        """Return the features (n, E) of the original names, for all columns of the output."""
        found: Tensor = batch.output.current_names() if self.teacher == "current" else batch.output.zero_shot()
        return found
