"""Avalanche's metrics and loggers: the terminal, a text file, CSV files and TensorBoard.

python loggers.py [FOLDER]        then: tensorboard --logdir FOLDER/tensorboard
"""

import sys
import tempfile
from pathlib import Path

from avalanche.evaluation.metrics import accuracy_metrics, forgetting_metrics, loss_metrics
from avalanche.logging import CSVLogger, InteractiveLogger, TensorboardLogger, TextLogger
from avalanche.training.plugins import EvaluationPlugin

import lamm_cl
from lamm_cl.evaluation.plugins import AccuracyMatrix


def main(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    backbone = lamm_cl.load_clip("tiny")
    benchmark = lamm_cl.base_to_novel("digits", shots=4, seed=1)
    with (folder / "log.txt").open("w") as text:
        csv, board = CSVLogger(str(folder / "csv")), TensorboardLogger(str(folder / "tensorboard"))
        strategy = lamm_cl.LAMM(
            backbone=backbone,
            class_names=benchmark.class_names,
            shots=4,
            train_epochs=3,
            evaluator=EvaluationPlugin(
                accuracy_metrics(epoch=True, experience=True, stream=True),
                loss_metrics(minibatch=True, epoch=True),
                forgetting_metrics(experience=True),
                AccuracyMatrix(),
                loggers=[InteractiveLogger(), TextLogger(text), csv, board],
            ),
        )
        for experience in benchmark.train_stream:
            strategy.train(experience)
            strategy.eval(benchmark.test_stream)
        csv.close()
        board.writer.close()
    print("written:", ", ".join(sorted(path.name for path in folder.rglob("*") if path.is_file())))


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else tempfile.mkdtemp(prefix="lamm_cl_logs_")))
