-- What happens by itself, and which task goes to whom. Mirrors `core/verbs/tick.rs`, `core/verbs/schedule.rs`, `core/scheduler`.

local function due_ones(c, key)
  return call('ZRANGEBYSCORE', c.prefix .. ':' .. key, '-inf', c.now, 'LIMIT', 0, MAX_TIMERS)
end

local TIMERS = { 'leases', 'due', 'deadlines', 'idle', 'resume' }

-- When the first of them is.
local function first_timer(c)
  local next = NEVER
  for _, key in ipairs(TIMERS) do
    local first = call('ZRANGE', c.prefix .. ':' .. key, 0, 0, 'WITHSCORES')
    if first[2] then next = min(next, tonumber(first[2])) end
  end
  return next
end

local function tick(c)
  -- From here on only what is added counts; the rest is looked up at the end.
  if c.next and c.next > c.now then return end
  c.next, c.ticked = NEVER, true
  for _, id in ipairs(due_ones(c, 'leases')) do
    local T = load(c, id)
    if T and T.state == 'l' then
      fail(c, lane_of(c, T.lane), T, 'lease expired', nil, 'expired')
    else
      call('ZREM', c.keys.leases, id)
    end
  end
  for _, id in ipairs(due_ones(c, 'due')) do
    call('ZREM', c.keys.due, id)
    local T = load(c, id)
    if T and T.state == 'w' and T.stage == 'd' then
      local L = lane_of(c, T.lane)
      L.delayed = L.delayed - 1
      count_ready(c, L, T)
      make_ready(c, L, T, T.due)
      save_place(T)
    end
  end
  for _, id in ipairs(due_ones(c, 'deadlines')) do
    call('ZREM', c.keys.deadlines, id)
    local T = load(c, id)
    -- What a worker has it may finish; when it gives it back the deadline is looked at again.
    if T and T.state == 'w' then
      bury(c, lane_of(c, T.lane), T, 'deadline_exceeded', 'its deadline passed', false)
    end
  end
  for _, id in ipairs(due_ones(c, 'idle')) do
    local got = call('HMGET', session_key(c, id), 't', 'S')
    if got[2] == 'active' then
      finish_session(c, id, got[1], 'timed_out', 'idle for too long')
    else
      call('ZREM', c.keys.idle, id)
    end
  end
  for _, name in ipairs(due_ones(c, 'resume')) do
    local L = lane_of(c, name)
    if L.paused and L.paused ~= 0 and L.paused <= c.now then
      resume(c, L, 'the pause is over')
    else
      call('ZREM', c.keys.resume, name)
    end
  end
end

