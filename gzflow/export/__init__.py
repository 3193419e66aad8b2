"""A catalogue as one file, in the formats that astronomers' tools open."""
