-- What one call knows and has done: settings, time, the lanes it touched, what it counted. What outlives the call never changes (parsed
-- settings under their version, who asks), or is only taken up again while it is what Redis has (`lane_of`), or is only a table whose
-- fields are all set anew, because tables are costly to make.
--
-- Keys, all below one prefix (put braces around it for a cluster, so that all of them share a slot):
--   config                  hash: version -> settings as JSON              format, epoch, offset, seq   strings
--   task:<id>               hash, fields below                             feed, marks            stream of events; offsets by time
--   held                    hash: task -> its lease                        finished, done         hash: task -> what is known; their order
--   lane:<lane>             string, below                                  lanes                  set of all names that ever were
--   queue:<lane>:<level>    list: one entry for each task that is ready, so that LLEN is the depth; what it holds is when one became ready
--   queue:<lane>:dlq        list of the ids of dead letters, oldest first
--   order:<lane>:<n>:<own>  sorted set: which task of this owner goes next; turn:<lane>:<n> list: whose turn it is
--   keyed:<lane>:<n>        sorted set: tasks with a key that are ready, by when their time came
--   flow:<lane>:...         sorted set: unfinished tasks of an ordering key (or session), by order of publishing
--   homes:<lane>            hash: session -> the worker that has it; home-of:<worker> set: the same, read the other way
--   due, leases, deadlines, idle, resume   sorted sets by time: delayed tasks, leases, deadlines, active sessions, pauses
--   next                    string: none of those is earlier; absent: not known
--   session:<id>, sessions, slots, ended, session-tasks:<id>               hash; sorted set by age; active ones by tenant; remembered; tasks
--   dead                    sorted set: dead letters by order
--   idem:<tenant>:<key>     string: the task that this idempotency key made; expires
--   gateways, gateway:<id>  sorted set by the last sign of life; hash: its workers and the lanes that they serve
--   peers                   string: how many gateways there were at the last sign of life; one that is alone has nobody to tell
--   migrating               hash: a store is being moved here (`redis/import/claim.rs`); there is no epoch yet, and no gateway opens it
--   fence:<gateway>         string: the generation of its connection; older ones are refused
--
-- Most of the cost of a task is in commands and their arguments, not in bytes: what is read and written together is packed together,
-- with MessagePack, and what a call does to many tasks is one command.
--
-- Fields of a task: i what never changes [tenant, lane, level (1 high to 3 low), kind, session, ordering key, retry override, what its
-- events say of it], as the gateway packed it; m what does [state (w waits, x dead), created, order of publishing, deadline, where it
-- waits (d delayed, b behind its key, e eligible), in whose queue, due, attempts, whether it was replayed]; y payload; h failures;
-- R replays; f, dr, dd, do since when it is a dead letter, reason, detail, order.
-- A lease: [worker, receipt, end, attempt, i, created, order of publishing, deadline, due, whether it was replayed]: all that an
-- acknowledgement needs, so that it does not read the task. While a task is leased its m is that from before.
-- A finished task: [i, state (d done, c cancelled), created, order of publishing, deadline, attempts, finished at, last failure].
--
-- A lane: [paused until (0: until it is resumed) or false, leased, delayed, when its rate allows the next, the credit of each level's
-- weight, ready tasks of each level, of each level the only owner who has a turn, or false: there is none, or more, or nobody knows].
--
-- An entry of the feed has the offset of its last event as its id, and one call's events, in order: m and the milliseconds, then for
-- each event its type and four lines: entity, times, data, tenant.

-- Nothing of it is there when the library is loaded, so whoever is called from outside begins with `enter`. Kept from then on, because
-- each name that is not a local one is looked up in two tables. `parts(packed, n, 1)` are the n parts of a short array that was packed,
-- behind a number that nobody needs: an eighth of the work of `unpack`, which makes a table of them.
local call, pack, unpacked, parts, encode, decode
local unpack, tonumber, ipairs, pairs, setmetatable, format, floor, min, max, sub
local function enter()
  if call then return end
  call, pack, unpacked, parts = redis.call, cmsgpack.pack, cmsgpack.unpack, cmsgpack.unpack_limit
  encode, decode, format, sub, floor, min, max = cjson.encode, cjson.decode, string.format, string.sub, math.floor, math.min, math.max
  -- As fields: a local name would be the one that is set.
  local all = _G
  unpack, tonumber, ipairs, pairs, setmetatable = all.unpack, all.tonumber, all.ipairs, all.pairs, all.setmetatable
end

local LEVELS = { 'high', 'normal', 'low' }
local OUTCOMES = { published = 0, refused = 1, delivered = 2, done = 3, retried = 4, expired = 5, released = 6, dead = 7,
  cancelled = 8, replayed = 9 }
