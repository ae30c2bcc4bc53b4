"""What tests share: small models, fakes, crashing folders, processes, documents. No test in it."""
