-- How an attempt or a task ends: the one retry decision, dead letters, withdrawal. Mirrors `core/mod.rs` and `core/retry.rs`.

local function session_tally(c, T, field)
  if T.session then
    local key = c.prefix .. ':session:' .. T.session
    if call('EXISTS', key) == 1 then call('HINCRBY', key, field, 1) end
  end
end

-- A sign of life of a session.
local function touch_session(c, id, idle_ms)
  call('HSET', c.prefix .. ':session:' .. id, 'm', c.at)
  call('ZADD', c.keys.idle, c.now + idle_ms, id)
  timer_at(c, c.now + idle_ms)
end

local function session_is_over(c, T)
  if not T.session then return false end
  local state = call('HGET', c.prefix .. ':session:' .. T.session, 'S')
  return state ~= 'active'
end

-- Finished tasks are remembered for a while, without their payload.
local function write_finished(c)
  if not c.finished then return end
  local done, ids, keys = c.keys.done, {}, {}
  for i = 1, #c.finished, 2 do
    ids[#ids + 1] = c.finished[i]
    keys[#keys + 1] = c.keys['task:'] .. c.finished[i]
  end
  call_all('HSET', c.keys.finished, c.finished)
  for i = 1, #keys, 1000 do call('UNLINK', unpack(keys, i, min(i + 999, #keys))) end
  call_all('RPUSH', done, ids)
  local over = call('LLEN', done) - c.cfg.finished_tasks
  while over > 0 do
    local oldest = call('LPOP', done, min(over, 1000))
    if not oldest then return end
    call('HDEL', c.keys.finished, unpack(oldest))
    over = over - #oldest
  end
end

-- Leases that ended in this call; written before any new ones are.
local function write_settled(c)
  if not c.settled then return end
  call_all('ZREM', c.keys.leases, c.settled)
  call_all('HDEL', c.keys.held, c.settled)
  c.settled = false
end

-- The words of the failure before, if there was one.
local function last_failure(T)
  local text = call('HGET', T.key, 'h')
  local failures = text and decode(text) or {}
  return #failures > 0 and failures[#failures][3] or false
end

local function finish(c, L, T, state, tally)
  leave(c, L, T)
  -- Most are done with the first attempt, and have never failed.
  local untroubled = not T.replayed and T.attempts <= (state == 'd' and 1 or 0)
  local failure = not untroubled and last_failure(T)
  T.state, T.finished, T.failure = state, c.now, failure
  local over, finished = c.over or rare(c, 'over'), c.finished or rare(c, 'finished')
  over[T.id] = T
  local n = #finished
  finished[n + 1] = T.id
  finished[n + 2] = pack({ T.packed, state, T.created, T.seq, T.deadline or false, T.attempts, c.now, failure })
  session_tally(c, T, tally)
end

local function add_failure(c, T, why)
  local text = call('HGET', T.key, 'h')
  local failures = text and decode(text) or {}
  failures[#failures + 1] = { T.attempts, c.now, why }
  if #failures > MAX_FAILURES then table.remove(failures, 1) end
  call('HSET', T.key, 'h', encode(failures))
end

local function drop_dead(c, T)
  call('ZREM', c.keys.dead, T.id)
  call('DEL', T.key)
end

local function bury(c, L, T, reason, detail, failed)
  leave(c, L, T)
  if failed then add_failure(c, T, detail) end
  local order = call('INCR', c.keys['dead-order'])
  T.state, T.stage, T.owner = 'x', '', ''
  call('HSET', T.key, 'm', moving(T), 'f', c.at, 'dr', reason, 'dd', detail, 'do', order)
  call('ZADD', c.keys.dead, order, T.id)
  local dlq = c.prefix .. ':queue:' .. L.name .. ':dlq'
  local kept = call('RPUSH', dlq, T.id)
  session_tally(c, T, 'nx')
  task_event(c, T, 'task_dead_lettered', said('reason', reason) .. said('detail', detail))
  exit(c, L, T)
  count(c, L.name, T.level, 'dead')
  local died = c.died or rare(c, 'died')
  died[L.name] = died[L.name] or {}
  died[L.name][reason] = (died[L.name][reason] or 0) + 1
  while kept > c.cfg.max_dead_letters do
    local oldest = load(c, call('LPOP', dlq))
    kept = kept - 1
    if oldest then
      task_event(c, oldest, 'dead_letter_dropped')
      drop_dead(c, oldest)
      tally(c, 'dropped')
    end
  end
end

local function withdraw(c, L, T, reason)
  finish(c, L, T, 'c', 'nc')
  task_event(c, T, 'task_cancelled', said('reason', reason))
  exit(c, L, T)
  count(c, L.name, T.level, 'cancelled')
end

-- What the lane's policy says of a task whose session has ended; `failed`: its lease failed with these words.
local function give_up_with_session(c, L, T, failed)
  if L.set.on_session_end == 'dead_letter' then
    bury(c, L, T, 'session_ended', failed or 'its session ended', failed ~= nil)
  else
    withdraw(c, L, T, 'its session ended')
  end
end

local function policy_of(L, T)
  local p = L.set.retry
  if not T.retry then return p end
  local own = decode(T.retry)
  local merged = {}
  for name, value in pairs(p) do merged[name] = value end
  for name, value in pairs(own) do merged[name] = value end
  return merged
end

-- Milliseconds until the next attempt after this one failed; nil: it was the last.
local function retry_delay(policy, attempt, r)
  if attempt > policy.max then return nil end
  local backoff = max(policy.backoff, 1)
  local raw = 0
  if policy.delay_ms > 0 then raw = min(policy.delay_ms * backoff ^ max(attempt - 1, 0), policy.max_delay_ms) end
  local jitter = min(max(policy.jitter, 0), 1)
  return floor(raw * (1 + jitter * (2 * r - 1)) + 0.5)
end

local function is_late(c, T) return T.deadline and not T.replayed and T.deadline <= c.now end

-- An attempt failed: another one, or the dead letters. The same decision for a nack, a lease that ended and a worker that is gone.
-- Answers when the next attempt may begin, or nil.
local function fail(c, L, T, reason, asked_ms, outcome)
  count(c, L.name, T.level, outcome)
  if L.set.on_session_end ~= 'keep' and session_is_over(c, T) then
    give_up_with_session(c, L, T, reason)
    return nil
  end
  if is_late(c, T) then
    bury(c, L, T, 'deadline_exceeded', reason, true)
    return nil
  end
  local delay = retry_delay(policy_of(L, T), T.attempts, random(c))
  if not delay then
    bury(c, L, T, 'retries_exhausted', reason, true)
    return nil
  end
  leave(c, L, T)
  add_failure(c, T, reason)
  T.due = c.now + max(delay, asked_ms or 0)
  task_event(c, T, 'task_retry_scheduled', said('reason', reason), 'due=' .. whole(T.due))
  wait(c, L, T)
  save_place(T)
  return T.due
end

-- Gives a lease back; the attempt does not count. Answers when it may be leased again, or nil.
local function release(c, L, T, asked_ms)
  count(c, L.name, T.level, 'released')
  if L.set.on_session_end ~= 'keep' and session_is_over(c, T) then
    give_up_with_session(c, L, T, nil)
    return nil
  end
  if is_late(c, T) then
    bury(c, L, T, 'deadline_exceeded', 'its deadline passed while a worker had it', false)
    return nil
  end
  leave(c, L, T)
  -- Without a wish it goes back to where it was, in front of what came later.
  if asked_ms then T.due = c.now + asked_ms end
  task_event(c, T, 'task_released', nil, 'due=' .. whole(T.due))
  T.attempts = T.attempts - 1
  wait(c, L, T)
  save_place(T)
  return max(T.due, c.now)
end

local function pause(c, L, until_ms, reason)
  L.paused = until_ms or 0
  if until_ms then
    call('ZADD', c.keys.resume, until_ms, L.name)
    timer_at(c, until_ms)
    event(c, 'lane_paused', L.name, '', '"reason":' .. encode(reason), 'until=' .. whole(until_ms))
  else
    call('ZREM', c.keys.resume, L.name)
    event(c, 'lane_paused', L.name, '', '"reason":' .. encode(reason))
  end
end

local function resume(c, L, reason)
  L.paused = nil
  call('ZREM', c.keys.resume, L.name)
  event(c, 'lane_resumed', L.name, '', '"reason":' .. encode(reason))
  L.dirty = true
end
