-- Runs once, when the volume is empty. The image makes Nightreel's own database, POSTGRES_DB.
CREATE DATABASE prefect;
