"""Everything a run is made of, as frozen dataclasses; `presets` fills them, the command line overrides single fields.

Units are in the names: `_kimg` thousands of real images shown to the discriminator, `res` pixels, `_ticks` ticks.
"""

import json
from collections.abc import Mapping
from dataclasses import MISSING, asdict, dataclass, field, fields
from typing import Any, TypeVar

from pgan.errors import ConfigError

MIN_RES = 4

Table = tuple[tuple[int, float], ...]
"""Values by resolution, ascending: ((256, 14), (512, 6)); resolutions that are not named take the base value."""

PROGRESSIVE, MNIST = "progressive", "mnist"
FAMILIES = (PROGRESSIVE, MNIST)
WGAN_GP, LSGAN = "wgan-gp", "lsgan"
LOSSES = (WGAN_GP, LSGAN)
LRELU, RELU = "lrelu", "relu"
POOL, CONV = "pool", "conv"
PRECISIONS = ("fp32", "bf16", "fp16")
FORMS = ("auto", "plain", "fused")
METRICS = ("swd", "ms-ssim", "fid", "is")
CLASS, ATTRIBUTES, CONTINUOUS = "class", "attributes", "continuous"
LABEL_KINDS = (CLASS, ATTRIBUTES, CONTINUOUS)
LABELS = ("auto", "none", *LABEL_KINDS)

TICK_KIMG: Table = ((4, 160), (8, 140), (16, 120), (32, 100), (64, 80), (128, 60), (256, 40), (512, 20), (1024, 10))

T = TypeVar("T")


def is_power_of_two(value: int) -> bool:
    """Whether value is 1, 2, 4 ..."""
    return value > 0 and value & (value - 1) == 0


def by_res(table: Table, res: int, base: float) -> float:
    """The table's value for a resolution, `base` where it names none."""
    return dict(table).get(res, base)


def _setting(default: Any, text: str) -> Any:
    """A field with a help text, which the command line shows."""
    return field(default=default, metadata={"help": text})


def _check(condition: bool, message: str) -> None:
    if not condition:
        raise ConfigError(message)


def _check_choice(name: str, value: str, choices: tuple[str, ...]) -> None:
    _check(value in choices, f"{name} is {value!r}, expected one of {', '.join(choices)}")


def _check_table(name: str, table: Table) -> None:
    for res, value in table:
        _check(is_power_of_two(res) and res >= MIN_RES, f"{name}: {res} is no resolution; use 4, 8, 16 ...")
        _check(value > 0, f"{name}: value {value} at {res} is not positive")
    _check(len(dict(table)) == len(table), f"{name} names a resolution twice: {table}")


