"""Pure linear algebra on tensors: moments, spectra, random matrices, subspaces, least squares.

Conventions of this room and of ``geometry``: samples are rows (``X`` is ``[n, d]``; the paper's ``H`` is its transpose,
``d x n``), all arithmetic is in float64, singular values ``sigma`` are those of the matrix centred over samples and
stand in descending order, so that the root mean square of the samples along ``u_k`` is ``sigma_k / sqrt(n)`` (Eq. 10).
A basis ``U`` is ``[d, d]`` with the principal directions as columns. ``artefacts`` is the exception: it does on purpose
what a careless program does, in that program's number format.
"""
