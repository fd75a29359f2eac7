"""Plaintext nearest-neighbour libraries under the Manhattan distance, as users call them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

#: Name of each peer in tables and JSON.
NAMES = ("faiss", "sklearn_kdtree", "sklearn_brute", "scipy_ckdtree")

Search = Callable[[np.ndarray, int], Any]


def build(name: str, points: np.ndarray, threads: int) -> Search:
    """Index plain vectors and return ``search(queries, k)``.

    Every peer gets the type it works best with: float32 for FAISS, float64 for the others.
    """
    if name == "faiss":
        import faiss

        faiss.omp_set_num_threads(threads)
        index = faiss.IndexFlat(points.shape[1], faiss.METRIC_L1)
        index.add(np.ascontiguousarray(points, dtype=np.float32))

        def search_faiss(queries: np.ndarray, k: int) -> Any:
            faiss.omp_set_num_threads(threads)
            return index.search(np.ascontiguousarray(queries, dtype=np.float32), k)

        return search_faiss
    if name == "sklearn_kdtree":
        from sklearn.neighbors import KDTree

        # Has no threads of its own.
        kd_tree = KDTree(points, metric="manhattan")
        return kd_tree.query
    if name == "sklearn_brute":
        from sklearn.neighbors import NearestNeighbors
        from threadpoolctl import threadpool_limits

        neighbors = NearestNeighbors(algorithm="brute", metric="manhattan", n_jobs=threads)
        neighbors.fit(points)

        def search_brute(queries: np.ndarray, k: int) -> Any:
            with threadpool_limits(threads):
                return neighbors.kneighbors(queries, k)

        return search_brute
    from scipy.spatial import cKDTree

    tree = cKDTree(points)
    return lambda queries, k: tree.query(queries, k, p=1, workers=threads)
