"""Many runs: sweeps on Dask, ablations, what they showed."""
