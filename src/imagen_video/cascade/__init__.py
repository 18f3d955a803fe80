"""The cascade: geometry, the stages, the pipeline and bundles (paper, sections 2.1 and 2.5)."""
