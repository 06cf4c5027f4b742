"""Officers: certified inspectors, their certificates, region and department."""
