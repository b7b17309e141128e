"""What trains in stage 2 decides what is kept: context frozen or trained on, own or seen label space, on digits.

    python what_trains.py [SEEDS SHOTS EPOCHS METHOD...]     prints the table of lamm_cl/strategies/README.md

SEEDS runs of each combination (default 3), SHOTS images a class (16), EPOCHS a stage (0: the method's own recipe).
"""

import sys
from collections.abc import Sequence

import numpy as np

import lamm_cl
from lamm_cl.clip.feature_cache import FeatureStore
from lamm_cl.evaluation.plugins import AccuracyMatrix, evaluator

METHODS = ("lamm", "coop", "coop+lamm", "maple", "maple+lamm")
CHOICES = [(after, space) for after in (None, 1) for space in ("own", "seen")]


def main(seeds: int = 3, shots: int = 16, epochs: int = 0, methods: Sequence[str] = METHODS) -> None:
    backbone = lamm_cl.load_clip("tiny")
    features = FeatureStore(backbone, None)
    benchmarks = [lamm_cl.base_to_novel("digits", shots=shots, seed=seed) for seed in range(1, seeds + 1)]
    print("| method | context after stage 1 | trained in | Set1 own | Set2 own | Set1 seen | Set2 seen | both, seen |")
    print("|---|---|---|---|---|---|---|---|")
    for method in methods:
        for after, space in CHOICES:
            if method == "lamm" and after is not None:
                continue  # its context never trains
            found = []
            for benchmark in benchmarks:
                matrix = AccuracyMatrix()
                strategy = lamm_cl.build_strategy(
                    method,
                    backbone,
                    benchmark,
                    seed=benchmark.seed,
                    epochs=epochs or None,
                    features=features,
                    freeze_context_after=after,
                    train_label_space=space,
                    evaluator=evaluator(matrix),
                )
                strategy.train(benchmark.train_stream)
                strategy.eval(benchmark.test_stream)
                last = {name: rows[-1] for name, rows in matrix.matrices().items()}
                total = next(
                    row.value
                    for row in matrix.rows()
                    if (row.stage, row.eval_set, row.label_space, row.metric) == (2, "total", "seen", "accuracy")
                )
                found.append([*last["own"], *last["seen"], total])
            frozen = "-" if method == "lamm" else "trains on" if after is None else "frozen"
            numbers = " | ".join(f"{100 * value:.2f}" for value in np.mean(found, axis=0))
            print(f"| {method} | {frozen} | {space} | {numbers} |", flush=True)


if __name__ == "__main__":
    main(*(int(argument) for argument in sys.argv[1:4]), *([sys.argv[4:]] if sys.argv[4:] else []))
