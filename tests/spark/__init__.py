"""Tests of the warehouse on Apache Spark."""
