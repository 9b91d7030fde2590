"""The networks of the compression benchmark: trained here, or made by others and loaded."""
