"""Where observations come from: each source becomes an Ibis table with a schema."""
