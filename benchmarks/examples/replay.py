"""LAMM with a memory of old images: they compete with the new ones, so a stage trains in the joint label space."""

from avalanche.training.plugins import ReplayPlugin

import lamm_cl
from lamm_cl.clip.feature_cache import FeatureStore
from lamm_cl.evaluation.plugins import AccuracyMatrix, evaluator


def main() -> None:
    backbone = lamm_cl.load_clip("tiny")
    benchmark = lamm_cl.base_to_novel("digits", shots=4, seed=1)
    features = FeatureStore(backbone, None)  # in memory; all runs below share it
    for title, plugins in (("alone", []), ("with replay", [ReplayPlugin(mem_size=20)])):
        matrix = AccuracyMatrix()
        strategy = lamm_cl.LAMM(
            backbone=backbone,
            class_names=benchmark.class_names,
            shots=4,
            train_epochs=5,
            plugins=plugins,
            evaluator=evaluator(matrix),
            features=features,
        )
        strategy.train(benchmark.train_stream)
        strategy.eval(benchmark.test_stream)
        first, second = matrix.matrices()["seen"][-1]
        print(f"{title}: among all ten digits, Set1 {first:.1%}, Set2 {second:.1%}; trained among {strategy.columns}")


if __name__ == "__main__":
    main()
