"""Seconds per D + G step of the Progressive GAN trainer against the plain form, by resolution and precision.

    python -m benchmarks.pgan_step [--res 4 8 ... 256] [--downsample conv pool] [--rounds 3] [--parts-res 32]
                                   [--compile] [--quick]

Programs of one resolution run interleaved, each after one step that warms up; ratios are to plain float32 of the same
run. At `--parts-res` each optimisation is also taken out, or another form put in, one at a time. Before anything is
timed, both programs must give the same losses from the same weights, latents and images. A run replaces the entries
of its own resolutions in benchmarks/results/pgan_step.json and keeps the others; each entry has its load and date.
On a machine that others use, processor time tells more; OMP_WAIT_POLICY=PASSIVE keeps waiting out of it.
Networks: --fmap-max maps up to 32², half of it with every level above; weights as drawn. Reals are noise.
"""

import argparse
import json
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.plain_pgan import PlainTrainer
from benchmarks.record import RESULTS, Spread, write_results
from pgan.benchmark import synthetic_reals
from pgan.config import Config
from pgan.draws import INTERPOLATES, LATENTS, torch_generator
from pgan.networks.forms import FormPlan, choose_forms
from pgan.networks.weights import Shape, StepWeights, Weighted, effective_weight
from pgan.parallel import World
from pgan.presets import preset
from pgan.schedule import Stage
from pgan.state import TrainState
from pgan.step import Real, Stepper
from pgan.walk import Iteration, Position

NAME = "pgan_step"
BATCHES = {64: 4, 128: 2, 256: 1}
BATCH = 16
FP32, BF16 = "fp32", "bf16"
PLAIN = "plain fp32"
LOSS_TOLERANCE = 1e-3
FORMS = {
    "separate, contiguous": FormPlan(fused_from=None, channels_last_from=None),
    "fused, contiguous": FormPlan(fused_from=0, channels_last_from=None),
    "separate, channels-last": FormPlan(fused_from=None, channels_last_from=0),
    "fused, channels-last": FormPlan(fused_from=0, channels_last_from=0),
}

Program = Callable[[], tuple[float, float]]


def config_of(res: int, downsample: str, precision: str, *, compiled: bool = False, fmap_max: int = 512) -> Config:
    """Networks that end at `res`, not growing, WGAN-GP, the batch of the benchmark."""
    base = preset("celebahq-1024")
    latent = min(fmap_max, base.network.latent)
    network = replace(base.network, res=res, downsample=downsample, mbstd_group=4, fmap_max=fmap_max, latent=latent)
    schedule = replace(base.schedule, start_res=res, batch=BATCHES.get(res, BATCH), batch_by_res=())
    train = replace(base.train, precision=precision, compile=compiled)
    return replace(base, network=network, schedule=schedule, train=train)


class EveryPass(StepWeights):
    """Effective weights made in every pass, instead of once per step."""

    def get(self, layer: Weighted, shape: Shape, *, channels_last: bool = False) -> Tensor:
        """A new one each time."""
        with torch.set_grad_enabled(torch.is_grad_enabled() and not self.frozen):
            return effective_weight(layer, shape, self.dtype, channels_last=channels_last)


class Without(nn.Module):
    """A network of the trainer with one of the trainer's optimisations taken out."""

    def __init__(self, network: nn.Module, part: str) -> None:
        super().__init__()
        self.network, self.part = network, part

    def forward(self, x: Tensor, *inputs: Any, weights: StepWeights, **settings: Any) -> Tensor:
        """As the network's own."""
        if self.part == "weights once per step":
            weights = EveryPass(weights.dtype, frozen=weights.frozen)
        if self.part == "D frozen in G's step" and weights.frozen and torch.is_grad_enabled():
            weights = StepWeights(weights.dtype)
        segments = settings.pop("segments", 1)
        if self.part == "one pass of D" and segments > 1:
            halves = [self.network(half, *inputs, weights=weights, **settings) for half in x.chunk(segments)]
            return torch.cat(halves)
        if segments > 1:
            settings["segments"] = segments
        return self.network(x, *inputs, weights=weights, **settings)  # type: ignore[no-any-return]


PARTS = ("one pass of D", "D frozen in G's step", "weights once per step", "fused Adam")


