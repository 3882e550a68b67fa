"""The warehouse on Apache Spark: a small cluster of processes on this machine."""
