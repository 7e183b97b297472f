"""The feature cache: features as Parquet files, their eviction, and a check of the index against the files."""
