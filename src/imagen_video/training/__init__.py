"""Training one stage of a cascade; stages are trained independently of one another (paper, section 2.5)."""
