-- Shows what is at the head of a list to the one gateway that reads it, and takes nothing.
-- KEYS: list, who reads it, what was taken. ARGV: the reader, for how long it is the reader, items and bytes at most, bytes of one item
-- that are shown at most, a name for this count of items if there is none yet.
local reader = redis.call('GET', KEYS[2])
if reader and reader ~= ARGV[1] then return { 0, '', 0, {}, {} } end
redis.call('SET', KEYS[2], ARGV[1], 'PX', ARGV[2])
redis.call('HSETNX', KEYS[3], 'epoch', ARGV[6])
local counted = redis.call('HMGET', KEYS[3], 'epoch', 'taken')
local sizes, items, bytes = {}, {}, 0
for i = 1, tonumber(ARGV[3]) do
  local item = redis.call('LINDEX', KEYS[1], i - 1)
  if not item then break end
  local shown = string.sub(item, 1, tonumber(ARGV[5]))
  bytes = bytes + #shown
  if i > 1 and bytes > tonumber(ARGV[4]) then break end
  sizes[i], items[i] = #item, shown
end
return { 1, counted[1], tonumber(counted[2]) or 0, sizes, items }
