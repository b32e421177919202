"""Reports: what was measured, as tables in a terminal and as a model card. Nothing is measured here."""
