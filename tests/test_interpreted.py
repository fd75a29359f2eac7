"""The kernels give the same answers interpreted: compiling hides no typing fault."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from tests.places import ROOT

#: Tests that touch every kernel on small data.
SUBSET = [
    "tests/datasets/test_kernel.py::test_every_float_comes_back",
    "tests/datasets/test_kernel.py::test_the_kernel_says_what_reading_by_cell_says",
    "tests/encode/test_encoder.py::test_relief_weights_equal_the_oracle",
    "tests/blind/test_blinding.py::test_instances_and_queries_carry_prefix_sum_and_noise",
    "tests/search/test_search.py::test_neighbours_equal_the_oracle",
    "tests/search/test_search.py::test_excluded_rows_are_left_out",
    "tests/search/test_search.py::test_vote_equals_the_oracle",
    "tests/search/test_engine.py::test_exact",
    "tests/search/test_engine.py::test_append_remove_exclude",
    "tests/search/test_engine.py::test_hits_and_misses",
    "tests/search/test_engine.py::test_within",
    "tests/search/test_parts.py::test_parts_find_what_the_whole_has",
    "tests/search/test_classify.py::test_classify",
    "tests/search/test_conversion.py::test_convert",
    "tests/blind/test_laplace.py::test_kernel_equals_the_sampler_in_python_integers",
    "tests/record/questionnaire/test_posterior.py::test_the_next_question_leaves_least_entropy",
    "tests/record/questionnaire/test_posterior.py::test_a_whole_interview_is_one_question_after_the_other",
    "tests/images/test_compare.py::test_counts_and_tables[1]",
    "tests/images/test_compare.py::test_some_comparisons",
    "tests/images/test_extraction.py::test_candidates_and_cubes[smallest]",
    "tests/images/test_extraction.py::test_interpreted",
    "tests/images/hidden/test_concealment.py::test_interpreted",
    "tests/images/hidden/test_slots.py::test_forms_of_second_differences",
    "tests/images/hidden/test_slots.py::test_bits_are_summed_by_site_and_slot",
    "tests/images/hidden/test_slots.py::test_windows[0-4-9]",
    "tests/images/test_matching.py::test_wide_comparisons[uint32-chunks2]",
    "tests/images/test_matching.py::test_counts_equal_the_definition[1-2-8]",
    "tests/signals/test_units.py::test_doubled_samples_count_once",
    "tests/signals/test_units.py::test_the_grid_is_straight_between_samples",
    "tests/signals/test_units.py::test_flat_runs_and_moving_means",
    "tests/signals/test_units.py::test_peaks",
    "tests/sealed/test_sealed.py::test_checksums_are_linear",
    "tests/sealed/test_whole.py::test_a_table_without_windows_answers_many",
    "tests/sealed/test_edits.py::test_equal_distances_come_in_order_of_row_among_both",
    "tests/aggregate/test_kernels.py::test_products_and_reductions_are_residues",
    "tests/aggregate/test_kernels.py::test_products_of_transforms_are_negacyclic[562949953408001]",
    "tests/aggregate/test_kernels.py::test_errors_are_differences_of_twenty_one_bits",
    "tests/aggregate/test_kernels.py::test_uniform_residues_are_words_below_the_prime",
    "tests/aggregate/test_kernels.py::test_residues_travel_in_as_many_bits_as_the_prime_has",
    "tests/aggregate/test_kernels.py::test_wide_integers_are_sums_of_limbs",
    "tests/aggregate/test_kernels.py::test_remainders_lie_around_zero",
    "tests/aggregate/test_kernels.py::test_division_changes_no_plaintext[slots]",
    "tests/aggregate/test_evaluation.py::test_small_circuits_equal_the_oracle",
]


@pytest.mark.long
def test_kernels_agree_with_the_oracle_when_interpreted():
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "pytest",
            "-p",
            "no:cacheprovider",
            "-o",
            "addopts=",
            "-q",
            "--import-mode=importlib",
            "-W",
            "ignore::RuntimeWarning",
            *SUBSET,
        ],
        cwd=ROOT,
        env=os.environ | {"NUMBA_DISABLE_JIT": "1", "OMPD_TEST_EXAMPLES": "4"},
        capture_output=True,
        text=True,
        check=False,
        timeout=240,
    )
    assert done.returncode == 0, done.stdout[-3000:]
    assert f"{len(SUBSET)} passed" in done.stdout
