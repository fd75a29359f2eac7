"""Hospital and cloud as servers, and the client of a user."""
