"""The running system: two servers, a worker a pool, and one process that looks after them.

The supervisor imports neither Prefect nor MLflow: it stays small and starts at once. What needs Prefect's client runs
as a child of its own (`flows.stack.furnish`).
"""
