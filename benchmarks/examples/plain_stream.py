"""LAMM on two halves of handwritten digits: each stage adds trainable embeddings for its own class names.

In its own label space Set1 scores the same before and after Set2; in the joint one it need not.
"""

import lamm_cl
from lamm_cl.evaluation.plugins import AccuracyMatrix, evaluator


def main() -> None:
    backbone = lamm_cl.load_clip("tiny")
    benchmark = lamm_cl.base_to_novel("digits", shots=4, seed=1)
    matrix = AccuracyMatrix()
    strategy = lamm_cl.LAMM(
        backbone=backbone,
        class_names=benchmark.class_names,
        shots=4,
        train_epochs=5,
        evaluator=evaluator(matrix),
    )
    for experience in benchmark.train_stream:
        strategy.train(experience)
        strategy.eval(benchmark.test_stream)
    for space, accuracy in matrix.matrices().items():
        print(f"{space:5}", " | ".join(" ".join(f"{value:6.1%}" for value in row) for row in accuracy))


if __name__ == "__main__":
    main()
