"""CoOp with Learning without Forgetting: the model before a stage teaches the old classes while new ones train.

LwF keeps a copy of the model. The backbone is not in it: the copy holds the learned tensors alone.
"""

from avalanche.training.plugins import LwFPlugin

import lamm_cl
from lamm_cl.evaluation.plugins import AccuracyMatrix, evaluator


def main() -> None:
    backbone = lamm_cl.load_clip("tiny")
    benchmark = lamm_cl.base_to_novel("digits", shots=4, seed=1)
    matrix = AccuracyMatrix()
    lwf = LwFPlugin(alpha=1.0, temperature=2.0)
    strategy = lamm_cl.CoOp(
        backbone=backbone,
        class_names=benchmark.class_names,
        shots=4,
        n_ctx=4,
        train_epochs=5,
        train_label_space="seen",
        plugins=[lwf],
        evaluator=evaluator(matrix),
    )
    for experience in benchmark.train_stream:
        strategy.train(experience)
        strategy.eval(benchmark.test_stream)
    before, after = matrix.matrices()["own"][:, 0]
    copied = sum(p.numel() for p in lwf.lwf.prev_model.parameters())
    print(f"Set1 {before:.1%} before Set2, {after:.1%} after; the teacher's copy holds {copied} numbers")


if __name__ == "__main__":
    main()
