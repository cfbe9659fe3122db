"""Event types generated from proto/, the event registry, the envelope, the capability names and the topology."""
