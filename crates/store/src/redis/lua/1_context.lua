-- What one call knows and has done: settings, time, the lanes it touched, what it counted. Nothing outlives the call but parsed
-- settings, which never change under their version.
--
-- Keys, all below one prefix (put braces around it for a cluster, so that all of them share a slot):
--   config                  hash: version -> settings as JSON              epoch, offset, seq     strings
--   task:<id>               hash, fields below                             feed, marks            stream of events; offsets by time
--   lane:<lane>             hash: leased, delayed, paused, tat, w1..w3     lanes                  set of all names that ever were
--   queue:<lane>:<level>    list: one entry for each task that is ready, so that LLEN is the depth; what it holds is when one became ready
--   queue:<lane>:dlq        list of the ids of dead letters, oldest first
--   order:<lane>:<n>:<own>  sorted set: which task of this owner goes next; turn:<lane>:<n> list: whose turn it is
--   keyed:<lane>:<n>        sorted set: tasks with a key that are ready, by when their time came
--   flow:<lane>:...         sorted set: unfinished tasks of an ordering key (or session), by order of publishing
--   homes:<lane>            hash: session -> the worker that has it; home-of:<worker> set: the same, read the other way
--   due, leases, deadlines, idle, resume   sorted sets by time: delayed tasks, leases, deadlines, active sessions, pauses
--   session:<id>, sessions, slots, ended, session-tasks:<id>               hash; sorted set by age; active ones by tenant; remembered; tasks
--   dead                    sorted set: dead letters by order              done    list of finished tasks that are remembered
--   idem:<tenant>:<key>     string: the task that this idempotency key made; expires
--   gateways, gateway:<id>  sorted set by the last sign of life; hash: its workers and the lanes that they serve
--   fences                  hash: gateway -> the generation of its connection; older ones are refused
--
-- Fields of a task: v version, t tenant, l lane, p level (1 high to 3 low), k kind, y payload, s session, o ordering key, c created,
-- x deadline, r retry override, n order of publishing, j what its events say of it; S state (w waits, l leased, d done, c cancelled,
-- x dead), q where it waits (d delayed, b behind its key, e eligible), u in whose queue, D due, a attempts, b worker, e end of the
-- lease, z receipt, f finished at, h failures, R replays, dr dd do reason, detail and order of a dead letter.

-- `redis.call`, which is not there yet when the library is loaded; whoever is called from outside sets it.
local call
local LEVELS = { 'high', 'normal', 'low' }
local OUTCOMES = { published = 0, refused = 1, delivered = 2, done = 3, retried = 4, expired = 5, released = 6, dead = 7,
  cancelled = 8, replayed = 9 }
-- One call does so much of what is due at most, so that it never blocks Redis for long; the next one goes on.
local MAX_TIMERS = 500
-- A gateway without a sign of life for so long is gone, and with it its workers.
local GATEWAY_GONE_MS = 10000
local MAX_FAILURES = 16

local configs = {}

local function settings(prefix, version)
  local at = prefix .. '\n' .. version
  if not configs[at] then
    local text = call('HGET', prefix .. ':config', version)
    if not text then return nil end
    configs[at] = cjson.decode(text)
  end
  return configs[at]
end

local function context(prefix, request)
  local cfg = settings(prefix, request.version)
  if not cfg then return nil end
  local now = request.now
  if not now then
    local time = call('TIME')
    now = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
  end
  return {
    prefix = prefix, cfg = cfg, now = now, seed = request.seed, nonce = request.nonce, leases = 0,
    feed = prefix .. ':feed', task = prefix .. ':task:',
    head = tonumber(call('GET', prefix .. ':offset')) or 0, first_head = nil,
    seq = tonumber(call('GET', prefix .. ':seq')) or 0,
    -- Numbers are costly to hand over as numbers.
    at = string.format('%.0f', now),
    lanes = {}, lengths = {}, adds = {}, settled = {}, finished = {}, dirty = {}, counts = {}, died = {},
    sessions_ended = { 0, 0, 0 }, sessions_refused = 0, no_lane = 0, dropped = 0, wake = nil, more = false,
  }
end

