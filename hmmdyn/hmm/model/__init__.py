"""The model: how states follow each other and what they emit, and what it says of observations."""
