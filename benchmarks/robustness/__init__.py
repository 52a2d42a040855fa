"""A fixed suite of distortions, as other clinics and other hands make pictures, and what they cost a model."""
