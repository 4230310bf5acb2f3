"""Networks of a configuration, with weights drawn from a seed."""

from torch import nn

from pgan.config import Config
from pgan.draws import WEIGHTS, torch_generator
from pgan.networks.progressive import Discriminator, Generator


def build_generator(config: Config, seed: int) -> nn.Module:
    """A generator of the configured family: (z, labels, lod) -> images."""
    return Generator(config.network, torch_generator(seed, WEIGHTS, 0))


def build_discriminator(config: Config, seed: int) -> nn.Module:
    """A discriminator of the configured family: (images, lod) -> scores and class logits."""
    return Discriminator(config.network, torch_generator(seed, WEIGHTS, 1))
