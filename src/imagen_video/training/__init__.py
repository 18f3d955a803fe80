"""Training one stage of a cascade, independently of the others (paper, section 2.5)."""
