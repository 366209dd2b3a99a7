-- Where a task stands: delayed, behind its key, eligible in somebody's queue, or leased. Mirrors `core/scheduler`.

local FIELDS = { 't', 'l', 'p', 's', 'o', 'x', 'r', 'n', 'j', 'S', 'q', 'u', 'b', 'e', 'z', 'a', 'D', 'k', 'R' }

local function load(c, id)
  local key = c.task .. id
  local g = call('HMGET', key, unpack(FIELDS))
  if not g[1] then return nil end
  return {
    id = id, key = key, tenant = g[1], lane = g[2], level = tonumber(g[3]), session = g[4], order_key = g[5],
    deadline = g[6] and tonumber(g[6]), retry = g[7], seq = tonumber(g[8]), label = g[9], state = g[10], stage = g[11], owner = g[12],
    worker = g[13], expires = g[14] and tonumber(g[14]), receipt = g[15], attempts = tonumber(g[16]) or 0, due = tonumber(g[17]) or 0,
    kind = g[18], replays = g[19],
  }
end

local function flow_key(c, L, T)
  if L.set.affinity and T.session then
    return c.prefix .. ':flow:' .. L.name .. ':s:' .. #T.tenant .. ':' .. T.tenant .. ':' .. T.session
  end
  if T.order_key then
    return c.prefix .. ':flow:' .. L.name .. ':k:' .. #T.tenant .. ':' .. T.tenant .. ':' .. T.order_key
  end
  return nil
end

local function home_field(T) return #T.tenant .. ':' .. T.tenant .. ':' .. T.session end

local function owner_of(c, L, T)
  if L.set.affinity and T.session then
    local home = call('HGET', c.prefix .. ':homes:' .. L.name, home_field(T))
    if home then return 'w:' .. home end
  end
  return 't:' .. T.tenant
end

local function order_key(c, L, level, owner) return c.prefix .. ':order:' .. L.name .. ':' .. level .. ':' .. owner end

-- Sorts by order of publishing among those that became ready at the same time.
local function member_of(T) return string.format('%013.0f', T.seq) .. T.id end

local function length(c, key)
  local held = c.lengths[key]
  if not held then
    held = call('ZCARD', key)
    c.lengths[key] = held
  end
  return held
end

local function enqueue(c, L, level, owner, since, member)
  local key = order_key(c, L, level, owner)
  local before = length(c, key)
  local adds = c.adds[key]
  if not adds then
    adds = {}
    c.adds[key] = adds
  end
  adds[#adds + 1] = since
  adds[#adds + 1] = member
  c.lengths[key] = before + 1
  if before == 0 then call('RPUSH', L.turn_key[level], owner) end
  c.dirty[L.name] = true
end

-- What was queued is written before anybody reads queues.
local function write_queues(c)
  for key, adds in pairs(c.adds) do call_all('ZADD', key, adds) end
  c.adds = {}
end

local function dequeue(c, L, level, owner, member)
  local key = order_key(c, L, level, owner)
  local before = length(c, key)
  if c.adds[key] then write_queues(c) end
  call('ZREM', key, member)
  c.lengths[key] = before - 1
  if before == 1 then call('LREM', L.turn_key[level], 1, owner) end
end

local function is_keyed(L, session, key) return key or (L.set.affinity and session) end

local function keyed_of(c, L, level) return c.prefix .. ':keyed:' .. L.name .. ':' .. level end

-- A task's time has come. Those with a key are noted by that time: a queue only says since when they are the first of their key.
local function count_ready(c, L, T)
  L.ready[T.level] = L.ready[T.level] + 1
  if is_keyed(L, T.session, T.order_key) then call('ZADD', keyed_of(c, L, T.level), T.due, T.id) end
end

local function uncount_ready(c, L, level, id, keyed)
  L.ready[level] = L.ready[level] - 1
  if keyed then call('ZREM', keyed_of(c, L, level), id) end
end

-- Its time has come, and it is counted as ready: behind its key, or eligible. Sets the task's fields without writing them.
local function make_ready(c, L, T, since)
  local flow = flow_key(c, L, T)
  if flow and call('ZRANGE', flow, 0, 0)[1] ~= T.id then
    T.stage, T.owner = 'b', ''
    return
  end
  T.stage, T.owner = 'e', owner_of(c, L, T)
  enqueue(c, L, T.level, T.owner, since, member_of(T))
end

-- A task waits (again), from T.due on. Sets its fields without writing them.
local function wait(c, L, T)
  T.state = 'w'
  if T.due > c.now then
    T.stage, T.owner = 'd', ''
    L.delayed = L.delayed + 1
    L.changed = true
    call('ZADD', c.prefix .. ':due', T.due, T.id)
    return
  end
  count_ready(c, L, T)
  make_ready(c, L, T, T.due)
end

local function save_place(T) call('HSET', T.key, 'S', T.state, 'q', T.stage, 'u', T.owner, 'D', T.due) end

-- Takes a task out of wherever it stands; its key stays blocked by it until `exit`.
local function leave(c, L, T)
  if T.state == 'l' then
    L.leased = L.leased - 1
    L.changed = true
    c.settled[#c.settled + 1] = T.id
    c.dirty[L.name] = true
  elseif T.state == 'w' then
    if T.stage == 'd' then
      L.delayed = L.delayed - 1
      L.changed = true
      call('ZREM', c.prefix .. ':due', T.id)
    else
      uncount_ready(c, L, T.level, T.id, is_keyed(L, T.session, T.order_key))
      if T.stage == 'e' then dequeue(c, L, T.level, T.owner, member_of(T)) end
    end
  end
end

-- Puts a task in the order of its key and session, when it is published or replayed.
local function file(c, L, T)
  local flow = flow_key(c, L, T)
  if flow then call('ZADD', flow, T.seq, T.id) end
  if T.session and L.set.on_session_end ~= 'keep' then
    call('ZADD', c.prefix .. ':session-tasks:' .. T.session, T.seq, T.id)
  end
  if T.deadline and not T.replays then
    call('ZADD', c.prefix .. ':deadlines', T.deadline, T.id)
  end
end

-- A task is over: the next one of its key goes on.
local function exit(c, L, T)
  if T.session and L.set.on_session_end ~= 'keep' then
    call('ZREM', c.prefix .. ':session-tasks:' .. T.session, T.id)
  end
  if T.deadline then call('ZREM', c.prefix .. ':deadlines', T.id) end
  local flow = flow_key(c, L, T)
  if not flow then return end
  local was_head = call('ZRANGE', flow, 0, 0)[1] == T.id
  call('ZREM', flow, T.id)
  if not was_head then return end
  local head = call('ZRANGE', flow, 0, 0)[1]
  if not head then return end
  local N = load(c, head)
  if N and N.state == 'w' and N.stage == 'b' then
    -- From now on nothing but a worker is missing; it queues behind those that were ready before.
    make_ready(c, L, N, c.now)
    save_place(N)
  end
end
