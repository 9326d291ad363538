-- Run once, when the database is made.
CREATE TABLE nodes (name text PRIMARY KEY);
