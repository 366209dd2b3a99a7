-- Dead letters: listing, sending back, deleting. By filter they go piece by piece, so that Redis is never blocked for long.

local PIECE = 500

local function replays_of(T)
  local text = T.replayed and call('HGET', T.key, 'R')
  return text and decode(text) or {}
end

local function find_dead(c, scope, id)
  local T = load(c, id)
  if not T or T.state ~= 'x' or not has(scope, T.tenant) then return nil, refusal('not_found', 'dead letter', id) end
  return T
end

local function matches(c, scope, filter, T, reason, at)
  return T.state == 'x' and has(scope, T.tenant)
    and (not filter.lane or filter.lane == T.lane)
    and (not filter.kind or filter.kind == T.kind)
    and (not filter.reason or filter.reason == reason)
    and (not filter.session or filter.session == T.session)
    and (not filter.before or at < filter.before)
    and (not filter.since or at >= filter.since)
end

local function leave_dead(c, T)
  call('ZREM', c.keys.dead, T.id)
  call('LREM', c.prefix .. ':queue:' .. T.lane .. ':dlq', 1, T.id)
end

local function replay_one(c, T, by, due)
  local replays = replays_of(T)
  if #replays >= c.cfg.max_replays then return refusal('replay_limit', T.id, #replays) end
  local L = lane_of(c, T.lane)
  if depth(L) >= L.set.max_depth then return refusal('lane_full', T.lane, L.set.max_depth) end
  task_event(c, T, 'task_replayed', said('by', by), 'due=' .. whole(due))
  leave_dead(c, T)
  replays[#replays + 1] = { c.now, by }
  T.seq, T.attempts, T.due, T.replayed = next_place(c), 0, due, true
  call('HDEL', T.key, 'f', 'dr', 'dd', 'do')
  if T.session and call('EXISTS', session_key(c, T.session)) == 1 then call('HINCRBY', session_key(c, T.session), 'nx', -1) end
  file(c, L, T)
  wait(c, L, T)
  call('HSET', T.key, 'm', moving(T), 'R', encode(replays))
  count(c, L.name, T.level, 'replayed')
  return { 1 }
end

local function purge_one(c, T)
  task_event(c, T, 'dead_letter_purged')
  leave_dead(c, T)
  call('DEL', T.key)
end

function verbs.replay(c, scope, id, by)
  local T, refused = find_dead(c, scope, id)
  if not T then return refused end
  return replay_one(c, T, by, c.now)
end

function verbs.purge(c, scope, id)
  local T, refused = find_dead(c, scope, id)
  if not T then return refused end
  purge_one(c, T)
  return { 1 }
end

-- After one order, up to another (-1: all that are there now). `done`: so far; `what`: `replay` or `purge`; `rate`: a second, or 0;
-- `limit`: or -1. Answers matched, done, refused, the order at which to go on (-1: finished), and up to which.
function verbs.dead_piece(c, scope, filter, after, top, done, what, by, rate, limit)
  if top < 0 then top = tonumber(call('GET', c.keys['dead-order'])) or 0 end
  local page = call('ZRANGEBYSCORE', c.keys.dead, '(' .. after, top, 'WITHSCORES', 'LIMIT', 0, PIECE)
  local matched, refused, begun = 0, 0, done
  for i = 1, #page, 2 do
    local T = load(c, page[i])
    after = tonumber(page[i + 1])
    if T then
      local got = call('HMGET', T.key, 'dr', 'f')
      if matches(c, scope, filter, T, got[1], tonumber(got[2]) or 0) then
        matched = matched + 1
        if what == 'purge' then
          purge_one(c, T)
          done = done + 1
        elseif limit < 0 or done < limit then
          local due = rate > 0 and c.now + floor(done * 1000 / rate) or c.now
          if replay_one(c, T, by, due)[1] == 1 then done = done + 1 else refused = refused + 1 end
        end
      end
    end
  end
  return { 1, matched, done - begun, refused, #page < PIECE * 2 and -1 or after, top }
end

-- After this order. Answers items, each its id and fields, and the order at which to go on.
function verbs.dead_letters(c, scope, filter, after, limit)
  local items, last, looked = {}, -1, 0
  while true do
    local page = call('ZRANGEBYSCORE', c.keys.dead, '(' .. after, '+inf', 'WITHSCORES', 'LIMIT', 0, 200)
    if #page == 0 then return { 1, items, -1 } end
    for i = 1, #page, 2 do
      local T = load(c, page[i])
      after = tonumber(page[i + 1])
      if T then
        local got = call('HMGET', T.key, 'dr', 'f')
        if matches(c, scope, filter, T, got[1], tonumber(got[2]) or 0) then
          if #items == limit then return { 1, items, last } end
          items[#items + 1] = { T.id, fields_of(c, T) }
          last = after
        end
      end
    end
    looked = looked + #page / 2
    if looked >= 2000 then return { 1, items, after } end
  end
end

function verbs.dead_letter(c, scope, id)
  local T, refused = find_dead(c, scope, id)
  if not T then return refused end
  return { 1, id, fields_of(c, T) }
end
