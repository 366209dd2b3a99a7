-- Where a task stands: delayed, behind its key, eligible in somebody's queue, or leased. Mirrors `core/scheduler`.

local function lease_of(c, id)
  local held = c.held or rare(c, 'held')
  local lease = held[id]
  if lease == nil then
    lease = call('HGET', c.keys.held, id)
    held[id] = lease
  end
  return lease
end

-- Reads the leases of many tasks at once.
local function look_at_leases(c, ids)
  local held = c.held or rare(c, 'held')
  for i = 1, #ids, 1000 do
    local last = min(i + 999, #ids)
    local leases = call('HMGET', c.keys.held, unpack(ids, i, last))
    for j = i, last do
      if held[ids[j]] == nil then held[ids[j]] = leases[j - i + 1] end
    end
  end
end

local function task_of(c, id, packed, state, created, seq, deadline, due, attempts, replayed)
  local _, tenant, lane, level, kind, session, order_key, retry, label = parts(packed, 8, 1)
  return {
    id = id, key = c.keys['task:'] .. id, packed = packed, tenant = tenant, lane = lane, level = level, kind = kind, session = session,
    order_key = order_key, retry = retry, label = label, state = state, created = created, seq = seq, deadline = deadline, due = due,
    attempts = attempts, replayed = replayed, stage = '', owner = '',
  }
end

-- A task that somebody has, from its lease; nil: nobody has.
local function load_leased(c, id)
  local lease = lease_of(c, id)
  if not lease then return nil end
  local _, worker, receipt, expires, attempt, packed, created, seq, deadline, due, replayed = parts(lease, 10, 1)
  local T = task_of(c, id, packed, 'l', created, seq, deadline, due, attempt, replayed)
  T.worker, T.receipt, T.expires = worker, receipt, expires
  return T
end

local function load_finished(c, id)
  local finished = call('HGET', c.keys.finished, id)
  if not finished then return nil end
  local _, packed, state, created, seq, deadline, attempts, at, failure = parts(finished, 8, 1)
  local T = task_of(c, id, packed, state, created, seq, deadline, 0, attempts, false)
  T.finished, T.failure = at, failure
  return T
end

local function load(c, id)
  if c.over and c.over[id] then return c.over[id] end
  local leased = load_leased(c, id)
  if leased then return leased end
  local g = call('HMGET', c.keys['task:'] .. id, 'i', 'm')
  if not g[1] then return load_finished(c, id) end
  local _, state, created, seq, deadline, stage, owner, due, attempts, replayed = parts(g[2], 9, 1)
  local T = task_of(c, id, g[1], state, created, seq, deadline, due, attempts, replayed)
  T.stage, T.owner = stage, owner
  return T
end

-- A lease as it is kept, and as `load_leased` reads it.
local function packed_lease(worker, receipt, expires, attempts, packed, created, seq, deadline, due, replayed)
  return pack({ worker, receipt, expires, attempts, packed, created, seq, deadline or false, due, replayed or false })
end

-- What changes of a task, as it is kept.
local function packed_moving(state, created, seq, deadline, stage, owner, due, attempts, replayed)
  return pack({ state, created, seq, deadline or false, stage, owner, due, attempts, replayed or false })
end

local function moving(T)
  return packed_moving(T.state, T.created, T.seq, T.deadline, T.stage, T.owner, T.due, T.attempts, T.replayed)
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

local function order_key(L, level, owner) return L.keys.order[level] .. owner end

-- Sorts by order of publishing among those that became ready at the same time.
local function member_of(T) return format('%013d%s', T.seq, T.id) end

local function length(c, key)
  local lengths = c.lengths or rare(c, 'lengths')
  local known = lengths[key]
  if not known then
    local adds = c.adds and c.adds[key]
    known = call('ZCARD', key) + (adds and #adds / 2 or 0)
    lengths[key] = known
  end
  return known
end

-- Puts a task into the queue of an owner. It is counted as ready already, so if there is one it is this, and nobody has a turn.
local function enqueue(c, L, level, owner, since, member)
  local key, only = order_key(L, level, owner), L.only[level]
  if L.ready[level] == 1 then
    call('RPUSH', L.keys.turn[level], owner)
    L.only[level] = owner
  elseif only ~= owner and length(c, key) == 0 then
    call('RPUSH', L.keys.turn[level], owner)
    L.only[level] = false
  end
  L.dirty = true
  local score = since == c.now and c.at or since
  local adds, lengths = c.adds or rare(c, 'adds'), c.lengths
  if adds[key] then
    keep(adds[key], score, member)
  else
    adds[key] = { score, member }
  end
  if lengths and lengths[key] then lengths[key] = lengths[key] + 1 end
end

-- What was queued is written before anybody reads queues.
local function write_queues(c)
  if not c.adds then return end
  for key, adds in pairs(c.adds) do call_all('ZADD', key, adds) end
  c.adds = false
end

-- Of an owner who has nothing left in this queue.
local function end_turn(L, level, owner)
  call('LREM', L.keys.turn[level], 0, owner)
  if L.only[level] == owner then L.only[level] = false end
end

local function dequeue(c, L, level, owner, member)
  local key = order_key(L, level, owner)
  write_queues(c)
  local before = length(c, key)
  call('ZREM', key, member)
  c.lengths[key] = before - 1
  if before == 1 then end_turn(L, level, owner) end
end

local function is_keyed(L, session, key) return key or (L.set.affinity and session) end

-- A task's time has come. Those with a key are noted by that time: a queue only says since when they are the first of their key.
local function count_ready(c, L, T)
  L.ready[T.level] = L.ready[T.level] + 1
  if is_keyed(L, T.session, T.order_key) then call('ZADD', L.keys.keyed[T.level], T.due, T.id) end
end

local function uncount_ready(c, L, level, id, keyed)
  L.ready[level] = L.ready[level] - 1
  if keyed then call('ZREM', L.keys.keyed[level], id) end
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
    call('ZADD', c.keys.due, T.due, T.id)
    timer_at(c, T.due)
    return
  end
  count_ready(c, L, T)
  make_ready(c, L, T, T.due)
end

local function save_place(T) call('HSET', T.key, 'm', moving(T)) end

-- Takes a task out of wherever it stands; its key stays blocked by it until `exit`.
local function leave(c, L, T)
  if T.state == 'l' then
    L.leased = L.leased - 1
    local settled, held = c.settled or rare(c, 'settled'), c.held or rare(c, 'held')
    settled[#settled + 1] = T.id
    held[T.id] = false
    L.dirty = true
  elseif T.state == 'w' then
    if T.stage == 'd' then
      L.delayed = L.delayed - 1
      call('ZREM', c.keys.due, T.id)
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
  if T.deadline and not T.replayed then
    call('ZADD', c.keys.deadlines, T.deadline, T.id)
    timer_at(c, T.deadline)
  end
end

-- A task is over: the next one of its key goes on.
local function exit(c, L, T)
  if T.session and L.set.on_session_end ~= 'keep' then
    call('ZREM', c.prefix .. ':session-tasks:' .. T.session, T.id)
  end
  if T.deadline then call('ZREM', c.keys.deadlines, T.id) end
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
