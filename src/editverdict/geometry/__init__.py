"""What the hypotheses measure: spectra, perturbations, angles, amplification, accumulation, and their validity checks.

Everything here is a pure function of tensors and stands on ``numerics`` alone; its conventions (samples as rows, sigma
of the sample-centred matrix, descending) hold here too.
"""
