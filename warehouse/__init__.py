"""The command line around dbt: build, look at, and document the warehouse.

dbt does the work; this package starts it, shows progress, says in one line what failed and what
to do, and prints the numbers people ask for first.
"""
