-- Gives a node back the keys of a lease that it has lost: all that are missing, or none.
-- KEYS: the lock keys, then their fencing counters.
-- ARGV: value, ttl in milliseconds, token, milliseconds a counter lives.
-- Answers 1, or 0 where another value is in the way.
local n = #KEYS / 2
for i = 1, n do
  local value = redis.call('GET', KEYS[i])
  if value and value ~= ARGV[1] then
    return 0
  end
end
local counters = {}
for i = 1, n do
  counters[i] = tonumber(redis.call('GET', KEYS[n + i]) or 0)
  if not counters[i] then
    return redis.error_reply('BADCOUNTER ' .. KEYS[n + i] .. ' holds no token below 2^53 - 1')
  end
end
for i = 1, n do
  redis.call('SET', KEYS[i], ARGV[1], 'NX', 'PX', ARGV[2])
  if counters[i] < tonumber(ARGV[3]) then
    redis.call('SET', KEYS[n + i], ARGV[3], 'PX', ARGV[4])
  end
end
return 1
