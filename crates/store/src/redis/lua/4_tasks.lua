-- Publishing, settling, withdrawing tasks; and what becomes of a worker's tasks when it goes.

local verbs = {}

local function has(scope, tenant) return scope == '' or scope == tenant end

local function route(c, asked)
  if asked ~= '' and c.cfg.lanes[asked] then return asked end
  return c.cfg.default_lane
end

local function publish_one(c, tenant, spec)
  local name = route(c, spec.lane)
  if not name then
    c.no_lane = c.no_lane + 1
    return refusal('unknown_lane', spec.lane)
  end
  local L = lane_of(c, name)
  local level = spec.level > 0 and spec.level or L.set.level
  local idem
  if spec.idem then
    idem = c.prefix .. ':idem:' .. #tenant .. ':' .. tenant .. ':' .. spec.idem
    local id = call('GET', idem)
    if id then return { 2, id } end
  end
  local idle_ms
  if spec.session then
    local got = call('HMGET', c.prefix .. ':session:' .. spec.session, 't', 'S', 'i')
    if not got[1] or got[1] ~= tenant then
      count(c, name, level, 'refused')
      return refusal('session_not_found', spec.session)
    end
    if got[2] ~= 'active' then
      count(c, name, level, 'refused')
      return refusal('session_ended', spec.session, got[2])
    end
    idle_ms = tonumber(got[3])
  end
  if depth(L) >= L.set.max_depth then
    count(c, name, level, 'refused')
    return refusal('lane_full', name, L.set.max_depth)
  end
  if spec.session then
    touch_session(c, spec.session, idle_ms)
    call('HINCRBY', c.prefix .. ':session:' .. spec.session, 'np', 1)
  end
  c.seq = c.seq + 1
  local T = {
    id = spec.id, key = c.task .. spec.id, tenant = tenant, lane = name, level = level, session = spec.session, order_key = spec.key,
    deadline = spec.deadline and c.now + spec.deadline, seq = c.seq, attempts = 0, due = c.now + spec.delay, kind = spec.kind,
  }
  if not L.json then L.json = '"lane":' .. cjson.encode(name) .. ',' end
  T.label = L.json .. spec.label .. ',"priority":"' .. LEVELS[level] .. '"' .. spec.rest
  file(c, L, T)
  wait(c, L, T)
  local due = T.due == c.now and c.at or T.due
  local fields = { 'v', '1', 't', tenant, 'l', name, 'p', level, 'k', spec.kind, 'y', spec.payload, 'c', c.at, 'n', T.seq, 'j', T.label,
    'S', 'w', 'q', T.stage, 'u', T.owner, 'D', due, 'a', '0' }
  local function also(field, value)
    if value then
      fields[#fields + 1] = field
      fields[#fields + 1] = value
    end
  end
  also('s', spec.session)
  also('o', spec.key)
  also('x', T.deadline)
  also('r', spec.retry)
  call('HSET', T.key, unpack(fields))
  if idem then call('SET', idem, spec.id, 'PX', c.cfg.idempotency_window_ms) end
  if T.deadline then
    event(c, 'task_published', T.id, tenant, T.label .. ',"payload_bytes":' .. #spec.payload, 'due', due, 'deadline', T.deadline)
  else
    event(c, 'task_published', T.id, tenant, T.label .. ',"payload_bytes":' .. #spec.payload, 'due', due)
  end
  count(c, name, level, 'published')
  return { 1, spec.id }
end

function verbs.publish(c, a)
  local answers = {}
  for i, spec in ipairs(a[3]) do answers[i] = publish_one(c, a[2], spec) end
  return answers
end

-- Why a settlement is refused: a number that the caller puts into words.
local NOT_HELD = { d = 1, c = 2, x = 3, w = 4 }

local function settle_one(c, scope, worker, s)
  local T = load(c, s.id)
  if not T or not has(scope, T.tenant) then return refusal('not_held', s.id, 0) end
  if T.state ~= 'l' then return refusal('not_held', s.id, NOT_HELD[T.state]) end
  if worker ~= '' then
    if T.worker ~= worker then return refusal('not_held', s.id, 5) end
  elseif T.worker ~= '' or T.receipt ~= s.receipt then
    return refusal('not_held', s.id, 5)
  end
  local L = lane_of(c, T.lane)
  if s.verb == 'ack' then
    finish(c, L, T, 'd', 'nd')
    task_event(c, T, 'task_done')
    exit(c, L, T)
    count(c, L.name, T.level, 'done')
    return { 1 }
  elseif s.verb == 'extend' then
    local expires = c.now + s.ms
    call('ZADD', c.prefix .. ':leases', expires, T.id)
    call('HSET', T.key, 'e', expires)
    return { 4, expires }
  end
  if s.pause and s.pause > 0 and (not L.paused or (L.paused ~= 0 and c.now + s.pause > L.paused)) then
    pause(c, L, c.now + s.pause, 'asked for by a worker')
  end
  local asked = s.ms >= 0 and s.ms or nil
  local due
  if s.verb == 'fail' then due = fail(c, L, T, s.reason, asked, 'retried')
  elseif s.verb == 'release' then due = release(c, L, T, asked)
  else bury(c, L, T, 'fatal', s.reason, true) end
  if due then return { 2, due } end
  return { 3 }
end

function verbs.settle(c, a)
  local answers = {}
  for i, s in ipairs(a[4]) do answers[i] = settle_one(c, a[2], a[3], s) end
  return answers
end

function verbs.cancel(c, a)
  local T = load(c, a[3])
  if not T or not has(a[2], T.tenant) then return refusal('not_found', 'task', a[3]) end
  if T.state ~= 'w' then return refusal('not_cancellable', a[3], T.state) end
  withdraw(c, lane_of(c, T.lane), T, 'asked for')
  return { 1 }
end

function verbs.task(c, a)
  local tenant = call('HGET', c.task .. a[3], 't')
  if not tenant or not has(a[2], tenant) then return refusal('not_found', 'task', a[3]) end
  return { 1, call('HGETALL', c.task .. a[3]) }
end

function verbs.open_worker(c, a)
  for _, lane in ipairs(a[4]) do
    if not known_lane(c, lane) then return refusal('unknown_lane', lane) end
  end
  call('HSET', c.prefix .. ':gateway:' .. a[2], a[3], table.concat(a[4], '\n'))
  return { 1 }
end

function verbs.check_lane(c, a)
  if not known_lane(c, a[2]) then return refusal('unknown_lane', a[2]) end
  return { 1 }
end

-- What was kept for a worker that is gone is free for all, and its sessions have no home.
local function forget_worker(c, worker, lanes)
  local key = c.prefix .. ':home-of:' .. worker
  for _, entry in ipairs(call('SMEMBERS', key)) do
    local at = string.find(entry, '\n', 1, true)
    call('HDEL', c.prefix .. ':homes:' .. string.sub(entry, 1, at - 1), string.sub(entry, at + 1))
  end
  call('DEL', key)
  for _, lane in ipairs(lanes) do
    local L = lane_of(c, lane)
    write_queues(c)
    for level = 1, 3 do
      local own = order_key(c, L, level, 'w:' .. worker)
      local held = call('ZRANGE', own, 0, -1, 'WITHSCORES')
      if #held > 0 then
        call('DEL', own)
        c.lengths[own] = 0
        call('LREM', L.turn_key[level], 0, 'w:' .. worker)
        for i = 1, #held, 2 do
          local T = load(c, string.sub(held[i], 14))
          if T then
            T.owner = owner_of(c, L, T)
            call('HSET', T.key, 'u', T.owner)
            enqueue(c, L, level, T.owner, tonumber(held[i + 1]), held[i])
          end
        end
      end
    end
  end
end

-- a: gateway, worker, lanes, whether attempts do not count, the tasks it held.
function verbs.close_worker(c, a)
  local held, seen = {}, {}
  for _, id in ipairs(a[6]) do
    local T = not seen[id] and load(c, id)
    seen[id] = true
    if T and T.state == 'l' and T.worker == a[3] then held[#held + 1] = T end
  end
  -- The youngest first: each goes in front of the one before.
  table.sort(held, function(x, y) return x.seq > y.seq end)
  for _, T in ipairs(held) do
    local L = lane_of(c, T.lane)
    if a[5] then release(c, L, T, nil) else fail(c, L, T, 'worker gone', nil, 'retried') end
  end
  call('HDEL', c.prefix .. ':gateway:' .. a[2], a[3])
  forget_worker(c, a[3], a[4])
  return { 1 }
end

-- Leases that reached nobody: whole batches whose answer was lost, by the beginning of their receipts, and single ones.
function verbs.give_back(c, a)
  for _, one in ipairs(a[3]) do
    local T = load(c, one[1])
    if T and T.state == 'l' and T.receipt == one[2] then release(c, lane_of(c, T.lane), T, nil) end
  end
  if #a[2] == 0 then return { 1 } end
  local lost = {}
  for _, nonce in ipairs(a[2]) do lost[nonce] = true end
  local held = {}
  for _, id in ipairs(call('ZRANGE', c.prefix .. ':leases', 0, -1)) do
    local receipt = call('HGET', c.task .. id, 'z')
    if receipt and lost[string.sub(receipt, 1, 12)] then held[#held + 1] = load(c, id) end
  end
  table.sort(held, function(x, y) return x.seq > y.seq end)
  for _, T in ipairs(held) do release(c, lane_of(c, T.lane), T, nil) end
  return { 1 }
end
