"""The ordered notebooks through papermill, and a run's report."""
