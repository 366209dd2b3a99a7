-- Takes exactly these items off the head of a list, if it is still this gateway that reads it.
-- KEYS: list, who reads it, what was taken. ARGV: the reader, for how long it is the reader, then of each item its size and what was
-- shown of it. Answers 1, or 0: somebody else reads now, and nothing was taken.
if redis.call('GET', KEYS[2]) ~= ARGV[1] then return 0 end
redis.call('PEXPIRE', KEYS[2], ARGV[2])
local count = (#ARGV - 2) / 2
local head = redis.call('LRANGE', KEYS[1], 0, count - 1)
local function is(item, i)
  local shown = ARGV[2 * i + 2]
  return item and #item == tonumber(ARGV[2 * i + 1]) and string.sub(item, 1, #shown) == shown
end
local same = true
for i = 1, count do same = same and is(head[i], i) end
if same then
  redis.call('LPOP', KEYS[1], count)
else
  -- Some other program pushes in front, or takes from here too: only what was stored goes, wherever it is now. What is not known as a
  -- whole cannot be found, and is shown again.
  for i = 1, count do
    local shown = ARGV[2 * i + 2]
    if #shown == tonumber(ARGV[2 * i + 1]) then redis.call('LREM', KEYS[1], 1, shown) end
  end
end
redis.call('HINCRBY', KEYS[3], 'taken', count)
return 1
