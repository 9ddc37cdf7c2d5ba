"""Features of many dimensions as points of a plane."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from weightwalk.errors import InputError


def plane(features: NDArray[Any], seed: int) -> NDArray[np.float64]:
    """(n, d) -> (n, 2): PCA to at most 50 dimensions, then t-SNE (van der Maaten & Hinton, 2008) from the first two.

    The same features and seed give the same plane: t-SNE runs on one thread, since its parallel sums have no fixed
    order. Fewer than four points keep their principal axes; features that are all alike land on the origin.
    """
    features = np.asarray(features, dtype=np.float64)
    if features.ndim != 2:
        raise InputError(f"expected features (n, d) to project, got {features.shape}")
    if not np.isfinite(features).all():
        broken = np.count_nonzero(~np.isfinite(features).all(1))
        raise InputError(f"features must be finite to be projected, got {broken} rows that are not")
    num_points = len(features)
    varied = features[:, np.ptp(features, axis=0) > 0] if num_points else features[:, :0]
    if varied.size == 0:
        return np.zeros((num_points, 2))

    from sklearn.decomposition import PCA
    from sklearn.manifold import TSNE
    from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

    principal = PCA(min(50, *varied.shape), random_state=seed).fit_transform(varied)
    start = np.pad(principal[:, :2], ((0, 0), (0, max(0, 2 - principal.shape[1]))))
    if num_points < 4:
        return start
    tsne = TSNE(perplexity=min(30.0, (num_points - 1) / 3), init=start / start[:, 0].std() * 1e-4, random_state=seed)
    with threadpool_limits(1):
        return np.asarray(tsne.fit_transform(principal), dtype=np.float64)
