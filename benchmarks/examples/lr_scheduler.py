"""A learning rate schedule of one's own, instead of the recipe's: made for an optimizer, given as Avalanche's plugin.

The strategy puts what trains in a stage into that optimizer, whatever it was made with.
"""

import torch
from avalanche.training.plugins import LRSchedulerPlugin

import lamm_cl
from lamm_cl.evaluation.plugins import AccuracyMatrix, evaluator


def main() -> None:
    backbone = lamm_cl.load_clip("tiny")
    benchmark = lamm_cl.base_to_novel("digits", shots=4, seed=1)
    optimizer = torch.optim.Adam([torch.zeros(1)], lr=0.002)
    schedule = torch.optim.lr_scheduler.StepLR(optimizer, step_size=2, gamma=0.5)
    matrix = AccuracyMatrix()
    strategy = lamm_cl.LAMM(
        backbone=backbone,
        class_names=benchmark.class_names,
        shots=4,
        train_epochs=5,
        plugins=[LRSchedulerPlugin(schedule)],
        evaluator=evaluator(matrix),
        on_epoch_end=lambda strategy: print(f"stage {strategy.stage}: lr {optimizer.param_groups[0]['lr']:.5f}"),
    )
    for experience in benchmark.train_stream:
        strategy.train(experience)
        strategy.eval(benchmark.test_stream)
    print("own label space:", matrix.matrices()["own"].round(3).tolist())


if __name__ == "__main__":
    main()