@dataclass(frozen=True, kw_only=True, slots=True)
class NetworkConfig:
    """Both networks (Karras et al. 2018, appendix A.1, table 2, and the rows of table 1)."""

    family: str = _setting(PROGRESSIVE, "Networks: progressive, or mnist (the discrete mode test of appendix E).")
    res: int = _setting(1024, "Final resolution in pixels.")
    label_size: int = _setting(0, "Classes, attributes or values the networks are conditioned on; set from the data.")
    label_kind: str = _setting(CLASS, "class, attributes or continuous; set from the data.")
    label_names: tuple[str, ...] = _setting((), "Of the classes, attributes or values; set from the data.")
    label_scale: tuple[tuple[float, float], ...] = _setting(
        (), "Mean and deviation of every continuous label; set from the data."
    )
    latent: int = _setting(512, "Dimensions of the latent z.")
    fmap_base: int = _setting(8192, "Feature maps: min(fmap_base / 2^(stage * fmap_decay), fmap_max).")
    fmap_decay: float = _setting(1.0, "See --fmap-base.")
    fmap_max: int = _setting(512, "See --fmap-base.")
    normalize_latent: bool = _setting(True, "Latents on the hypersphere.")
    equalized: bool = _setting(True, "Equalised learning rate (sec. 4.1); else He's initialisation.")
    pixel_norm: bool = _setting(True, "Pixelwise feature normalisation in G (sec. 4.2).")
    pixel_norm_eps: float = _setting(1e-8, "Added under its root; fp16 takes at least 1e-4.")
    g_activation: str = _setting(LRELU, "Activation in G: lrelu or relu.")
    g_batch_norm: bool = _setting(False, "Batch normalisation in G (table 1, rows a to c).")
    d_layer_norm: bool = _setting(False, "Layer normalisation in D (table 1, rows a to c).")
    tanh: bool = _setting(False, "tanh at G's output (table 1, rows a to c).")
    mbstd_group: int = _setting(4, "Group of the minibatch stddev (sec. 3); 0 leaves it out.")
    mbdisc_kernels: int = _setting(0, "Kernels of minibatch discrimination (Salimans et al. 2016); 0 leaves it out.")
    downsample: str = _setting(POOL, "D: pool (after the activation, table 2) or conv (inside the convolution).")
    mnist_maps: int = _setting(64, "Base feature maps of the mnist family.")
    mnist_cripple: int = _setting(2, "K of the mnist family: D has 1/K of the maps; 2 or 4.")

    def __post_init__(self) -> None:
        _check_choice("family", self.family, FAMILIES)
        _check(
            is_power_of_two(self.res) and self.res >= MIN_RES, f"res is {self.res}, expected a power of two from 4 on"
        )
        _check_choice("label_kind", self.label_kind, LABEL_KINDS)
        if self.label_size and self.label_kind != CLASS:
            _check(len(self.label_names) == self.label_size, f"label_names: expected {self.label_size} names")
        if self.label_size and self.label_kind == CONTINUOUS:
            _check(len(self.label_scale) == self.label_size, f"label_scale: expected {self.label_size} pairs")
        _check_choice("g_activation", self.g_activation, (LRELU, RELU))
        _check_choice("downsample", self.downsample, (POOL, CONV))
        for name in ("latent", "fmap_base", "fmap_max", "mnist_maps", "mnist_cripple"):
            _check(getattr(self, name) >= 1, f"{name} is {getattr(self, name)}, expected 1 or more")
        for name in ("label_size", "mbstd_group", "mbdisc_kernels", "fmap_decay"):
            _check(getattr(self, name) >= 0, f"{name} is {getattr(self, name)}, expected 0 or more")
        _check(self.pixel_norm_eps > 0, f"pixel_norm_eps is {self.pixel_norm_eps}, expected more than 0")

    @property
    def res_log2(self) -> int:
        """r of the final resolution: 1024 -> 10."""
        return self.res.bit_length() - 1

    def maps(self, stage: int) -> int:
        """nf(stage), the feature maps of a stage; the block at 2^r has nf(r - 1) (appendix A.1)."""
        return max(min(int(self.fmap_base / 2.0 ** (stage * self.fmap_decay)), self.fmap_max), 1)


@dataclass(frozen=True, kw_only=True, slots=True)
class ScheduleConfig:
    """What happens at which number of real images (sec. 2; appendix A)."""

    start_res: int = _setting(4, "Resolution of the first phase; the final one: no growing.")
    training_kimg: float = _setting(600.0, "Length of a phase at a fixed resolution.")
    transition_kimg: float = _setting(600.0, "Length of a fade to the next resolution.")
    total_kimg: float = _setting(12_000.0, "Length of the run.")
    batch: int = _setting(16, "Images per step: a number, and RES:BATCH for single resolutions.")
    batch_by_res: Table = _setting((), "Batch by resolution.")
    minibatch_repeats: int = _setting(4, "Steps per evaluation of the schedule.")
    d_repeats: int = _setting(1, "Steps of D per step of G (n_critic).")
    tick_kimg: Table = _setting(TICK_KIMG, "Images between progress reports: RES:KIMG, or one number for all.")

    def __post_init__(self) -> None:
        _check(
            is_power_of_two(self.start_res) and self.start_res >= MIN_RES,
            f"start_res is {self.start_res}, expected a power of two from 4 on",
        )
        for name in ("training_kimg", "transition_kimg"):
            _check(getattr(self, name) >= 0, f"{name} is {getattr(self, name)}, expected 0 or more")
        _check(self.training_kimg + self.transition_kimg > 0, "training_kimg and transition_kimg are both 0")
        _check(self.total_kimg > 0, f"total_kimg is {self.total_kimg}, expected more than 0")
        for name in ("batch", "minibatch_repeats", "d_repeats"):
            _check(getattr(self, name) >= 1, f"{name} is {getattr(self, name)}, expected 1 or more")
        _check_table("batch_by_res", self.batch_by_res)
        _check_table("tick_kimg", self.tick_kimg)


