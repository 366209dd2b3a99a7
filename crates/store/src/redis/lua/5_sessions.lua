-- Sessions: creating, updating, signs of life, ending. Metadata is merged by the caller, who names the version that it merged into.

local function session_key(c, id) return c.prefix .. ':session:' .. id end

local function session_event(c, kind, id, tenant, state, extra)
  event(c, kind, id, tenant, '"tenant":' .. encode(tenant) .. ',"state":"' .. state .. '"' .. extra)
end

local function view_session(c, id) return { 1, id, call('HGETALL', session_key(c, id)) } end

-- The state of a session that the caller may see, or a refusal.
local function active_session(c, scope, id)
  local got = call('HMGET', session_key(c, id), 't', 'S', 'i', 'V')
  if not got[1] or not has(scope, got[1]) then return nil, refusal('session_not_found', id) end
  if got[2] ~= 'active' then return nil, refusal('session_ended', id, got[2]) end
  return { tenant = got[1], idle = tonumber(got[3]), version = tonumber(got[4]) }
end

-- When the next slot is free at the latest; looks at so many sessions at most.
local function next_free(c, tenant)
  local first = call('ZRANGE', c.keys.idle, 0, tenant and 999 or 0, 'WITHSCORES')
  for i = 1, #first, 2 do
    if not tenant or call('HGET', session_key(c, first[i]), 't') == tenant then
      return max(tonumber(first[i + 1]) - c.now, 1)
    end
  end
  return c.cfg.idle_timeout_ms
end

function verbs.create_session(c, tenant, id, metadata, idle)
  local key = session_key(c, id)
  if call('EXISTS', key) == 1 then return refusal('session_exists', id) end
  local of_tenant = tonumber(call('HGET', c.keys.slots, tenant)) or 0
  local limit, of, retry
  if of_tenant >= c.cfg.max_per_tenant then
    limit, of, retry = c.cfg.max_per_tenant, 'tenant', next_free(c, tenant)
  elseif call('ZCARD', c.keys.idle) >= c.cfg.max_concurrent then
    limit, of, retry = c.cfg.max_concurrent, 'all', next_free(c, nil)
  end
  if limit then
    tally(c, 'sessions_refused')
    return refusal('session_limit', limit, of, retry)
  end
  local seq = call('INCR', c.keys['session-seq'])
  call('HSET', key, 'v', '1', 't', tenant, 'S', 'active', 'c', c.now, 'm', c.now, 'i', idle, 'M', metadata, 'V', 1, 'n', seq)
  call('ZADD', c.keys.sessions, seq, id)
  call('ZADD', c.keys.idle, c.now + idle, id)
  timer_at(c, c.now + idle)
  call('HINCRBY', c.keys.slots, tenant, 1)
  session_event(c, 'session_created', id, tenant, 'active', ',"metadata":' .. metadata .. ',"idle_timeout_ms":' .. idle)
  return view_session(c, id)
end

-- `version`: the one that was read; `metadata`: merged. Answers `stale` when somebody was faster.
function verbs.update_session(c, scope, id, version, metadata)
  local held, refused = active_session(c, scope, id)
  if not held then return refused end
  if held.version ~= version then return refusal('stale') end
  call('HSET', session_key(c, id), 'M', metadata, 'V', held.version + 1)
  touch_session(c, id, held.idle)
  session_event(c, 'session_updated', id, held.tenant, 'active', ',"metadata":' .. metadata)
  return view_session(c, id)
end

function verbs.heartbeat(c, scope, id)
  local held, refused = active_session(c, scope, id)
  if not held then return refused end
  touch_session(c, id, held.idle)
  return view_session(c, id)
end

local function finish_session(c, id, tenant, state, reason)
  local key = session_key(c, id)
  call('HSET', key, 'S', state, 'f', c.now)
  if reason ~= '' then call('HSET', key, 'r', reason) end
  call('ZREM', c.keys.idle, id)
  if call('HINCRBY', c.keys.slots, tenant, -1) <= 0 then call('HDEL', c.keys.slots, tenant) end
  tally(c, state)
  session_event(c, state == 'timed_out' and 'session_timed_out' or 'session_ended', id, tenant, state,
    reason ~= '' and said('reason', reason) or '')
  local kept = call('RPUSH', c.keys.ended, id)
  while kept > c.cfg.remember_ended do
    local oldest = call('LPOP', c.keys.ended)
    kept = kept - 1
    if oldest then
      call('DEL', session_key(c, oldest))
      call('ZREM', c.keys.sessions, oldest)
    end
  end
  for name, set in pairs(c.cfg.lanes) do
    if set.affinity then
      local field = #tenant .. ':' .. tenant .. ':' .. id
      local home = call('HGET', c.prefix .. ':homes:' .. name, field)
      if home then
        call('HDEL', c.prefix .. ':homes:' .. name, field)
        call('SREM', c.prefix .. ':home-of:' .. home, name .. '\n' .. field)
      end
    end
  end
  for _, task in ipairs(call('ZRANGE', c.prefix .. ':session-tasks:' .. id, 0, -1)) do
    local T = load(c, task)
    if T and T.state == 'w' then
      local L = lane_of(c, T.lane)
      if L.set.on_session_end ~= 'keep' then give_up_with_session(c, L, T, nil) end
    end
  end
end

function verbs.end_session(c, scope, id, state, reason)
  local held, refused = active_session(c, scope, id)
  if not held then return refused end
  finish_session(c, id, held.tenant, state, reason)
  return view_session(c, id)
end

function verbs.session(c, scope, id)
  local tenant = call('HGET', session_key(c, id), 't')
  if not tenant or not has(scope, tenant) then return refusal('session_not_found', id) end
  return view_session(c, id)
end

-- Newest first. `state`: or ''; `before`: this order, or -1. Answers items, each its id, order and fields, and the order at which to
-- go on, or -1.
function verbs.sessions(c, scope, state, before, limit)
  before = before >= 0 and '(' .. before or '+inf'
  local items, looked = {}, 0
  while true do
    local page = call('ZREVRANGEBYSCORE', c.keys.sessions, before, '-inf', 'WITHSCORES', 'LIMIT', 0, 200)
    if #page == 0 then return { 1, items, -1 } end
    for i = 1, #page, 2 do
      local id = page[i]
      local got = call('HMGET', session_key(c, id), 't', 'S')
      if got[1] and has(scope, got[1]) and (state == '' or got[2] == state) then
        if #items == limit then return { 1, items, items[#items][3] } end
        items[#items + 1] = { id, call('HGETALL', session_key(c, id)), tonumber(page[i + 1]) }
      end
    end
    before = '(' .. page[#page]
    looked = looked + #page / 2
    -- A filter that almost nothing matches must not block Redis: the caller goes on from here.
    if looked >= 2000 then return { 1, items, tonumber(page[#page]) } end
  end
end
