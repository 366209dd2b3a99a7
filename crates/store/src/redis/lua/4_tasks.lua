-- Publishing, settling, withdrawing tasks; and what becomes of a worker's tasks when it goes.

local verbs = {}

-- What the event of a new task says.
local function told_of_new(id, times, label, payload, tenant)
  return id .. '\n' .. times .. '\n' .. label .. ',"payload_bytes":' .. #payload .. '\n' .. tenant
end

-- m of a task that is ready at once and of which nothing else knows.
local function plain(now, seq, owner) return packed_moving('w', now, seq, false, 'e', owner, now, 0, false) end

local function has(scope, tenant) return scope == '' or scope == tenant end

-- `packed`: i of the task as it is kept. `asked`: the lane that was asked for; the task's is the caller's own choice among those that it
-- has configured, and empty if there is none. `dead`: reason and words of a dead letter. What follows the payload may be left out.
local function publish_one(c, tenant, id, packed, payload, delay, deadline, idempotency_key, asked, dead)
  local _, _, name, level, _, session, order_key, _, label = parts(packed, 8, 1)
  if name == '' then
    tally(c, 'no_lane')
    return refusal('unknown_lane', asked)
  end
  delay = delay or 0
  local L = lane_of(c, name)
  local idem
  if idempotency_key then
    idem = c.prefix .. ':idem:' .. #tenant .. ':' .. tenant .. ':' .. idempotency_key
    local earlier = call('GET', idem)
    if earlier then return { 2, earlier } end
  end
  local idle_ms
  if session then
    local got = call('HMGET', c.prefix .. ':session:' .. session, 't', 'S', 'i')
    if not got[1] or got[1] ~= tenant then
      count(c, name, level, 'refused')
      return refusal('session_not_found', session)
    end
    if got[2] ~= 'active' then
      count(c, name, level, 'refused')
      return refusal('session_ended', session, got[2])
    end
    idle_ms = tonumber(got[3])
  end
  if not dead and depth(L) >= L.set.max_depth then
    count(c, name, level, 'refused')
    return refusal('lane_full', name, L.set.max_depth)
  end
  if session then
    touch_session(c, session, idle_ms)
    call('HINCRBY', c.prefix .. ':session:' .. session, 'np', 1)
  end
  local seq, place = next_place(c)
  local key = c.keys['task:'] .. id
  if idem then call('SET', idem, id, 'PX', c.cfg.idempotency_window_ms) end
  count(c, name, level, 'published')
  if delay == 0 and not (session or order_key or deadline or dead) then
    -- Most tasks: ready at once, and nothing else knows of them.
    local owner = 't:' .. tenant
    L.ready[level] = L.ready[level] + 1
    enqueue(c, L, level, owner, c.now, place .. id)
    call('HSET', key, 'i', packed, 'm', plain(c.now, seq, owner), 'y', payload)
    event_of(c, 'task_published', told_of_new(id, 'due=' .. c.at, label, payload, tenant))
    return 1
  end
  local T = {
    id = id, key = key, tenant = tenant, lane = name, level = level, session = session, order_key = order_key,
    deadline = deadline and c.now + deadline, created = c.now, seq = seq, attempts = 0, due = c.now + delay, label = label,
  }
  file(c, L, T)
  wait(c, L, T)
  call('HSET', key, 'i', packed, 'm', moving(T), 'y', payload)
  local times = 'due=' .. (delay == 0 and c.at or whole(T.due))
  if T.deadline then times = times .. ' deadline=' .. whole(T.deadline) end
  event_of(c, 'task_published', told_of_new(id, times, label, payload, tenant))
  if dead then bury(c, L, T, dead[1], dead[2], false) end
  return 1
end

verbs.publish_one = publish_one

-- Of each task what `publish_one` takes, packed.
function verbs.publish(c, tenant, tasks)
  local answers = {}
  for i = 1, #tasks do answers[i] = publish_one(c, tenant, unpacked(tasks[i])) end
  return answers
