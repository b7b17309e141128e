"""Stop a stage when a validation set stops improving, and go back to the best prompts.

Avalanche's plugin reads the metrics, so the stage must be evaluated after every epoch, on the stage's own set.
"""

from avalanche.evaluation.metrics import accuracy_metrics
from avalanche.training.plugins import EarlyStoppingPlugin

import lamm_cl
from lamm_cl.evaluation.plugins import evaluator


def main() -> None:
    backbone = lamm_cl.load_clip("tiny")
    benchmark = lamm_cl.base_to_novel("digits", shots=4, seed=1)
    # A real study stops on validation images, never on the test set; 4 shots leave few, and this shows the wiring.
    validation = benchmark.val_stream if "val" in benchmark.streams else benchmark.test_stream
    strategy = lamm_cl.LAMM(
        backbone=backbone,
        class_names=benchmark.class_names,
        shots=4,
        train_epochs=20,
        plugins=[EarlyStoppingPlugin(patience=2, val_stream_name=f"{validation.name}_stream")],
        evaluator=evaluator(accuracy_metrics(stream=True)),
        eval_every=1,
    )
    for experience, own in zip(benchmark.train_stream, validation, strict=True):
        strategy.train(experience, eval_streams=[[own]])
        print(
            f"stage {strategy.stage} stopped after {strategy.clock.train_exp_epochs} of {strategy.train_epochs} epochs"
        )


if __name__ == "__main__":
    main()
