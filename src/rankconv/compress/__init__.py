"""Making a trained network cheaper: what its layers see, and what to put in their place."""