end

-- Why a settlement is refused: a number that the caller puts into words.
local NOT_HELD = { d = 1, c = 2, x = 3, w = 4 }

-- `ms`: milliseconds or -1. `pause_ms`: how long to pause the lane.
local function settle_one(c, scope, worker, id, verb, receipt, ms, reason, pause_ms)
  local T = load(c, id)
  if not T or not has(scope, T.tenant) then return refusal('not_held', id, 0) end
  if T.state ~= 'l' then return refusal('not_held', id, NOT_HELD[T.state]) end
  if worker ~= '' then
    if T.worker ~= worker then return refusal('not_held', id, 5) end
  elseif T.worker ~= '' or T.receipt ~= receipt then
    return refusal('not_held', id, 5)
  end
  local L = lane_of(c, T.lane)
  if verb == 'ack' then
    finish(c, L, T, 'd', 'nd')
    task_event(c, T, 'task_done')
    exit(c, L, T)
    count(c, L.name, T.level, 'done')
    return 1
  elseif verb == 'extend' then
    T.expires = c.now + ms
    call('ZADD', c.keys.leases, T.expires, id)
    timer_at(c, T.expires)
    local lease = packed_lease(T.worker, T.receipt, T.expires, T.attempts, T.packed, T.created, T.seq, T.deadline, T.due,
      T.replayed)
    call('HSET', c.keys.held, id, lease)
    c.held[id] = lease
    return { 4, T.expires }
  end
  if pause_ms and pause_ms > 0 and (not L.paused or (L.paused ~= 0 and c.now + pause_ms > L.paused)) then
    pause(c, L, c.now + pause_ms, 'asked for by a worker')
  end
  local asked = ms >= 0 and ms or nil
  local due
  if verb == 'fail' then due = fail(c, L, T, reason, asked, 'retried')
  elseif verb == 'release' then due = release(c, L, T, asked)
  else bury(c, L, T, 'fatal', reason, true) end
  if due then return { 2, due } end
  return { 3 }
end

-- Of each settlement what `settle_one` takes beside the id, packed.
function verbs.settle(c, scope, worker, ids, settlements)
  local answers = {}
  look_at_leases(c, ids)
  for i = 1, #ids do answers[i] = settle_one(c, scope, worker, ids[i], unpacked(settlements[i])) end
  return answers
end

function verbs.cancel(c, scope, id)
  local T = load(c, id)
  if not T or not has(scope, T.tenant) then return refusal('not_found', 'task', id) end
  if T.state ~= 'w' then return refusal('not_cancellable', id, T.state) end
  withdraw(c, lane_of(c, T.lane), T, 'asked for')
  return { 1 }
end

