"""What is expected of the marts and the accepted rows, evaluated with Great Expectations."""

import sys

# Great Expectations imports all of PySpark where it is installed. Nothing here uses it, and without
# gRPC a module of it ends the process.
sys.modules["pyspark"] = None  # type: ignore[assignment]
