"""CDS Hooks 2.0: pre-diagnoses as cards in the hospital's own health record system."""
