"""Learned tensors under the published codes' names: there and back, whichever classes were learned."""

from typing import Any

import pytest
import torch

from lamm_cl import UsageError, build_model
from lamm_cl.methods import official

NAMES = ["zero", "one", "two", "three four", "five"]


def state(model: Any) -> dict[str, torch.Tensor]:
    return {name: parameter.detach().clone() for name, parameter in model.named_parameters()}


@pytest.mark.parametrize("learned", [[3, 4], [4, 1], [0, 1, 2, 3, 4]], ids=str)
@pytest.mark.parametrize("method", ["lamm", "coop+lamm", "maple+lamm", "coop"])
def test_there_and_back_changes_nothing(method: str, learned: list[int], tiny: Any) -> None:
    options = {"csc": True, "n_ctx": 2} if method == "coop" else {}
    model = build_model(method, tiny, NAMES, learn=False, **options)
    model.learn_classes(learned)
    before, values = state(model), official.gather(model)
    rows = values["prompt_learner.ctx" if method == "coop" else "prompt_learner.token_classes"]
    assert len(rows) == len(learned)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
    official.scatter(model, values)
    assert all(torch.equal(value, before[name]) for name, value in state(model).items())


def test_rows_follow_the_class_ids_not_the_order_of_learning(tiny: Any) -> None:
    model = build_model("lamm", tiny, NAMES, learn=False)
    model.learn_classes([4])
    model.learn_classes([1])
    rows = official.gather(model)["prompt_learner.token_classes"]
    assert torch.equal(rows, torch.stack(model.labels.token_classes.rows([1, 4])))
    official.scatter(model, {"prompt_learner.token_classes": torch.stack([torch.ones_like(rows[0]), rows[1]])})
    assert (model.labels.token_classes.rows([1])[0] == 1).all()
    assert torch.equal(model.labels.token_classes.rows([4])[0], rows[1])


def test_gradients_are_gathered_in_the_same_order(tiny: Any) -> None:
    model = build_model("lamm", tiny, NAMES, learn=False)
    model.learn_classes([4, 2])
    model.labels.token_classes.rows([2])[0].grad = torch.ones(1, tiny.text.width)
    gradients = official.gather(model, gradients=True)["prompt_learner.token_classes"]
    assert gradients[0].eq(1).all()
    assert gradients[1].eq(0).all()  # none yet


def test_a_checkpoint_of_other_classes_is_refused_and_nothing_is_set(tiny: Any) -> None:
    model = build_model("coop+lamm", tiny, NAMES, learn=False)
    model.learn_classes([3, 4])
    before, values = state(model), official.gather(model)
    values["prompt_learner.ctx"] = values["prompt_learner.ctx"] + 1
    values["prompt_learner.token_classes"] = torch.zeros(5, 1, tiny.text.width)
    with pytest.raises(UsageError, match=r"token_classes' has shape \(5, 1, \d+\), expected \(2, 1, \d+\)"):
        official.scatter(model, values)
    del values["prompt_learner.token_classes"]
    with pytest.raises(UsageError, match=r"token_classes' is missing; there are prompt_learner.ctx"):
        official.scatter(model, values)
    assert all(torch.equal(value, before[name]) for name, value in state(model).items())


def test_labels_of_several_lengths_have_no_published_name(tiny: Any) -> None:
    model = build_model("lamm", tiny, ["seven eight", "zero"], learn=False)
    model.learn_classes([0])
    model.learn_classes([1])
    with pytest.raises(UsageError, match="labels of 1 and 2 tokens, but the published codes learn one length a run"):
        official.gather(model)
