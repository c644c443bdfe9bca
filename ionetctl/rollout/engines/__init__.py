"""Where pipelines run."""
