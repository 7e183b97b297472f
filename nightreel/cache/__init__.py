"""The feature cache: features as Parquet files, their eviction, and the check of index against files."""
