"""Several processes in one folder: leases on what is made, and who works on a study."""