-- A task as operators see it: names and values in turn; `brief`: as lists show it, without the payload.
local function fields_of(c, T, brief)
  local fields = {}
  local function also(name, value)
    if value then
      fields[#fields + 1] = name
      fields[#fields + 1] = type(value) == 'number' and whole(value) or value
    end
  end
  also('S', T.state)
  also('t', T.tenant)
  also('l', T.lane)
  also('p', T.level)
  also('k', T.kind)
  also('s', T.session)
  also('o', T.order_key)
  also('c', T.created)
  also('x', T.deadline)
  also('D', T.due)
  also('a', T.attempts)
  also('e', T.expires)
  if T.finished then
    also('f', T.finished)
    also('w', T.failure)
    return fields
  end
  local names = brief and { 'h', 'f' } or { 'y', 'h', 'R', 'f', 'dr', 'dd' }
  local got = call('HMGET', T.key, unpack(names))
  for i, name in ipairs(names) do also(name, got[i]) end
  return fields
end

function verbs.task(c, scope, id)
  local T = load(c, id)
  if not T or not has(scope, T.tenant) then return refusal('not_found', 'task', id) end
  return { 1, fields_of(c, T) }
end

-- Answers those of these tasks that are over, each its id and fields.
function verbs.ended(c, scope, ids)
  local items = {}
  for _, id in ipairs(ids) do
    local T = load(c, id)
    if T and has(scope, T.tenant) and T.state ~= 'w' and T.state ~= 'l' then items[#items + 1] = { id, fields_of(c, T, true) } end
  end
  return { 1, items }
end

function verbs.open_worker(c, gateway, worker, lanes)
  for _, lane in ipairs(lanes) do
    if not known_lane(c, lane) then return refusal('unknown_lane', lane) end
  end
  call('HSET', c.prefix .. ':gateway:' .. gateway, worker, table.concat(lanes, '\n'))
  return { 1 }
end

function verbs.check_lane(c, lane)
  if not known_lane(c, lane) then return refusal('unknown_lane', lane) end
  return { 1 }
end

-- What was kept for a worker that is gone is free for all, and its sessions have no home.
local function forget_worker(c, worker, lanes)
  local key = c.prefix .. ':home-of:' .. worker
  for _, entry in ipairs(call('SMEMBERS', key)) do
    local at = string.find(entry, '\n', 1, true)
    call('HDEL', c.prefix .. ':homes:' .. sub(entry, 1, at - 1), sub(entry, at + 1))
  end
  call('DEL', key)
  for _, lane in ipairs(lanes) do
    local L = lane_of(c, lane)
    write_queues(c)
    for level = 1, 3 do
      local own = order_key(L, level, 'w:' .. worker)
      local held = call('ZRANGE', own, 0, -1, 'WITHSCORES')
      if #held > 0 then
        call('DEL', own)
        local lengths = c.lengths or rare(c, 'lengths')
        lengths[own] = 0
        end_turn(L, level, 'w:' .. worker)
        for i = 1, #held, 2 do
          local T = load(c, sub(held[i], 14))
          if T then
            T.owner = owner_of(c, L, T)
            save_place(T)
            enqueue(c, L, level, T.owner, tonumber(held[i + 1]), held[i])
          end
        end
      end
    end
  end
end

-- They go back one by one, each in front of the one before.
local function youngest_first(x, y) return x.seq > y.seq end

-- All that are leased and of which `wanted` says so, the youngest first.
local function leased_ones(c, wanted)
  local ids, found = call('ZRANGE', c.keys.leases, 0, -1), {}
  look_at_leases(c, ids)
  for _, id in ipairs(ids) do
    local T = load_leased(c, id)
    if T and wanted(T) then found[#found + 1] = T end
  end
  table.sort(found, youngest_first)
  return found
end

-- `uncounted`: attempts do not count. `ids`: the tasks it held.
function verbs.close_worker(c, gateway, worker, lanes, uncounted, ids)
  local held, seen = {}, {}
  for _, id in ipairs(ids) do
    local T = not seen[id] and load(c, id)
    seen[id] = true
    if T and T.state == 'l' and T.worker == worker then held[#held + 1] = T end
  end
  table.sort(held, youngest_first)
  for _, T in ipairs(held) do
    local L = lane_of(c, T.lane)
    if uncounted then release(c, L, T, nil) else fail(c, L, T, 'worker gone', nil, 'retried') end
  end
  call('HDEL', c.prefix .. ':gateway:' .. gateway, worker)
  forget_worker(c, worker, lanes)
  return { 1 }
end

-- Leases that reached nobody: whole batches whose answer was lost, by the beginning of their receipts, and single ones.
function verbs.give_back(c, nonces, single)
  for _, one in ipairs(single) do
    local T = load(c, one[1])
    if T and T.state == 'l' and T.receipt == one[2] then release(c, lane_of(c, T.lane), T, nil) end
  end
  if #nonces == 0 then return { 1 } end
  local lost = {}
  for _, nonce in ipairs(nonces) do lost[nonce] = true end
  local held = leased_ones(c, function(T) return lost[sub(T.receipt, 1, 12)] end)
  for _, T in ipairs(held) do release(c, lane_of(c, T.lane), T, nil) end
  return { 1 }
end
