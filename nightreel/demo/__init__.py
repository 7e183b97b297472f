"""What `nightreel demo` brings along: a model that needs no download, and clips with known truth."""