-- One call does so much of what is due at most, so that it never blocks Redis for long; the next one goes on.
local MAX_TIMERS = 500
-- A gateway without a sign of life for so long is gone, and with it its workers.
local GATEWAY_GONE_MS = 10000
local MAX_FAILURES = 16
-- Names and values of events in one entry of the feed at most.
local MAX_ENTRY = 400
local NEVER = 9007199254740991
-- A Redis that has lost its last second goes on so far behind what a gateway had told of: other gateways may have told of more.
local BEYOND_LOSS = 1000000

-- What lanes without weights share.
local NO_CREDIT = { 0, 0, 0 }

-- How many gateways, with their settings and lanes, are remembered as they said it.
local MAX_ASKERS = 256

-- By prefix: keys by their name, keys of lanes, parsed settings by version, who asked.
local stores = {}

local function store_of(prefix)
  local store = stores[prefix]
  if not store then
    local function key_of(keys, name)
      local key = prefix .. ':' .. name
      keys[name] = key
      return key
    end
    store = { prefix = prefix, keys = setmetatable({}, { __index = key_of }), lanes = {}, configs = {}, askers = {}, asked = 0 }
    stores[prefix] = store
  end
  return store
end

local function settings(store, version)
  local config = store.configs[version]
  if not config then
    local text = call('HGET', store.keys.config, version)
    if not text then return nil end
    config = decode(text)
    store.configs[version] = config
  end
  return config
end

-- Of texts that come again and again, or were written by the call before, the number: a tenth of the work of reading them.
local texts, numbers = {}, {}

local function remember(what, text, number) texts[what], numbers[what] = text, number end

local function number_of(what, text)
  if texts[what] == text then return numbers[what] end
  local number = tonumber(text)
  remember(what, text, number)
  return number
end

local function time_now()
  local time = call('TIME')
  return number_of('second', time[1]) * 1000 + floor(tonumber(time[2]) / 1000)
end

-- The keys of a lane, written once.
local function keys_of_lane(store, name)
  local keys = store.lanes[name]
  if not keys then
    local prefix = store.prefix
    keys = { lane = prefix .. ':lane:' .. name, queue = {}, turn = {}, order = {}, keyed = {} }
    for level = 1, 3 do
      keys.queue[level] = prefix .. ':queue:' .. name .. ':' .. LEVELS[level]
      keys.turn[level] = prefix .. ':turn:' .. name .. ':' .. level
      keys.order[level] = prefix .. ':order:' .. name .. ':' .. level .. ':'
      keys.keyed[level] = prefix .. ':keyed:' .. name .. ':' .. level
    end
    store.lanes[name] = keys
  end
  return keys
end

-- Who asks, as a gateway says it with each batch, packed: version of its settings, its name, the generation of its connection, as text,
-- and the lanes that it will probably touch. `keys`: what is read for it before anything else; `at`: where the lanes are among them.
local function asker_of(store, said)
  local asker = store.askers[said]
  if asker then return asker end
  local version, gateway, generation, lanes = unpacked(said)
  local own, fence = store.keys, store.prefix .. ':fence:' .. gateway
  asker = { version = version, gateway = gateway, generation = generation, fence = fence, at = {},
    keys = { own.offset, own.seq, own.next, own.peers, own.epoch, fence } }
  for _, name in ipairs(lanes) do
    local n = #asker.keys + 1
    asker.keys[n], asker.at[name] = keys_of_lane(store, name).lane, n
  end
  if store.asked >= MAX_ASKERS then store.askers, store.asked = {}, 0 end
  store.askers[said], store.asked = asker, store.asked + 1
  return asker
end

-- What a call may need none of is a table that is made when it is needed. `held`: leases that were looked at, packed, or false: ended;
-- `over`: tasks that this call has finished; `settled`, `finished`: what is written of them at the end; `leased`, `leases_held`: of leases
-- that it gave; `lengths`: of queues, by their key; `adds`: what is to be added to them. For metrics: `died`, dead letters by lane and
-- reason; `tally`, by name what is counted of no lane.
local RARE = { 'held', 'over', 'settled', 'finished', 'leased', 'leases_held', 'lengths', 'adds', 'died', 'tally' }

local function rare(c, name)
  local made = {}
  c[name], c.rare = made, true
  return made
end

local function new_context(store)
  return {
    store = store, prefix = store.prefix, keys = store.keys,
    -- Which call it is; who asks; what is read for it; its settings; the time, and as text, because numbers are costly to hand over as
    -- numbers; where its random numbers begin, and its receipts; how many leases it gave.
    call = 0, asker = false, stored = false, cfg = false, now = false, at = false, seed = false, nonce = false, leases = false,
    -- The end of the feed, of the order of publishing, and when the next timer is: as they are, as they were, and as text if they are new.
    head = false, first_head = false, told = false, seq = false, first_seq = false, place = false, next = false, first_next = false,
    -- Lanes that it touched, in a row; events, type and text in turn; for metrics: lane, ten times the level and the outcome, how often, in
    -- turn.
    lanes = {}, events = false, counts = false,
    ticked = false, workers = false, wake = false, more = false,
    -- What is rare, and whether there is any of it.
    held = false, over = false, settled = false, finished = false, leased = false, leases_held = false, lengths = false, adds = false,
    died = false, tally = false, rare = false,
  }
