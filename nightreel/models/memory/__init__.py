"""Memory of a device: estimated, measured, and shared out to batches."""
