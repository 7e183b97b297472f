"""What `nightreel deploy` registers with a Prefect server: pools and queues, deployments, automations.

Each part looks at what the server has, changes what differs, and returns sentences about it; none where nothing did.
"""
