"""CoOp under EWC: the shared context, which every class relies on, is held near its old value.

For LAMM alone EWC changes nothing: what it would protect is frozen already.
"""

from avalanche.training.plugins import EWCPlugin

import lamm_cl
from lamm_cl.clip.feature_cache import FeatureStore
from lamm_cl.evaluation.plugins import AccuracyMatrix, evaluator


def main() -> None:
    backbone = lamm_cl.load_clip("tiny")
    benchmark = lamm_cl.base_to_novel("digits", shots=4, seed=1)
    features = FeatureStore(backbone, None)  # in memory; all runs below share it
    plugins = {
        "without EWC": [],
        "EWC, lambda 100": [EWCPlugin(ewc_lambda=100)],
        "EWC, lambda 1000": [EWCPlugin(ewc_lambda=1000)],
    }
    for title, chosen in plugins.items():
        matrix = AccuracyMatrix()
        strategy = lamm_cl.CoOp(
            backbone=backbone,
            class_names=benchmark.class_names,
            shots=4,
            n_ctx=4,
            train_epochs=10,
            lr=0.02,  # ten times the paper's: five digits are learned in 50 steps, and forgetting shows
            plugins=chosen,
            evaluator=evaluator(matrix),
            features=features,
        )
        for experience in benchmark.train_stream:
            strategy.train(experience)
            strategy.eval(benchmark.test_stream)
        (before, _), (after, new) = matrix.matrices()["own"]
        print(f"{title}: Set1 {before:.1%} before Set2, {after:.1%} after; Set2 {new:.1%}")


if __name__ == "__main__":
    main()
