"""HDF5 shards: images and votes at training resolution, written once."""