@dataclass(frozen=True, kw_only=True, slots=True)
class OptimizerConfig:
    """Adam for both networks, and the average of G's weights (appendix A.1)."""

    lr: float = _setting(1e-3, "Learning rate of both networks: a number, and RES:LR for single resolutions.")
    lr_by_res: Table = _setting((), "Learning rate by resolution.")
    rampup_kimg: float = _setting(0.0, "The learning rate rises linearly from 0 over this many kimg.")
    beta1: float = _setting(0.0, "Adam.")
    beta2: float = _setting(0.99, "Adam.")
    eps: float = _setting(1e-8, "Adam.")
    reset_on_growth: bool = _setting(True, "Forget Adam's moments whenever the set of active layers changes.")
    ema_decay: float = _setting(0.999, "Decay per step of the average of G's weights.")

    def __post_init__(self) -> None:
        _check(self.lr > 0, f"lr is {self.lr}, expected more than 0")
        _check_table("lr_by_res", self.lr_by_res)
        _check(self.rampup_kimg >= 0, f"rampup_kimg is {self.rampup_kimg}, expected 0 or more")
        for name in ("beta1", "beta2", "ema_decay"):
            _check(0 <= getattr(self, name) < 1, f"{name} is {getattr(self, name)}, expected 0 <= {name} < 1")
        _check(self.eps > 0, f"eps is {self.eps}, expected more than 0")


@dataclass(frozen=True, kw_only=True, slots=True)
class LossConfig:
    """WGAN-GP (appendix A.1) or LSGAN (appendix B), with AC-GAN terms when there are labels."""

    loss: str = _setting(WGAN_GP, "wgan-gp or lsgan.")
    gp_lambda: float = _setting(10.0, "Weight of the gradient penalty.")
    gp_target: float = _setting(1.0, "Gradient norm it aims at; 750 for CIFAR-10.")
    drift: float = _setting(0.001, "Weight of D(real)^2.")
    label_weight: float = _setting(1.0, "Weight of the label terms.")
    gdrop_strength: float = _setting(0.2, "LSGAN: scale of the multiplicative noise in D.")
    lsgan_fake_weight: float = _setting(0.1, "LSGAN: weight of D's fake term.")
    same_pass: bool = _setting(False, "Update G and D from one pass instead of one after the other (CIFAR-10).")

    def __post_init__(self) -> None:
        _check_choice("loss", self.loss, LOSSES)
        for name in ("gp_lambda", "drift", "label_weight", "gdrop_strength", "lsgan_fake_weight"):
            _check(getattr(self, name) >= 0, f"{name} is {getattr(self, name)}, expected 0 or more")
        _check(self.gp_target > 0, f"gp_target is {self.gp_target}, expected more than 0")


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainConfig:
    """How the run is carried out: nothing here changes what is learned beyond rounding, except seed and mirror."""

    seed: int = _setting(0, "Of all random draws.")
    mirror: bool = _setting(False, "Mirror every second image on average.")
    labels: str = _setting("none", "auto (the first that the data has), none, class, attributes or continuous.")
    precision: str = _setting("fp32", "fp32, bf16 or fp16 (with loss scaling).")
    form: str = _setting("auto", "Up and down convolutions: auto (a rule by device and resolution), plain or fused.")
    compile: bool = _setting(False, "torch.compile for all passes but the gradient penalty's; needs a C++ compiler.")
    micro_batch: int = _setting(0, "Images per device at a time, by gradient accumulation; 0: as the device allows.")
    workers: int = _setting(1, "Processes that read images; 0 reads in the training process.")
    grid: tuple[int, int] = _setting((8, 8), "Columns x rows of the sample grids, as 8x8.")
    image_ticks: int = _setting(1, "Ticks between sample grids.")
    snapshot_ticks: int = _setting(10, "Ticks between checkpoints.")
    network_ticks: int = _setting(10, "Ticks between stored EMA generators, which are all kept.")
    keep: int = _setting(2, "Checkpoints kept, besides the best.")
    metrics: tuple[str, ...] = _setting((), "Measured while training: swd, ms-ssim, fid, is; comma separated.")
    metric_ticks: int = _setting(10, "Ticks between measurements.")
    metric_images: int = _setting(8192, "Images per set in a measurement.")
    metric_res: int = _setting(0, "Side in pixels at which is measured; 0: the final resolution.")
    metrics_background: bool = _setting(False, "Measure in a process of its own.")

    def __post_init__(self) -> None:
        _check_choice("labels", self.labels, LABELS)
        _check_choice("precision", self.precision, PRECISIONS)
        _check_choice("form", self.form, FORMS)
        for name in ("seed", "micro_batch", "workers"):
            _check(getattr(self, name) >= 0, f"{name} is {getattr(self, name)}, expected 0 or more")
        for name in ("image_ticks", "snapshot_ticks", "network_ticks", "keep", "metric_ticks"):
            _check(getattr(self, name) >= 1, f"{name} is {getattr(self, name)}, expected 1 or more")
        _check(self.metric_images >= 2, f"metric_images is {self.metric_images}, expected 2 or more")
        _check(len(self.grid) == 2 and min(self.grid) >= 1, f"grid is {self.grid}, expected columns x rows")
        for name in self.metrics:
            _check_choice("metrics", name, METRICS)


