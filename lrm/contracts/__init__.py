"""What one can add to the project, each with its contract: a Benchmark, an Engine, a Pruner, a
Quantizer. A benchmark is registered as an object, of the others the class (`lrm.registry`)."""
