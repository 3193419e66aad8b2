"""From a model and shards to a catalogue."""
