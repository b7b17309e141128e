"""What LAMM can reach at most (joint, cumulative) and at least (naive) on a stream, in the joint label space."""

import lamm_cl
from lamm_cl.clip.feature_cache import FeatureStore
from lamm_cl.evaluation.plugins import AccuracyMatrix, evaluator


def main() -> None:
    backbone = lamm_cl.load_clip("tiny")
    benchmark = lamm_cl.base_to_novel("digits", shots=4, seed=1)
    features = FeatureStore(backbone, None)  # in memory; all runs below share it
    for regime in ("naive", "cumulative", "joint"):
        matrix = AccuracyMatrix()
        strategy = lamm_cl.LAMM(
            backbone=backbone,
            class_names=benchmark.class_names,
            shots=4,
            train_epochs=5,
            regime=regime,
            evaluator=evaluator(matrix),
            features=features,
        )
        strategy.train(benchmark.train_stream)
        strategy.eval(benchmark.test_stream)
        first, second = matrix.matrices()["all"][-1]
        print(f"{regime:10} Set1 {first:.1%}  Set2 {second:.1%}  ({strategy.clock.train_iterations} steps)")


if __name__ == "__main__":
    main()
