-- What gateways call.

-- Workers of all gateways, by lane.
local function workers_of(c, name)
  if not c.workers then
    c.workers = {}
    for _, gateway in ipairs(call('ZRANGE', c.keys.gateways, 0, -1)) do
      for _, lanes in ipairs(call('HVALS', c.prefix .. ':gateway:' .. gateway)) do
        for lane in string.gmatch(lanes, '[^\n]+') do c.workers[lane] = (c.workers[lane] or 0) + 1 end
      end
    end
  end
  return c.workers[name] or 0
end

local function view_lane(c, name)
  local L = lane_of(c, name)
  local oldest_ms = {}
  write_queues(c)
  for level = 1, 3 do
    local since
    for _, owner in ipairs(call('LRANGE', L.keys.turn[level], 0, -1)) do
      local first = call('ZRANGE', order_key(L, level, owner), 0, 0, 'WITHSCORES')
      if first[2] then since = earlier(since, tonumber(first[2])) end
    end
    local keyed = call('ZRANGE', L.keys.keyed[level], 0, 0, 'WITHSCORES')
    if keyed[2] then since = earlier(since, tonumber(keyed[2])) end
    oldest_ms[level] = since and max(c.now - since, 0) or 0
  end
  return { name, is_paused(c, L), L.paused or 0, L.ready, L.delayed, L.leased, oldest_ms,
    call('LLEN', c.prefix .. ':queue:' .. name .. ':dlq'), L.set.concurrency, L.set.max_depth, workers_of(c, name) }
end

function verbs.lane(c, name)
  if not known_lane(c, name) then return refusal('unknown_lane', name) end
  return { 1, view_lane(c, name) }
end

function verbs.pause(c, name, ms)
  local L = known_lane(c, name)
  if not L then return refusal('unknown_lane', name) end
  pause(c, L, ms >= 0 and c.now + ms or nil, 'asked for')
  return { 1, view_lane(c, name) }
end

function verbs.resume(c, name)
  local L = known_lane(c, name)
  if not L then return refusal('unknown_lane', name) end
  if L.paused then resume(c, L, 'asked for') end
  return { 1, view_lane(c, name) }
end

