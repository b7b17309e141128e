"""A new method in one file: CoOp with a penalty on confident answers (Pereyra et al., ICLR 2017 workshop)."""

from dataclasses import replace

from pydantic import Field

from lamm_cl.methods import coop, parts
from lamm_cl.methods.method import Setting
from lamm_cl.methods.registry import register


class ConfidencePenaltyOptions(coop.CoOpOptions):
    ctx_init: str = Field("a photo of a", description="initial words; empty = random")
    beta: float = Field(0.1, ge=0, description="weight of the entropy")


def negative_entropy(batch):
    """Sum of p log p over the label space, averaged over images."""
    logits = batch.logits.log_softmax(1)
    return (logits.exp() * logits).sum(1).mean()


def compose(setting: Setting, options: ConfidencePenaltyOptions):
    made = coop.compose(setting, options)
    return replace(made, objective=made.objective.plus({"confidence": (negative_entropy, options.beta)}))


METHOD = register(
    replace(
        coop.METHOD,
        name="confidence_penalty",
        title="CoOp + confidence penalty",
        paper="Pereyra et al., ICLR 2017 workshop",
        options=ConfidencePenaltyOptions,
        parts=(*coop.METHOD.parts, parts.Part("objective", "confidence penalty")),
        compose=compose,
    )
)

if __name__ == "__main__":
    import lamm_cl

    backbone = lamm_cl.load_clip("tiny")
    benchmark = lamm_cl.base_to_novel("digits", shots=4, seed=1)
    strategy = lamm_cl.build_strategy("confidence_penalty", backbone, benchmark, epochs=3)
    for experience in benchmark.train_stream:
        strategy.train(experience)
    print(strategy.eval(benchmark.test_stream))