@dataclass(frozen=True, kw_only=True, slots=True)
class Config:
    """A whole run. `preset` only names where the settings came from."""

    preset: str
    network: NetworkConfig
    schedule: ScheduleConfig
    optimizer: OptimizerConfig
    loss: LossConfig
    train: TrainConfig

    def __post_init__(self) -> None:
        start, final = self.schedule.start_res, self.network.res
        _check(start <= final, f"start_res is {start}, more than the final resolution {final}")
        if self.loss.same_pass:
            _check(self.schedule.d_repeats == 1, "same_pass updates both networks at once, so d_repeats must be 1")

    @property
    def label_size(self) -> int:
        """Classes, attributes or values the networks are conditioned on, 0 for none."""
        return self.network.label_size


def config_json(config: Config) -> dict[str, Any]:
    """The configuration as JSON values."""
    plain: dict[str, Any] = json.loads(json.dumps(asdict(config)))
    return plain


def config_from_json(plain: Mapping[str, Any], where: str) -> Config:
    """The configuration that `config_json` wrote. Raises ConfigError naming `where` for anything else."""
    try:
        return Config(
            preset=str(plain["preset"]),
            network=_section(NetworkConfig, plain["network"], where),
            schedule=_section(ScheduleConfig, plain["schedule"], where),
            optimizer=_section(OptimizerConfig, plain["optimizer"], where),
            loss=_section(LossConfig, plain["loss"], where),
            train=_section(TrainConfig, plain["train"], where),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise ConfigError(f"{where}: not the configuration of a run ({error!r})") from None


def _section(kind: type[T], plain: Mapping[str, Any], where: str) -> T:
    known = {one.name: one for one in fields(kind)}  # type: ignore[arg-type]
    unknown = sorted(set(plain) - set(known))
    if unknown:
        raise ConfigError(f"{where}: unknown setting {unknown[0]!r}; it was written by another version")
    values = {}
    for name, value in plain.items():
        default = known[name].default
        assert default is not MISSING
        if type(default) is float and type(value) is int:
            value = float(value)
        if isinstance(value, list):
            value = tuple(tuple(item) if isinstance(item, list) else item for item in value)
        if type(value) is not type(default):
            raise ConfigError(f"{where}: setting {name!r} is {value!r}, expected {type(default).__name__}")
        values[name] = value
    return kind(**values)
