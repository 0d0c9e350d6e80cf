"""The composition root: matrix of cases, recipes of artifacts, producers, measurements, rows."""