class Ours:
    """The trainer's step, as the trainer makes it or with a part taken out."""

    def __init__(self, config: Config, forms: FormPlan | None = None, without: str | None = None) -> None:
        self.config = config
        state = TrainState(config, torch.device("cpu"))
        if without == "fused Adam":
            state.adam_g, state.adam_d = plain_adam(state.g), plain_adam(state.d)
        elif without is not None:
            state.g, state.d = Without(state.g, without), Without(state.d, without)
        plan = forms or choose_forms("auto", "cpu", config.train.precision)
        self.state = state
        self.stepper = Stepper(state, forms=plan, world=World())
        batch, res = config.schedule.batch, config.network.res
        self.real = synthetic_reals(config, res, batch, torch.device("cpu"))
        stage = Stage(lod=0.0, res=res, batch=batch, lr=config.optimizer.lr, tick_kimg=1.0)
        self.iteration = Iteration(start=Position(), stage=stage, after=Position(nimg=batch))

    def step(self) -> tuple[float, float]:
        """One step of D and one of G; both losses, D's with the penalty and drift."""
        self.stepper.iterate(self.iteration, iter([self.real, Real(images=self.real.images, labels=None)]))
        means = self.stepper.sums.means()
        return means["loss_d"], means["loss_g"]


def plain_adam(network: nn.Module) -> torch.optim.Adam:
    """Adam as it comes."""
    return torch.optim.Adam(network.parameters(), lr=1e-3, betas=(0.0, 0.99), eps=1e-8)


class Plain:
    """The plain form with the weights, latents and images of ours."""

    def __init__(self, config: Config, *, bf16: bool) -> None:
        network, batch = config.network, config.schedule.batch
        resolutions = [4 << step for step in range(network.res_log2 - 1)]
        maps = [network.maps(stage) for stage in range(1, network.res_log2)]
        self.trainer = PlainTrainer(
            network.latent, maps, group=network.mbstd_group, downsample=network.downsample, bf16=bf16
        )
        state = TrainState(config, torch.device("cpu"))
        self.trainer.load(state.g.state_dict(), state.d.state_dict(), resolutions)
        self.reals = synthetic_reals(config, network.res, batch, torch.device("cpu")).images
        seed = config.train.seed
        self.z = [
            torch.randn((batch, network.latent), generator=torch_generator(seed, LATENTS, 0, which)) for which in (0, 1)
        ]
        self.mix = torch.rand(batch, generator=torch_generator(seed, INTERPOLATES, 0))[:, None, None, None]

    def step(self) -> tuple[float, float]:
        """One step of D and one of G; both losses."""
        return self.trainer.step(self.reals, self.z[0], self.z[1], self.mix)


def loss_difference(config: Config) -> float:
    """Largest difference of the losses of first steps, plain to ours, in units of the larger of 1 and the loss."""
    plain, ours = Plain(config, bf16=False).step(), Ours(config).step()
    return max(abs(one - other) / max(1.0, abs(one)) for one, other in zip(plain, ours, strict=True))


def programs_of(res: int, downsample: str, *, parts: bool, compiled: bool, fmap_max: int) -> dict[str, Program]:
    """Everything that is timed at one resolution."""
    config = {precision: config_of(res, downsample, precision, fmap_max=fmap_max) for precision in (FP32, BF16)}
    programs: dict[str, Program] = {
        PLAIN: Plain(config[FP32], bf16=False).step,
        "plain bf16": Plain(config[FP32], bf16=True).step,
        "ours fp32": Ours(config[FP32]).step,
        "ours bf16": Ours(config[BF16]).step,
    }
    if parts:
        for precision in (FP32, BF16):
            for name, forms in FORMS.items():
                programs[f"ours {precision}, {name}"] = Ours(config[precision], forms).step
            for part in PARTS:
                programs[f"ours {precision}, without {part}"] = Ours(config[precision], without=part).step
    if compiled:
        for precision in (FP32, BF16):
            own = config_of(res, downsample, precision, compiled=True, fmap_max=fmap_max)
            programs[f"ours {precision}, compiled"] = Ours(own).step
    return programs


