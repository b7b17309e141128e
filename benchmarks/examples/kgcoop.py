"""A new method in one file: KgCoOp (Yao et al., CVPR 2023) = CoOp + text features kept near the zero-shot ones."""

from dataclasses import replace

from pydantic import Field

from lamm_cl.methods import coop, parts
from lamm_cl.methods.method import Setting
from lamm_cl.methods.registry import register


class KgCoOpOptions(coop.CoOpOptions):
    ctx_init: str = Field("a photo of a", description="initial words; empty = random")
    w: float = Field(8.0, ge=0, description="weight of the knowledge-guided term")


def near_zero_shot(batch):
    """Squared distance of each class's text feature to its zero-shot one, averaged over classes."""
    learned, fixed = batch.output.text[batch.keep, 0], batch.output.zero_shot()[batch.keep]
    return (learned - fixed).pow(2).sum(-1).mean()


def compose(setting: Setting, options: KgCoOpOptions):
    from lamm_cl.methods.objective import Objective

    made = coop.compose(setting, options)
    return replace(made, objective=Objective({"kg": (near_zero_shot, options.w)}))


METHOD = register(
    replace(
        coop.METHOD,
        name="kgcoop",
        title="KgCoOp",
        paper="Yao et al., CVPR 2023",
        options=KgCoOpOptions,
        parts=(*coop.METHOD.parts, parts.Part("objective", "distance to zero-shot")),
        compose=compose,
    )
)

if __name__ == "__main__":
    import lamm_cl

    backbone = lamm_cl.load_clip("tiny")
    benchmark = lamm_cl.base_to_novel("digits", shots=4, seed=1)
    strategy = lamm_cl.build_strategy("kgcoop", backbone, benchmark, epochs=3)
    for experience in benchmark.train_stream:
        strategy.train(experience)
    print(strategy.eval(benchmark.test_stream))
