"""Pages of a person's health record, on the person's own device and for nobody else."""