def measure(programs: dict[str, Program], rounds: int) -> dict[str, list[tuple[float, float]]]:
    """Seconds and processor seconds per step of each program, interleaved, after one step each."""
    readings: dict[str, list[tuple[float, float]]] = {name: [] for name in programs}
    for number in range(rounds + 1):
        for name, step in programs.items():
            wall, cpu = time.perf_counter(), time.process_time()
            step()
            if number:
                readings[name].append((time.perf_counter() - wall, time.process_time() - cpu))
    return readings


def report(title: str, batch: int, readings: dict[str, list[tuple[float, float]]]) -> dict[str, Any]:
    """Print a table; what is stored of it."""
    print(f"{title}\n  {'':40s} {'s/step':22s} {'s/kimg':>9s}  {'x plain':19s} by processor time", flush=True)
    entries = {}
    for name, pairs in readings.items():
        wall, cpu = zip(*pairs, strict=True)
        base_wall, base_cpu = zip(*readings[PLAIN], strict=True)
        spread, kimg = Spread.of(wall), Spread.of(wall).median / batch * 1000
        by_wall, by_cpu = ratios(base_wall, wall), ratios(base_cpu, cpu)
        print(
            f"  {name:40s} {spread.text(3):22s} {kimg:9.1f}  {by_wall.text():19s} {by_cpu.text()}",
            flush=True,
        )
        entries[name] = {
            "seconds_per_step": wall,
            "processor_seconds_per_step": cpu,
            "sec_per_kimg": kimg,
            "times_plain_fp32": asdict(by_wall),
            "times_plain_fp32_by_processor_time": asdict(by_cpu),
        }
    return entries


def ratios(base: Sequence[float], other: Sequence[float]) -> Spread:
    """How many times faster the other one is, round by round."""
    return Spread.of([one / two for one, two in zip(base, other, strict=True)])


def stored_entries() -> dict[str, Any]:
    """Entries of earlier runs."""
    path = RESULTS / f"{NAME}.json"
    entries: dict[str, Any] = json.loads(path.read_text())["entries"] if path.exists() else {}
    return entries


def main() -> None:
    """Time resolution by resolution; write benchmarks/results/pgan_step.json after each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--res", type=int, nargs="+", default=[4, 8, 16, 32, 64, 128, 256])
    parser.add_argument("--downsample", nargs="+", choices=("conv", "pool"), default=["conv", "pool"])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--parts-res", type=int, nargs="*", default=[32])
    parser.add_argument("--compile", action="store_true", help="also with torch.compile")
    parser.add_argument("--fmap-max", type=int, default=512)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--quick", action="store_true", help="4² and 8², 16 maps, one round, nothing stored")
    arguments = parser.parse_args()
    if arguments.quick:
        arguments.res, arguments.rounds, arguments.parts_res, arguments.fmap_max = [4, 8], 1, [8], 16
    torch.set_num_threads(arguments.jobs)
    for res in arguments.res:
        for downsample in arguments.downsample:
            entry: dict[str, Any] = {"date": time.strftime("%Y-%m-%d %H:%M"), "load_before": os.getloadavg()}
            difference = loss_difference(config_of(res, downsample, FP32, fmap_max=arguments.fmap_max))
            if difference > LOSS_TOLERANCE:
                raise SystemExit(f"losses differ by {difference:.1e} at {res}², {downsample}: nothing to compare")
            programs = programs_of(
                res,
                downsample,
                parts=res in arguments.parts_res and downsample == "conv",
                compiled=arguments.compile,
                fmap_max=arguments.fmap_max,
            )
            readings = measure(programs, arguments.rounds)
            batch = BATCHES.get(res, BATCH)
            title = f"{res}², batch {batch}, downsample {downsample}; losses differ by {difference:.1e}"
            entry |= {"batch": batch, "loss_difference": difference, "load_after": os.getloadavg()}
            entry["programs"] = report(title, batch, readings)
            if not arguments.quick:
                config = {
                    "rounds": arguments.rounds,
                    "threads": arguments.jobs,
                    "cpu": torch.backends.cpu.get_cpu_capability(),
                }
                entries = stored_entries() | {f"{res} {downsample}": entry | config}
                write_results(NAME, {"entries": entries})


if __name__ == "__main__":
    main()
