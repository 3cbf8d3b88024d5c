"""What one can add to the project, each with its contract: a Benchmark, an Engine, a Pruner, a
Quantizer.

Adding one takes a file with it, a line in `lrm.registry`, and an entry in its behaviour suite
(`tests/benchmarks/test_benchmarks.py`, `tests/engines/test_engines.py`,
`tests/compression/test_methods.py`). A benchmark is registered as an object. Of the others the
class is registered, since they are made anew for each checkpoint or each level; what is asked of
the class itself stands in `EngineKind`, `PrunerKind` and `QuantizerKind`.
"""
