"""Synaptic Intelligence on a growing model: parameters that are new in a stage join in when it starts."""

from avalanche.training.plugins import SynapticIntelligencePlugin

import lamm_cl
from lamm_cl.evaluation.plugins import AccuracyMatrix, evaluator


def main() -> None:
    backbone = lamm_cl.load_clip("tiny")
    benchmark = lamm_cl.base_to_novel("digits", shots=4, seed=1)
    matrix = AccuracyMatrix()
    strategy = lamm_cl.CoOp(
        backbone=backbone,
        class_names=benchmark.class_names,
        shots=4,
        lamm=True,
        n_ctx=4,
        train_epochs=5,
        plugins=[SynapticIntelligencePlugin(si_lambda=1.0)],
        evaluator=evaluator(matrix),
    )
    for experience in benchmark.train_stream:
        strategy.train(experience)
        strategy.eval(benchmark.test_stream)
    for stage, row in enumerate(matrix.matrices()["all"], 1):
        print(f"after stage {stage}, among all ten digits:", " ".join(f"{value:.1%}" for value in row))


if __name__ == "__main__":
    main()
