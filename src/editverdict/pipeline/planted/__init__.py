"""Synthetic worlds with known answers, judged by the real estimators and the real rule.

A *plant* is a law that data are drawn from, together with the true value of the claim's quantity under it (a closed
form, or a computation in the limit of infinite data, never the estimator's own output) and the true standard error of
the estimate. A *world* is one draw from a plant with an expected region put around it, so that the true answer is
known. :mod:`.quality` counts how often the verdict agrees; ``bench/verdict_quality.py`` prints the whole table.

No model, no store: arrays, :mod:`editverdict.geometry` and :mod:`editverdict.inference` alone.
"""
