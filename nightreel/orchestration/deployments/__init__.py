"""`nightreel deploy` registers these with a Prefect server: pools and queues, deployments, automations.

Each part reads the server's state, changes what differs, and returns one sentence for each change.
"""
