"""Memory of a device: estimates, measurements, and the budgets of batches."""
