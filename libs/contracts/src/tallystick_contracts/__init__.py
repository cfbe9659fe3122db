"""Event types generated from proto/, the event registry, the envelope and the capability names."""
