"""The suite turned round: it is the server, and what is judged is a client."""
