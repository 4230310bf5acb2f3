"""Samples as a pyramid file, which `celebahq` and `metrics` read like any other."""

from pathlib import Path

from celebahq_tools.store import IndexRow, PyramidMeta, SlotWriter, create_pyramid, verify_pyramid
from pgan.errors import RunError
from pgan.generate import StoredGenerator
from pgan.sampling import Progress, SampleConfig, labels_of, record_of, sample_batches


def write_sample_pyramid(
    generator: StoredGenerator, config: SampleConfig, out: Path, progress: Progress | None = None
) -> None:
    """Write to `.partial`, verify, rename. Raises the errors of `celebahq_tools`, RunError when verifying fails."""
    classes = generator.config.network.label_size
    labels = labels_of(generator, list(config.samples), config.label)
    rows = [
        IndexRow(key=one.name, file=generator.path.name, label=None if labels is None else int(labels[slot]))
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
            label_names=[str(label) for label in range(classes)],
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
