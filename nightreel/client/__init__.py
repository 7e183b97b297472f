"""The REST service from a notebook: rows as Arrow tables, pictures that show themselves.

    from nightreel.client import Client
    client = Client("http://127.0.0.1:4280", token="nr_…")
    flags = client.flags(filters=["severity>=3"], under="s3://bucket/2026/11/")    # a pyarrow.Table
    flags.to_pandas()
    client.thumbnail(flags["video_id"][0].as_py())                                 # a picture

It needs httpx and pyarrow, and nothing else of Nightreel.
"""

from nightreel.client.client import Client, Picture
from nightreel.client.errors import ServiceError

__all__ = ["Client", "Picture", "ServiceError"]
