-- Takes consumers that hold nothing out of a group: the one that leaves, and those whose gateways went long ago.
-- KEYS: stream. ARGV: group, who leaves or '', for how many milliseconds the others must have been idle.
for _, consumer in ipairs(redis.call('XINFO', 'CONSUMERS', KEYS[1], ARGV[1])) do
  local of = {}
  for i = 1, #consumer, 2 do of[consumer[i]] = consumer[i + 1] end
  local gone = string.sub(of.name, 1, 7) == 'squall-' and of.idle >= tonumber(ARGV[3])
  if of.pending == 0 and (of.name == ARGV[2] or gone) then
    redis.call('XGROUP', 'DELCONSUMER', KEYS[1], ARGV[1], of.name)
  end
end
return 1
