"""A method with parts of its own in one file: a linear image adapter, and old classes rehearsed from Gaussians."""

import torch
from torch.nn.functional import normalize, pad

from lamm_cl.methods import parts, zero_shot
from lamm_cl.methods.adapters import Adapter
from lamm_cl.methods.method import Method
from lamm_cl.methods.recipe import Recipe
from lamm_cl.methods.registry import register
from lamm_cl.methods.rehearsal import Rehearsal
from lamm_cl.methods.statistics import ClassStatistics
from lamm_cl.seeds import seed_for


class Linear(Adapter):
    takes = "unit"

    def __init__(self, width, dtype):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.eye(width, dtype=dtype))

    def forward(self, features):
        return features @ self.weight.T


class Gaussians(Rehearsal):
    """A feature of an old class for each image, drawn with the mean and covariance of that class."""

    def __init__(self, width):
        super().__init__()
        self.statistics = ClassStatistics(width, second="class")
        self.register_buffer("factors", torch.zeros(0, width, width, dtype=torch.float64))

    def grow(self, n_classes):
        self.statistics.grow(n_classes)
        self.factors = pad(self.factors, (0, 0, 0, 0, 0, n_classes - len(self.factors)))

    def end_stage(self, stage, data):
        if stage.cumulative:
            self.statistics.reset()
        self.statistics.add(*data.collect("train", None))
        for c in stage.classes:
            covariance = self.statistics.covariance(c, correction=0)
            self.factors[c] = torch.linalg.cholesky(covariance + 1e-4 * torch.eye(len(covariance)).to(covariance))

    def rehearse(self, x, labels, step):
        old = [c for c in step.stage.old if c not in step.stage.classes]
        if not old:
            return x, labels
        generator = torch.Generator().manual_seed(seed_for("gaussians", *step.place))
        drawn = torch.tensor(old)[torch.randint(len(old), (len(x),), generator=generator)].to(labels.device)
        noise = torch.randn(x.shape, generator=generator, dtype=torch.float64).to(x.device)
        features = self.statistics.mean[drawn] + torch.einsum("nij,nj->ni", self.factors[drawn], noise)
        return torch.cat([x, normalize(features, dim=-1).to(x)]), torch.cat([labels, drawn])


def compose(setting, options):
    width = setting.backbone.embed_dim
    adapter = Linear(width, setting.initial.dtype)
    return zero_shot.compose(setting, options, adapter=adapter, rehearsal=Gaussians(width))


OWN = (parts.Part("adapter", "linear"), parts.Part("memory", "Gaussians"))
METHOD = register(
    Method(
        name="gaussian_replay",
        title="Gaussian replay",
        paper="this file",
        options=zero_shot.ZeroShotOptions,
        recipe=Recipe(lr=0.01, epochs=5, batch_size=32),
        parts=(*zero_shot.TEXT, *OWN, parts.CROSS_ENTROPY),
        compose=compose,
    )
)

if __name__ == "__main__":
    import lamm_cl

    backbone = lamm_cl.load_clip("tiny")
    benchmark = lamm_cl.base_to_novel("digits", shots=16, seed=1)
    strategy = lamm_cl.build_strategy("gaussian_replay", backbone, benchmark)
    for experience in benchmark.train_stream:
        strategy.train(experience)
    print("among all classes:", strategy.eval(benchmark.test_stream)["Top1_Acc_Stream/eval_phase/test_stream"])
