"""The one network of the cascade, `VideoUNet`, built from a spec (paper, section 2.4)."""
