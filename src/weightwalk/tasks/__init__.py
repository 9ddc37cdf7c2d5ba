"""Tasks: which data, which loss, which metrics, which report."""
