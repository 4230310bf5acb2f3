"""Samples as a pyramid file, which `celebahq` and `metrics` read like any other."""

from pathlib import Path

from celebahq_tools.store import IndexRow, PyramidMeta, SlotWriter, create_pyramid, verify_pyramid
from pgan.errors import RunError
from pgan.generate import StoredGenerator
from pgan.labels import index_fields, names_of
from pgan.sampling import Progress, SampleConfig, labels_of, record_of, sample_batches


def write_sample_pyramid(
    generator: StoredGenerator, config: SampleConfig, out: Path, progress: Progress | None = None
) -> None:
    """Write to `.partial`, verify, rename. Raises the errors of `celebahq_tools`, RunError when verifying fails."""
    network = generator.config.network
    labels = labels_of(generator, list(config.samples), config.label)
    rows = [
        IndexRow(
            key=one.name,
            file=generator.path.name,
            **index_fields(network, None if labels is None else labels[slot]),
        )
        for slot, one in enumerate(config.samples)
    ]
    partial = out.with_name(out.name + ".partial")
    partial.unlink(missing_ok=True)
    try:
        create_pyramid(
            partial,
            res=generator.config.network.res,
            rows=rows,
            meta=PyramidMeta(build_config={"samples": record_of(generator, config)}),
            **names_of(network),
        )
        slot = 0
        with SlotWriter(partial) as writer:
            for _, images in sample_batches(generator, config.samples, config, progress):
                for image in images:
                    writer.write(slot, image)
                    slot += 1
            writer.sync()
        report = verify_pyramid(partial, allow_partial=True)
        if not report.ok:
            raise RunError(f"{out}: sample {report.bad[0].slot} is bad: {report.bad[0].problem}; start again")
        partial.replace(out)
    finally:
        partial.unlink(missing_ok=True)
