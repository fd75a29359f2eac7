"""The command that shows sums of hidden values."""

from __future__ import annotations

import time
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from ompd.commands.console import BuiltIn, cell, plain_errors, say

aggregate_app = typer.Typer(
    help="Sums of values that their owners alone see.", no_args_is_help=True
)

#: Largest absolute value of a score.
_MOST = 32_768


@aggregate_app.callback()
def aggregate() -> None:
    """Sums of values that their owners alone see."""


@aggregate_app.command()
def demo(
    dataset: Annotated[BuiltIn, typer.Option(help="Data set.")] = BuiltIn.WBC,
    hospitals: Annotated[int, typer.Option(min=5, max=100, help="How many have a part of it.")] = 5,
    seed: Annotated[int, typer.Option(min=0, help="Fixes who has which records.")] = 1,
) -> None:
    """Train one model on the records of several hospitals, which pool counts and no records.

    Each hospital encrypts how many of its records lie in each cell. A cloud adds that up without
    seeing it, and a physician opens the sum, and nothing else.
    """
    with plain_errors():
        import numpy as np

        from ompd.compilation import warmup
        from ompd.datasets import load
        from ompd.encode import count_cells, model_of_counts
        from ompd.roles import AggregateCloud, HospitalContributor, Physician, introduce
        from ompd.schema import Bins

        data = load(dataset.value)
        train, held_out = data.split(100, seed)
        order = np.random.default_rng(seed).permutation(len(train))
        bins = Bins.even(data.schema)
        classes = len(data.schema.classes)
        warmup()
        cloud, physician = AggregateCloud.create("cloud"), Physician.create("physician")
        sites = [HospitalContributor.create(f"hospital-{n + 1}") for n in range(hospitals)]
        for site in sites:
            introduce(site, cloud, physician)
        introduce(cloud, physician)
        collection, frame = physician.collect(
            "cloud", f"{data.info.title}: records per class and cell", "sum",
            length=classes * bins.width, bound=len(train), most=hospitals,
        )  # fmt: skip
        physician.confirm(cloud.answer(frame))
        shown = Table(title=cell(f"{data.info.title}: who sends what"), title_justify="left")
        for heading in ("hospital", "records", "bytes sent", "ms", "accuracy alone"):
            shown.add_column(heading, justify="left" if heading == "hospital" else "right")
        for number, site in enumerate(sites):
            part = train.take(np.sort(order[number::hospitals]))
            counts = count_cells(bins, part.features, part.labels)
            site.accept(physician.invite(collection, site.id))
            begin = time.perf_counter()
            contribution = site.contribute(collection, counts.ravel())
            milliseconds = 1e3 * (time.perf_counter() - begin)
            site.confirm(cloud.answer(contribution))
            alone = "too few"
            if (np.bincount(part.labels, minlength=classes) > 0).all():
                labels, _ = model_of_counts(bins, counts, most=_MOST).judge(held_out.features)
                alone = f"{(labels == held_out.labels).mean():.1%}"
            shown.add_row(
                site.id, f"{len(part)}", f"{len(contribution):,}", f"{milliseconds:.1f}", alone
            )
        request = physician.ask(collection)
        begin = time.perf_counter()
        answer = cloud.answer(request)
        milliseconds = 1e3 * (time.perf_counter() - begin)
        (total,) = physician.read(answer).values
        model = model_of_counts(bins, total.reshape(classes, bins.width), most=_MOST)
        counts = count_cells(bins, train.features, train.labels)
        pooled = model_of_counts(bins, counts, most=_MOST)
        same = model.weights.tobytes() == pooled.weights.tobytes() and model.bits == pooled.bits
        labels, _ = model.judge(held_out.features)
    Console(highlight=False).print(shown)
    say(f"the cloud added {hospitals} times {total.size} hidden counts in {milliseconds:.1f} ms")
    say(f"model of the sum: accuracy {(labels == held_out.labels).mean():.1%} on held-out records")
    say(f"the same weights as of pooled records: {'yes' if same else 'no'}")
