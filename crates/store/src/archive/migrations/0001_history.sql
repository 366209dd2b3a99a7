-- What is over: one row for each finished task and each session, and from where to go on. A task that is replayed is not over, so its
-- row goes until it ends again.

CREATE TABLE tasks (
    id          uuid        PRIMARY KEY,
    epoch       uuid        NOT NULL,
    tenant      text        NOT NULL,
    lane        text        NOT NULL,
    kind        text        NOT NULL,
    priority    text        NOT NULL,
    state       text        NOT NULL,
    attempts    integer     NOT NULL,
    session     text,
    key         text,
    created_at  timestamptz NOT NULL,
    finished_at timestamptz NOT NULL,
    reason      text,
    detail      text
);
COMMENT ON COLUMN tasks.state IS 'done, cancelled or dead';
COMMENT ON COLUMN tasks.created_at IS 'as the id says';
COMMENT ON COLUMN tasks.reason IS 'of a dead letter: why it was given up; of a withdrawn task: why it was withdrawn';
CREATE INDEX tasks_by_tenant ON tasks (tenant, id);
CREATE INDEX tasks_by_lane ON tasks (lane, id);
CREATE INDEX tasks_by_session ON tasks (session, id) WHERE session IS NOT NULL;
CREATE INDEX tasks_by_end ON tasks USING brin (finished_at);

CREATE TABLE sessions (
    epoch            uuid        NOT NULL,
    id               text        NOT NULL,
    opened           bigint      NOT NULL,
    tenant           text        NOT NULL,
    state            text        NOT NULL,
    created_at       timestamptz NOT NULL,
    last_activity_at timestamptz NOT NULL,
    ended_at         timestamptz,
    reason           text,
    idle_timeout_ms  bigint      NOT NULL,
    metadata         json        NOT NULL,
    published        bigint      NOT NULL DEFAULT 0,
    done             bigint      NOT NULL DEFAULT 0,
    dead             bigint      NOT NULL DEFAULT 0,
    cancelled        bigint      NOT NULL DEFAULT 0,
    PRIMARY KEY (epoch, id, opened)
);
COMMENT ON TABLE sessions IS 'those that are active are here too, so that nothing has to be looked up when they end';
COMMENT ON COLUMN sessions.opened IS 'the offset of the event that says that it began: an id may be used again once the store has forgotten it';
CREATE INDEX sessions_by_age ON sessions (created_at, opened, epoch) WHERE ended_at IS NOT NULL;
CREATE INDEX sessions_by_tenant ON sessions (tenant, created_at, opened, epoch) WHERE ended_at IS NOT NULL;
CREATE INDEX sessions_by_id ON sessions (id);
CREATE INDEX sessions_by_end ON sessions USING brin (ended_at);

CREATE TABLE cursors (
    epoch      uuid        PRIMARY KEY,
    "offset"   bigint      NOT NULL,
    updated_at timestamptz NOT NULL DEFAULT now()
);
COMMENT ON TABLE cursors IS 'the last event of each store that is in here; written with the rows, so that each event counts once';

CREATE TABLE gaps (
    epoch        uuid        NOT NULL,
    first_offset bigint      NOT NULL,
    last_offset  bigint      NOT NULL,
    reason       text        NOT NULL,
    noted_at     timestamptz NOT NULL DEFAULT now()
);
COMMENT ON TABLE gaps IS 'events that are not in here, and why';