function verbs.stats(c)
  local lanes = {}
  for _, name in ipairs(call('SMEMBERS', c.keys.lanes)) do
    local L = lane_of(c, name)
    if is_configured(c, L) or depth(L) + L.leased + call('LLEN', c.prefix .. ':queue:' .. name .. ':dlq') > 0 then
      lanes[#lanes + 1] = view_lane(c, name)
    end
  end
  local first = call('XRANGE', c.keys.feed, '-', '+', 'COUNT', 1)[1]
  -- The id is the last offset of the entry, which begins with the time.
  local oldest_offset = first and tonumber(string.match(first[1], '^%d+')) - #first[2] / 2 + 2 or 0
  return { 1, lanes, call('ZCARD', c.keys.idle), c.head, oldest_offset }
end

-- What somebody else than the store has to tell: type, entity and data of one event after the other. Answers the offset of the last.
function verbs.announce(c, told)
  for i = 1, #told, 3 do event(c, told[i], told[i + 1], '', told[i + 2]) end
  return { 1, c.head }
end

local function tell_others(store, asker, message)
  for _, gateway in ipairs(call('ZRANGE', store.keys.gateways, 0, -1)) do
    if gateway ~= asker.gateway then call('PUBLISH', store.prefix .. ':wake:' .. gateway, message) end
  end
end

-- Tells the other gateways of lanes that have something for whoever has credit there, and of the feed's new end. This wakes; nothing
-- depends on its arrival. `peers`: how many gateways there are, as `give_sign_of_life` left it.
local function wake_others(c, peers)
  if c.head == c.first_head or peers == '1' then return end
  local told = { whole(c.head) }
  for _, L in ipairs(c.lanes) do
    if L.dirty and may_lease(c, L) then
      local left = L.left
      if not L.scheduled then left = call('EXISTS', L.keys.turn[1], L.keys.turn[2], L.keys.turn[3]) > 0 end
      if left then told[#told + 1] = L.name end
    end
  end
  tell_others(c.store, c.asker, table.concat(told, '\n'))
end

local NONE = {}

-- What most answers have nothing to say of: leases, whether there was more to lease, what is counted in other ways, whether this gateway
-- has come anew, whether Redis had lost events.
local function rest_of(c, out, new, set_back)
  local died, counted = c.died, c.tally
  if not (out or c.more or died or counted or new or set_back) then return false end
  return { out or NONE, c.more, died or NONE, counted or NONE, new, set_back }
end

-- One task of which nothing else knows, from the only owner in its queue, while nothing is due: most batches, where publishers wait for
-- each answer and there is more than the workers take. It does what the verb does, in a third of the steps. `more`: what is not left out
-- of such a task. Answers nil if it is not that simple.
local function publish_quickly(store, asker, stored, cfg, now, known, verb, tenant, id, packed, payload, more)
  if verb ~= 'publish_one' or more ~= nil then return nil end
  local _, _, name, level, _, session, order_key, _, label = parts(packed, 8, 1)
  local lane, set, own = stored[asker.at[name]], cfg.lanes[name], store.keys
  if session or order_key or not (lane and set and stored[1] and stored[2] and stored[3]) then return nil end
  local head, seq, next_timer = number_of('offset', stored[1]), number_of('seq', stored[2]), number_of('next', stored[3])
  if known > head or next_timer <= now then return nil end
  local _, paused, leased, delayed, tat, c1, c2, c3, r1, r2, r3, o1, o2, o3 = parts_of_lane(lane)
  local owner = 't:' .. tenant
  if r1 + r2 + r3 + delayed >= set.max_depth then return nil end
  if level == 1 and o1 == owner then
    r1 = r1 + 1
  elseif level == 2 and o2 == owner then
    r2 = r2 + 1
  elseif level == 3 and o3 == owner then
    r3 = r3 + 1
  else
    return nil
  end
  head, seq = head + 1, seq + 1
  local keys, at, told, place = store.lanes[name], whole(now), whole(head), format('%013d', seq)
  call('HSET', own['task:'] .. id, 'i', packed, 'm', plain(now, seq, owner), 'y', payload)
  call('ZADD', keys.order[level] .. owner, at, place .. id)
  call('RPUSH', keys.queue[level], at)
  call('XADD', own.feed, told, 'm', at, 'task_published', told_of_new(id, 'due=' .. at, label, payload, tenant))
  lane = pack_lane(paused, leased, delayed, tat, c1, c2, c3, r1, r2, r3, o1, o2, o3)
  call('MSET', own.seq, place, own.offset, told, keys.lane, lane)
  remember('seq', place, seq)
  remember('offset', told, head)
  if stored[4] ~= '1' then
    tell_others(store, asker, gives(set, leased, paused, now) and told .. '\n' .. name or told)
  end
  return pack({ now, next_timer < NEVER and next_timer or -1, head, { name, level * 10, 1 }, false, 1 })
end

local function run(c, verb, ...) return verbs[verb](c, ...) end

-- One batch of one gateway, atomic as a whole: what is due, its commands in order, and leases to its workers. Arguments are the prefix,
-- what stands around the commands, and the commands, each packed: parts in a row and no array around them, because those become values
-- at once, and an array a table that nobody keeps. Of what stands around them, what follows the seed may be left out.
local function step(keys, args)
  enter()
  local store = store_of(args[1])
  local said, known, seed, alive, nonce, takers, budget, now = unpacked(args[2])
  local asker = asker_of(store, said)
  local stored = call('MGET', unpack(asker.keys))
  if not stored[5] then return redis.error_reply('NOSETTINGS the store is not there') end
  -- A batch whose sender has given it up may still lie in a socket: what it leased would reach nobody.
  if stored[6] ~= asker.generation then
    if tonumber(asker.generation) < (tonumber(stored[6]) or 0) then
      return redis.error_reply('FENCED a later connection of this gateway has taken over')
    end
    call('SET', asker.fence, asker.generation)
  end
  local cfg = settings(store, asker.version)
  if not cfg then return redis.error_reply('NOSETTINGS the settings of this version are not there') end
  now = now or time_now()
  if #args == 3 and not (alive or takers) then
    local quick = publish_quickly(store, asker, stored, cfg, now, known, unpacked(args[3]))
    if quick then return quick end
  end
  local c = context(store, asker, stored, cfg, now, seed)
  c.nonce = nonce
  -- An offset that was told must not come again with another event: what is missing is a gap, which readers are told of.
  local set_back = known > c.head
  if set_back then c.head = known + BEYOND_LOSS end
  tick(c)
  local peers, new = stored[4], false
  if alive then new, peers = give_sign_of_life(c, asker.gateway, peers) end
  -- The answer: when it was, when something happens by itself, the feed's end, what is counted, the rest, and the replies.
  local answer = { false, false, false, false, false, nil }
  for i = 3, #args do answer[i + 3] = run(c, unpacked(args[i])) end
  write_queues(c)
  write_settled(c)
  write_finished(c)
  local out = takers and schedule(c, takers, budget)
  if c.ticked then c.next = first_timer(c) end
  if c.next < NEVER then wake_at(c, c.next) end
  flush(c)
  wake_others(c, peers)
  answer[1], answer[2], answer[3], answer[4] = c.now, c.wake or -1, c.head, c.counts or NONE
  answer[5] = rest_of(c, out, new, set_back)
  return pack(answer)
end

-- Makes the store if it is not there, and leaves the settings of one version. Answers the epoch.
local function open(keys, args)
  enter()
  local prefix, format, epoch, version, text, names = args[1], args[2], args[3], args[4], args[5], unpacked(args[6])
  if call('EXISTS', prefix .. ':migrating') == 1 then
    return redis.error_reply('MIGRATING squall migrate is moving a store to this prefix, or was stopped before it was done: run it again')
  end
  local had = call('GET', prefix .. ':format') or (call('EXISTS', prefix .. ':epoch') == 1 and '1')
  if had and had ~= format then
    return redis.error_reply('FORMAT it was written in format ' .. had .. ', and this version knows format ' .. format ..
      ': let the version that wrote it finish what is there, or take another key prefix')
  end
  call('SET', prefix .. ':format', format)
  call('SET', prefix .. ':epoch', epoch, 'NX')
  call('HSET', prefix .. ':config', version, text)
  if #names > 0 then call('SADD', prefix .. ':lanes', unpack(names)) end
  return call('GET', prefix .. ':epoch')
end

-- Drops what is older than the retention allows. Offsets carry no time, so every call leaves a mark: this offset, now.
local function trim(keys, args)
  enter()
  local prefix, keep_ms, keep_bytes = args[1], tonumber(args[2]), tonumber(args[3])
  local now = time_now()
  local feed, marks = prefix .. ':feed', prefix .. ':marks'
  local head = tonumber(call('GET', prefix .. ':offset')) or 0
  call('ZADD', marks, now, head)
  local old = call('ZRANGEBYSCORE', marks, '-inf', now - keep_ms)
  local dropped = 0
  if #old > 0 then
    dropped = call('XTRIM', feed, 'MINID', tonumber(old[#old]) + 1 .. '-0')
    call('ZREMRANGEBYSCORE', marks, '-inf', now - keep_ms)
  end
  local length = call('XLEN', feed)
  local bytes = call('MEMORY', 'USAGE', feed, 'SAMPLES', 10) or 0
  if bytes > keep_bytes and length > 1 then
    dropped = dropped + call('XTRIM', feed, 'MAXLEN', floor(length * keep_bytes / bytes))
  end
  return { dropped, bytes }
end

redis.register_function('squall_@VERSION@_step', step)
redis.register_function { function_name = 'squall_@VERSION@_step_free', callback = step, flags = { 'allow-oom' } }
redis.register_function('squall_@VERSION@_open', open)
redis.register_function { function_name = 'squall_@VERSION@_trim', callback = trim, flags = { 'allow-oom' } }