end

-- A call begins.
local function context(store, asker, stored, cfg, now, seed)
  local c = store.context
  if not c then
    c = new_context(store)
    store.context = c
  end
  local head, seq, next_timer = 0, 0, stored[3] and number_of('next', stored[3])
  if stored[1] then head = number_of('offset', stored[1]) end
  if stored[2] then seq = number_of('seq', stored[2]) end
  c.call, c.asker, c.stored, c.cfg = c.call + 1, asker, stored, cfg
  c.now, c.at, c.seed, c.nonce, c.leases = now, format('%d', now), seed, false, 0
  c.head, c.first_head, c.told, c.seq, c.first_seq, c.place = head, head, false, seq, seq, false
  c.next, c.first_next, c.events, c.counts = next_timer, next_timer, false, false
  c.ticked, c.workers, c.wake, c.more = false, false, false, false
  local lanes = c.lanes
  for i = #lanes, 1, -1 do lanes[i] = nil end
  if c.rare then
    c.rare = false
    for i = 1, #RARE do c[RARE[i]] = false end
  end
  return c
end

-- Park and Miller's generator: for jitter, not for secrets.
local function random(c)
  c.seed = (c.seed * 16807) % 2147483647
  return c.seed / 2147483647
end

local function earlier(a, b)
  if not a then return b end
  if not b then return a end
  return min(a, b)
end

local function wake_at(c, at) c.wake = earlier(c.wake, at) end

-- Something happens by itself then: whoever adds to one of the sorted sets by time says so.
local function timer_at(c, at)
  if c.next and at < c.next then c.next = at end
end

local function count(c, lane, level, outcome)
  local at, counts = level * 10 + OUTCOMES[outcome], c.counts
  if not counts then
    c.counts = { lane, at, 1 }
    return
  end
  local n = #counts
  for i = 1, n, 3 do
    if counts[i] == lane and counts[i + 1] == at then
      counts[i + 2] = counts[i + 2] + 1
      return
    end
  end
  counts[n + 1], counts[n + 2], counts[n + 3] = lane, at, 1
end

local function tally(c, name)
  local counted = c.tally or rare(c, 'tally')
  counted[name] = (counted[name] or 0) + 1
end

local function write_events(c)
  local events = c.events
  if events then
    c.told = format('%d', c.head)
    call('XADD', c.keys.feed, c.told, 'm', c.at, unpack(events))
    c.events = false
  end
end

-- One event of the feed, as it is kept.
local function event_of(c, kind, text)
  c.head = c.head + 1
  local events = c.events
  if not events then
    c.events = { kind, text }
    return
  end
  local n = #events
  events[n + 1], events[n + 2] = kind, text
  if n + 2 >= MAX_ENTRY then write_events(c) end
end

-- Times stay numbers here, as in `due=1763000000000`; readers write them as text.
local function event(c, kind, entity, tenant, data, times)
  event_of(c, kind, entity .. '\n' .. (times or '') .. '\n' .. data .. '\n' .. tenant)
end

local function task_event(c, T, kind, extra, times)
  local data = T.label
  if T.attempts > 0 then data = data .. ',"attempt":' .. T.attempts end
  if extra then data = data .. extra end
  event(c, kind, T.id, T.tenant, data, times)
end

local function whole(number) return format('%d', number) end

-- A lane as it is kept, and what it is kept from: see above.
local function pack_lane(paused, leased, delayed, tat, c1, c2, c3, r1, r2, r3, o1, o2, o3)
  return pack({ paused, leased, delayed, tat, c1, c2, c3, r1, r2, r3, o1, o2, o3 })
end

-- Behind a number that nobody needs; nothing of owners if an earlier version wrote it.
local function parts_of_lane(stored) return parts(stored, 13, 1) end

-- The next place in the order of publishing, and the same as it stands in queues.
local function next_place(c)
  c.seq = c.seq + 1
  c.place = format('%013d', c.seq)
  return c.seq, c.place
end

local function said(name, text) return ',"' .. name .. '":' .. encode(text) end

local function refusal(code, ...) return { 0, code, ... } end

