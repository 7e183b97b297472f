-- Run once, when the volume is empty. Nightreel's own database is the image's POSTGRES_DB.
CREATE DATABASE prefect;