-- Park and Miller's generator: for jitter, not for secrets.
local function random(c)
  c.seed = (c.seed * 16807) % 2147483647
  return c.seed / 2147483647
end

local function earlier(a, b)
  if not a then return b end
  if not b then return a end
  return math.min(a, b)
end

local function wake_at(c, at) c.wake = earlier(c.wake, at) end

local function count(c, lane, level, outcome)
  local of_lane = c.counts[lane]
  if not of_lane then
    of_lane = {}
    for i = 1, 30 do of_lane[i] = 0 end
    c.counts[lane] = of_lane
  end
  local at = (level - 1) * 10 + OUTCOMES[outcome] + 1
  of_lane[at] = of_lane[at] + 1
end

-- One event of the feed. Times stay numbers here, in fields of their own; readers write them as text.
local function event(c, kind, entity, tenant, data, ...)
  c.head = c.head + 1
  call('XADD', c.feed, c.head .. '-0', 'e', kind, 'i', entity, 'm', c.at, 'n', tenant, 'd', data, ...)
end

local function task_event(c, T, kind, extra, ...)
  local data = T.label
  if T.attempts > 0 then data = data .. ',"attempt":' .. T.attempts end
  if extra then data = data .. extra end
  event(c, kind, T.id, T.tenant, data, ...)
end

local function said(name, text) return ',"' .. name .. '":' .. cjson.encode(text) end

local function refusal(code, ...) return { 0, code, ... } end

local function lane_of(c, name)
  local L = c.lanes[name]
  if L then return L end
  local key = c.prefix .. ':lane:' .. name
  local got = call('HMGET', key, 'leased', 'delayed', 'paused', 'tat', 'w1', 'w2', 'w3')
  L = {
    name = name, key = key, set = c.cfg.lanes[name] or c.cfg.fallback, configured = c.cfg.lanes[name] ~= nil,
    leased = tonumber(got[1]) or 0, delayed = tonumber(got[2]) or 0, paused = got[3] and tonumber(got[3]) or nil,
    tat = tonumber(got[4]) or 0, credit = { tonumber(got[5]) or 0, tonumber(got[6]) or 0, tonumber(got[7]) or 0 },
    queue = {}, ready = {}, stored_ready = {}, turn_key = {},
  }
  for level = 1, 3 do
    L.queue[level] = c.prefix .. ':queue:' .. name .. ':' .. LEVELS[level]
    L.turn_key[level] = c.prefix .. ':turn:' .. name .. ':' .. level
    L.ready[level] = call('LLEN', L.queue[level])
    L.stored_ready[level] = L.ready[level]
  end
  c.lanes[name] = L
  return L
end

local function depth(L) return L.ready[1] + L.ready[2] + L.ready[3] + L.delayed end

-- A lane that is configured, or still has tasks.
local function known_lane(c, name)
  local L = lane_of(c, name)
  if L.configured or depth(L) + L.leased > 0 then return L end
  return nil
end

local function is_paused(c, L) return L.paused ~= nil and (L.paused == 0 or L.paused > c.now) end

-- Calls the command with a key and any number of arguments, a thousand at a time.
local function call_all(command, key, arguments)
  for i = 1, #arguments, 1000 do call(command, key, unpack(arguments, i, math.min(i + 999, #arguments))) end
end

-- What was counted is written once.
local function flush(c)
  for _, L in pairs(c.lanes) do
    for level = 1, 3 do
      local more = L.ready[level] - L.stored_ready[level]
      if more > 0 then
        local tokens = {}
        for i = 1, more do tokens[i] = c.at end
        call_all('RPUSH', L.queue[level], tokens)
      elseif more < 0 then
        call('LPOP', L.queue[level], -more)
      end
    end
    if L.changed then
      call('HSET', L.key, 'leased', L.leased, 'delayed', L.delayed, 'tat', string.format('%.0f', L.tat),
        'w1', L.credit[1], 'w2', L.credit[2], 'w3', L.credit[3])
    end
  end
  if c.head ~= c.first_head then call('SET', c.prefix .. ':offset', c.head) end
  if c.seq ~= c.first_seq then call('SET', c.prefix .. ':seq', c.seq) end
end
