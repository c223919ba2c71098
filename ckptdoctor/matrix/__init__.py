"""Many diagnoses: which releases work together, measured and inferred."""
