"""CoOp with LAMM's labels under EWC: the shared context is held near its old value, new labels are free.

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
        "alone": [],
        "separate": [EWCPlugin(ewc_lambda=100)],
        "online": [EWCPlugin(ewc_lambda=100, mode="online", decay_factor=0.9)],
    }
    for title, chosen in plugins.items():
        matrix = AccuracyMatrix()
        strategy = lamm_cl.CoOp(
            backbone=backbone,
            class_names=benchmark.class_names,
            shots=4,
            lamm=True,
            n_ctx=4,
            train_epochs=5,
            plugins=chosen,
            evaluator=evaluator(matrix),
            features=features,
        )
        for experience in benchmark.train_stream:
            strategy.train(experience)
            strategy.eval(benchmark.test_stream)
        before, after = matrix.matrices()["own"][:, 0]
        print(f"EWC {title}: Set1 {before:.1%} before Set2, {after:.1%} after")


if __name__ == "__main__":
    main()
