"""Networks of a configuration, with weights drawn from a seed."""

from torch import nn

from pgan.config import MNIST, Config
from pgan.draws import WEIGHTS, torch_generator
from pgan.networks.mnist import MnistDiscriminator, MnistGenerator
from pgan.networks.progressive import Discriminator, Generator


def build_generator(config: Config, seed: int) -> nn.Module:
    """A generator of the configured family: (z, labels, lod) -> images."""
    draws = torch_generator(seed, WEIGHTS, 0)
    if config.network.family == MNIST:
        return MnistGenerator(config.network, draws, grown=_grown(config))
    return Generator(config.network, draws)


def build_discriminator(config: Config, seed: int) -> nn.Module:
    """A discriminator of the configured family: (images, lod) -> scores and class logits."""
    draws = torch_generator(seed, WEIGHTS, 1)
    if config.network.family == MNIST:
        return MnistDiscriminator(config.network, draws, grown=_grown(config))
    return Discriminator(config.network, draws)


def _grown(config: Config) -> bool:
    return config.schedule.start_res < config.network.res