-- A lane, from how it is kept. `listed`: how many of its ready tasks have an entry in the list of their level. `dirty`: it may have something for
-- other gateways' workers; `left`: whether it has, if this call has looked (`scheduled`).
local function read_lane(keys, name, set, stored)
  local _, paused, leased, delayed, tat, c1, c2, c3, r1, r2, r3, o1, o2, o3
  if stored then
    _, paused, leased, delayed, tat, c1, c2, c3, r1, r2, r3, o1, o2, o3 = parts_of_lane(stored)
  else
    paused, leased, delayed, tat, c1, c2, c3, r1, r2, r3 = false, 0, 0, 0, 0, 0, 0, 0, 0, 0
  end
  return {
    name = name, keys = keys, set = set, stored = stored, paused = paused or nil, leased = leased, delayed = delayed, tat = tat,
    credit = set.weights and { c1, c2, c3 } or NO_CREDIT, ready = { r1, r2, r3 }, only = { o1 or false, o2 or false, o3 or false },
    listed1 = r1, listed2 = r2, listed3 = r3, dirty = false, left = false, scheduled = false, expires_at = false,
    turn = false, turned = false, windows = false, ahead = false, call = false, written = false,
  }
end

-- Each call reads what Redis has. If that is to the letter what an earlier call has written, its lane is taken up again instead of being
-- made from it.
local function lane_of(c, name)
  local keys = c.store.lanes[name] or keys_of_lane(c.store, name)
  local L = keys.kept
  if L and L.call == c.call then return L end
  local at, set = c.asker.at[name], c.cfg.lanes[name] or c.cfg.fallback
  local stored = at and c.stored[at]
  if not at then stored = call('GET', keys.lane) end
  if L and L.written and L.stored == stored and L.set == set then
    L.dirty, L.left, L.scheduled, L.expires_at = false, false, false, false
  else
    L = read_lane(keys, name, set, stored)
    keys.kept = L
  end
  -- Until it is written again nobody else may take it up: the call may fail.
  L.call, L.written = c.call, false
  c.lanes[#c.lanes + 1] = L
  return L
end

local function packed_lane(L)
  local credit, ready, only = L.credit, L.ready, L.only
  return pack_lane(L.paused or false, L.leased, L.delayed, L.tat, credit[1], credit[2], credit[3], ready[1], ready[2], ready[3],
    only[1], only[2], only[3])
end

local function depth(L) return L.ready[1] + L.ready[2] + L.ready[3] + L.delayed end

local function is_configured(c, L) return c.cfg.lanes[L.name] ~= nil end

-- A lane that is configured, or still has tasks.
local function known_lane(c, name)
  local L = lane_of(c, name)
  if is_configured(c, L) or depth(L) + L.leased > 0 then return L end
  return nil
end

-- `until_ms`: 0: until it is resumed; nil or false: it is not paused.
local function pauses(until_ms, now) return until_ms and (until_ms == 0 or until_ms > now) or false end

local function is_paused(c, L) return pauses(L.paused, c.now) end

-- Calls the command with a key and any number of arguments, a thousand at a time.
local function call_all(command, key, arguments)
  for i = 1, #arguments, 1000 do call(command, key, unpack(arguments, i, min(i + 999, #arguments))) end
end

local function keep(set, key, text)
  local n = #set
  set[n + 1], set[n + 2] = key, text
end

-- As many entries in the list of a level as there are ready tasks.
local function list_ready(c, L, level, listed)
  local more = L.ready[level] - listed
  if more == 0 then return end
  local key = L.keys.queue[level]
  if more == 1 then
    call('RPUSH', key, c.at)
  elseif more > 0 then
    local tokens = {}
    for i = 1, more do tokens[i] = c.at end
    call_all('RPUSH', key, tokens)
  else
    call('LPOP', key, -more)
  end
end

-- What was counted is written once.
local function flush(c)
  write_events(c)
  local set
  if c.seq ~= c.first_seq then
    -- Whoever takes a place in the order tells of it, so there is a new offset too. Room for a lane.
    set = { c.keys.seq, c.place, c.keys.offset, c.told, nil, nil }
    remember('seq', c.place, c.seq)
    remember('offset', c.told, c.head)
  elseif c.head ~= c.first_head then
    set = { c.keys.offset, c.told or whole(c.head), nil, nil }
  else
    set = {}
  end
  for i = 1, #c.lanes do
    local L = c.lanes[i]
    list_ready(c, L, 1, L.listed1)
    list_ready(c, L, 2, L.listed2)
    list_ready(c, L, 3, L.listed3)
    local packed = packed_lane(L)
    if packed ~= L.stored then
      keep(set, L.keys.lane, packed)
      L.stored, L.listed1, L.listed2, L.listed3 = packed, L.ready[1], L.ready[2], L.ready[3]
    end
  end
  if c.next ~= c.first_next then keep(set, c.keys.next, whole(c.next)) end
  if set[1] then call('MSET', unpack(set)) end
  for i = 1, #c.lanes do c.lanes[i].written = true end
end
