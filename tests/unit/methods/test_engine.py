"""ENGINE's parts: the Gaussian discriminant, noisy means, sentences that tell classes apart, and what they score."""

from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from torch import Tensor

import lamm_cl
from lamm_cl import build_model
from lamm_cl.errors import UsageError
from lamm_cl.methods.head import no_text
from lamm_cl.methods.learner_part import PartData
from lamm_cl.methods.prototypes import GaussianDiscriminant, precision
from lamm_cl.methods.stage import Stage, Step
from lamm_cl.prompts.pair_texts import PairTexts

NAMES = ["zero", "one", "two", "three"]
WIDTH, OUT = 7, 5


def rows(n: int, width: int = WIDTH, seed: int = 0) -> Tensor:
    return torch.randn(n, width, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def images(classes: list[int], each: int = 10, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Features around a mean of each class, and labels."""
    labels = torch.tensor(classes).repeat_interleave(each)
    return rows(len(NAMES), seed=9)[labels] + 0.5 * rows(len(labels), seed=seed), labels


def fitted(*stages: tuple[Tensor, Tensor], spread: Any = "pooled") -> GaussianDiscriminant:
    """A discriminant after some stages."""
    found = GaussianDiscriminant(WIDTH, spread)
    found.grow(len(NAMES))
    for x, y in stages:
        found.add(x, y)
    return found


def test_discriminant_is_that_of_another_library_at_its_covariance() -> None:
    x, y = images([0, 1, 2, 3])
    found = fitted((x, y))
    z = F.normalize(x, dim=-1).numpy()
    means = np.stack([z[y == c].mean(0) for c in range(4)])
    centred = z - means[y]
    covariance = centred.T @ centred
    covariance = (covariance + np.trace(covariance) / (len(z) - 1) * np.eye(WIDTH)) / WIDTH
    np.testing.assert_allclose(found.precision, np.linalg.inv(covariance), rtol=1e-9)

    class Known:
        """An estimator of a covariance that is known: each class's share of it is the same."""

        def fit(self, _: Any) -> "Known":
            self.covariance_ = covariance
            return self

    other = LinearDiscriminantAnalysis(solver="lsqr", covariance_estimator=Known(), priors=[0.25] * 4).fit(z, y)
    scores, expected = found(x, range(4), no_text), other.decision_function(z)
    np.testing.assert_allclose(scores, expected, atol=1e-9)


def test_pooled_stages_give_what_one_stage_gives() -> None:
    x, y = images([0, 1, 2, 3])
    whole, test = fitted((x, y)), rows(6, seed=3)
    for cut in (torch.arange(0, 40) < 20, torch.arange(0, 40) % 3 == 0):  # class by class, or classes in both stages
        parts = fitted((x[cut], y[cut]), (x[~cut], y[~cut]))
        torch.testing.assert_close(parts(test, range(4), no_text), whole(test, range(4), no_text))


def test_merged_stages_average_precisions() -> None:
    first, second = images([0], seed=1), images([1, 2, 3], seed=2)
    found = fitted(first, second, spread="merged")
    p = [fitted(one, spread="merged").precision for one in (first, second)]
    means = [F.normalize(x, dim=-1) for x, _ in (first, second)]
    d = means[0].mean(0) - torch.stack([means[1][second[1] == c].mean(0) for c in (1, 2, 3)]).mean(0)
    expected = p[0] / 4 + 3 * p[1] / 4 + 1 / 4 * 3 / 4**2 * torch.outer(d, d)
    torch.testing.assert_close(found.precision, expected)
    assert torch.isneginf(fitted(first)(first[0], [0, 1], no_text)[:, 1]).all()


def test_a_cumulative_stage_starts_the_discriminant_anew() -> None:
    x, y = images([0, 1, 2, 3])
    found = GaussianDiscriminant(WIDTH, "merged")
    found.grow(4)
    found.end_stage(Stage(1, (0, 1)), PartData(lambda *_: (x[:20], y[:20]), no_text))
    found.end_stage(Stage(2, (0, 1, 2, 3), (0, 1), True), PartData(lambda *_: (x, y), no_text))
    torch.testing.assert_close(found.precision, fitted((x, y)).precision)


def test_one_image_has_a_precision() -> None:
    assert torch.isfinite(precision(torch.zeros(3, 3).double(), 1)).all()


def pairs(names: list[str] = NAMES) -> dict[str, dict[str, list[str]]]:
    return {a: {b: [f"a {a}, which is no {b}", f"{a} against {b}"] for b in names if b != a} for a in names}


def given(seed: int = 0) -> lamm_cl.FeatureBackbone:
    return lamm_cl.FeatureBackbone(rows(4, OUT, seed), 20.0, rows(WIDTH, OUT, seed + 1))


def test_noise_on_means_is_that_behind_the_projection() -> None:
    backbone = given()
    learner: Any = build_model("engine", backbone, NAMES, sample_noise=0.5)
    x, y = images([0, 1])
    lamm_cl.fit_stage(learner, x, y, epochs=1)
    means, step = learner.rehearsal, Step(learner.next_stage([2, 3]), 0, 4, 7, 4)
    batch, labels = means.rehearse(x[:3], y[:3] + 2, step)
    assert labels[:3].tolist() == [2, 2, 2]
    assert sorted(labels[3:].tolist()) == [0, 1]
    assert means.real == 3
    for call, (row, label) in enumerate(zip(batch[3:], labels[3:], strict=True)):
        centre = (x @ backbone.projection)[y == label].mean(0)
        torch.testing.assert_close(row @ backbone.projection, centre + 0.5 * means.normals(step, call))
    few: Any = build_model("engine", backbone, NAMES, sample_num=1)
    lamm_cl.fit_stage(few, x, y, epochs=1)
    assert len(few.rehearsal.rehearse(x[:3], y[:3] + 2, step)[1]) == 4


def test_each_stage_has_its_map_and_older_ones_stay() -> None:
    learner: Any = build_model("engine", given(), NAMES)
    for classes in ([0, 1], [2, 3]):
        before = {name: p.clone() for name, p in learner.named_parameters()}
        lamm_cl.fit_stage(learner, *images(classes), epochs=1)
        assert all(torch.equal(p, before[name]) for name, p in learner.named_parameters() if name in before)
    x = rows(3)
    features = x @ learner.backbone.projection
    expected = sum(features @ one.weight.T + one.bias for one in learner.adapter.maps)
    torch.testing.assert_close(learner.adapted(x), expected)


def test_the_loss_pairs_images_with_the_texts_of_the_batch() -> None:
    learner: Any = build_model("engine", given(), NAMES)
    exponential: Any = build_model("engine", given(), NAMES, loss_scale="exponential")
    x, y = images([0, 1], each=3)
    for model, scale in ((learner, np.log(20.0)), (exponential, 20.0)):
        lamm_cl.fit_stage(model, x, y, epochs=1)
        output = model.training_output(x, [0, 1])
        logits = scale * output.image[:, 0] @ output.text[:, 0][y].T
        expected = (F.cross_entropy(logits, torch.arange(6)) + F.cross_entropy(logits.T, torch.arange(6))) / 2
        torch.testing.assert_close(model.objective(output, y)["ce"], expected)


def test_the_loss_sees_the_first_template_and_the_score_all() -> None:
    text = rows(4, OUT)
    both = lamm_cl.FeatureBackbone(torch.stack([text, rows(4, OUT, 5)], 1), 20.0, rows(WIDTH, OUT, 1))
    learner: Any = build_model("engine", both, NAMES)
    lamm_cl.fit_stage(learner, *images([0, 1]), epochs=1)
    mapped = [F.normalize(learner.text_adapter(both.class_features(NAMES)[:, i]), dim=-1) for i in range(2)]
    x = rows(2)
    torch.testing.assert_close(learner.training_output(x).text[:, 0], mapped[0])
    torch.testing.assert_close(learner.output(x).text[:, 0], F.normalize((mapped[0] + mapped[1]) / 2, dim=-1))


def test_scores_mix_text_discriminant_and_sentences(tiny: Any) -> None:
    learner: Any = build_model("engine", tiny, NAMES, pairs=pairs(), rerank_top=2, stat=0.3, rerank=0.6)
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(6, 3, *tiny.image_size, generator=generator)
    lamm_cl.fit_stage(learner, x, torch.tensor([0, 1, 2] * 2), classes=[0, 1, 2], epochs=1)
    with torch.no_grad():
        scores = learner(x)
        tokens = tiny.encode_images(x, "unprojected")
        cosine = F.normalize(learner.adapted(tokens), dim=-1) @ learner.output(x).text[:3, 0].T
        g = F.normalize(learner.head.discriminant(tokens, [0, 1, 2], no_text), dim=-1)
        best = cosine.topk(2, 1)[1]
        reranked = torch.zeros_like(cosine)
        for row, (a, b) in enumerate(best.tolist()):
            for one, other in ((a, b), (b, a)):
                texts = tiny.encode_text([pairs()[NAMES[one]][NAMES[other]][turn % 2] for turn in range(3)])
                reranked[row, one] = (tiny.encode_images(x[row : row + 1]) @ texts.T).mean()
    assert torch.isneginf(scores[:, 3]).all()
    torch.testing.assert_close(scores[:, :3], 0.3 * g + 0.7 * (0.6 * reranked + 0.4 * cosine), atol=1e-4, rtol=1e-4)


def test_noise_on_pixels_needs_pixels(tiny: Any) -> None:
    learner: Any = build_model("engine", tiny, NAMES, image_aug=0.5)
    assert learner.needs_images
    x, y = torch.randn(4, 3, *tiny.image_size, generator=torch.Generator().manual_seed(0)), torch.arange(4)
    history = lamm_cl.fit_stage(learner, x, y, epochs=1)
    assert history[0]["second_view"] > 0
    with pytest.raises(UsageError, match="give images instead of features, or leave image_aug at 0"):
        lamm_cl.fit_stage(learner, tiny.encode_images(x, "unprojected"), y, epochs=1)


def test_a_strategy_passes_the_cache_by_where_pixels_are_needed(tiny: Any) -> None:
    digits = lamm_cl.base_to_novel("digits", shots=2, seed=1)
    strategy = lamm_cl.build_strategy("engine", tiny, digits, image_aug=0.5, epochs=1, features="memory")
    strategy.train(digits.train_stream[0])
    assert strategy.loss_terms["second_view"] > 0


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda found: found.pop("two"), "no sentence that tells 'two' from 'zero'"),
        (lambda found: found.update(four={}), "unknown class in the descriptions 'four'"),
        (lambda found: found["one"].pop("zero"), "no sentence that tells 'one' from 'zero'"),
        (lambda found: found["one"].update(zero=[]), "no sentence that tells 'one' from 'zero'"),
        (lambda found: found["one"].update(nine=["a"]), "unknown class that descriptions tell from 'one' 'nine'"),
    ],
)
def test_sentences_tell_every_pair_of_classes_apart(change: Any, message: str, tiny: Any) -> None:
    found = pairs()
    change(found)
    with pytest.raises(UsageError, match=message):
        PairTexts(tiny, found, NAMES)


def test_a_long_sentence_is_cut_off(tiny: Any) -> None:
    texts = PairTexts(tiny, {"a": {"b": ["zero " * 200]}, "b": {"a": ["one"]}}, ["a", "b"])
    found = F.normalize(texts.features([(0, 1, 0), (1, 0, 5)]), dim=-1)
    torch.testing.assert_close(found[1], tiny.encode_text(["one"])[0], atol=1e-4, rtol=1e-4)
    assert torch.isfinite(found).all()
