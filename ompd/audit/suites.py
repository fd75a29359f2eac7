"""The attacks of each profile, run one after the other and scored."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from ompd.arrays import F64
from ompd.audit import distances, hardened, paper, scoring, sealed, versions
from ompd.audit.aggregate_suite import aggregate_suite
from ompd.audit.blind_suite import blind_suite
from ompd.audit.image_suite import image_suite
from ompd.audit.report import Result
from ompd.audit.runner import Progress, Runner
from ompd.audit.scenes import HardenedScene, PaperScene, Records
from ompd.audit.scoring import Score
from ompd.audit.text_suite import text_suite
from ompd.audit.traffic import MISDEEDS, SECONDS, TrafficScene
from ompd.audit.version_scenes import VersionsScene
from ompd.audit.views import HardenedView, SealedView, TrafficView
from ompd.audit.windows import SealedScene
from ompd.datasets import Dataset
from ompd.errors import ParameterError
from ompd.params import PROFILES

#: What can be attacked: the profiles, the published aggregation, courses of medical text, images.
PANELS = (*PROFILES, "aggregate", "text", "images")

#: Relative error up to which a weight counts as recovered.
_WEIGHT_ERROR = 1e-6
#: Known rows of the attacks on distances.
_ANCHORS = 20
#: Noise levels, per median distance of two records.
_EPSILONS = (128, 32, 8)
#: Versions whose releases are combined, at which noise.
_VERSIONS = ((4, None), (24, 32))
#: How often a query is repeated to average its noise away, at which of these levels.
_REPEATS, _REPEATED_AT = 32, 32

#: Fewest windows from which a third is enough to learn.
_FEWEST_WINDOWS = 30
#: Trials of each kind with a lying cloud: one for so many windows.
_WINDOWS_PER_TRIAL = 5
#: Seconds that a hospital waits where all answers come.
_PATIENT = 60.0
# What a cloud does to whole tables, in trials of their own.
_SPENT_MISDEEDS = ("withhold", "corrupt")


def run_audit(
    data: Dataset,
    profiles: Sequence[str],
    *,
    seed: int = 0,
    windows: int = 300,
    progress: Progress = lambda attack: None,
) -> list[Result]:
    """Attack a table as the cloud could, under each profile; `blind` as hospital and users could.

    Parameters
    ----------
    data : Dataset
        Part of it becomes the table, the rest the queries.
    profiles : sequence of {"paper", "hardened", "sealed", "blind", "aggregate", "text", "images"}
        The last three are no profiles: the published aggregation, what a physician learns of an
        invented patient's notes, and what a cloud makes of masked images, whatever the table.
    seed : int
        Fixes the split and the choice of known rows; keys are fresh each time.
    windows : int
        Windows of each kind of queries that the distinguisher gets, at least 30.
    progress : callable
        Called with the name of each attack before it runs.

    Returns
    -------
    list of Result

    Raises
    ------
    ParameterError
        If a profile is unknown, there are too few windows, or the seed is no integer from 0.
    DatasetError, TrainingError
        If a class has fewer than four rows, or there is one class only.
    """
    chosen = list(dict.fromkeys(profiles))
    if not all(isinstance(name, str) and name in PANELS for name in chosen):
        raise ParameterError(f"profiles: expected of {', '.join(PANELS)}")
    if type(windows) is not int or windows < _FEWEST_WINDOWS:
        raise ParameterError(f"windows: expected an integer of at least {_FEWEST_WINDOWS}")
    if type(seed) is not int or seed < 0:
        raise ParameterError("seed: expected an integer of at least 0")
    records = Records.of(data, seed)
    suites = {
        "paper": lambda: paper_suite(records, seed, progress),
        "hardened": lambda: hardened_suite(records, seed, progress),
        "sealed": lambda: sealed_suite(records, seed, progress, windows),
        "blind": lambda: blind_suite(records, seed, progress),
        "aggregate": lambda: aggregate_suite(records, progress),
        "text": lambda: text_suite(records, seed, progress),
        "images": lambda: image_suite(records, seed, progress),
    }
    return [result for name in chosen for result in suites[name]()]


def paper_suite(records: Records, seed: int, progress: Progress) -> Iterator[Result]:
    """Run the attacks on the `paper` profile."""
    runner = Runner("paper", records, progress)
    scene = PaperScene.of(records)
    view, public = scene.view, records.public
    yield runner.run(
        "cells_from_ciphertext",
        "every record, from the table and the features' domains alone",
        lambda: paper.ciphertext_only(view, public)[0],
        runner.score_table,
    )
    yield runner.run(
        "queries_from_ciphertext",
        "every query, from job, table and the features' domains alone",
        lambda: paper.ciphertext_only(view, public)[1],
        runner.score_queries,
    )
    yield runner.run(
        "queries_overheard",
        "queries, from their blinded vectors alone; the reason why jobs are sealed",
        lambda: paper.overheard(view, public),
        runner.score_queries,
    )
    for known in (1, 2, 5):
        yield runner.known_rows(
            f"cells_from_{known}_known_row{'s' * (known > 1)}",
            f"the others' records, given {known} of the table's, without any domain",
            known,
            seed,
            lambda rows, values: paper.known_rows(view, rows, values),
        )
    yield runner.run(
        "scalar_of_table",
        "the secret s, exactly: the greatest common divisor of the table",
        lambda: paper.strip(view).scalar,
        lambda found: (float(found == scene.key.scalar), 0.0),
    )
    yield runner.run(
        "scalars_of_queries",
        "the fresh secret s_q of every query, exactly: s / t",
        lambda: paper.query_scalars(view, paper.strip(view).scalar),
        lambda found: (scene.undone_by(found), 0.0),
    )
    yield runner.run(
        "weights",
        "the Relief weights up to one factor, each within a millionth",
        lambda: paper.weights(view, public),
        lambda found: _weight_score(found, records.encoder.weights),
    )
    yield from runner.linking(lambda: paper.link(view))


def hardened_suite(records: Records, seed: int, progress: Progress) -> Iterator[Result]:
    """Run the attacks on the `hardened` profile, without and with noise."""
    runner = Runner("hardened", records, progress)
    public, classes = records.public, records.classes
    scene = HardenedScene.of(records)
    view, insider = scene.view, scene.insider
    fine = HardenedScene.of(records, coarse=False).view
    yield runner.run(
        "control_cells_of_fine_integers",
        "as the next, on integers of full precision, which the profile never sends",
        lambda: hardened.adaptive(fine, public)[0],
        runner.score_table,
        control=True,
    )
    yield runner.run(
        "cells_from_ciphertext",
        "records, from the coarse table, domains and usual values",
        lambda: hardened.adaptive(view, public)[0],
        runner.score_table,
    )
    yield runner.known_rows(
        "cells_from_5_known_rows",
        "the others' records, given 5 of the table's, without any domain",
        5,
        seed,
        lambda rows, values: hardened.known_rows(view, rows, values),
    )
    yield runner.run(
        "cells_knowing_weights",
        "records, knowing weights, labels and how often values occur within a class",
        lambda: hardened.informed(view, insider, classes)[0],
        runner.score_table_by_class,
    )
    yield runner.run(
        "queries_knowing_weights",
        "queries, knowing the same",
        lambda: hardened.informed(view, insider, classes)[1],
        lambda guess: runner.score_queries_by_class(guess, view),
    )
    yield runner.run(
        "cells_from_public_records",
        f"records, from labels and {len(records.queries)} other records that are public",
        lambda: hardened.outside(view, records.outsider()),
        runner.score_table_by_class,
    )
    yield from _distance_attacks(runner, view, insider, seed)
    yield from runner.linking(lambda: hardened.link(view))
    for epsilon in _EPSILONS:
        yield _under_noise(runner, epsilon)
    for count, noise in _VERSIONS:
        for retrained in (False, True):
            yield _of_versions(runner, count, noise, seed, retrained=retrained)
    yield _twins(runner)
    for repeats, memoised in ((1, True), (_REPEATS, True), (_REPEATS, False)):
        yield _averaging(runner, repeats, memoised=memoised)


def sealed_suite(records: Records, seed: int, progress: Progress, windows: int) -> Iterator[Result]:
    """Run the distinguisher on the `sealed` profile, and on a variant that reuses its hints."""
    runner = Runner("sealed", records, progress)
    rng = np.random.default_rng(seed)
    for reusing in (True, False):
        scene = SealedScene.of(records, reusing=reusing)
        progress("sealed: asking queries")
        usual = [scene.window("distinct", rng) for _ in range(windows)]
        for kind in ("repeated",) if reusing else ("repeated", "skewed", "extreme"):
            other = [scene.window(kind, rng) for _ in range(windows)]
            yield _telling(runner, kind, usual, other, reusing=reusing)
    trials = windows // _WINDOWS_PER_TRIAL
    for leaking, misdeed in ((True, "withhold"), *((False, each) for each in MISDEEDS)):
        # Delayed answers are read, all others come too late for what waits for them.
        patience = _PATIENT if misdeed == "delay" else 0.0
        lively = TrafficScene.of(records, patience=patience, leaking=leaking)
        progress(f"sealed: two users, and a cloud that does: {misdeed}")
        views: dict[str, list[TrafficView]] = {second: [] for second in SECONDS}
        for _ in range(trials):
            for second in SECONDS:
                views[second].append(lively.trial(misdeed, second, rng))
        yield _watching(runner, misdeed, views, leaking=leaking)
        if misdeed == "withhold" and not leaking:
            yield _watching(runner, misdeed, views, colluding=True)
    for misdeed in _SPENT_MISDEEDS:
        progress(f"sealed: two users whose window has ended, and a cloud that does: {misdeed}")
        ended = TrafficScene.of(records, spent=True)
        views = {
            second: [ended.trial(misdeed, second, rng) for _ in range(trials)] for second in SECONDS
        }
        yield _watching(runner, misdeed, views, spent=True)


def _under_noise(runner: Runner, epsilon: int) -> Result:
    scene = HardenedScene.of(runner.records, epsilon=epsilon)
    return runner.run(
        f"cells_under_noise_{epsilon}",
        f"records with noise of epsilon {epsilon}, knowing weights, labels, frequencies",
        lambda: hardened.informed(scene.view, scene.insider, runner.records.classes)[0],
        runner.score_table_by_class,
    )


def _of_versions(
    runner: Runner, count: int, epsilon: int | None, seed: int, *, retrained: bool
) -> Result:
    records = runner.records
    scene = VersionsScene.of(records, count, retrained=retrained, epsilon=epsilon, seed=seed)
    name = f"cells_of_{count}_versions" + "_trained_anew" * retrained
    noise = "" if epsilon is None else f" with noise of epsilon {epsilon}"
    meaning = "each trained anew" if retrained else "as the profile does unless told otherwise"
    common = Runner(runner.profile, scene.records, runner.progress)
    return common.run(
        name if epsilon is None else f"{name}_under_noise_{epsilon}",
        f"records{noise}, knowing the same of {count} versions that grow by a patient, {meaning}",
        lambda: versions.combined(scene.views, scene.insiders),
        common.score_table_by_class,
    )


def _twins(runner: Runner) -> Result:
    records = runner.records
    here, there = (HardenedScene.of(records, epsilon=_REPEATED_AT) for _ in range(2))
    rows = records.rarest()
    return runner.run(
        "rare_records_linked_across_tables",
        f"the rarest tenth found again in a table under other keys, both with noise of epsilon "
        f"{_REPEATED_AT}: how often before another record of the class",
        lambda: versions.apart((here.view, here.insider), (there.view, there.insider), rows),
        lambda far: (scoring.rank_of_twins(far, rows, records.names()[0]), 0.5),
    )


def _telling(
    runner: Runner,
    kind: str,
    usual: Sequence[SealedView],
    other: Sequence[SealedView],
    *,
    reusing: bool,
) -> Result:
    limit = sealed.detectable(len(usual))
    meaning = f"{kind} queries told from distinct ones; up to {limit:.1%} is chance"
    return runner.run(
        "control_hints_reused" if reusing else f"{kind}_queries_told",
        meaning + (", but here hints are used twice" if reusing else ""),
        lambda: sealed.tell_apart(usual, other),
        lambda accuracy: (accuracy, 0.5),
        control=reusing,
    )


def _watching(
    runner: Runner,
    misdeed: str,
    views: dict[str, list[TrafficView]],
    *,
    leaking: bool = False,
    colluding: bool = False,
    spent: bool = False,
) -> Result:
    other, near, same = (views[second] for second in SECONDS)
    limit = sealed.detectable(len(same))
    meaning = f"a repeat or neighbour told from another query; up to {limit:.1%} is chance"
    name = f"repeats_told_cloud_does_{misdeed}"
    if spent:
        name = f"repeats_told_in_spent_windows_cloud_does_{misdeed}"
        meaning += "; here both jobs ask for the whole table"
    elif leaking:
        name = "control_shared_fetches"
        meaning += ", but here queries share unread buckets and failures are not reported"
    elif colluding:
        name = "repeats_told_with_the_second_user"
        meaning += " for the cloud alone; here the second user tells it what the report says"
    return runner.run(
        name,
        meaning,
        lambda: max(
            sealed.tell_traffic_apart(other, each, colluding=colluding) for each in (near, same)
        ),
        lambda accuracy: (accuracy, 0.5),
        control=leaking,
    )


def _distance_attacks(
    runner: Runner, view: HardenedView, insider: hardened.Insider, seed: int
) -> Iterator[Result]:
    labels = view.labels
    yield runner.known_rows(
        "cells_from_order_of_distances",
        f"a record's nearest among {_ANCHORS} known ones; any scheme that ranks gives this",
        _ANCHORS,
        seed,
        lambda rows, values: distances.copy_nearest(distances.distances(view, rows), values),
    )
    yield runner.known_rows(
        "cells_from_distances",
        f"records, from their distances to {_ANCHORS} known ones, weights and frequencies",
        _ANCHORS,
        seed,
        lambda rows, values: distances.multilaterate(
            distances.distances(view, rows), values, labels, insider
        ),
        draws=1,
        by_class=True,
    )


def _averaging(runner: Runner, repeats: int, *, memoised: bool) -> Result:
    # Of full precision, so that it is the noise alone that hides anything.
    scene = HardenedScene.of(
        runner.records, coarse=False, epsilon=_REPEATED_AT, repeats=repeats, memoised=memoised
    )
    name = "query_asked_once" if repeats == 1 else f"query_asked_{repeats}_times"
    meaning = f"queries of full precision with noise of epsilon {_REPEATED_AT}, asked {repeats}x"
    if not memoised:
        name = f"control_{repeats}_fresh_noises"
        meaning += ", with noise drawn anew, which the profile never does"
    return runner.run(
        name,
        meaning,
        lambda: hardened.averaged(scene.view, scene.insider, runner.records.classes, repeats),
        lambda guess: runner.score_queries_by_class(guess, scene.view, repeats),
        control=not memoised,
    )


def _weight_score(found: F64, weights: Sequence[int]) -> Score:
    """Compare shares; the baseline takes all features for equally important."""
    truth = np.array(weights) / sum(weights)
    tries = (found, np.full(len(truth), 1 / len(truth)))
    right = [np.abs(tried - truth) <= _WEIGHT_ERROR * np.maximum(truth, 1e-12) for tried in tries]
    return float(right[0].mean()), float(right[1].mean())
