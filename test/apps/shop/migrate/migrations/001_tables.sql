CREATE TABLE visits (
    id bigserial PRIMARY KEY,
    version text NOT NULL,
    host text NOT NULL,
    at timestamptz NOT NULL DEFAULT now()
);
CREATE TABLE ticks (
    id bigserial PRIMARY KEY,
    version text NOT NULL,
    host text NOT NULL,
    at timestamptz NOT NULL DEFAULT now()
);
