"""Case bundles: one ZIP with everything that proves an inspection, and its checking offline."""
