"""What is expected of the marts and the accepted rows, evaluated with Great Expectations."""