-- A gateway that gave no sign of life is gone, and with it its workers: what they had has failed, what was kept for them is free.
-- Answers whether this one has come anew: if it was taken for gone, what it had told of its workers is forgotten; and how many there are,
-- which was `peers`.
local function give_sign_of_life(c, own, peers)
  local key = c.keys.gateways
  local new = call('ZADD', key, c.at, own) == 1
  local gone = call('ZRANGEBYSCORE', key, '-inf', c.now - GATEWAY_GONE_MS)
  local there = whole(call('ZCARD', key) - #gone)
  if there ~= peers then call('SET', c.keys.peers, there) end
  if #gone == 0 then return new, there end
  local workers = {}
  for _, id in ipairs(gone) do
    local held = call('HGETALL', c.prefix .. ':gateway:' .. id)
    for i = 1, #held, 2 do
      workers[held[i]] = {}
      for lane in string.gmatch(held[i + 1], '[^\n]+') do table.insert(workers[held[i]], lane) end
    end
    call('DEL', c.prefix .. ':gateway:' .. id)
    call('ZREM', key, id)
    call('DEL', c.prefix .. ':fence:' .. id)
  end
  local failed = leased_ones(c, function(T) return workers[T.worker] end)
  for _, T in ipairs(failed) do fail(c, lane_of(c, T.lane), T, 'worker gone', nil, 'retried') end
  for worker, lanes in pairs(workers) do forget_worker(c, worker, lanes) end
  return new, there
end

local function may(taker, owner)
  if owner == taker.own then return true end
  return sub(owner, 1, 2) == 't:' and (taker.only == nil or owner == taker.only)
end

-- The first of an owner's queue. Read some at a time, and taken out of Redis when the lane is done: see `schedule_lane`.
local function head_of(c, L, level, at)
  local key = order_key(L, level, L.turn[level][at])
  local window = L.windows[key]
  if not window then
    window = { members = call('ZRANGE', key, 0, L.ahead, 'WITHSCORES'), from = 1, taken = {} }
    L.windows[key] = window
  elseif window.from > #window.members then
    window.members = call('ZRANGE', key, #window.taken, #window.taken + L.ahead, 'WITHSCORES')
    window.from = 1
  end
  local member = window.members[window.from]
  if not member then return nil end
  return { level = level, at = at, key = key, member = member, since = tonumber(window.members[window.from + 1]) }
end

-- The next task for this taker when the owners take turns.
local function front(c, L, level, taker)
  for at, owner in ipairs(L.turn[level]) do
    if may(taker, owner) then return head_of(c, L, level, at) end
  end
  return nil
end

-- The task for this taker that has waited longest.
local function oldest(c, L, level, taker)
  local best
  for at, owner in ipairs(L.turn[level]) do
    if may(taker, owner) then
      local entry = head_of(c, L, level, at)
      if entry and (not best or entry.since < best.since) then best = entry end
    end
  end
  return best
end

-- Smooth weighted round robin; levels without weight only when no other has anything.
local function choose(L, found)
  local weights = L.set.weights
  local best, total = nil, 0
  for level = 1, 3 do
    if found[level] and weights[level] > 0 then
      best = best or level
      total = total + weights[level]
    end
  end
  if not best then
    for level = 1, 3 do
      if found[level] then return level end
    end
    return nil
  end
  for level = 1, 3 do
    if found[level] and weights[level] > 0 then
      L.credit[level] = L.credit[level] + weights[level]
      if L.credit[level] > L.credit[best] then best = level end
    end
  end
  L.credit[best] = L.credit[best] - total
  return best
end

local function pick(c, L, taker)
  local found, chosen = {}, nil
  for level = 1, 3 do
    if #L.turn[level] > 0 then
      found[level] = front(c, L, level, taker)
      if found[level] and not L.set.weights then
        chosen = level
        break
      end
    end
  end
  if L.set.weights then chosen = choose(L, found) end
  if not chosen then return nil end
  local entry = found[chosen]
  if L.set.aging_ms > 0 then
    for lower = chosen + 1, 3 do
      if #L.turn[lower] > 0 then
        local old = oldest(c, L, lower, taker)
        if old and c.now - old.since >= L.set.aging_ms * (lower - chosen) and old.since < entry.since then entry = old end
      end
    end
  end
  return entry
end

-- Takes what `pick` showed, and ends that owner's turn.
local function take(c, L, entry)
  local level, turn = entry.level, L.turn[entry.level]
  local owner, key = turn[entry.at], entry.key
  local before = length(c, key)
  local window = L.windows[key]
  window.from = window.from + 2
  window.taken[#window.taken + 1] = entry.member
  c.lengths[key] = before - 1
  if before == 1 then
    table.remove(turn, entry.at)
    end_turn(L, level, owner)
  elseif #turn > 1 then
    table.remove(turn, entry.at)
    turn[#turn + 1] = owner
    L.turned = L.turned or {}
    L.turned[level] = true
  end
end

local function lease(c, L, entry, taker, tat)
  local id = sub(entry.member, 14)
  local got = call('HMGET', c.keys['task:'] .. id, 'i', 'm', 'y')
  local _, tenant, _, _, _, session, order_key, _, label = parts(got[1], 8, 1)
  local _, _, created, seq, deadline, _, _, due, attempts, replayed = parts(got[2], 9, 1)
  uncount_ready(c, L, entry.level, id, is_keyed(L, session, order_key))
  local attempt = attempts + 1
  local expires = c.now + L.set.lease_ms
  c.leases = c.leases + 1
  local receipt = c.nonce .. format('%04x', c.leases)
  L.leased = L.leased + 1
  if tat then L.tat = tat end
  local expires_at = L.expires_at
  if not expires_at then
    expires_at = whole(expires)
    L.expires_at = expires_at
    timer_at(c, expires)
  end
  local leased, held = c.leased or rare(c, 'leased'), c.leases_held or rare(c, 'leases_held')
  local n = #leased
  leased[n + 1], leased[n + 2] = expires_at, id
  held[n + 1] = id
  held[n + 2] = packed_lease(taker.worker, receipt, expires, attempt, got[1], created, seq, deadline, due, replayed)
  local data = label .. ',"attempt":' .. attempt
  if taker.worker ~= '' then data = data .. ',"worker":"' .. taker.worker .. '"' end
  event(c, 'task_leased', id, tenant, data, 'lease=' .. expires_at)
  count(c, L.name, entry.level, 'delivered')
  if L.set.affinity and session and taker.worker ~= '' and call('HGET', session_key(c, session), 'S') == 'active' then
    local field = #tenant .. ':' .. tenant .. ':' .. session
    if call('HSETNX', c.prefix .. ':homes:' .. L.name, field, taker.worker) == 1 then
      call('SADD', c.prefix .. ':home-of:' .. taker.worker, L.name .. '\n' .. field)
    end
  end
  taker.credit = taker.credit - 1
  return { taker.index, id, got[1], got[3], created, deadline, receipt, attempt, expires }
end

-- Whether a lane gives what it has to whoever takes, but for its rate.
local function gives(set, leased, paused, now)
  return (set.concurrency == 0 or leased < set.concurrency) and not pauses(paused, now)
end

local function may_lease(c, L) return gives(L.set, L.leased, L.paused, c.now) end

local function schedule_lane(c, L, line, out, budget)
  L.turn, L.turned, L.windows, L.scheduled = {}, false, {}, true
  for level = 1, 3 do L.turn[level] = L.ready[level] > 0 and call('LRANGE', L.keys.turn[level], 0, -1) or {} end
  -- How far to read ahead in a queue: no further than the takers would go.
  local credit = 0
  for _, taker in ipairs(line) do credit = credit + taker.credit end
  L.ahead = min(credit, 256) - 1
  local at = 1
  while #L.turn[1] + #L.turn[2] + #L.turn[3] > 0 and may_lease(c, L) do
    if #out >= budget then
      c.more = true
      break
    end
    local tat
    if L.set.interval_us > 0 then
      local now_us = c.now * 1000
      local earliest = L.tat - L.set.tolerance_us
      if now_us < earliest then
        wake_at(c, math.ceil(earliest / 1000))
        break
      end
      tat = max(L.tat, now_us) + L.set.interval_us
    end
    local entry, taker
    for _ = 1, #line do
      taker = line[at]
      at = at % #line + 1
      if taker.credit > 0 then
        entry = pick(c, L, taker)
        if entry then break end
      end
    end
    if not entry then break end
    take(c, L, entry)
    out[#out + 1] = lease(c, L, entry, taker, tat)
  end
  for key, window in pairs(L.windows) do call_all('ZREM', key, window.taken) end
  for level in pairs(L.turned or {}) do
    local turn = L.turn[level]
    if #turn > 1 then
      call('DEL', L.keys.turn[level])
      for i = 1, #turn, 1000 do call('RPUSH', L.keys.turn[level], unpack(turn, i, min(i + 999, #turn))) end
    end
  end
  for level = 1, 3 do L.only[level] = #L.turn[level] == 1 and L.turn[level][1] end
  L.left = #L.turn[1] + #L.turn[2] + #L.turn[3] > 0
  L.turn, L.windows = false, false
end

-- Leases to those of one gateway who have credit, if there are any. A taker is, packed: worker or '' (whoever has the receipt), tenant or
-- '', credit and lanes.
local function schedule(c, takers, budget)
  local out = {}
  local lines, names = {}, {}
  for i = 1, #takers do
    local worker, tenant, credit, wanted = unpacked(takers[i])
    local taker = { index = i - 1, worker = worker, only = tenant ~= '' and 't:' .. tenant or nil, credit = credit,
      own = worker ~= '' and 'w:' .. worker or nil }
    for _, name in ipairs(wanted) do
      if not lines[name] then
        lines[name] = {}
        names[#names + 1] = name
      end
      table.insert(lines[name], taker)
    end
  end
  for i = 1, #names do
    local name = names[i]
    schedule_lane(c, lane_of(c, name), lines[name], out, budget)
  end
  if out[1] then
    call_all('ZADD', c.keys.leases, c.leased)
    call_all('HSET', c.keys.held, c.leases_held)
    return out
  end
  return nil
end
