-- The storm's runs: what `run.json` says, and of that what one looks for.

CREATE TABLE runs (
    id          text        PRIMARY KEY,
    scenario    text        NOT NULL,
    verdict     text,
    started_at  timestamptz NOT NULL,
    finished_at timestamptz,
    record      json        NOT NULL
);
CREATE INDEX runs_by_age ON runs (started_at, id);
