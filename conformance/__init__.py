"""The suite: it judges TCP echo servers that serve every connection in a process of its own."""
